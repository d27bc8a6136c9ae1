//! Two real WebRTC stacks meet through the coordinator, on a host that the policy chose.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use p2p_coordinator_tests::browser::{Browser, Driver};
use p2p_coordinator_tests::wait::within;
use p2p_coordinator_tests::{Options, Server, eventually, shapes};
use serde_json::{Value, json};

/// Serves the page from an origin of its own, as a game's web shop would.
async fn serve_page() -> String {
    let router = Router::new().route("/", get(|| async { Html(include_str!("webrtc.html")) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_browsers_exchange_bytes_on_a_host_that_the_policy_chose() {
    let page = serve_page().await;
    let server = Options::default().env("CORS_ORIGINS", &page).start();
    let driver = Driver::start();
    let (host, guest) = tokio::join!(driver.browser(), driver.browser());
    tokio::join!(host.open(&page), guest.open(&page));
    meet(&server, &host, &guest).await;
    tokio::join!(host.quit(), guest.quit());
}

async fn meet(server: &Server, host: &Browser, guest: &Browser) {
    let operator = server.operator();
    let _ = operator.post("/zones/", &shapes::zone("prontera")).await.ok(201);
    // A weaker machine of someone else: the policy must prefer the browser's.
    let weak = shapes::with(
        shapes::host("host-weak", "bob"),
        &json!({ "cpu_cores": 1, "memory_mb": 1024 }),
    );
    let _ = operator.post("/hosts/register", &weak).await.ok(201);

    let config =
        |player: &str, token: &str| json!({ "coordinator": server.address(), "peer_id": player, "token": token });
    let alice = config("alice", &operator.token("alice").await);
    let carol = config("carol", &operator.token("carol").await);

    let registration = shapes::host("host-alice", "alice");
    let beaten = host
        .call("offerToHost", &json!([alice, registration, shapes::heartbeat()]))
        .await;
    assert_eq!(beaten["host_id"], "host-alice", "{beaten}");

    let wanted = json!({ "zone_id": "prontera", "player_ids": ["carol"] });
    let session = operator.post("/sessions/", &wanted).await.ok(201);
    assert_eq!(
        session["host"], "host-alice",
        "the policy prefers the better host: {session}"
    );
    let id = session["session_id"].as_str().unwrap();
    let _ = operator.poke(&format!("/sessions/{id}/activate")).await.ok(200);

    let arguments = json!([alice, id]);
    let hosting = host.call("host", &arguments);
    let calling = async {
        within("the host joins", wait_in_session(server)).await;
        guest.call("guest", &json!([carol, id])).await
    };
    let (at_host, at_guest) = tokio::join!(hosting, calling);
    for side in [&at_host, &at_guest] {
        check(side);
    }
    assert_eq!(at_host["received"], at_guest["sent"], "guest → host");
    assert_eq!(at_guest["received"], at_host["sent"], "host → guest");
}

/// Waits until a peer sits in the session, by what the service says.
async fn wait_in_session(server: &Server) {
    let anyone = server.operator();
    eventually("a peer in a session", || async {
        let stats = anyone.get("/signaling/stats").await.ok(200);
        (stats["active_sessions"] == 1).then_some(())
    })
    .await;
}

fn check(side: &Value) {
    assert_eq!(side["bytes"], 16 * 1024, "{side}");
    let pair = &side["pair"];
    assert_eq!(pair["state"], "succeeded", "{side}");
    assert_eq!(pair["dtls"], "connected", "{side}");
    assert!(pair["bytesReceived"].as_u64().unwrap() > 16 * 1024, "{side}");
    assert!(side["candidates"]["sent"].as_u64().unwrap() > 0, "{side}");
    assert!(side["candidates"]["received"].as_u64().unwrap() > 0, "{side}");
}
