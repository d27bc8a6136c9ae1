//! Odd values in every member, path and query: never a fault of the service, always a problem document.

use p2p_coordinator_tests::Server;
use p2p_coordinator_tests::shapes::{heartbeat, host, session, unique, with, zone};
use reqwest::Method;
use serde_json::{Value, json};

fn odd_values() -> Vec<Value> {
    vec![
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(1e308),
        json!(-1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("\u{202e}\u{1F600}\u{fffd}"),
        json!("' OR 1=1; --"),
        json!("../../etc/passwd"),
        json!("a/b?c#d%00"),
        json!("x".repeat(10_000)),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "": null }),
        json!(["x".repeat(100), 7, null]),
    ]
}

#[tokio::test]
async fn no_odd_member_is_a_fault() {
    let server = Server::shared();
    let operator = server.operator();
    let made = session(&operator, &unique("odd"), "alice", &["p"]).await;
    let (id, host_id) = (&made["id"], made["host"].as_str().unwrap());
    let everything = json!({ "public_ip": "192.0.2.1", "ice_servers": [], "max_players": 5, "max_zones": 2,
                             "region": "eu", "labels": {} });
    let bodies = [
        (
            "POST",
            "/hosts/register".to_owned(),
            with(host(&unique("odd"), "alice"), &everything),
        ),
        ("POST", format!("/hosts/{host_id}/heartbeat"), heartbeat()),
        (
            "POST",
            "/zones/".to_owned(),
            with(
                zone(&unique("odd")),
                &json!({ "max_players": 5, "recommended_players": 5, "p2p_enabled": true, "p2p_priority": 1,
                         "fallback_enabled": true, "min_host_quality_score": 7, "min_bandwidth_mbps": 1,
                         "max_latency_ms": 1, "description": "d" }),
            ),
        ),
        (
            "POST",
            "/sessions/".to_owned(),
            json!({ "zone_id": "z", "host_id": "h", "player_ids": ["p"] }),
        ),
        (
            "PATCH",
            format!("/sessions/{id}/metrics"),
            json!({ "avg_latency_ms": 1, "packet_loss_percent": 1, "bandwidth_usage_mbps": 1 }),
        ),
        ("POST", format!("/sessions/{id}/players"), json!({ "player_id": "q" })),
        (
            "POST",
            "/auth/token".to_owned(),
            json!({ "player_id": "p", "user_id": "u", "peer_id": "p", "api_key": "k" }),
        ),
        ("POST", "/auth/refresh".to_owned(), json!({ "refresh_token": "x" })),
    ];
    for (method, path, good) in &bodies {
        for member in good.as_object().unwrap().keys() {
            for value in odd_values().into_iter().chain([Value::Null]) {
                let mut body = good.clone();
                body[member.as_str()] = value;
                let method: Method = method.parse().unwrap();
                let answer = operator.send(method, path, Some(&body)).await;
                assert!(answer.status < 500, "{answer}");
                if answer.status >= 400 {
                    let _ = answer.problem(answer.status);
                }
            }
        }
    }
}

#[tokio::test]
async fn no_odd_path_or_query_is_a_fault() {
    let server = Server::shared();
    let operator = server.operator();
    let odd = [
        "%00",
        "%ff",
        "..",
        "%2e%2e",
        "a%2Fb",
        "%F0%9F%98%80",
        "-1",
        "0",
        "1e9",
        "%27%22",
        "%0d%0a",
    ];
    for odd in odd
        .into_iter()
        .map(str::to_owned)
        .chain([format!("{:0>300}", 7), "x".repeat(3000)])
    {
        for path in [
            format!("/hosts/{odd}"),
            format!("/hosts/?status_filter={odd}"),
            format!("/hosts/?min_quality_score={odd}"),
            format!("/hosts/?limit={odd}&offset={odd}"),
            format!("/hosts/available/list?min_quality_score={odd}"),
            format!("/zones/{odd}"),
            format!("/zones/?p2p_enabled={odd}"),
            format!("/sessions/{odd}"),
            format!("/sessions/host/{odd}/active"),
            format!("/sessions/zone/{odd}/active"),
        ] {
            let answer = operator.get(&path).await;
            assert!(answer.status < 500, "{answer}");
            if answer.status >= 400 {
                let _ = answer.problem(answer.status);
            }
        }
        let answer = operator.poke(&format!("/sessions/{odd}/end?reason={odd}")).await;
        assert!(answer.status < 500, "{answer}");
        let answer = operator.poke(&format!("/sessions/cleanup?timeout_minutes={odd}")).await;
        assert!(answer.status < 500, "{answer}");
        let answer = operator.delete(&format!("/sessions/{odd}/players/{odd}")).await;
        assert!(answer.status < 500, "{answer}");
    }
}

#[tokio::test]
async fn an_odd_name_that_is_taken_is_found_again() {
    let server = Server::shared();
    let operator = server.operator();
    for (name, path) in [
        ("with space", "with%20space"),
        ("ümläut", "%C3%BCml%C3%A4ut"),
        ("a/b", "a%2Fb"),
        ("100%", "100%25"),
    ] {
        let made = operator.post("/hosts/register", &host(name, "alice")).await;
        if made.status == 422 {
            let _ = made.names_fields(&["host_id"]);
            continue;
        }
        let _ = made.ok(201);
        assert_eq!(
            operator.get(&format!("/hosts/{path}")).await.ok(200)["host_id"],
            json!(name)
        );
        let _ = operator
            .post(&format!("/hosts/{path}/heartbeat"), &heartbeat())
            .await
            .ok(200);
        let _ = operator.delete(&format!("/hosts/{path}")).await.ok(204);
    }
}

#[tokio::test]
async fn requests_without_a_body_get_an_answer() {
    let server = Server::shared();
    let operator = server.operator();
    for path in [
        "/hosts/register",
        "/zones/",
        "/sessions/",
        "/auth/token",
        "/auth/refresh",
    ] {
        let answer = operator.poke(path).await;
        assert!(matches!(answer.status, 400 | 415 | 422), "{answer}");
        let _ = answer.problem(answer.status);
    }
    let head = operator.send(Method::HEAD, "/hosts/", None).await;
    assert!(matches!(head.status, 200 | 405), "{head}");
    assert!(head.body.is_empty());
}
