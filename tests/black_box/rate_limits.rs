//! Limits per address and per connection, as the bundled policy sets them.

use p2p_coordinator_tests::shapes::{session, zone};
use p2p_coordinator_tests::{Answer, Options, Server, Ws};
use reqwest::Method;
use serde_json::{Value, json};

fn limited() -> Options {
    Options::default().env("RATE_LIMIT_ENABLED", "true")
}

fn remaining(answer: &Answer) -> u64 {
    assert_eq!(answer.number("x-ratelimit-limit"), 100, "{answer}");
    assert!(answer.number("x-ratelimit-reset") > 1_700_000_000, "{answer}");
    answer.number("x-ratelimit-remaining")
}

fn refused(answer: &Answer, limit: u64) {
    let problem = answer.problem(429);
    assert_eq!(problem["error"], "rate_limit_exceeded");
    assert!(problem["message"].is_string(), "{problem}");
    assert_eq!(problem["limit"], limit);
    assert_eq!(problem["window_seconds"], 60);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let reset = problem["reset_time"].as_u64().unwrap_or_else(|| panic!("{problem}"));
    assert!((now..=now + 61).contains(&reset), "{problem}, now {now}");
    assert!((1..=60).contains(&answer.number("retry-after")), "{answer}");
    assert_eq!(answer.number("x-ratelimit-limit"), limit);
    assert_eq!(answer.number("x-ratelimit-remaining"), 0);
    assert_eq!(answer.number("x-ratelimit-reset"), reset);
}

#[tokio::test]
async fn the_api_takes_100_in_60_seconds_and_says_so() {
    let server = limited().start();
    let operator = server.operator();
    let first = remaining(&operator.get("/hosts/").await.status_is(200));
    assert!(first >= 98, "{first}");
    let second = remaining(&operator.get("/nowhere").await.status_is(404));
    assert!(second <= first, "an unknown path counts, too");
    let mut passed = 2;
    let answer = loop {
        let answer = operator.get("/zones/").await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(passed < 200, "no limit after {passed}");
    };
    refused(&answer, 100);
    // The bucket fills up while the test runs.
    assert!((100..=130).contains(&passed), "{passed} passed");
    // One bucket per address: another caller from here is refused as well, and nothing is written.
    refused(&server.anonymous().get("/hosts/").await, 100);
    refused(&operator.post("/zones/", &zone("late")).await, 100);
}

#[tokio::test]
async fn tokens_take_10_in_60_seconds() {
    let server = limited().start();
    let guesses = server.anonymous().with_api_key("a wrong guess");
    for n in 0..10 {
        let answer = guesses.post("/auth/token", &json!({ "player_id": "alice" })).await;
        assert_eq!(answer.status, 401, "{n}: {answer}");
    }
    refused(&guesses.post("/auth/token", &json!({ "player_id": "alice" })).await, 10);
    refused(
        &server
            .operator()
            .post("/auth/refresh", &json!({ "refresh_token": "x" }))
            .await,
        10,
    );
    // The API has a bucket of its own.
    let _ = server.operator().get("/hosts/").await.status_is(200);
}

#[tokio::test]
async fn health_root_metrics_and_docs_are_exempt() {
    let server = limited().env("RATE_LIMIT_API_REQUESTS", 1).start();
    for path in [
        "/",
        "/health",
        "/api/v1/health",
        "/metrics",
        "/api/v1/monitoring/metrics",
        "/openapi.json",
        "/docs/",
    ] {
        for _ in 0..5 {
            let answer = server.anonymous().absolute(Method::GET, path, None).await;
            assert!(answer.status < 400, "{answer}");
            assert!(!answer.headers.contains_key("x-ratelimit-limit"), "{answer}");
        }
    }
    let _ = server.operator().get("/hosts/").await.status_is(200);
    assert_eq!(server.operator().get("/hosts/").await.status, 429);
}

#[tokio::test]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let server = limited().env("RATE_LIMIT_API_REQUESTS", 2).start();
    let from = |server: &Server, address: &str| server.operator().with_header("x-forwarded-for", address);
    for n in 0..2 {
        let _ = from(&server, &format!("198.51.100.{n}"))
            .get("/hosts/")
            .await
            .status_is(200);
    }
    assert_eq!(
        from(&server, "198.51.100.9").get("/hosts/").await.status,
        429,
        "the header is only a client's word"
    );
    drop(server);

    let server = limited()
        .env("RATE_LIMIT_API_REQUESTS", 2)
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .start();
    for n in 0..5 {
        let _ = from(&server, &format!("198.51.100.{n}"))
            .get("/hosts/")
            .await
            .status_is(200);
    }
    let _ = from(&server, "198.51.100.1").get("/hosts/").await.status_is(200);
    assert_eq!(from(&server, "198.51.100.1").get("/hosts/").await.status, 429);
    // What a client itself put in front does not help it.
    assert_eq!(
        from(&server, "203.0.113.5, 198.51.100.1").get("/hosts/").await.status,
        429
    );
}

#[tokio::test]
async fn messages_are_limited_per_connection() {
    let server = limited()
        .env("RATE_LIMIT_WS_REQUESTS", 20)
        // Nothing comes back while the test runs.
        .env("RATE_LIMIT_WS_WINDOW", 86_400)
        .env("RATE_LIMIT_API_REQUESTS", 1000)
        .start();
    let made = session(&server.operator(), "chat", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut one = Ws::joined(&server, "p1", id).await;
    let mut two = Ws::joined(&server, "p2", id).await;
    let _ = one.expect("peer-joined").await;
    let offer = json!({ "type": "offer", "to": "p2", "sdp": "v=0" });
    for _ in 0..40 {
        one.send(&offer).await;
    }
    // Joining took the first token, so 19 pass.
    for _ in 0..21 {
        let error = one.expect_error().await;
        assert!(error.to_lowercase().contains("rate limit"), "{error}");
    }
    for _ in 0..19 {
        let _ = two.expect("offer").await;
    }
    // The other connection has its own bucket.
    two.send(&json!({ "type": "answer", "to": "p1", "sdp": "v=0" })).await;
    let _ = one.expect("answer").await;
}

#[tokio::test]
async fn switched_off_nothing_is_limited_and_nothing_is_said() {
    let server = Options::default().env("RATE_LIMIT_API_REQUESTS", 1).start();
    for _ in 0..5 {
        let answer = server.operator().get("/hosts/").await.status_is(200);
        assert!(!answer.headers.contains_key("x-ratelimit-limit"), "{answer}");
    }
    let _: Value = server.operator().get("/plugins").await.ok(200);
}
