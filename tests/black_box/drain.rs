//! Ends of the process: what clients and a load balancer see of a drain, and that it has an end.

use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::session;
use p2p_coordinator_tests::{Client, Fleet, Options, Server, Ws, eventually};
use reqwest::Method;
use serde_json::json;

async fn ready(client: &Client) -> Option<u16> {
    client.status(Method::GET, "/health/ready").await
}

#[tokio::test]
async fn sigterm_drains_and_ends_in_good_order() {
    let mut server = Options::default().env("SHUTDOWN_GRACE_SECONDS", 5).start();
    let made = session(&server.operator(), "drain", "alice", &["p1"]).await;
    let id = made["session_id"].as_str().unwrap().to_owned();
    let mut peer = Ws::joined(&server, "p1", &id).await;
    assert_eq!(ready(&server.anonymous()).await, Some(200));
    let started = std::time::Instant::now();
    server.terminate();
    let draining = peer.wait_for("server-draining").await;
    assert!(draining["reconnect_after_ms"].is_u64(), "{draining}");
    assert_eq!(peer.wait_for_close().await, 1012);
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(started.elapsed().as_secs() <= 8, "{:?}", started.elapsed());
}

#[tokio::test]
async fn while_it_drains_it_is_not_ready() {
    use tokio::io::AsyncWriteExt;
    let server = Options::default().env("SHUTDOWN_GRACE_SECONDS", 20).start();
    let client = server.anonymous();
    assert_eq!(ready(&client).await, Some(200));
    // A request that is under way keeps the process up.
    let mut socket = server.connect().await;
    let head = format!(
        "POST /api/v1/hosts/register HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: 10\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // The head has arrived when a later request on another connection is answered.
    assert_eq!(ready(&client).await, Some(200));
    server.terminate();
    eventually("it is not ready", || async {
        let status = ready(&client).await;
        (status != Some(200)).then_some(status)
    })
    .await;
    drop(socket);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    use tokio::io::AsyncWriteExt;
    let mut server = Options::default().env("SHUTDOWN_GRACE_SECONDS", 25).start();
    let mut socket = server.connect().await;
    socket
        .write_all(b"POST /api/v1/hosts/register HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        .await
        .unwrap();
    let started = std::time::Instant::now();
    server.terminate();
    eventually("the signal is noticed", || async {
        server.log().contains("SIGTERM").then_some(())
    })
    .await;
    server.terminate();
    let _ = server.wait();
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// A peer in a session that reads nothing but what the test asks for, so that it does not answer a close frame.
async fn mute(server: &Server, peer_id: &str) -> Ws {
    let made = session(&server.operator(), peer_id, "owner", &[peer_id]).await;
    Ws::joined(server, peer_id, made["session_id"].as_str().unwrap()).await
}

async fn turned_away(server: &Server) {
    let mut peer = mute(server, "mute").await;
    assert_eq!(ready(&server.anonymous()).await, Some(200));
    server.terminate();
    // Whoever hears that the node goes away must not be sent back to it.
    peer.wait_for("server-draining").await;
    let drained = server.anonymous().get("/health/ready").await;
    assert_eq!(
        (drained.status, &drained.json()["status"]),
        (503, &json!("draining")),
        "{drained}"
    );
    assert_eq!(server.anonymous().get("/health/live").await.status, 200);
    let refused = Ws::try_open(server, "peer_id=late", &[("x-api-key", API_KEY)]).await;
    assert_eq!(refused.err(), Some(503));
}

#[tokio::test]
async fn it_is_not_ready_before_peers_hear_of_it_and_takes_nobody_new() {
    let mut server = Options::default().env("SHUTDOWN_GRACE_SECONDS", 20).start();
    turned_away(&server).await;
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_several_is_not_ready_before_its_peers_hear_of_it() {
    let fleet = Fleet::with(2, &Options::default().env("SHUTDOWN_GRACE_SECONDS", 20));
    turned_away(&fleet.nodes[0]).await;
    assert_eq!(
        ready(&fleet.nodes[1].anonymous()).await,
        Some(200),
        "the others serve on"
    );
}

#[tokio::test]
async fn clients_that_never_answer_the_close_frame_do_not_keep_it_up() {
    let mut server = Options::default().env("SHUTDOWN_GRACE_SECONDS", 1).start();
    let mut peers = Vec::new();
    for name in ["mute-1", "mute-2", "mute-3"] {
        peers.push(mute(&server, name).await);
    }
    let started = std::time::Instant::now();
    server.terminate();
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(server.log().contains("still open after the grace"), "{}", server.log());
    // The grace, half a second each for the fleet, the last heartbeats and the storage, and a busy machine.
    assert!(started.elapsed().as_secs() < 6, "{:?}", started.elapsed());
    for mut peer in peers {
        assert_eq!(peer.wait_for_close().await, 1012);
    }
}
