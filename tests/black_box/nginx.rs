//! The service behind a real nginx with the site of `deploy/nginx`: HTTP, WebSockets, the address of the client, a drain. And the
//! other files of `deploy`.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use p2p_coordinator_tests::nginx::Nginx;
use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{session, zone};
use p2p_coordinator_tests::{Client, Options, Redis, Ws, eventually};
use serde_json::json;

/// Asks through nginx from this address, with what a client may write itself.
async fn ask(nginx: &Nginx, from: &str, forged: Option<&str>) -> u16 {
    ask_for(nginx, "/api/v1/zones/", from, forged).await
}

async fn ask_for(nginx: &Nginx, path: &str, from: &str, forged: Option<&str>) -> u16 {
    p2p_coordinator_tests::client::install_crypto();
    let from: IpAddr = from.parse().unwrap();
    let client = reqwest::Client::builder()
        .local_address(from)
        .no_proxy()
        .tls_certs_only([]);
    let client = client.build().unwrap();
    let mut request = client
        .get(format!("http://{}{path}", nginx.address()))
        .header("x-api-key", API_KEY);
    if let Some(forged) = forged {
        request = request
            .header("x-forwarded-for", forged)
            .header("x-real-ip", forged)
            .header("forwarded", format!("for={forged}"));
    }
    request.send().await.unwrap().status().as_u16()
}

fn limited() -> Options {
    let options = Options::default()
        .plain()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 3);
    // Nothing comes back while the test runs.
    options.env("RATE_LIMIT_API_WINDOW", 86_400)
}

#[tokio::test]
async fn limits_go_by_the_real_address_and_no_header_dodges_them() {
    let server = limited().env("TRUSTED_PROXIES", "127.0.0.1/32, ::1").start();
    let nginx = Nginx::start(&[&server]);
    for n in 0..3 {
        assert_eq!(ask(&nginx, "127.0.0.2", Some(&format!("198.51.100.{n}"))).await, 200);
    }
    for forged in ["198.51.100.77", "127.0.0.1", "::1", "nonsense", "127.0.0.9, 127.0.0.1"] {
        assert_eq!(ask(&nginx, "127.0.0.2", Some(forged)).await, 429, "{forged}");
    }
    assert_eq!(
        ask(&nginx, "127.0.0.3", None).await,
        200,
        "another client has its own limit"
    );
    for path in ["/metrics", "/api/v1/monitoring/metrics", "/api/monitoring/metrics/"] {
        assert_eq!(
            ask_for(&nginx, path, "127.0.0.3", Some("127.0.0.1")).await,
            403,
            "{path}"
        );
        assert_eq!(ask_for(&nginx, path, "127.0.0.1", None).await, 200, "{path}");
    }
    drop(nginx);
    let server = limited().start();
    let nginx = Nginx::start(&[&server]);
    for n in 0..3 {
        assert_eq!(ask(&nginx, &format!("127.0.0.{}", n + 2), None).await, 200);
    }
    assert_eq!(
        ask(&nginx, "127.0.0.9", None).await,
        429,
        "no proxy is trusted: all that comes from it is one client"
    );
}

