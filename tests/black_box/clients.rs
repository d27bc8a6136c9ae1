//! The clients of `docs/clients`, as they stand there, against the service behind nginx.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::get;
use p2p_coordinator_tests::browser::{Browser, Driver};
use p2p_coordinator_tests::nginx::Nginx;
use p2p_coordinator_tests::wait::PATIENCE;
use p2p_coordinator_tests::{Options, shapes};
use serde_json::{Value, json};

/// Serves the browser's client from an origin of its own, as a game's web server would.
async fn serve_page() -> String {
    let script = || async {
        (
            [(CONTENT_TYPE, "text/javascript")],
            include_str!("../../docs/clients/browser/p2p-client.js"),
        )
    };
    let page = || async { Html(include_str!("../../docs/clients/browser/index.html")) };
    let router = Router::new().route("/", get(page)).route("/p2p-client.js", get(script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Fills in the page's form as a person would, and joins.
async fn join(browser: &Browser, nginx: &Nginx, peer: &str, token: &str, session: &str) {
    let empty = "document.querySelector('[name=coordinator]').value = ''";
    browser.run(empty, &json!([])).await;
    let fields = [
        ("coordinator", format!("http://{}", nginx.address())),
        ("peer", peer.to_owned()),
        ("token", token.to_owned()),
        ("session", session.to_owned()),
    ];
    for (name, value) in fields {
        browser.type_into(&format!("//input[@name='{name}']"), &value).await;
    }
    browser.click("//button[.='Join']").await;
}

async fn tell(browser: &Browser, text: &str) {
    browser
        .run("document.querySelector('[name=text]').value = ''", &json!([]))
        .await;
    browser.type_into("//input[@name='text']", text).await;
    browser.click("//button[.='Send']").await;
}

/// Sends all 256 bytes 64 times over from one page to the other, which gives them back as they came.
async fn exchange_bytes(from: &Browser, to: &Browser, receiver: &str) {
    let listen = "window.got = new Promise((done) => window.client.addEventListener('peer-message',
        ({ detail }) => detail.data instanceof ArrayBuffer && done(detail)))";
    to.run(listen, &json!([])).await;
    let send = "return window.client.send(arguments[0], Uint8Array.from({ length: 16384 }, (_, n) => n % 256))";
    assert_eq!(from.run(send, &json!([receiver])).await, true);
    let read = "(async () => { const { data } = await window.got; const bytes = new Uint8Array(data);
        return { length: bytes.length, same: bytes.every((byte, n) => byte === n % 256) }; })";
    assert_eq!(
        to.call(read, &json!([])).await,
        json!({ "length": 16384, "same": true })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_of_two_documented_browser_clients_outlives_a_restart_behind_nginx() {
    let page = serve_page().await;
    let server = Options::default()
        .env("CORS_ORIGINS", &page)
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .env("SHUTDOWN_GRACE_SECONDS", 5)
        .start();
    let nginx = Nginx::start(&[&server]);
    let operator = server.operator();
    let made = shapes::session(&operator, "browser", "alice", &["carol"]).await;
    let session = made["session_id"].as_str().unwrap();
    let (alice, carol) = (operator.token("alice").await, operator.token("carol").await);
    let driver = Driver::start();
    let (host, guest) = tokio::join!(driver.browser(), driver.browser());
    tokio::join!(host.open(&page), guest.open(&page));

    join(&host, &nginx, "alice", &alice, session).await;
    host.reads("state: joined").await;
    join(&guest, &nginx, "carol:laptop", &carol, session).await;
    tokio::join!(
        host.reads("connected to carol:laptop"),
        guest.reads("connected to alice")
    );
    tell(&guest, "hello from carol").await;
    host.reads("carol:laptop: hello from carol").await;
    exchange_bytes(&host, &guest, "carol:laptop").await;
    exchange_bytes(&guest, &host, "alice").await;

    // The service goes and comes back; the clients find their way by themselves.
    server.terminate();
    let server = server.again_in_place();
    for browser in [&host, &guest] {
        browser.reads("state: reconnecting").await;
    }
    let back = |browser| async move { back_in_the_session(browser).await };
    tokio::join!(back(&host), back(&guest));
    tell(&host, "still here").await;
    guest.reads("alice: still here").await;

    guest.click("//button[.='Leave']").await;
    host.reads("carol:laptop left").await;
    let log = nginx.log();
    assert!(
        log.contains("/api/v1/signaling/ws") && !log.contains(&alice),
        "tokens are in no log: {log}"
    );
    let _ = server
        .operator()
        .poke(&format!("/sessions/{session}/end?reason=done"))
        .await
        .ok(200);
    host.reads("the session is over (done)").await;
    tokio::join!(host.quit(), guest.quit());
}

async fn back_in_the_session(browser: &Browser) {
    let again = "const log = document.querySelector('#log').textContent;
        const back = log.slice(log.indexOf('state: reconnecting'));
        return /state: (resumed|joined)/.test(back) && window.client.peers.length === 1";
    p2p_coordinator_tests::eventually("the page is back", || async {
        (browser.run(again, &json!([])).await == true).then_some(())
    })
    .await;
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/clients/python");

/// How long pip may take.
const INSTALL: Duration = Duration::from_secs(300);

/// The Python of an environment with what the client needs, made once for each version of the list.
fn python() -> PathBuf {
    let wanted = std::fs::read_to_string(Path::new(FOLDER).join("requirements.txt")).unwrap();
    let folder = p2p_coordinator_tests::server::program().with_file_name("black-box-python-client");
    let (python, kept) = (folder.join("bin/python"), folder.join("requirements.txt"));
    if std::fs::read_to_string(&kept).is_ok_and(|had| had == wanted) && python.exists() {
        return python;
    }
    std::fs::remove_dir_all(&folder).ok();
    let mut venv = Command::new("python3");
    run(venv.args(["-m", "venv"]).arg(&folder));
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]);
    run(pip.args(["-r", "requirements.txt"]).current_dir(FOLDER));
    std::fs::write(kept, wanted).unwrap();
    python
}

