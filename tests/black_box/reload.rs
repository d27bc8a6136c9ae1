//! SIGHUP and the change of secrets: no request with a good credential is refused on the way, on one node or on several.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use p2p_coordinator_tests::{Client, Options, Server, eventually};
use reqwest::Method;
use serde_json::json;

const OLD: [&str; 2] = [
    "old-jwt-0123456789-0123456789-abcdef",
    "old-key-0123456789-0123456789-abcdef",
];
const NEW: [&str; 2] = [
    "new-jwt-0123456789-0123456789-abcdef",
    "new-key-0123456789-0123456789-abcdef",
];

fn secrets(current: [&str; 2], previous: Option<[&str; 2]>) -> String {
    let mut text = format!("JWT_SECRET_KEY={}\nCOORDINATOR_API_KEY={}\n", current[0], current[1]);
    if let Some(previous) = previous {
        text.push_str(&format!("JWT_SECRET_KEY_PREVIOUS={}\n", previous[0]));
        text.push_str(&format!("COORDINATOR_API_KEY_PREVIOUS={}\n", previous[1]));
    }
    text
}

/// A server whose secrets stand in a file. Production, so that they are held to its rules.
fn with_file(text: &str) -> Options {
    let options = Options::default()
        .without("JWT_SECRET_KEY")
        .without("COORDINATOR_API_KEY");
    options.env("ENVIRONMENT", "production").settings(text)
}

