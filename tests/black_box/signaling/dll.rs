//! The dialect of the game DLL.

use super::*;

async fn create(server: &Server, headers: &[(&str, &str)], message: &Value) -> (Ws, Value) {
    let mut ws = Ws::open(server, "", headers).await;
    ws.send(message).await;
    let answer = ws.next().await.unwrap();
    (ws, answer)
}

#[tokio::test]
async fn it_creates_a_session_and_is_answered_in_its_own_words() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "bob")).await.ok(201);
    let _ = operator
        .post("/zones/", &p2p_coordinator_tests::shapes::zone("town"))
        .await
        .ok(201);
    let token = operator.token("alice").await;
    let bearer = format!("Bearer {token}");
    let message = json!({ "type": "create_session", "peer_id": "alice", "zone": "town",
                          "capabilities": { "webrtc": true, "max_bitrate": 5 } });
    let (mut dll, created) = create(&server, &[("authorization", &bearer)], &message).await;
    assert_eq!(created["type"], "session_created", "{created}");
    assert_eq!(created["host_id"], "h1");
    let id = created["session_id"].as_str().unwrap().to_owned();
    let stored = operator.get(&format!("/sessions/{id}")).await.ok(200);
    assert_eq!(
        (&stored["zone"], &stored["connected_players"]),
        (&json!("town"), &json!(["alice"]))
    );

    // The host speaks the other dialect in the same session.
    let mut host = Ws::joined(&server, "bob", &id).await;
    assert_eq!(dll.expect("peer_joined").await["peer_id"], "bob");
    dll.send(&json!({ "type": "offer", "to": "bob", "sdp": "o" })).await;
    assert_eq!(host.expect("offer").await["from"], "alice");
    dll.send(&json!({ "type": "ice_candidate", "to": "bob", "candidate": "c" }))
        .await;
    assert_eq!(host.expect("ice-candidate").await["candidate"], "c");
    host.send(&json!({ "type": "ice-candidate", "to": "alice", "candidate": "d" }))
        .await;
    assert_eq!(dll.expect("ice_candidate").await["candidate"], "d");
    let carol = Ws::joined(&server, "carol", &id).await;
    assert_eq!(dll.expect("peer_joined").await["peer_id"], "carol");
    drop(carol);
    assert_eq!(dll.expect("peer_left").await["peer_id"], "carol");
    dll.send(&json!({ "type": "dance" })).await;
    let _ = dll.expect_error().await;
    let _ = operator.poke(&format!("/sessions/{id}/end?reason=over")).await.ok(200);
    assert_eq!(dll.expect("session_ended").await["reason"], "over");
}

#[tokio::test]
async fn it_may_carry_its_token_in_the_message() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "bob")).await.ok(201);
    let _ = operator
        .post("/zones/", &p2p_coordinator_tests::shapes::zone("town"))
        .await
        .ok(201);
    let token = operator.token("alice").await;
    let message = json!({ "type": "create_session", "peer_id": "alice", "zone": "town", "token": token });
    let (_ws, created) = create(&server, &[], &message).await;
    assert_eq!(created["type"], "session_created", "{created}");
}

#[tokio::test]
async fn it_is_told_when_it_cannot_have_one() {
    let server = Server::shared();
    let operator = server.operator();
    let bearer = format!("Bearer {}", operator.token("alice").await);
    let headers = [("authorization", bearer.as_str())];
    let (_ws, answer) = create(
        &server,
        &headers,
        &json!({ "type": "create_session", "peer_id": "alice", "zone": "nowhere" }),
    )
    .await;
    assert_eq!(answer["type"], "error", "{answer}");
    assert!(answer["message"].is_string(), "{answer}");
    let (_ws, answer) = create(
        &server,
        &headers,
        &json!({ "type": "create_session", "peer_id": "bob", "zone": "nowhere" }),
    )
    .await;
    assert_eq!(answer["type"], "error", "{answer}");
    let (_ws, answer) = create(
        &server,
        &headers,
        &json!({ "type": "create_session", "zone": "nowhere" }),
    )
    .await;
    assert_eq!(answer["type"], "error", "{answer}");
    let (mut ws, answer) = create(
        &server,
        &[],
        &json!({ "type": "create_session", "peer_id": "alice", "zone": "nowhere" }),
    )
    .await;
    assert_eq!(answer["type"], "error", "{answer}");
    assert_eq!(ws.wait_for_close().await, 1008);
}
