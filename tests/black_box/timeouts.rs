//! What the background tasks do when nobody reports any more.

use p2p_coordinator_tests::shapes::{heartbeat, host, session};
use p2p_coordinator_tests::{Options, Ws, eventually};
use serde_json::json;

#[tokio::test]
async fn a_host_without_heartbeats_goes_offline_and_comes_back() {
    // 1.2 s.
    let server = Options::default().env("HOST_HEARTBEAT_TIMEOUT_MINUTES", "0.02").start();
    let operator = server.operator();
    let made = session(&operator, "sleepy", "alice", &["p1"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut peer = Ws::joined(&server, "p1", id).await;
    eventually("the host is offline", || async {
        let status = operator.get("/hosts/host-sleepy").await.ok(200)["status"].clone();
        (status == "offline").then_some(())
    })
    .await;
    // No other host is there: its players are sent to the game server.
    let fallback = peer.wait_for("fallback").await;
    assert_eq!(fallback["mode"], "server", "{fallback}");
    assert!(server.log().contains("host-sleepy"), "every action is logged");
    let back = operator.post("/hosts/host-sleepy/heartbeat", &heartbeat()).await.ok(200);
    assert_eq!(back["status"], "online");
}

#[tokio::test]
async fn an_idle_session_ends_and_a_connected_one_lives() {
    let server = Options::default()
        .env("SESSION_TIMEOUT_MINUTES", "0.03")
        .env("SESSION_HEALTH_CHECK_INTERVAL", "0.2")
        .start();
    let operator = server.operator();
    let idle = session(&operator, "idle", "alice", &["p1"]).await;
    let lively = session(&operator, "lively", "bob", &["p2"]).await;
    let _peer = Ws::joined(&server, "p2", lively["session_id"].as_str().unwrap()).await;
    eventually("the idle session ended", || async {
        let status = operator.get(&format!("/sessions/{}", idle["id"])).await.ok(200)["status"].clone();
        (status == "ended").then_some(())
    })
    .await;
    assert!(server.log().contains(idle["session_id"].as_str().unwrap()), "every action is logged");
    let alive = operator.get(&format!("/sessions/{}", lively["id"])).await.ok(200);
    assert_eq!(alive["status"], "active", "a connected peer is a sign of life");
}

#[tokio::test]
async fn a_host_that_was_lost_while_the_service_was_down_is_noticed() {
    let server = Options::default().env("HOST_HEARTBEAT_TIMEOUT_MINUTES", "0.02").start();
    let _ = server.operator().post("/hosts/register", &host("gone", "alice")).await.ok(201);
    let server = server.crash_and_restart();
    let operator = server.operator();
    eventually("the host is offline", || async {
        (operator.get("/hosts/gone").await.ok(200)["status"] == json!("offline")).then_some(())
    })
    .await;
}