async fn pair(client: &Client, key: &str) -> (String, String) {
    let body = json!({ "player_id": "alice", "api_key": key });
    let pair = client.post("/auth/token", &body).await.ok(200);
    let text = |name: &str| pair[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn status(client: &Client) -> u16 {
    client.get("/hosts/").await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_change_on_two_nodes_without_one_refused_request() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("shared.db").display());
    let nodes: Vec<Server> = (0..2)
        .map(|_| with_file(&secrets(OLD, None)).env("DATABASE_URL", &database).start())
        .collect();
    let (old_token, refresh) = pair(&nodes[0].anonymous(), OLD[1]).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = Vec::new();
    for node in &nodes {
        for client in [
            node.anonymous().with_api_key(OLD[1]),
            node.anonymous().with_bearer(&old_token),
        ] {
            let (stop, asked) = (stop.clone(), asked.clone());
            callers.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(status(&client).await, 200, "a good credential is refused");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    // First every node learns what is to come, then every node signs with it.
    for (current, previous) in [(OLD, NEW), (NEW, OLD)] {
        for node in &nodes {
            let line = node.write_settings(&secrets(current, Some(previous)));
            assert!(
                line.contains("JWT_SECRET_KEY_PREVIOUS") && line.contains("needs_restart=\"nothing\""),
                "{line}"
            );
            assert!(!line.contains("0123456789"), "{line}");
            // Tokens of each node are good on the other, at every moment of the change.
            for key in [OLD[1], NEW[1]].iter().take(if current == NEW { 2 } else { 1 }) {
                let (token, _) = pair(&node.anonymous(), key).await;
                for other in &nodes {
                    assert_eq!(status(&other.anonymous().with_bearer(&token)).await, 200);
                }
            }
        }
    }
    let before = asked.load(Ordering::Relaxed);
    eventually("requests go on after the change", || async {
        (asked.load(Ordering::Relaxed) > before + 20).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    // A sign-in from before goes on, and is from now on signed with the new secret.
    let refreshed = nodes[1]
        .anonymous()
        .post("/auth/refresh", &json!({ "refresh_token": refresh }))
        .await
        .ok(200);
    let new_token = refreshed["access_token"].as_str().unwrap();
    for node in &nodes {
        let line = node.write_settings(&secrets(NEW, None));
        assert!(line.contains("COORDINATOR_API_KEY_PREVIOUS"), "{line}");
        assert_eq!(status(&node.anonymous().with_bearer(new_token)).await, 200);
        assert_eq!(status(&node.anonymous().with_api_key(NEW[1])).await, 200);
        assert_eq!(
            status(&node.anonymous().with_bearer(&old_token)).await,
            401,
            "the old secret is out"
        );
        assert_eq!(
            status(&node.anonymous().with_api_key(OLD[1])).await,
            401,
            "the old key is out"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_says_what_it_did_and_refuses_what_a_start_would_refuse() {
    let logs = tempfile::tempdir().unwrap();
    let file = logs.path().join("service.log");
    let more = |text: &str| format!("{}{text}", secrets(OLD, None));
    let server = with_file(&more("LOG_LEVEL=INFO\nPORT=0\n"))
        .without("LOG_LEVEL")
        .without("PORT")
        .env("LOG_FILE", file.display())
        .start();
    let operator = server.anonymous().with_api_key(OLD[1]);
    assert_eq!(status(&operator).await, 200);
    std::fs::rename(&file, logs.path().join("moved")).unwrap();
    let line = server.write_settings(&more("LOG_LEVEL=DEBUG\nPORT=9\nPOLICY_REGION=eu\n"));
    assert!(
        line.contains("changed=\"LOG_LEVEL\"") && line.contains("needs_restart=\"POLICY_REGION, PORT\""),
        "{line}"
    );
    // What needs a restart is told until there was one.
    let line = server.write_settings(&more("LOG_LEVEL=DEBUG\nPORT=9\nPOLICY_REGION=eu\n"));
    assert!(
        line.contains("changed=\"nothing\"") && line.contains("needs_restart=\"POLICY_REGION, PORT\""),
        "{line}"
    );
    eventually("the log file that was moved away is made again", || async {
        std::fs::read_to_string(&file)
            .is_ok_and(|log| log.contains("settings are read again"))
            .then_some(())
    })
    .await;

    let weak = format!("JWT_SECRET_KEY=short\nCOORDINATOR_API_KEY={}\n", NEW[1]);
    let line = server.write_settings(&weak);
    assert!(
        line.contains("ERROR") && line.contains("all stays as it is") && line.contains("32 characters"),
        "{line}"
    );
    assert_eq!(status(&operator).await, 200, "nothing of it is taken");
    let line = server.write_settings("no assignment\n");
    assert!(line.contains("all stays as it is"), "{line}");
    assert_eq!(status(&operator).await, 200);
}

/// What a browser of this page is allowed: the origin and credentials that the answer names.
async fn allowed(client: &Client, page: &str) -> (String, String) {
    let answer = client.clone().with_header("origin", page).get("/hosts/").await;
    let header = |name: &str| answer.header(name).to_owned();
    (
        header("access-control-allow-origin"),
        header("access-control-allow-credentials"),
    )
}

#[tokio::test]
async fn origins_and_proxies_change_without_a_restart() {
    let server = Options::default().start();
    let operator = server.operator();
    let (one, two) = ("https://one.example", "https://two.example");
    let texts = |origin: &str, credentials: &str| (origin.to_owned(), credentials.to_owned());
    assert_eq!(allowed(&operator, one).await, texts("*", ""), "as by default");
    let line = server.write_settings(&format!("CORS_ORIGINS={one}\n"));
    assert!(
        line.contains("changed=\"CORS_ORIGINS\"") && line.contains("needs_restart=\"nothing\""),
        "{line}"
    );
    assert_eq!(allowed(&operator, one).await, texts(one, "true"));
    assert_eq!(allowed(&operator, two).await.0, "");
    server.write_settings(&format!("CORS_ORIGINS={two}\n"));
    assert_eq!(allowed(&operator, one).await.0, "");
    assert_eq!(allowed(&operator, two).await, texts(two, "true"));
    server.write_settings("CORS_ORIGINS=*\n");
    assert_eq!(allowed(&operator, two).await, texts("*", ""));

    let page = server.anonymous().with_header("sec-fetch-site", "same-origin");
    let page = page.with_header("x-forwarded-for", "203.0.113.9");
    let wrong = json!({ "api_key": "wrong" });
    let cases = [
        ("", "127.0.0.1"),
        ("TRUSTED_PROXIES=127.0.0.0/8\n", "203.0.113.9"),
        ("TRUSTED_PROXIES=10.0.0.0/8\n", "127.0.0.1"),
    ];
    for (number, (settings, address)) in cases.into_iter().enumerate() {
        server.write_settings(settings);
        let refused = page.absolute(Method::POST, "/console/sign-in", Some(&wrong)).await;
        assert_eq!(refused.status, 401);
        let line = eventually("the refusal is in the log", || async {
            let log = server.log();
            let mut told = log.lines().filter(|line| line.contains("was refused"));
            told.nth(number).map(str::to_owned)
        })
        .await;
        assert!(line.contains(&format!("ip={address}")), "{settings}: {line}");
    }
}

#[test]
fn previous_secrets_are_held_to_the_same_rules() {
    let options = || {
        let options = Options::default().env("ENVIRONMENT", "production");
        options.env("CORS_ORIGINS", "https://game.example")
    };
    for (name, value, words) in [
        ("JWT_SECRET_KEY_PREVIOUS", "short", "32 characters"),
        (
            "COORDINATOR_API_KEY_PREVIOUS",
            "changeme-changeme-changeme-changeme",
            "placeholder",
        ),
        (
            "JWT_SECRET_KEY_PREVIOUS",
            p2p_coordinator_tests::server::JWT_SECRET,
            "must differ from JWT_SECRET_KEY",
        ),
        (
            "COORDINATOR_API_KEY_PREVIOUS",
            p2p_coordinator_tests::server::JWT_SECRET,
            "must differ from JWT_SECRET_KEY",
        ),
    ] {
        let (status, said) = options().env(name, value).run(&["check-config"]);
        assert!(
            !status.success() && said.contains(name) && said.contains(words),
            "{name}: {said}"
        );
    }
}
