//! `/sessions`: every route, good and bad; fallback answers; what must hold under concurrency.

use futures_util::future::join_all;
use p2p_coordinator_tests::shapes::{heartbeat, host, session, unique, with, zone};
use p2p_coordinator_tests::{Answer, Client, Options, Server, eventually};
use serde_json::{Value, json};

fn fallback(answer: &Answer, reason: &str) {
    let problem = answer.problem(400);
    assert_eq!(problem["mode"], "server", "{answer}");
    assert_eq!(problem["reason"], reason, "{answer}");
}

async fn create(client: &Client, zone_id: &str, host_id: Option<&str>, players: &[&str]) -> Answer {
    let mut body = json!({ "zone_id": zone_id, "player_ids": players });
    if let Some(host_id) = host_id {
        body["host_id"] = json!(host_id);
    }
    client.post("/sessions/", &body).await
}

#[tokio::test]
async fn a_session_lives_from_pending_to_ended() {
    let server = Server::shared();
    let operator = server.operator();
    let (host_id, zone_id) = (unique("host"), unique("zone"));
    let host = operator.post("/hosts/register", &host(&host_id, "alice")).await.ok(201);
    let zone = operator.post("/zones/", &zone(&zone_id)).await.ok(201);
    let made = create(&operator, &zone_id, Some(&host_id), &["p1", "p2"]).await.ok(201);
    let name = made["session_id"].as_str().unwrap();
    let hex = name.strip_prefix("session-").unwrap();
    assert!(hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    assert_eq!((&made["host_id"], &made["zone_id"]), (&host["id"], &zone["id"]));
    assert_eq!((&made["host"], &made["zone"]), (&json!(host_id), &json!(zone_id)));
    assert_eq!(made["connected_players"], json!(["p1", "p2"]));
    assert_eq!(
        (&made["current_players"], &made["max_players"]),
        (&json!(2), &json!(100))
    );
    assert_eq!(made["status"], "pending");
    assert!(made["started_at"].is_null() && made["ended_at"].is_null(), "{made}");
    for zero in [
        "average_latency_ms",
        "average_packet_loss_percent",
        "bandwidth_usage_mbps",
    ] {
        assert_eq!(made[zero].as_f64(), Some(0.0), "{zero}: {made}");
    }

    let by_name = format!("/sessions/{name}");
    let by_number = format!("/sessions/{}", made["id"]);
    assert_eq!(
        operator.get(&by_name).await.ok(200),
        operator.get(&by_number).await.ok(200)
    );

    let message = operator.poke(&format!("{by_number}/activate")).await.ok(200);
    assert!(message["message"].is_string(), "{message}");
    let active = operator.get(&by_name).await.ok(200);
    assert_eq!(active["status"], "active");
    assert!(active["started_at"].is_string(), "{active}");
    let _ = operator.poke(&format!("{by_name}/activate")).await.problem(400);

    let message = operator.poke(&format!("{by_name}/end?reason=done")).await.ok(200);
    assert!(message["message"].is_string(), "{message}");
    let ended = operator.get(&by_name).await.ok(200);
    assert_eq!(ended["status"], "ended");
    assert!(ended["ended_at"].is_string(), "{ended}");
    let _ = operator.poke(&format!("{by_name}/end")).await.problem(400);
    let _ = operator.poke(&format!("{by_name}/activate")).await.problem(400);
    let _ = operator
        .post(&format!("{by_name}/players"), &json!({ "player_id": "late" }))
        .await
        .problem(400);

    let counted = operator.get(&format!("/zones/{zone_id}")).await.ok(200);
    assert_eq!(
        (&counted["total_sessions"], &counted["active_sessions"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(counted["total_players_served"], 2);
}

#[tokio::test]
async fn a_pending_session_can_be_ended() {
    let server = Server::shared();
    let operator = server.operator();
    let (host_id, zone_id) = (unique("host"), unique("zone"));
    let _ = operator.post("/hosts/register", &host(&host_id, "alice")).await.ok(201);
    let _ = operator.post("/zones/", &zone(&zone_id)).await.ok(201);
    let made = create(&operator, &zone_id, Some(&host_id), &["p1"]).await.ok(201);
    let _ = operator.poke(&format!("/sessions/{}/end", made["id"])).await.ok(200);
}

#[tokio::test]
async fn an_unknown_session_is_404_everywhere() {
    let server = Server::shared();
    let operator = server.operator();
    for key in ["999999999", "session-0123456789abcdef", "99999999999999999999999"] {
        for answer in [
            operator.get(&format!("/sessions/{key}")).await,
            operator.poke(&format!("/sessions/{key}/activate")).await,
            operator.poke(&format!("/sessions/{key}/end")).await,
            operator
                .patch(
                    &format!("/sessions/{key}/metrics"),
                    Some(&json!({ "avg_latency_ms": 1 })),
                )
                .await,
            operator
                .post(&format!("/sessions/{key}/players"), &json!({ "player_id": "p" }))
                .await,
            operator.delete(&format!("/sessions/{key}/players/p")).await,
        ] {
            let _ = answer.problem(404);
        }
    }
}

#[tokio::test]
async fn a_bad_creation_names_the_field() {
    let server = Server::shared();
    let operator = server.operator();
    operator
        .post("/sessions/", &json!({ "player_ids": ["p"] }))
        .await
        .names_fields(&["zone_id"]);
    operator
        .post("/sessions/", &json!({ "zone_id": "z" }))
        .await
        .names_fields(&["player_ids"]);
    operator
        .post("/sessions/", &json!({ "zone_id": "z", "player_ids": "p" }))
        .await
        .names_fields(&["player_ids"]);
    operator
        .post("/sessions/", &json!({ "zone_id": 7, "player_ids": ["p"] }))
        .await
        .names_fields(&["zone_id"]);
    for bad in ["", "a:b"] {
        let wanted = json!({ "zone_id": "z", "player_ids": ["ok", bad] });
        operator
            .post("/sessions/", &wanted)
            .await
            .names_fields(&["player_ids.1"]);
    }
}

#[tokio::test]
async fn a_player_named_twice_counts_once() {
    let server = Server::shared();
    let made = session(&server.operator(), &unique("twice"), "alice", &["p1", "p2", "p1"]).await;
    assert_eq!(made["connected_players"], json!(["p1", "p2"]), "{made}");
    assert_eq!(made["current_players"], 2, "{made}");
}

#[tokio::test]
async fn metrics_are_recorded_one_by_one() {
    let server = Server::shared();
    let operator = server.operator();
    let made = session(&operator, &unique("m"), "alice", &["p1"]).await;
    let path = format!("/sessions/{}/metrics", made["session_id"].as_str().unwrap());
    let _ = operator
        .patch(&path, Some(&json!({ "avg_latency_ms": 42.5 })))
        .await
        .ok(200);
    let _ = operator
        .patch(
            &path,
            Some(&json!({ "packet_loss_percent": 1.5, "bandwidth_usage_mbps": 7 })),
        )
        .await
        .ok(200);
    let read = operator.get(&format!("/sessions/{}", made["id"])).await.ok(200);
    assert_eq!(read["average_latency_ms"].as_f64(), Some(42.5));
    assert_eq!(read["average_packet_loss_percent"].as_f64(), Some(1.5));
    assert_eq!(read["bandwidth_usage_mbps"].as_f64(), Some(7.0));
    for (field, value) in [
        ("avg_latency_ms", -1.0),
        ("packet_loss_percent", 100.5),
        ("bandwidth_usage_mbps", -0.5),
    ] {
        operator
            .patch(&path, Some(&json!({ field: value })))
            .await
            .names_fields(&[field]);
    }
}

#[tokio::test]
async fn players_come_and_go_within_capacity() {
    let server = Server::shared();
    let operator = server.operator();
    let (host_id, zone_id) = (unique("host"), unique("zone"));
    let _ = operator.post("/hosts/register", &host(&host_id, "alice")).await.ok(201);
    let small = with(zone(&zone_id), &json!({ "max_players": 2, "recommended_players": 2 }));
    let _ = operator.post("/zones/", &small).await.ok(201);
    let made = create(&operator, &zone_id, Some(&host_id), &["p1"]).await.ok(201);
    let players = format!("/sessions/{}/players", made["id"]);
    let _ = operator.post(&players, &json!({ "player_id": "p2" })).await.ok(200);
    let _ = operator
        .post(&players, &json!({ "player_id": "p3" }))
        .await
        .problem(400);
    let _ = operator.delete(&format!("{players}/p3")).await.problem(400);
    let _ = operator.delete(&format!("{players}/p1")).await.ok(200);
    let _ = operator.delete(&format!("{players}/p1")).await.problem(400);
    let _ = operator.post(&players, &json!({ "player_id": "p3" })).await.ok(200);
    let read = operator.get(&format!("/sessions/{}", made["id"])).await.ok(200);
    assert_eq!(read["connected_players"], json!(["p2", "p3"]));
    assert_eq!(read["current_players"], 2);
    operator.post(&players, &json!({})).await.names_fields(&["player_id"]);
    operator
        .post(&players, &json!({ "player_id": "" }))
        .await
        .names_fields(&["player_id"]);
    operator
        .post(&players, &json!({ "player_id": 5 }))
        .await
        .names_fields(&["player_id"]);
}

#[tokio::test]
async fn active_sessions_are_listed_by_host_and_by_zone() {
    let server = Server::shared();
    let operator = server.operator();
    let name = unique("l");
    let first = session(&operator, &name, "alice", &["p1"]).await;
    let second = session(&operator, &name, "alice", &["p2"]).await;
    let _ = operator.poke(&format!("/sessions/{}/end", first["id"])).await.ok(200);
    for path in [
        format!("/sessions/host/host-{name}/active"),
        format!("/sessions/zone/zone-{name}/active"),
    ] {
        let list = operator.get(&path).await.ok(200);
        let ids: Vec<&Value> = list.as_array().unwrap().iter().map(|s| &s["id"]).collect();
        assert_eq!(ids, [&second["id"]], "{path}");
    }
    for path in ["/sessions/host/nobody/active", "/sessions/zone/nowhere/active"] {
        let answer = operator.get(path).await;
        assert!(answer.status == 404 || answer.ok(200) == json!([]), "{answer}");
    }
}

#[tokio::test]
async fn what_peer_to_peer_cannot_serve_falls_back_to_the_server() {
    let server = Server::start();
    let operator = server.operator();
    fallback(&create(&operator, "nowhere", None, &["p"]).await, "zone_unknown");
    let _ = operator.post("/zones/", &zone("town")).await.ok(201);
    fallback(&create(&operator, "town", Some("nobody"), &["p"]).await, "host_unknown");
    fallback(&create(&operator, "town", None, &["p"]).await, "no_suitable_host");
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let _ = operator.poke("/zones/town/disable-p2p").await.ok(200);
    fallback(
        &create(&operator, "town", Some("h1"), &["p"]).await,
        "zone_p2p_disabled",
    );
    let _ = operator.poke("/zones/town/enable-p2p").await.ok(200);
    let _ = operator
        .patch("/zones/town/status?new_status=maintenance", None)
        .await
        .ok(200);
    fallback(&create(&operator, "town", Some("h1"), &["p"]).await, "zone_not_enabled");
    let _ = operator
        .patch("/zones/town/status?new_status=enabled", None)
        .await
        .ok(200);

    let tiny = with(zone("tiny"), &json!({ "max_players": 1, "recommended_players": 1 }));
    let _ = operator.post("/zones/", &tiny).await.ok(201);
    fallback(
        &create(&operator, "tiny", Some("h1"), &["p", "q"]).await,
        "zone_capacity",
    );

    let narrow = with(
        host("narrow", "bob"),
        &json!({ "max_zones": 1, "network_speed_mbps": 1 }),
    );
    let _ = operator.post("/hosts/register", &narrow).await.ok(201);
    let _ = create(&operator, "town", Some("narrow"), &["p"]).await.ok(201);
    fallback(&create(&operator, "town", Some("narrow"), &["q"]).await, "host_full");

    let strict = with(
        zone("strict"),
        &json!({ "min_host_quality_score": 100.0, "max_latency_ms": 1 }),
    );
    let _ = operator.post("/zones/", &strict).await.ok(201);
    let slow = with(heartbeat(), &json!({ "latency_ms": 90.0 }));
    let _ = operator.post("/hosts/h1/heartbeat", &slow).await.ok(200);
    fallback(&create(&operator, "strict", None, &["p"]).await, "no_suitable_host");
    assert_eq!(create(&operator, "town", None, &["p"]).await.ok(201)["host"], "h1");
}

#[tokio::test]
async fn switched_off_everything_runs_and_sessions_say_server() {
    let server = Options::default().env("P2P_ENABLED", "false").start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let _ = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    let _ = operator.post("/zones/", &zone("town")).await.ok(201);
    fallback(&create(&operator, "town", Some("h1"), &["p"]).await, "p2p_disabled");
    fallback(&create(&operator, "town", None, &["p"]).await, "p2p_disabled");
    fallback(&create(&operator, "nowhere", None, &["p"]).await, "p2p_disabled");
    let root = operator.absolute(reqwest::Method::GET, "/", None).await.ok(200);
    assert_eq!(root["p2p_enabled"], false);
    let health = operator.absolute(reqwest::Method::GET, "/health", None).await.ok(200);
    assert_eq!(health["status"], "healthy");
    let mut ws = p2p_coordinator_tests::Ws::peer(&server, "alice").await;
    ws.send(&json!({ "type": "join", "session_id": "session-0000000000000000" }))
        .await;
    ws.expect_error().await;
}

#[tokio::test]
async fn fifty_at_once_into_ten_places_lets_ten_in() {
    let server = Server::shared();
    let operator = server.operator();
    let (host_id, zone_id) = (unique("host"), unique("zone"));
    let _ = operator.post("/hosts/register", &host(&host_id, "alice")).await.ok(201);
    let ten = with(zone(&zone_id), &json!({ "max_players": 10, "recommended_players": 10 }));
    let _ = operator.post("/zones/", &ten).await.ok(201);
    let made = create(&operator, &zone_id, Some(&host_id), &[]).await;
    let (made, free) = if made.status == 201 {
        (made.ok(201), 10)
    } else {
        (create(&operator, &zone_id, Some(&host_id), &["first"]).await.ok(201), 9)
    };
    let path = format!("/sessions/{}/players", made["id"]);
    let answers = join_all((0..50).map(|n| {
        let (operator, path) = (operator.clone(), path.clone());
        async move { operator.post(&path, &json!({ "player_id": format!("p{n}") })).await }
    }))
    .await;
    let let_in = answers.iter().filter(|a| a.status == 200).count();
    assert_eq!(let_in, free);
    assert!(
        answers
            .iter()
            .all(|a| a.status == 200 || a.problem(400)["detail"].is_string())
    );
    let read = operator.get(&format!("/sessions/{}", made["id"])).await.ok(200);
    assert_eq!(read["current_players"], 10);
    assert_eq!(read["connected_players"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_transition_happens_once_however_many_ask() {
    let server = Server::shared();
    let operator = server.operator();
    let (host_id, zone_id) = (unique("host"), unique("zone"));
    let _ = operator.post("/hosts/register", &host(&host_id, "alice")).await.ok(201);
    let _ = operator.post("/zones/", &zone(&zone_id)).await.ok(201);
    let made = create(&operator, &zone_id, Some(&host_id), &["p"]).await.ok(201);
    for step in ["activate", "end"] {
        let answers = join_all((0..20).map(|_| {
            let (operator, path) = (operator.clone(), format!("/sessions/{}/{step}", made["id"]));
            async move { operator.poke(&path).await.status }
        }))
        .await;
        assert_eq!(answers.iter().filter(|s| **s == 200).count(), 1, "{step}: {answers:?}");
        assert_eq!(answers.iter().filter(|s| **s == 400).count(), 19, "{step}: {answers:?}");
    }
    let counted = operator.get(&format!("/zones/{zone_id}")).await.ok(200);
    assert_eq!(counted["active_sessions"], 0);
}

#[tokio::test]
async fn a_host_never_gets_more_sessions_than_it_takes() {
    let server = Server::shared();
    let operator = server.operator();
    let (host_id, zone_id) = (unique("host"), unique("zone"));
    let three = with(host(&host_id, "alice"), &json!({ "max_zones": 3 }));
    let _ = operator.post("/hosts/register", &three).await.ok(201);
    let _ = operator.post("/zones/", &zone(&zone_id)).await.ok(201);
    let answers = join_all((0..20).map(|n| {
        let (operator, zone_id, host_id) = (operator.clone(), zone_id.clone(), host_id.clone());
        async move { create(&operator, &zone_id, Some(&host_id), &[&format!("p{n}")]).await }
    }))
    .await;
    assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 3);
    for refused in answers.iter().filter(|a| a.status != 201) {
        fallback(refused, "host_full");
    }
}

#[tokio::test]
async fn cleanup_ends_what_is_idle() {
    let server = Server::start();
    let operator = server.operator();
    let made = session(&operator, "idle", "alice", &["p"]).await;
    let kept = operator.poke("/sessions/cleanup?timeout_minutes=30").await.ok(200);
    assert!(kept.is_object(), "{kept}");
    assert_eq!(
        operator.get(&format!("/sessions/{}", made["id"])).await.ok(200)["status"],
        "active"
    );
    for bad in ["-1", "soon"] {
        operator
            .poke(&format!("/sessions/cleanup?timeout_minutes={bad}"))
            .await
            .names_fields(&["timeout_minutes"]);
    }
}

#[tokio::test]
async fn deleting_a_host_moves_or_fails_its_sessions() {
    let server = Server::start();
    let operator = server.operator();
    let made = session(&operator, "lost", "alice", &["p"]).await;
    let path = format!("/sessions/{}", made["id"]);
    let _ = operator.post("/hosts/register", &host("spare", "bob")).await.ok(201);
    let _ = operator.delete("/hosts/host-lost").await.ok(204);
    let moved = eventually("the session has another host", || async {
        let read = operator.get(&path).await.ok(200);
        (read["host"] == "spare").then_some(read)
    })
    .await;
    assert_eq!(moved["status"], "active");
    let _ = operator.delete("/hosts/spare").await.ok(204);
    eventually("the session failed", || async {
        (operator.get(&path).await.ok(200)["status"] == "failed").then_some(())
    })
    .await;
}
