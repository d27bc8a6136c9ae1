//! Several nodes as one: what clients see when the peers of a session are connected to different nodes.

use p2p_coordinator_tests::server::Options;
use p2p_coordinator_tests::shapes::{heartbeat, host, session, zone};
use p2p_coordinator_tests::{Fleet, Server, Ws, eventually};
use serde_json::{Value, json};

/// A session with these players, made at one node.
async fn active(node: &Server, name: &str, players: &[&str]) -> String {
    let made = session(&node.operator(), name, "owner", players).await;
    made["session_id"].as_str().unwrap().to_owned()
}

/// A socket of a player that asks for its place to be kept.
async fn resumable(node: &Server, player: &str, token: Option<&str>) -> Ws {
    let client = node.player(player).await;
    let resume = token.map_or_else(String::new, |token| format!("&resume_token={token}"));
    let query = format!("peer_id={player}&resumable=true&token={}{resume}", client.bearer());
    Ws::open(node, &query, &[]).await
}

fn offer(to: &str, text: &str) -> Value {
    json!({ "type": "offer", "to": to, "sdp": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_a_session_meet_across_nodes() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let id = active(one, "meet", &["a", "b", "c"]).await;
    let mut a = Ws::joined(one, "a", &id).await;
    let mut b = Ws::peer(two, "b").await;
    assert_eq!(b.join(&id).await["peers"], json!(["a"]));
    assert_eq!(a.expect("peer-joined").await["peer_id"], json!("b"));
    a.send(&offer("b", "hello")).await;
    let came = b.expect("offer").await;
    assert_eq!((&came["from"], &came["sdp"]), (&json!("a"), &json!("hello")));
    b.send(&json!({ "type": "answer", "to": "a", "sdp": { "x": 1 }, "id": 7 }))
        .await;
    assert_eq!(a.expect("answer").await["sdp"], json!({ "x": 1 }));
    let outcome = b.expect("outcome").await;
    assert_eq!((&outcome["id"], &outcome["outcome"]), (&json!(7), &json!("delivered")));
    b.send(&json!({ "type": "offer", "to": "nobody", "sdp": "x", "id": "n" }))
        .await;
    assert_eq!(b.expect("outcome").await["outcome"], json!("refused"));
    b.send(&offer("nobody", "x")).await;
    b.expect_error().await;
    // The keys are the guide's.
    let keys = fleet.redis.cli(&["--scan", "--pattern", "signaling:*"]);
    for key in [
        "signaling:peer:a",
        &format!("signaling:sessions:{id}"),
        "signaling:connections:",
    ] {
        assert!(keys.contains(key), "{key} in {keys}");
    }
    for key in keys.lines() {
        assert_ne!(fleet.redis.cli(&["TTL", key]).trim(), "-1", "{key} has an end");
    }
    let stats = two.anonymous().get("/signaling/stats").await.ok(200);
    assert_eq!(
        (&stats["active_connections"], &stats["active_sessions"]),
        (&json!(2), &json!(1))
    );
    // The same peer at another node takes over.
    let mut moved = Ws::joined(two, "a", &id).await;
    assert_eq!(a.wait_for_close().await, 4500);
    assert_eq!(b.expect("peer-joined").await["peer_id"], json!("a"));
    b.send(&offer("a", "again")).await;
    assert_eq!(moved.expect("offer").await["sdp"], json!("again"));
    // Nobody takes a place with another identity.
    let stranger = one.player("mallory").await;
    let mut refused = Ws::open(one, &format!("peer_id=a&token={}", stranger.bearer()), &[]).await;
    refused.expect_error().await;
    assert_eq!(refused.wait_for_close().await, 1008);
    // What the application says reaches every node.
    let _ = one
        .operator()
        .poke(&format!("/sessions/{id}/end?reason=over"))
        .await
        .ok(200);
    assert_eq!(moved.expect("session-ended").await["reason"], json!("over"));
    assert_eq!(b.expect("session-ended").await["reason"], json!("over"));
    b.send(&offer("a", "late")).await;
    b.expect_error().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn departures_and_removals_reach_every_node() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let id = active(one, "leave", &["a", "b", "c"]).await;
    let mut a = Ws::joined(one, "a", &id).await;
    let b = Ws::joined(two, "b", &id).await;
    let mut c = Ws::joined(two, "c", &id).await;
    a.expect("peer-joined").await;
    a.expect("peer-joined").await;
    drop(b);
    assert_eq!(a.expect("peer-left").await["peer_id"], json!("b"));
    assert_eq!(c.expect("peer-left").await["peer_id"], json!("b"));
    let _ = one.operator().delete(&format!("/sessions/{id}/players/c")).await;
    assert_eq!(c.expect("session-left").await["session_id"], json!(id));
    assert_eq!(a.expect("peer-left").await["peer_id"], json!("c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_lost_at_one_node_is_replaced_for_peers_at_another() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let operator = one.operator();
    let id = active(one, "lost", &["a"]).await;
    let _ = operator
        .post("/hosts/register", &host("spare", "spare-owner"))
        .await
        .ok(201);
    let hosting = Ws::joined(one, "owner", &id).await;
    let mut a = Ws::joined(two, "a", &id).await;
    drop(hosting);
    let changed = a.wait_for("host-changed").await;
    assert_eq!(
        (&changed["host_id"], &changed["peer_id"]),
        (&json!("spare"), &json!("spare-owner"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_and_their_heartbeats_are_known_at_every_node() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let _ = one
        .operator()
        .post("/hosts/register", &host("h1", "owner"))
        .await
        .ok(201);
    let _ = two.operator().get("/hosts/h1").await.ok(200);
    let beat = two.operator().post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    let score = beat["quality_score"].clone();
    eventually("the heartbeat reaches the other node", async || {
        let seen = one.operator().get("/hosts/h1").await.ok(200);
        (seen["quality_score"] == score && seen["latency_ms"] == json!(20.0)).then_some(())
    })
    .await;
    let _ = two.operator().post("/zones/", &zone("z")).await.ok(201);
    let wanted = json!({ "zone_id": "z", "player_ids": ["p"] });
    let made = one.operator().post("/sessions/", &wanted).await.ok(201);
    assert_eq!(made["host"], json!("h1"), "the policy picks among all hosts");
    let _ = one.operator().delete("/hosts/h1").await;
    eventually("the removal reaches the other node", async || {
        (two.operator().get("/hosts/h1").await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared() {
    let limits = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_AUTH_REQUESTS", 6)
        .env("RATE_LIMIT_AUTH_WINDOW", 3600);
    let fleet = Fleet::with(2, &limits);
    let body = json!({ "player_id": "p", "api_key": "wrong" });
    let mut statuses = Vec::new();
    for turn in 0..8 {
        let node = fleet.nodes[turn % 2].anonymous();
        statuses.push(node.post("/auth/token", &body).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 429, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_goes_on_where_it_broke_at_any_node() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let id = active(one, "resume", &["a", "b"]).await;
    let mut a = Ws::joined(one, "a", &id).await;
    let mut b = resumable(one, "b", None).await;
    let joined = b.join(&id).await;
    let token = joined["resume_token"].as_str().unwrap().to_owned();
    a.expect("peer-joined").await;
    drop(b);
    // It is told when its message waits.
    let mut outcome = Value::Null;
    while outcome != "queued" {
        a.send(&json!({ "type": "offer", "to": "b", "sdp": "probe", "id": 1 }))
            .await;
        outcome = a.expect("outcome").await["outcome"].clone();
    }
    let candidate = |n: u32| json!({ "type": "ice-candidate", "to": "b", "candidate": n.to_string() });
    a.send(&candidate(1)).await;
    a.send(&offer("b", "newer")).await;
    a.send(&candidate(2)).await;
    a.send(&json!({ "type": "offer", "to": "a", "sdp": "self", "id": "done" }))
        .await;
    a.wait_for("offer").await;
    a.wait_for("outcome").await;
    // The place is not for somebody else.
    let mut thief = Ws::open(
        two,
        &format!(
            "peer_id=b&resume_token={token}&token={}",
            two.player("mallory").await.bearer()
        ),
        &[],
    )
    .await;
    thief.expect_error().await;
    let mut b = resumable(two, "b", Some(&token)).await;
    let joined = b.expect("session-joined").await;
    assert_eq!((&joined["resumed"], &joined["peers"]), (&json!(true), &json!(["a"])));
    assert_ne!(joined["resume_token"], json!(token), "each token works once");
    let mut came = Vec::new();
    loop {
        let message = b.next().await.unwrap();
        let kind = message["type"].as_str().unwrap().to_owned();
        let value = message.get("sdp").or(message.get("candidate")).unwrap();
        came.push((kind, value.as_str().unwrap().to_owned()));
        if came
            .last()
            .is_some_and(|(kind, value)| kind == "ice-candidate" && value == "2")
        {
            break;
        }
    }
    let wanted = [("offer", "newer"), ("ice-candidate", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert!(came.ends_with(&wanted), "{came:?}");
    assert!(
        came.iter().all(|(_, value)| value != "1"),
        "candidates of a replaced offer are dropped: {came:?}"
    );
    // Nobody saw it leave.
    a.send(&offer("b", "live")).await;
    assert_eq!(b.expect("offer").await["sdp"], json!("live"));
    b.send(&offer("a", "back")).await;
    loop {
        let message = a.next().await.unwrap();
        assert_ne!(message["type"], json!("peer-left"));
        if message["type"] == "offer" {
            assert_eq!(message["sdp"], json!("back"));
            break;
        }
    }
    // The old token is of no use any more.
    let mut again = resumable(one, "b", Some(&token)).await;
    assert!(again.expect_error().await.contains("join again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_a_session_that_ended_meanwhile_is_gone() {
    let fleet = Fleet::start(2);
    let [one, two] = &fleet.nodes[..] else { panic!() };
    let id = active(one, "over", &["a", "b"]).await;
    let mut a = Ws::joined(one, "a", &id).await;
    let mut b = resumable(one, "b", None).await;
    let token = b.join(&id).await["resume_token"].as_str().unwrap().to_owned();
    a.expect("peer-joined").await;
    drop(b);
    let mut outcome = Value::Null;
    while outcome != "queued" {
        a.send(&json!({ "type": "offer", "to": "b", "sdp": "probe", "id": 1 }))
            .await;
        outcome = a.expect("outcome").await["outcome"].clone();
    }
    let _ = one
        .operator()
        .poke(&format!("/sessions/{id}/end?reason=over"))
        .await
        .ok(200);
    a.wait_for("session-ended").await;
    let mut b = resumable(two, "b", Some(&token)).await;
    let error = b.expect("error").await;
    assert_eq!(error["code"], json!("resume_expired"), "{error}");
    assert_eq!(a.wait_for("outcome").await["outcome"], json!("expired"));
}
