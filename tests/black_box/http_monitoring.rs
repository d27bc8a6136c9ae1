//! The root, health, the dashboard and the Prometheus text.

use p2p_coordinator_tests::shapes::{heartbeat, host, session, with, zone};
use p2p_coordinator_tests::{Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

async fn get(client: &Client, path: &str) -> Value {
    client.absolute(Method::GET, path, None).await.ok(200)
}

#[tokio::test]
async fn the_root_says_what_runs() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/zones/", &zone("town")).await.ok(201);
    let _ = operator
        .post("/zones/", &with(zone("cave"), &json!({ "p2p_enabled": false })))
        .await
        .ok(201);
    let root = get(&server.anonymous(), "/").await;
    assert_eq!(root["service"], "p2p-coordinator");
    assert_eq!(root["version"], "2.0.0");
    assert!(root["status"].is_string(), "{root}");
    assert_eq!(root["p2p_enabled"], true);
    let zones = &root["enabled_zones"];
    assert!(
        zones == &json!(1) || zones == &json!(2) || zones == &json!(["town"]),
        "{root}"
    );
}

#[tokio::test]
async fn health_has_the_body_of_the_guide() {
    let server = Server::shared();
    for path in ["/health", "/api/v1/health", "/api/health"] {
        let health = get(&server.anonymous(), path).await;
        assert_eq!(health["status"], "healthy", "{path}: {health}");
        assert_eq!(health["service"], "p2p-coordinator");
        assert!(health["version"].is_string(), "{health}");
        assert!(health["database"].is_object(), "{health}");
    }
    let _ = server
        .anonymous()
        .absolute(Method::GET, "/health/ready", None)
        .await
        .ok(200);
    let _ = server
        .anonymous()
        .absolute(Method::GET, "/health/live", None)
        .await
        .ok(200);
}

#[tokio::test]
async fn the_dashboard_counts_what_there_is() {
    let server = Server::start();
    let operator = server.operator();
    let _ = session(&operator, "one", "alice", &["p1", "p2"]).await;
    for (id, latency) in [("good", 200.0), ("fair", 300.0)] {
        let weak = with(host(id, id), &json!({ "cpu_cores": if id == "fair" { 1 } else { 8 } }));
        let _ = operator.post("/hosts/register", &weak).await.ok(201);
        let beat = with(heartbeat(), &json!({ "latency_ms": latency }));
        let _ = operator.post(&format!("/hosts/{id}/heartbeat"), &beat).await.ok(200);
    }
    let dashboard = operator.get("/monitoring/dashboard").await.ok(200);
    let text = dashboard.to_string();
    for noun in ["hosts", "zones", "sessions", "players"] {
        assert!(text.contains(noun), "{noun}: {dashboard}");
    }
    assert_eq!(
        operator
            .absolute(Method::GET, "/api/monitoring/dashboard", None)
            .await
            .status,
        200
    );
    let stats = operator.get("/monitoring/hosts/stats").await.ok(200);
    let distribution = find(&stats, "excellent").unwrap_or_else(|| panic!("{stats}"));
    let counts: Vec<&Value> = ["excellent", "good", "fair", "poor"]
        .iter()
        .map(|n| &distribution[*n])
        .collect();
    // 100, 80 and 62.5.
    assert_eq!(counts, [&json!(1), &json!(1), &json!(1), &json!(0)], "{stats}");
}

/// The first object, at any depth, that has this member.
fn find<'a>(value: &'a Value, member: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) if map.contains_key(member) => Some(value),
        Value::Object(map) => map.values().find_map(|v| find(v, member)),
        _ => None,
    }
}

#[tokio::test]
async fn prometheus_gets_the_six_families_of_the_guide() {
    let server = Server::start();
    let operator = server.operator();
    let made = session(&operator, "one", "alice", &["p1", "p2"]).await;
    let metrics = format!("/sessions/{}/metrics", made["id"]);
    let _ = operator
        .patch(&metrics, Some(&json!({ "avg_latency_ms": 45.5 })))
        .await
        .ok(200);
    for path in ["/metrics", "/api/v1/monitoring/metrics", "/api/monitoring/metrics"] {
        let answer = operator.absolute(Method::GET, path, None).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert!(answer.header("content-type").starts_with("text/plain"), "{answer}");
        for (name, kind) in [
            ("p2p_hosts_total", "gauge"),
            ("p2p_zones_total", "gauge"),
            ("p2p_sessions_total", "gauge"),
            ("p2p_players_total", "gauge"),
            ("p2p_average_latency_ms", "gauge"),
            ("p2p_uptime_seconds", "counter"),
        ] {
            assert!(
                answer.body.contains(&format!("# TYPE {name} {kind}\n")),
                "{name}: {}",
                answer.body
            );
            assert!(
                answer.body.contains(&format!("# HELP {name} ")),
                "{name}: {}",
                answer.body
            );
        }
        for line in [
            "p2p_hosts_total{status=\"active\"} 1",
            "p2p_zones_total{p2p_enabled=\"true\"} 1",
            "p2p_sessions_total{status=\"active\"} 1",
            "p2p_players_total 2",
            "p2p_average_latency_ms 45.5",
        ] {
            assert!(answer.body.lines().any(|l| l == line), "{line}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn signaling_stats_count_connections_and_sessions() {
    let server = Server::start();
    let operator = server.operator();
    let stats = operator.get("/signaling/stats").await.ok(200);
    assert_eq!(
        (&stats["active_connections"], &stats["active_sessions"]),
        (&json!(0), &json!(0))
    );
    let made = session(&operator, "one", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let _one = p2p_coordinator_tests::Ws::joined(&server, "p1", id).await;
    let _two = p2p_coordinator_tests::Ws::joined(&server, "p2", id).await;
    let _three = p2p_coordinator_tests::Ws::peer(&server, "p3").await;
    p2p_coordinator_tests::eventually("three connections", || async {
        let stats = operator.get("/signaling/stats").await.ok(200);
        (stats["active_connections"] == 3 && stats["active_sessions"] == 1).then_some(())
    })
    .await;
}
