//! Signaling: opening, joining, relaying, leaving; bad input; slow readers; what the server pushes.

use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{host, session, unique};
use p2p_coordinator_tests::{Server, Ws, eventually};
use serde_json::{Value, json};

/// A session that is active, with these players; returns its `session_id`.
async fn active(server: &Server, players: &[&str]) -> String {
    let made = session(&server.operator(), &unique("sig"), &unique("owner"), players).await;
    made["session_id"].as_str().unwrap().to_owned()
}

/// Two peers in one session, the join of the second read by the first. Peer ids are unique.
async fn pair(server: &Server) -> (String, Ws, String, Ws, String) {
    let (a, b) = (unique("a"), unique("b"));
    let id = active(server, &[&a, &b]).await;
    let mut one = Ws::joined(server, &a, &id).await;
    let two = Ws::joined(server, &b, &id).await;
    assert_eq!(one.expect("peer-joined").await["peer_id"], json!(b));
    (id, one, a, two, b)
}

/// A `session-joined` without its private token, and the token.
fn without_token(mut joined: Value) -> (Value, String) {
    let token = joined
        .as_object_mut()
        .and_then(|members| members.remove("resume_token"));
    let token = token.as_ref().and_then(Value::as_str).expect("a resume_token");
    (joined, token.to_owned())
}

#[tokio::test]
async fn join_answers_the_others_and_tells_them() {
    let server = Server::shared();
    let (a, b) = (unique("a"), unique("b"));
    let id = active(&server, &[&a, &b]).await;
    let mut one = Ws::peer(&server, &a).await;
    let (joined, token) = without_token(one.join(&id).await);
    assert_eq!(
        joined,
        json!({ "type": "session-joined", "session_id": id, "peers": [] })
    );
    let mut two = Ws::peer(&server, &b).await;
    let (joined, other) = without_token(two.join(&id).await);
    assert_eq!(
        joined,
        json!({ "type": "session-joined", "session_id": id, "peers": [a] })
    );
    assert_ne!(token, other, "each connection has a token of its own");
    assert_eq!(
        one.expect("peer-joined").await,
        json!({ "type": "peer-joined", "peer_id": b })
    );
    two.send(&json!({ "type": "leave" })).await;
    assert_eq!(
        two.expect("session-left").await,
        json!({ "type": "session-left", "session_id": id })
    );
    assert_eq!(
        one.expect("peer-left").await,
        json!({ "type": "peer-left", "peer_id": b })
    );
    assert_eq!(two.join(&id).await["peers"], json!([a]), "a peer may come back");
}

#[tokio::test]
async fn the_session_in_the_query_is_joined_at_once() {
    let server = Server::shared();
    let a = unique("a");
    let id = active(&server, &[&a]).await;
    let query = format!("peer_id={a}&session_id={id}");
    let mut ws = Ws::open(&server, &query, &[("x-api-key", API_KEY)]).await;
    assert_eq!(ws.expect("session-joined").await["session_id"], json!(id));
}

#[tokio::test]
async fn a_session_may_be_named_by_its_number() {
    let server = Server::shared();
    let made = session(&server.operator(), &unique("sig"), "alice", &["p1"]).await;
    let mut ws = Ws::peer(&server, &unique("p")).await;
    ws.send(&json!({ "type": "join", "session_id": made["id"].to_string() }))
        .await;
    assert_eq!(ws.expect("session-joined").await["session_id"], made["session_id"]);
}

