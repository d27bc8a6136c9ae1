//! Who a peer is: tokens, who may take a connection over, and who may join.

use super::*;

#[tokio::test]
async fn the_same_identity_takes_over_and_another_is_refused() {
    let server = Server::shared();
    let (a, b) = (unique("a"), unique("b"));
    let id = active(&server, &[&a, &b]).await;
    let alice = server.player(&a).await;
    let mut watcher = Ws::joined(&server, &b, &id).await;
    let mut old = Ws::player(&server, &alice, &a).await;
    let _ = old.join(&id).await;
    assert_eq!(watcher.expect("peer-joined").await["peer_id"], json!(a));

    // Somebody else's token for the same peer_id: refused, and the old one stays.
    let mallory = server.player(&unique("mallory")).await;
    let mut thief = Ws::player(&server, &mallory, &a).await;
    let _ = thief.expect_error().await;
    assert_eq!(thief.wait_for_close().await, 1008);
    old.ping().await;

    let mut new = Ws::player(&server, &alice, &a).await;
    assert_eq!(old.wait_for_close().await, 4500);
    let _ = new.join(&id).await;
    loop {
        // `peer-left` may come in between; what counts is that the new one is there in the end.
        if watcher.next().await.unwrap() == json!({ "type": "peer-joined", "peer_id": a }) {
            break;
        }
    }
    watcher.send(&json!({ "type": "offer", "to": a, "sdp": "hello" })).await;
    assert_eq!(new.wait_for("offer").await["sdp"], "hello");
}

#[tokio::test]
async fn a_player_has_a_socket_for_each_device_and_for_nobody_else() {
    let server = Server::shared();
    let a = unique("a");
    let alice = server.player(&a).await;
    let mut phone = Ws::player(&server, &alice, &format!("{a}:phone")).await;
    let mut desk = Ws::player(&server, &alice, &a).await;
    phone.ping().await;
    desk.ping().await;
    for other in [format!("{a}x"), format!("{a}:"), unique("bob"), String::new()] {
        let query = format!("peer_id={other}&token={}", alice.bearer());
        if let Ok(mut ws) = Ws::try_open(&server, &query, &[]).await {
            let _ = ws.expect_error().await;
            assert_eq!(ws.wait_for_close().await, 1008, "{other}");
        }
    }
}

#[tokio::test]
async fn a_player_joins_only_sessions_it_belongs_to() {
    let server = Server::shared();
    let (a, b, owner) = (unique("a"), unique("b"), unique("owner"));
    let made = session(&server.operator(), &unique("sig"), &owner, &[&a]).await;
    let id = made["session_id"].as_str().unwrap();
    for (player, may) in [(&a, true), (&owner, true), (&b, false)] {
        let client = server.player(player).await;
        let mut ws = Ws::player(&server, &client, player).await;
        ws.send(&json!({ "type": "join", "session_id": id })).await;
        if may {
            let _ = ws.expect("session-joined").await;
        } else {
            let _ = ws.expect_error().await;
        }
    }
}

#[tokio::test]
async fn the_token_comes_in_query_header_or_subprotocol() {
    let server = Server::shared();
    let a = unique("a");
    let token = server.operator().token(&a).await;
    let query = format!("peer_id={a}");
    let mut ws = Ws::open(&server, &format!("{query}&token={token}"), &[]).await;
    ws.ping().await;
    drop(ws);
    let mut ws = Ws::open(&server, &query, &[("authorization", &format!("Bearer {token}"))]).await;
    ws.ping().await;
    drop(ws);
    let mut ws = Ws::open(&server, &query, &[("sec-websocket-protocol", &token)]).await;
    assert_eq!(
        ws.protocol(),
        Some(token.as_str()),
        "a browser insists on its subprotocol"
    );
    ws.ping().await;
    drop(ws);
    for prefix in ["/api", "/api/v1"] {
        for slash in ["", "/"] {
            let path = format!("{prefix}/signaling/ws{slash}?{query}&token={token}");
            let mut ws = Ws::try_open_path(&server, &path, &[]).await.unwrap();
            ws.ping().await;
        }
    }
}

#[tokio::test]
async fn a_bad_token_gets_one_error_and_1008() {
    let server = Server::shared();
    let query = "peer_id=alice";
    for (query, headers) in [
        (query.to_owned(), vec![]),
        (format!("{query}&token=nonsense"), vec![]),
        (query.to_owned(), vec![("authorization", "Bearer a.b.c")]),
        (query.to_owned(), vec![("x-api-key", "wrong")]),
    ] {
        let mut ws = Ws::open(&server, &query, &headers).await;
        let _ = ws.expect_error().await;
        match ws.next().await {
            Err(Some(frame)) => assert_eq!(u16::from(frame.code), 1008, "{query}"),
            other => panic!("{query}: {other:?}"),
        }
    }
}
