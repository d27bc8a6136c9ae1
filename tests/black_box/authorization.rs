//! Who may do what: every route, asked by nobody, by the player concerned, by another player and with the API key.

use p2p_coordinator_tests::shapes::{heartbeat, host, unique, zone};
use p2p_coordinator_tests::{Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

/// What is there when a row is tried: alice's host, a zone, and a session with alice and carol on the host.
struct Scene {
    host: String,
    zone: String,
    session: String,
}

impl Scene {
    async fn set(operator: &Client, activate: bool) -> Self {
        let (host_id, zone_id) = (unique("host"), unique("zone"));
        let _ = operator.post("/hosts/register", &host(&host_id, "alice")).await.ok(201);
        let _ = operator.post("/zones/", &zone(&zone_id)).await.ok(201);
        let wanted = json!({ "host_id": host_id, "zone_id": zone_id, "player_ids": ["alice", "carol"] });
        let made = operator.post("/sessions/", &wanted).await.ok(201);
        if activate {
            let _ = operator
                .poke(&format!("/sessions/{}/activate", made["id"]))
                .await
                .ok(200);
        }
        Self {
            host: host_id,
            zone: zone_id,
            session: made["session_id"].as_str().unwrap().to_owned(),
        }
    }
}

/// One row: a request, and the status that anonymous, alice, bob and the API key get.
struct Row {
    method: Method,
    path: fn(&Scene) -> String,
    body: fn(&Scene) -> Option<Value>,
    wanted: [u16; 4],
}

fn row(method: Method, path: fn(&Scene) -> String, body: fn(&Scene) -> Option<Value>, wanted: [u16; 4]) -> Row {
    Row {
        method,
        path,
        body,
        wanted,
    }
}

fn nothing(_: &Scene) -> Option<Value> {
    None
}

fn rows() -> Vec<Row> {
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    vec![
        row(
            post.clone(),
            |_| "/auth/token".into(),
            |_| Some(json!({ "player_id": "alice" })),
            [401, 401, 401, 200],
        ),
        row(
            post.clone(),
            |_| "/hosts/register".into(),
            |s| Some(host(&s.host, "alice")),
            [401, 201, 403, 201],
        ),
        row(
            post.clone(),
            |_| "/hosts/register".into(),
            |_| Some(host(&unique("host"), "alice")),
            [401, 201, 403, 201],
        ),
        row(
            post.clone(),
            |s| format!("/hosts/{}/heartbeat", s.host),
            |_| Some(heartbeat()),
            [401, 200, 403, 200],
        ),
        row(
            get.clone(),
            |s| format!("/hosts/{}", s.host),
            nothing,
            [401, 200, 200, 200],
        ),
        row(get.clone(), |_| "/hosts/".into(), nothing, [401, 200, 200, 200]),
        row(
            get.clone(),
            |_| "/hosts/available/list".into(),
            nothing,
            [401, 200, 200, 200],
        ),
        row(
            get.clone(),
            |_| "/hosts/available/best".into(),
            nothing,
            [401, 200, 200, 200],
        ),
        row(
            delete.clone(),
            |s| format!("/hosts/{}", s.host),
            nothing,
            [401, 204, 403, 204],
        ),
        row(
            post.clone(),
            |_| "/zones/".into(),
            |_| Some(zone(&unique("zone"))),
            [401, 403, 403, 201],
        ),
        row(
            get.clone(),
            |s| format!("/zones/{}", s.zone),
            nothing,
            [401, 200, 200, 200],
        ),
        row(get.clone(), |_| "/zones/".into(), nothing, [401, 200, 200, 200]),
        row(
            get.clone(),
            |_| "/zones/p2p/enabled".into(),
            nothing,
            [401, 200, 200, 200],
        ),
        row(
            post.clone(),
            |s| format!("/zones/{}/enable-p2p", s.zone),
            nothing,
            [401, 403, 403, 200],
        ),
        row(
            post.clone(),
            |s| format!("/zones/{}/disable-p2p", s.zone),
            nothing,
            [401, 403, 403, 200],
        ),
        row(
            patch.clone(),
            |s| format!("/zones/{}/status?new_status=maintenance", s.zone),
            nothing,
            [401, 403, 403, 200],
        ),
        row(
            post.clone(),
            |_| "/sessions/".into(),
            |s| Some(json!({ "host_id": s.host, "zone_id": s.zone, "player_ids": ["bob"] })),
            [401, 201, 403, 201],
        ),
        // Without a host: a player for itself alone.
        row(
            post.clone(),
            |_| "/sessions/".into(),
            |s| Some(json!({ "zone_id": s.zone, "player_ids": ["alice"] })),
            [401, 201, 403, 201],
        ),
        row(
            get.clone(),
            |s| format!("/sessions/{}", s.session),
            nothing,
            [401, 200, 200, 200],
        ),
        row(
            post.clone(),
            |s| format!("/sessions/{}/activate", s.session),
            nothing,
            [401, 200, 403, 200],
        ),
        row(
            post.clone(),
            |s| format!("/sessions/{}/end", s.session),
            nothing,
            [401, 200, 403, 200],
        ),
        row(
            patch,
            |s| format!("/sessions/{}/metrics", s.session),
            |_| Some(json!({ "avg_latency_ms": 1.0 })),
            [401, 200, 403, 200],
        ),
        row(
            post.clone(),
            |s| format!("/sessions/{}/players", s.session),
            |_| Some(json!({ "player_id": "dave" })),
            [401, 200, 403, 200],
        ),
        row(
            delete.clone(),
            |s| format!("/sessions/{}/players/carol", s.session),
            nothing,
            [401, 200, 403, 200],
        ),
        row(
            delete,
            |s| format!("/sessions/{}/players/alice", s.session),
            nothing,
            [401, 200, 403, 200],
        ),
        row(
            get.clone(),
            |s| format!("/sessions/host/{}/active", s.host),
            nothing,
            [401, 200, 200, 200],
        ),
        row(
            get.clone(),
            |s| format!("/sessions/zone/{}/active", s.zone),
            nothing,
            [401, 200, 200, 200],
        ),
        row(
            post.clone(),
            |_| "/sessions/cleanup?timeout_minutes=1000".into(),
            nothing,
            [401, 403, 403, 200],
        ),
        row(
            get.clone(),
            |_| "/signaling/stats".into(),
            nothing,
            [200, 200, 200, 200],
        ),
        row(
            get.clone(),
            |_| "/monitoring/dashboard".into(),
            nothing,
            [200, 200, 200, 200],
        ),
        row(
            get.clone(),
            |_| "/monitoring/hosts/stats".into(),
            nothing,
            [200, 200, 200, 200],
        ),
        row(
            get.clone(),
            |_| "/monitoring/metrics".into(),
            nothing,
            [200, 200, 200, 200],
        ),
        row(get.clone(), |_| "/plugins".into(), nothing, [401, 403, 403, 200]),
        row(
            get.clone(),
            |_| "/plugins/rate-limit/releases".into(),
            nothing,
            [401, 403, 403, 200],
        ),
        row(
            post.clone(),
            |_| "/plugins/rate-limit/releases".into(),
            |_| Some(json!({ "component": "AAAA" })),
            [401, 403, 403, 422],
        ),
        row(
            get.clone(),
            |_| "/plugins/releases/none".into(),
            nothing,
            [401, 403, 403, 404],
        ),
        row(
            get.clone(),
            |_| "/plugins/rate-limit/audit".into(),
            nothing,
            [401, 403, 403, 200],
        ),
        row(
            get.clone(),
            |_| "/plugins/rate-limit/differences".into(),
            nothing,
            [401, 403, 403, 200],
        ),
        row(get.clone(), |_| "/decisions".into(), nothing, [401, 403, 403, 200]),
        row(get, |_| "/decisions/none".into(), nothing, [401, 403, 403, 404]),
        row(
            post.clone(),
            |_| "/plugins/rate-limit/activate".into(),
            |_| Some(json!({ "release_id": "none" })),
            [401, 403, 403, 404],
        ),
        row(
            post.clone(),
            |_| "/plugins/rate-limit/rollout".into(),
            |_| Some(json!({ "release_id": "none", "mode": "shadow" })),
            [401, 403, 403, 404],
        ),
        row(
            post.clone(),
            |_| "/plugins/rate-limit/promote".into(),
            nothing,
            [401, 403, 403, 400],
        ),
        row(
            post.clone(),
            |_| "/plugins/rate-limit/halt".into(),
            nothing,
            [401, 403, 403, 400],
        ),
        row(
            post,
            |_| "/plugins/rate-limit/rollback".into(),
            nothing,
            [401, 403, 403, 400],
        ),
    ]
}

#[tokio::test]
async fn the_matrix_holds() {
    let server = Server::start();
    let operator = server.operator();
    let callers = [
        ("anonymous", server.anonymous()),
        ("alice", server.player("alice").await),
        ("bob", server.player("bob").await),
        ("API key", operator.clone()),
    ];
    let mut wrong = Vec::new();
    for row in rows() {
        for ((name, caller), wanted) in callers.iter().zip(row.wanted) {
            let scene = Scene::set(&operator, false).await;
            let path = (row.path)(&scene);
            let answer = caller
                .send(row.method.clone(), &path, (row.body)(&scene).as_ref())
                .await;
            if answer.status != wanted {
                wrong.push(format!("{name}: wanted {wanted}: {answer}"));
            } else if wanted >= 400 {
                let _ = answer.problem(wanted);
            }
            if wanted == 401 {
                assert!(!answer.header("www-authenticate").is_empty(), "{answer}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn nobody_takes_over_a_host_by_naming_itself() {
    let server = Server::shared();
    let id = unique("host");
    let alice = server.player("alice").await;
    let bob = server.player("bob").await;
    let _ = alice.post("/hosts/register", &host(&id, "alice")).await.ok(201);
    let _ = bob.post("/hosts/register", &host(&id, "bob")).await.problem(403);
    assert_eq!(bob.get(&format!("/hosts/{id}")).await.ok(200)["player_id"], "alice");
    let _ = server
        .operator()
        .post("/hosts/register", &host(&id, "bob"))
        .await
        .ok(201);
    let _ = alice
        .post(&format!("/hosts/{id}/heartbeat"), &heartbeat())
        .await
        .problem(403);
}

#[tokio::test]
async fn a_player_in_a_session_may_leave_but_not_steer_it() {
    let server = Server::shared();
    let scene = Scene::set(&server.operator(), true).await;
    let carol = server.player("carol").await;
    let session = format!("/sessions/{}", scene.session);
    let _ = carol.poke(&format!("{session}/end")).await.problem(403);
    let _ = carol.delete(&format!("{session}/players/alice")).await.problem(403);
    let _ = carol
        .post(&format!("{session}/players"), &json!({ "player_id": "dave" }))
        .await
        .problem(403);
    let _ = carol.delete(&format!("{session}/players/carol")).await.ok(200);
}

#[tokio::test]
async fn a_key_wins_over_nothing_when_both_are_presented() {
    let server = Server::shared();
    let alice = server.player("alice").await;
    // A wrong key is an attempt, whatever comes with it.
    let both = alice.with_api_key("wrong");
    assert_eq!(both.get("/hosts/").await.status, 401);
}