#[tokio::test]
async fn offers_answers_and_candidates_pass_unread_with_the_servers_word_for_from() {
    let server = Server::shared();
    let (_, mut one, a, mut two, b) = pair(&server).await;
    let odd = json!({ "sdp": "v=0\r\n\"ü\u{1F600}\\", "type": "offer", "nested": [1, { "x": null }] });
    for (kind, member, value) in [
        ("offer", "sdp", json!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n")),
        ("offer", "sdp", odd.clone()),
        ("answer", "sdp", json!("v=0 \u{0} \u{2028} é")),
        (
            "ice-candidate",
            "candidate",
            json!("candidate:1 1 udp 1 192.0.2.1 1 typ host"),
        ),
        (
            "ice-candidate",
            "candidate",
            json!({ "candidate": "", "sdpMid": "0", "sdpMLineIndex": 0 }),
        ),
    ] {
        let message = json!({ "type": kind, "to": b, member: value, "from": "mallory", "timestamp": "never", "x": 1 });
        one.send(&message).await;
        let got = two.expect(kind).await;
        assert_eq!(got["from"], json!(a), "{got}");
        assert_eq!(got[member], value, "{got}");
        let stamp = got["timestamp"].as_str().unwrap_or_else(|| panic!("{got}"));
        assert!(stamp.ends_with('Z'), "{got}");
        assert!(got.get("x").is_none() && got.get("to").is_none(), "{got}");
    }
    two.send(&json!({ "type": "answer", "to": a, "sdp": "back" })).await;
    assert_eq!(one.expect("answer").await["from"], json!(b));
}

#[tokio::test]
async fn order_is_kept() {
    let server = Server::shared();
    let (_, mut one, _, mut two, b) = pair(&server).await;
    for n in 0..300 {
        one.send(&json!({ "type": "ice-candidate", "to": b, "candidate": n.to_string() }))
            .await;
    }
    for n in 0..300 {
        assert_eq!(two.expect("ice-candidate").await["candidate"], json!(n.to_string()));
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_answered_with_an_error_and_the_socket_stays() {
    let server = Server::shared();
    let (id, mut one, _, mut two, b) = pair(&server).await;
    let deep = format!(
        "{{\"type\":\"offer\",\"to\":\"{b}\",\"sdp\":{}{}}}",
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    let texts = [
        "not json".to_owned(),
        String::new(),
        "[]".to_owned(),
        "null".to_owned(),
        "42".to_owned(),
        "{}".to_owned(),
        "{\"type\":7}".to_owned(),
        "{\"type\":\"dance\"}".to_owned(),
        "{\"type\":\"join\"}".to_owned(),
        "{\"type\":\"join\",\"session_id\":[]}".to_owned(),
        "{\"type\":\"join\",\"session_id\":\"session-0000000000000000\"}".to_owned(),
        "{\"type\":\"offer\",\"sdp\":\"x\"}".to_owned(),
        format!("{{\"type\":\"offer\",\"to\":\"{b}\"}}"),
        format!("{{\"type\":\"answer\",\"to\":\"{b}\"}}"),
        format!("{{\"type\":\"ice-candidate\",\"to\":\"{b}\"}}"),
        "{\"type\":\"offer\",\"to\":\"nobody\",\"sdp\":\"x\"}".to_owned(),
        "{\"type\":\"offer\",\"to\":5,\"sdp\":\"x\"}".to_owned(),
        format!("{{\"type\":\"offer\",\"to\":\"{b}\",\"sdp\":5}}"),
        "{\"type\":\"offer\",\"to\":".to_owned(),
        deep,
    ];
    for text in texts {
        one.send_text(&text).await;
        match one.next().await {
            Ok(message) if message["type"] == "error" => {
                assert!(
                    message["message"]
                        .as_str()
                        .is_some_and(|m| !m.is_empty() && m.len() < 1000),
                    "{message}"
                );
            }
            other => panic!("{}: wanted an error, got {other:?}", &text[..text.len().min(100)]),
        }
    }
    one.send_binary(vec![0, 159, 146, 150]).await;
    let _ = one.expect_error().await;
    // Still in the session, and the other saw nothing of it.
    one.send(&json!({ "type": "offer", "to": b, "sdp": "fine" })).await;
    assert_eq!(two.expect("offer").await["sdp"], "fine");
    assert!(!id.is_empty());
}

#[tokio::test]
async fn nothing_crosses_from_one_session_to_another() {
    let server = Server::shared();
    let (_, mut one, a, mut two, b) = pair(&server).await;
    let (_, mut three, c, _four, _) = pair(&server).await;
    three
        .send(&json!({ "type": "offer", "to": a, "sdp": "from outside" }))
        .await;
    let _ = three.expect_error().await;
    one.send(&json!({ "type": "offer", "to": c, "sdp": "to outside" }))
        .await;
    let _ = one.expect_error().await;
    let mut loose = Ws::peer(&server, &unique("loose")).await;
    loose
        .send(&json!({ "type": "offer", "to": a, "sdp": "from nowhere" }))
        .await;
    let _ = loose.expect_error().await;
    // What comes next at each of them is what was really meant for it.
    two.send(&json!({ "type": "offer", "to": a, "sdp": "from inside" }))
        .await;
    assert_eq!(one.expect("offer").await["sdp"], "from inside");
    // After leaving, a peer is outside as well.
    two.send(&json!({ "type": "leave" })).await;
    let _ = two.expect("session-left").await;
    two.send(&json!({ "type": "offer", "to": a, "sdp": "too late" })).await;
    let _ = two.expect_error().await;
    assert_eq!(one.expect("peer-left").await["peer_id"], json!(b));
}

#[tokio::test]
async fn joining_another_session_leaves_the_first() {
    let server = Server::shared();
    let (_, mut one, _, mut two, b) = pair(&server).await;
    let other = active(&server, &[&b]).await;
    two.send(&json!({ "type": "join", "session_id": other })).await;
    assert_eq!(two.wait_for("session-joined").await["session_id"], json!(other));
    assert_eq!(one.expect("peer-left").await["peer_id"], json!(b));
}

#[tokio::test]
async fn a_dropped_connection_is_a_leave() {
    let server = Server::shared();
    let (_, mut one, _, two, b) = pair(&server).await;
    drop(two);
    assert_eq!(one.expect("peer-left").await["peer_id"], json!(b));
    let (_, mut one, _, two, b) = pair(&server).await;
    two.close().await;
    assert_eq!(one.expect("peer-left").await["peer_id"], json!(b));
}

#[tokio::test]
async fn too_large_a_message_ends_that_connection_alone() {
    let server = Server::shared();
    let (_, mut one, a, mut two, b) = pair(&server).await;
    let room = 64 * 1024 - 200;
    one.send(&json!({ "type": "offer", "to": b, "sdp": "x".repeat(room) }))
        .await;
    assert_eq!(two.expect("offer").await["sdp"].as_str().unwrap().len(), room);
    two.try_send_text(&json!({ "type": "offer", "to": a, "sdp": "x".repeat(66_000) }).to_string())
        .await;
    let code = two.wait_for_close().await;
    assert!(matches!(code, 1009 | 1006), "{code}");
    assert_eq!(one.expect("peer-left").await["peer_id"], json!(b));
    one.ping().await;
}

#[tokio::test]
async fn a_stream_of_fragments_does_not_get_around_the_limit() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::shared();
    let peer = unique("frag");
    let mut socket = server.connect().await;
    let head = format!(
        "GET /api/v1/signaling/ws?peer_id={peer} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-API-Key: {API_KEY}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    let (mut reader, mut writer) = tokio::io::split(socket);
    let flood = tokio::spawn(async move {
        // Frames of 1,000 bytes, masked with zeros, none of them the last.
        let mut sent = 0_usize;
        for n in 0..2_000_000 {
            let mut frame = vec![u8::from(n == 0), 0x80 | 126, 3, 232, 0, 0, 0, 0];
            frame.extend([b'x'; 1000]);
            if writer.write_all(&frame).await.is_err() {
                break;
            }
            sent += frame.len();
        }
        sent
    });
    let mut rest = Vec::new();
    let _ = p2p_coordinator_tests::wait::within("the server closes", reader.read_to_end(&mut rest)).await;
    drop(reader);
    let sent = p2p_coordinator_tests::wait::within("the flood ends", flood)
        .await
        .unwrap();
    assert!(sent < 50_000_000, "{sent} bytes were taken");
    let _ = server.operator().get("/signaling/stats").await.status_is(200);
}

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

#[tokio::test]
async fn a_plain_get_is_no_upgrade() {
    let server = Server::shared();
    let answer = server.operator().get("/signaling/ws?peer_id=a").await;
    assert!(matches!(answer.status, 400 | 426), "{answer}");
    let _ = answer.problem(answer.status);
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_and_hurts_nobody() {
    let server = Server::shared();
    let (slow, fast, sender) = (unique("slow"), unique("fast"), unique("sender"));
    let id = active(&server, &[&slow, &fast, &sender]).await;
    let _never_read = Ws::joined(&server, &slow, &id).await;
    let mut reader = Ws::joined(&server, &fast, &id).await;
    let mut writer = Ws::joined(&server, &sender, &id).await;
    assert_eq!(reader.expect("peer-joined").await["peer_id"], json!(sender));
    let big = "x".repeat(32 * 1024);
    let mut cut_off = false;
    for n in 0..4000 {
        writer.send(&json!({ "type": "offer", "to": slow, "sdp": big })).await;
        writer
            .send(&json!({ "type": "offer", "to": fast, "sdp": n.to_string() }))
            .await;
        let got = reader.next().await.unwrap();
        if got["type"] == "peer-left" {
            assert_eq!(got["peer_id"], json!(slow));
            cut_off = true;
            break;
        }
        assert_eq!(got["type"], "offer", "{got}");
    }
    assert!(cut_off, "128 MiB went to a peer that reads nothing");
}

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

/// The dialect of the game DLL.
mod dll {
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
}
