//! TLS of the service's own: HTTPS and WSS on its port, what else comes there, the exchange of the certificate, the drain.

use std::sync::Arc;

use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{session, unique};
use p2p_coordinator_tests::wait::within;
use p2p_coordinator_tests::{Certificates, Options, Server, Ws, eventually};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const REQUEST: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn certificates() -> Arc<Certificates> {
    Arc::new(Certificates::new())
}

/// Two peers of one session, and its `session_id`.
async fn pair(server: &Server) -> (Ws, String, Ws, String) {
    let (a, b) = (unique("a"), unique("b"));
    let made = session(&server.operator(), &unique("tls"), "alice", &[&a, &b]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut one = Ws::joined(server, &a, id).await;
    let two = Ws::joined(server, &b, id).await;
    one.wait_for("peer-joined").await;
    (one, a, two, b)
}

/// The certificate that a new connection is shown, in DER.
async fn shown(server: &Server, certificates: &Certificates) -> Vec<u8> {
    let stream = certificates.connect(server.address()).await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].to_vec()
}

async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut text = String::new();
    within("the end of the answer", stream.read_to_string(&mut text))
        .await
        .unwrap();
    text
}

#[tokio::test]
async fn https_is_spoken_and_plain_http_is_told_so() {
    let certificates = certificates();
    let server = Options::default().tls(&certificates).start();
    assert!(
        server.log().contains("listening on https://127.0.0.1:"),
        "{}",
        server.log()
    );
    let client = server.anonymous();
    let document = client.absolute(Method::GET, "/openapi.json", None).await.ok(200);
    assert!(document["paths"].is_object());
    // The answer ends with the words of TLS for it, without which a reader cannot tell that it is whole.
    let mut stream = certificates.connect(server.address()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    assert!(read_all(stream).await.starts_with("HTTP/1.1 200"));

    let mut plain = TcpStream::connect(server.address()).await.unwrap();
    plain.write_all(REQUEST).await.unwrap();
    let told = read_all(plain).await;
    assert!(
        told.starts_with("HTTP/1.1 400") && told.contains("speaks HTTPS"),
        "{told}"
    );
    let mut noise = TcpStream::connect(server.address()).await.unwrap();
    noise.write_all(&[0; 64]).await.unwrap();
    let read = within("the end", noise.read(&mut [0; 64])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert_eq!(client.status(Method::GET, "/health").await, Some(200));
}

#[tokio::test]
async fn the_console_knows_that_it_is_https_and_who_asks() {
    let server = Options::default().tls(&certificates()).start();
    let page = server.anonymous().with_header("sec-fetch-site", "same-origin");
    let body = |key: &str| json!({ "api_key": key });
    let signed_in = page
        .absolute(Method::POST, "/console/sign-in", Some(&body(API_KEY)))
        .await;
    let cookie = signed_in.status_is(200).header("set-cookie").to_owned();
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let wrong = body("wrong");
    let refused = page.absolute(Method::POST, "/console/sign-in", Some(&wrong)).await;
    assert_eq!(refused.status, 401);
    let line = eventually("the refusal is in the log", || async {
        let log = server.log();
        log.lines().find(|line| line.contains("was refused")).map(str::to_owned)
    })
    .await;
    assert!(line.contains("ip=127.0.0.1"), "{line}");
}

#[tokio::test]
async fn peers_relay_both_ways_small_and_large() {
    let server = Options::default().tls(&certificates()).start();
    let (mut one, a, mut two, b) = pair(&server).await;
    for size in [1, 1000, 16 * 1024, 60_000] {
        for _ in 0..20 {
            let sdp = "x".repeat(size);
            one.send(&json!({ "type": "offer", "to": b, "sdp": sdp })).await;
            let offer = two.expect("offer").await;
            assert_eq!((&offer["from"], &offer["sdp"]), (&json!(a), &json!(sdp)));
            two.send(&json!({ "type": "answer", "to": a, "sdp": sdp })).await;
            assert_eq!(one.expect("answer").await["sdp"], json!(sdp));
        }
    }
    // Many at once, more than the sockets in between take.
    let sdp = "y".repeat(50_000);
    for _ in 0..20 {
        one.send(&json!({ "type": "offer", "to": b, "sdp": sdp })).await;
    }
    for _ in 0..20 {
        assert_eq!(two.expect("offer").await["sdp"], json!(sdp));
    }
    one.close().await;
    assert_eq!(two.wait_for("peer-left").await["peer_id"], json!(a));
}

#[tokio::test]
async fn a_slow_reader_is_cut_off_over_tls_too() {
    let server = Options::default().tls(&certificates()).start();
    let (mut writer, writer_id, _never_read, slow) = pair(&server).await;
    let big = "x".repeat(32 * 1024);
    let mut cut_off = false;
    for _ in 0..4000 {
        writer.send(&json!({ "type": "offer", "to": slow, "sdp": big })).await;
        // Whatever comes back for this one, or the news of the other peer.
        writer
            .send(&json!({ "type": "offer", "to": writer_id, "sdp": "x" }))
            .await;
        if writer.next().await.unwrap()["type"] == "peer-left" {
            cut_off = true;
            break;
        }
    }
    assert!(cut_off, "128 MiB went to a peer that reads nothing");
}

#[tokio::test]
async fn handshakes_that_are_never_finished_block_nobody() {
    let server = Options::default().tls(&certificates()).start();
    let mut idle = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        if number % 2 == 0 {
            // The head of a record that does not come.
            stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        }
        idle.push(stream);
    }
    assert_eq!(server.anonymous().status(Method::GET, "/health").await, Some(200));
    let (mut one, _, mut two, b) = pair(&server).await;
    one.send(&json!({ "type": "offer", "to": b, "sdp": "x" })).await;
    two.expect("offer").await;
    for mut stream in idle {
        let read = within("the end of an idle handshake", stream.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

#[tokio::test]
async fn a_drain_says_its_last_words_over_tls() {
    let certificates = certificates();
    let mut server = Options::default()
        .tls(&certificates)
        .env("SHUTDOWN_GRACE_SECONDS", 10)
        .start();
    let (mut one, _, mut two, _) = pair(&server).await;
    let mut idle = certificates.connect(server.address()).await.unwrap();
    let half = TcpStream::connect(server.address()).await.unwrap();
    assert_eq!(server.anonymous().status(Method::GET, "/health").await, Some(200));
    let started = std::time::Instant::now();
    server.terminate();
    for ws in [&mut one, &mut two] {
        ws.wait_for("server-draining").await;
        assert_eq!(ws.wait_for_close().await, 1012);
    }
    // An end in good order, not a break.
    assert_eq!(within("the end", idle.read(&mut [0; 64])).await.unwrap(), 0);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    drop(half);
}

#[tokio::test]
async fn sighup_exchanges_the_certificate_for_new_connections() {
    let certificates = certificates();
    let server = Options::default().tls(&certificates).start();
    let first = shown(&server, &certificates).await;
    let (mut one, _, mut two, b) = pair(&server).await;
    let line = server.write_settings("");
    assert!(line.contains("changed=\"nothing\""), "{line}");
    assert_eq!(shown(&server, &certificates).await, first);

    let second = certificates.renew(|_| {});
    let line = server.write_settings("");
    assert!(
        line.contains("changed=\"TLS_CERT_FILE\"") && line.contains("needs_restart=\"nothing\""),
        "{line}"
    );
    assert_eq!(shown(&server, &certificates).await, second);
    one.send(&json!({ "type": "offer", "to": b, "sdp": "still here" }))
        .await;
    two.expect("offer").await;

    std::fs::write(certificates.key(), "no key").unwrap();
    let line = server.write_settings("");
    assert!(
        line.contains("ERROR") && line.contains("all stays as it is") && line.contains("TLS_KEY_FILE"),
        "{line}"
    );
    assert_eq!(shown(&server, &certificates).await, second);
    one.send(&json!({ "type": "offer", "to": b, "sdp": "and still" })).await;
    two.expect("offer").await;
}

#[tokio::test]
async fn tls_itself_is_turned_on_by_a_restart() {
    let certificates = certificates();
    let server = Options::default().plain().start();
    let line = server.write_settings(&format!(
        "TLS_CERT_FILE={}\nTLS_KEY_FILE={}\n",
        certificates.certificate().display(),
        certificates.key().display()
    ));
    assert!(line.contains("needs_restart=\"TLS_CERT_FILE, TLS_KEY_FILE\""), "{line}");
    assert_eq!(server.anonymous().status(Method::GET, "/health").await, Some(200));
}

#[test]
fn mistakes_with_the_two_settings_are_told() {
    let certificates = certificates();
    let other = Certificates::new();
    let empty = certificates.authority().with_file_name("empty");
    std::fs::write(&empty, "nothing of use").unwrap();
    let missing = certificates.authority().with_file_name("missing");
    let (cert, key) = (certificates.certificate(), certificates.key());
    let cases = [
        (Some(&cert), None, "TLS_KEY_FILE", "needs its private key"),
        (None, Some(&key), "TLS_CERT_FILE", "needs its certificate"),
        (Some(&missing), Some(&key), "TLS_CERT_FILE", "this user may read"),
        (Some(&cert), Some(&missing), "TLS_KEY_FILE", "this user may read"),
        (Some(&empty), Some(&key), "TLS_CERT_FILE", "has no certificate"),
        (Some(&cert), Some(&empty), "TLS_KEY_FILE", "has no private key"),
        (
            Some(&cert),
            Some(&other.key()),
            "TLS_KEY_FILE",
            "is not the key of the first certificate",
        ),
        (Some(&key), Some(&cert), "TLS_CERT_FILE", "has no certificate"),
    ];
    for (cert, key, variable, words) in cases {
        let mut options = Options::default();
        for (name, file) in [("TLS_CERT_FILE", cert), ("TLS_KEY_FILE", key)] {
            if let Some(file) = file {
                options = options.env(name, file.display());
            }
        }
        for (arguments, status) in [(&["check-config"] as &[&str], 1), (&[], 2)] {
            let (ended, said) = options.run(arguments);
            assert_eq!(ended.code(), Some(status), "{said}");
            assert!(said.contains(variable) && said.contains(words), "{words}: {said}");
            assert!(!said.contains("PRIVATE KEY-----\nM"), "{said}");
        }
    }
}

#[test]
fn a_certificate_that_is_over_or_nearly_so_is_warned_about() {
    let certificates = certificates();
    let options = Options::default().tls(&certificates);
    let (_, said) = options.run(&["check-config"]);
    assert!(!said.contains("the certificate"), "{said}");
    let in_three_days = std::time::SystemTime::now() + std::time::Duration::from_secs(3 * 24 * 3600);
    let cases = [
        (rcgen::date_time_ymd(2001, 2, 3), "expired on 2001-02-03"),
        (in_three_days.into(), "expires on "),
    ];
    for (not_after, words) in cases {
        certificates.renew(|params| {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = not_after;
        });
        for command in ["check-config", "doctor"] {
            let (_, said) = options.run(&[command]);
            assert!(said.contains(words) && said.contains("renew it"), "{command}: {said}");
        }
    }
}
