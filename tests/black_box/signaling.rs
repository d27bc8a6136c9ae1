//! Signaling: opening, joining, relaying, leaving; bad input; slow readers; what the server pushes.

mod dll;
mod identity;
mod pushes;

use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{host, session, unique};
use p2p_coordinator_tests::{Server, Ws};
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