#[tokio::test]
async fn http_and_websockets_go_through() {
    let server = Options::default().plain().start();
    let nginx = Nginx::start(&[&server]);
    let operator = Client::new(nginx.address()).with_api_key(API_KEY);
    let made = session(&operator, "nginx", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let token = operator.token("p1").await;
    let url = |query: &str| format!("ws://{}/api/v1/signaling/ws?{query}", nginx.address());
    let mut one = Ws::try_open_url(&url(&format!("peer_id=p1&token={token}")), &[])
        .await
        .unwrap();
    let mut two = Ws::try_open_url(&url("peer_id=p2"), &[("x-api-key", API_KEY)])
        .await
        .unwrap();
    one.join(id).await;
    two.join(id).await;
    let _ = one.expect("peer-joined").await;
    let sdp = "v=0 ".repeat(4000);
    one.send(&json!({ "type": "offer", "to": "p2", "sdp": sdp })).await;
    assert_eq!(two.expect("offer").await["sdp"], json!(sdp));
    assert_eq!(
        Ws::try_open_url(&url("peer_id=p3&token=bad"), &[]).await.err(),
        None,
        "refused by a message"
    );
    assert_eq!(
        operator.status(reqwest::Method::GET, "/metrics").await,
        Some(200),
        "allowed from this machine"
    );
    one.close().await;
    let _ = two.expect("peer-left").await;
    let log = nginx.log();
    // The number in nginx's log finds the line in ours.
    let trace = log
        .lines()
        .find(|line| line.contains("POST /api/v1/hosts/register"))
        .unwrap();
    let trace = trace.rsplit(' ').next().unwrap().split('-').nth(1).unwrap();
    let told = server.log();
    let line = told.lines().find(|line| line.contains(trace));
    let line = line.unwrap_or_else(|| panic!("{trace}: {told}"));
    assert!(
        line.contains("host registered") && line.contains("/api/v1/hosts/register"),
        "{line}"
    );
    assert!(
        log.contains("/api/v1/signaling/ws") && !log.contains(&token),
        "tokens are in no log: {log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_drains_without_one_failed_request() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let database = format!("sqlite:{}", folder.path().join("shared.db").display());
    let node = || {
        let options = Options::default()
            .plain()
            .env("REDIS_URL", redis.url())
            .env("DATABASE_URL", &database);
        options.env("SHUTDOWN_GRACE_SECONDS", 4).start()
    };
    let (mut leaving, staying) = (node(), node());
    let nginx = Nginx::start(&[&leaving, &staying]);
    let _ = leaving.operator().post("/zones/", &zone("plaza")).await.ok(201);
    let url = format!("ws://{}/api/v1/signaling/ws?peer_id=", nginx.address());
    let mut peers = Vec::new();
    for n in 0..4 {
        peers.push(
            Ws::try_open_url(&format!("{url}p{n}"), &[("x-api-key", API_KEY)])
                .await
                .unwrap(),
        );
    }
    let here = leaving.operator().get("/signaling/stats").await.ok(200);
    assert!(here["active_connections"].as_u64().unwrap() > 0, "{here}");
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (stop, asked) = (stop.clone(), asked.clone());
            let client = Client::new(nginx.address()).with_api_key(API_KEY);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let _ = client.get("/zones/plaza").await.ok(200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    leaving.terminate();
    let mut sent_away = 0;
    for (n, mut peer) in peers.into_iter().enumerate() {
        // Each is on one of the nodes: those of the leaving one are told, and come back to the other.
        let told = tokio::time::timeout(std::time::Duration::from_secs(6), peer.wait_for("server-draining")).await;
        if told.is_ok() {
            assert_eq!(peer.wait_for_close().await, 1012);
            sent_away += 1;
            let _ = Ws::try_open_url(&format!("{url}p{n}"), &[("x-api-key", API_KEY)])
                .await
                .unwrap();
        }
    }
    assert!(sent_away > 0);
    assert!(leaving.wait().success());
    let before = asked.load(Ordering::Relaxed);
    eventually("requests go on", || async {
        (asked.load(Ordering::Relaxed) > before + 20).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn systemd_is_told_how_the_service_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(p2p_coordinator_tests::wait::PATIENCE))
        .unwrap();
    let next = || {
        let mut said = [0; 4096];
        let length = socket.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    };
    let options = Options::default()
        .plain()
        .env("NOTIFY_SOCKET", path.display())
        .env("WATCHDOG_USEC", 200_000);
    let mut server = options.start();
    assert_eq!(next(), "READY=1");
    assert_eq!(next(), "WATCHDOG=1");
    let _ = server.write_settings("");
    let mut heard = Vec::new();
    while !heard.iter().any(|said| said == "READY=1") {
        heard.push(next());
    }
    assert!(
        heard
            .iter()
            .any(|said| said.starts_with("RELOADING=1\nMONOTONIC_USEC=")),
        "{heard:?}"
    );
    server.terminate();
    while next() != "STOPPING=1" {}
    assert!(server.wait().success());
}

#[test]
fn the_unit_is_as_closed_as_the_document_says() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/p2p-coordinator.service");
    let output = std::process::Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=14", unit])
        .output()
        .expect("systemd-analyze of Debian's package systemd runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/secure.md")).unwrap();
    let figure = said
        .rsplit("exposure level for p2p-coordinator.service: ")
        .next()
        .unwrap();
    let figure = figure.split_whitespace().next().unwrap();
    assert!(
        document.contains(&format!("exposure level: {figure}")),
        "docs/secure.md has not {figure}"
    );
}
