//! What the server tells peers by itself: the end of a session, a player put out, another host.

use p2p_coordinator_tests::eventually;

use super::*;

#[tokio::test]
async fn the_end_of_a_session_is_pushed() {
    let server = Server::shared();
    let (id, mut one, _, mut two, _) = pair(&server).await;
    let _ = server
        .operator()
        .poke(&format!("/sessions/{id}/end?reason=maintenance"))
        .await
        .ok(200);
    for ws in [&mut one, &mut two] {
        let ended = ws.expect("session-ended").await;
        assert_eq!(
            (&ended["session_id"], &ended["reason"]),
            (&json!(id), &json!("maintenance"))
        );
    }
    one.send(&json!({ "type": "join", "session_id": id })).await;
    let _ = one.expect_error().await;
}

#[tokio::test]
async fn a_removed_player_is_taken_out_of_the_signaling() {
    let server = Server::shared();
    let (id, mut one, a, mut two, b) = pair(&server).await;
    let _ = server
        .operator()
        .delete(&format!("/sessions/{id}/players/{b}"))
        .await
        .ok(200);
    assert_eq!(one.wait_for("peer-left").await["peer_id"], json!(b));
    two.send(&json!({ "type": "offer", "to": a, "sdp": "still here?" }))
        .await;
    let error = two.wait_for("error").await;
    assert!(error["message"].is_string());
}

#[tokio::test]
async fn the_loss_of_a_host_moves_the_session_or_sends_it_to_the_server() {
    let server = Server::start();
    let operator = server.operator();
    let made = session(&operator, "lost", "alice", &["p1"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut peer = Ws::joined(&server, "p1", id).await;
    let _ = operator.post("/hosts/register", &host("spare", "bob")).await.ok(201);
    let _ = operator.delete("/hosts/host-lost").await.ok(204);
    let changed = peer.wait_for("host-changed").await;
    let wanted = [
        ("session_id", json!(id)),
        ("host_id", json!("spare")),
        ("peer_id", json!("bob")),
    ];
    for (name, value) in wanted {
        assert_eq!(changed[name], value, "{changed}");
    }
    assert!(changed["reason"].is_string(), "{changed}");
    let _ = operator.delete("/hosts/spare").await.ok(204);
    let fallback = peer.wait_for("fallback").await;
    assert_eq!(
        (&fallback["session_id"], &fallback["mode"]),
        (&json!(id), &json!("server"))
    );
    assert!(fallback["reason"].is_string(), "{fallback}");
    eventually("the session failed", || async {
        (operator.get(&format!("/sessions/{id}")).await.ok(200)["status"] == "failed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_host_whose_socket_drops_is_replaced_at_once() {
    let server = Server::start();
    let operator = server.operator();
    let made = session(&operator, "lost", "alice", &["p1"]).await;
    let other = session(&operator, "other", "alice", &["p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut peer = Ws::joined(&server, "p1", id).await;
    let machine = Ws::joined(&server, "alice", id).await;
    assert_eq!(peer.expect("peer-joined").await["peer_id"], "alice");
    let _ = operator.post("/hosts/register", &host("spare", "bob")).await.ok(201);

    // Its own second connection is no loss.
    let again = Ws::joined(&server, "alice", id).await;
    drop(machine);
    let still = operator.get(&format!("/sessions/{id}")).await.ok(200);
    assert_eq!(still["host"], "host-lost", "{still}");

    let dropped = std::time::Instant::now();
    drop(again);
    let changed = peer.wait_for("host-changed").await;
    let took = dropped.elapsed();
    assert!(
        ["spare", "host-other"].contains(&changed["host_id"].as_str().unwrap()),
        "{changed}"
    );
    assert!(took.as_secs() < 3, "{took:?}");
    assert_eq!(
        operator.get(&format!("/sessions/{id}")).await.ok(200)["host"],
        changed["host_id"]
    );
    let untouched = operator.get(&format!("/sessions/{}", other["id"])).await.ok(200);
    assert_eq!(
        (&untouched["host"], &untouched["status"]),
        (&json!("host-other"), &json!("active"))
    );
}