/// Runs a program to its end, which comes within [`INSTALL`].
fn run(command: &mut Command) {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .expect("python3 with venv: apt-get install python3-venv");
    let end = Instant::now() + INSTALL;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?}: {status}");
            return;
        }
        if Instant::now() > end {
            child.kill().ok();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running client in Python. Killed when dropped.
struct Peer {
    child: Child,
    said: Receiver<String>,
}

impl Peer {
    fn start(python: &Path, nginx: &Nginx, player: &str, token: &str, rest: &[&str]) -> Self {
        let mut child = Command::new(python)
            .arg(Path::new(FOLDER).join("client.py"))
            .args([&format!("http://{}", nginx.address()), player])
            .args(rest)
            .env("P2P_TOKEN", token)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .env("no_proxy", "*")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, said }
    }

    /// The next thing of this kind that it says.
    fn hears(&self, event: &str) -> Value {
        loop {
            let line = self.said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("it did not say {event}: {error}"));
            let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            if said["event"] == event {
                return said;
            }
        }
    }

    fn ends_with(mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webrtc_of_two_documented_python_clients() {
    let python = tokio::task::spawn_blocking(python).await.unwrap();
    let server = Options::default().env("TRUSTED_PROXIES", "127.0.0.1").start();
    let nginx = Nginx::start(&[&server]);
    let operator = server.operator();
    let _ = operator.post("/zones/", &shapes::zone("plaza")).await.ok(201);
    let (alice, bob) = (operator.token("alice").await, operator.token("bob").await);
    let play = tokio::task::spawn_blocking(move || {
        let host = Peer::start(
            &python,
            &nginx,
            "alice",
            &alice,
            &["host", "--zone", "plaza", "--invite", "bob"],
        );
        let session = host.hears("session");
        let session = session["session_id"].as_str().unwrap().to_owned();
        assert_eq!(host.hears("joined")["peers"], json!([]));
        let guest = Peer::start(&python, &nginx, "bob", &bob, &["join", &session, "hello"]);
        assert_eq!(guest.hears("joined")["peers"], json!(["alice"]));
        let at_host = host.hears("message");
        assert_eq!(at_host, json!({ "event": "message", "peer": "bob", "text": "hello" }));
        assert_eq!(guest.hears("message")["text"], "hello", "the host gives it back");
        assert_eq!(guest.ends_with(), Some(0));
        assert_eq!(host.hears("peer-left")["peer"], "bob");
        // A zone that nobody has defined is the game server's.
        let lost = Peer::start(&python, &nginx, "alice", &alice, &["host", "--zone", "nowhere"]);
        assert_eq!(lost.hears("fallback")["reason"], "zone_unknown");
        assert_eq!(lost.ends_with(), Some(3));
        (session, host, nginx)
    });
    let (session, host, _nginx) = play.await.unwrap();
    let _ = operator
        .poke(&format!("/sessions/{session}/end?reason=done"))
        .await
        .ok(200);
    tokio::task::spawn_blocking(move || {
        assert_eq!(host.hears("over")["reason"], "done");
        assert_eq!(host.ends_with(), Some(0));
    })
    .await
    .unwrap();
}
