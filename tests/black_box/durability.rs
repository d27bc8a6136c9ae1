//! What survives a restart and a `kill -9`: every acknowledged write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use p2p_coordinator_tests::shapes::{host, session, with, zone};
use p2p_coordinator_tests::{Client, Server, eventually};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_restart_keeps_hosts_zones_sessions_and_refresh_families() {
    let server = Server::start();
    let operator = server.operator();
    let made = session(&operator, "kept", "alice", &["p1", "p2"]).await;
    let beat = json!({ "latency_ms": 50.0, "packet_loss_percent": 1.0, "bandwidth_usage_mbps": 5.0, "current_players": 2,
                       "current_zones": 1 });
    let _ = operator.post("/hosts/host-kept/heartbeat", &beat).await.ok(200);
    let host_before = operator.get("/hosts/host-kept").await.ok(200);
    let zone_before = operator.get("/zones/zone-kept").await.ok(200);
    let first = operator
        .post("/auth/token", &json!({ "player_id": "alice" }))
        .await
        .ok(200);
    let refresh = |server: &Server, token: &Value| {
        let (anonymous, body) = (server.anonymous(), json!({ "refresh_token": token }));
        async move { anonymous.post("/auth/refresh", &body).await }
    };
    let second = refresh(&server, &first["refresh_token"]).await.ok(200);

    let server = server.restart();
    let operator = server.operator();
    assert_eq!(operator.get("/hosts/host-kept").await.ok(200), host_before);
    assert_eq!(operator.get("/zones/zone-kept").await.ok(200), zone_before);
    let session_after = operator.get(&format!("/sessions/{}", made["id"])).await.ok(200);
    for name in [
        "session_id",
        "status",
        "connected_players",
        "host",
        "zone",
        "started_at",
    ] {
        assert_eq!(session_after[name], made[name], "{name}");
    }
    let third = refresh(&server, &second["refresh_token"]).await.ok(200);
    // A token that was spent before the restart is still known as spent.
    assert_eq!(refresh(&server, &first["refresh_token"]).await.status, 401);
    assert_eq!(refresh(&server, &third["refresh_token"]).await.status, 401);
}

/// What the service has acknowledged.
#[derive(Default)]
struct Acknowledged {
    hosts: Mutex<Vec<String>>,
    sessions: Mutex<Vec<(String, String)>>,
    players: Mutex<Vec<(String, String)>>,
    refresh: Mutex<Vec<Value>>,
    count: AtomicUsize,
}

impl Acknowledged {
    fn note<T>(&self, list: &Mutex<Vec<T>>, item: T) {
        list.lock().unwrap().push(item);
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

/// Writes until the server is gone.
async fn write(operator: Client, round: usize, writer: usize, seen: Arc<Acknowledged>) {
    for n in 0_usize.. {
        let id = format!("h-{round}-{writer}-{n}");
        let wide = with(host(&id, "alice"), &json!({ "max_zones": 1000 }));
        match operator.attempt(Method::POST, "/hosts/register", &wide).await {
            Some((201, _)) => seen.note(&seen.hosts, id.clone()),
            None => return,
            other => panic!("{other:?}"),
        }
        let wanted = json!({ "host_id": id, "zone_id": "stream", "player_ids": ["first"] });
        let session = match operator.attempt(Method::POST, "/sessions/", &wanted).await {
            Some((201, session)) => session["session_id"].as_str().unwrap().to_owned(),
            None => return,
            other => panic!("{other:?}"),
        };
        seen.note(&seen.sessions, (session.clone(), id));
        let path = format!("/sessions/{session}/players");
        let player = format!("p-{writer}-{n}");
        match operator
            .attempt(Method::POST, &path, &json!({ "player_id": player }))
            .await
        {
            Some((200, _)) => seen.note(&seen.players, (session, player)),
            None => return,
            other => panic!("{other:?}"),
        }
        match operator
            .attempt(Method::POST, "/auth/token", &json!({ "player_id": "alice" }))
            .await
        {
            Some((200, tokens)) => seen.note(&seen.refresh, tokens["refresh_token"].clone()),
            None => return,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_in_a_stream_of_writes_loses_nothing_acknowledged() {
    let mut server = Server::start();
    let _ = server.operator().post("/zones/", &zone("stream")).await.ok(201);
    let seen = Arc::new(Acknowledged::default());
    for round in 0..5 {
        let from = seen.count.load(Ordering::SeqCst);
        let writers: Vec<_> = (0..6)
            .map(|writer| tokio::spawn(write(server.operator(), round, writer, Arc::clone(&seen))))
            .collect();
        // A different moment of the stream each time.
        let enough = from + 40 + round * 17;
        eventually("the stream is under way", || async {
            (seen.count.load(Ordering::SeqCst) >= enough).then_some(())
        })
        .await;
        server = server.crash_and_restart();
        for writer in writers {
            writer.await.unwrap();
        }
        verify(&server, &seen).await;
    }
}

async fn verify(server: &Server, seen: &Acknowledged) {
    let operator = server.operator();
    let hosts = seen.hosts.lock().unwrap().clone();
    for id in hosts {
        let found = operator.get(&format!("/hosts/{id}")).await;
        assert_eq!(found.status, 200, "acknowledged and lost: {found}");
    }
    let sessions = seen.sessions.lock().unwrap().clone();
    for (id, host) in sessions {
        let found = operator.get(&format!("/sessions/{id}")).await.ok(200);
        assert_eq!(found["host"], json!(host), "{found}");
    }
    let players = seen.players.lock().unwrap().clone();
    for (id, player) in players {
        let found = operator.get(&format!("/sessions/{id}")).await.ok(200);
        assert!(
            found["connected_players"].as_array().unwrap().contains(&json!(player)),
            "lost {player}: {found}"
        );
        assert_eq!(
            found["current_players"].as_u64(),
            found["connected_players"].as_array().map(|l| l.len() as u64)
        );
    }
    let tokens: Vec<Value> = std::mem::take(&mut *seen.refresh.lock().unwrap());
    for token in tokens {
        let answer = server
            .anonymous()
            .post("/auth/refresh", &json!({ "refresh_token": token }))
            .await;
        assert_eq!(answer.status, 200, "an acknowledged sign-in is lost: {answer}");
    }
}
