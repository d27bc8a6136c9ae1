//! Live state in Redis: what a start without it says, and that a node goes on while it is away.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::shapes::{heartbeat, host};
use p2p_coordinator_tests::{Client, Options, Redis, eventually};
use serde_json::json;

async fn status_of(client: &Client, path: &str, status: u16) {
    eventually(path, || async {
        (client.get(path).await.status == status).then_some(())
    })
    .await;
}

#[test]
fn a_start_without_redis_says_once_what_to_do() {
    let started = Instant::now();
    let options = Options::default().env("REDIS_URL", "redis://:secret-word@127.0.0.1:1/0");
    let (status, said) = options.run(&["serve"]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(said.matches("REDIS_URL").count(), 2, "{said}");
    assert!(
        said.contains("start Redis there") && !said.contains("secret-word"),
        "{said}"
    );
}

#[test]
fn a_url_that_cannot_be_read_is_refused_by_name() {
    let options = Options::default().env("REDIS_URL", "redis://:secret-word@h/first");
    let (status, said) = options.run(&["check-config"]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("REDIS_URL") && said.contains("number of a database"),
        "{said}"
    );
    assert!(!said.contains("secret-word"), "{said}");
}

#[tokio::test]
async fn a_node_goes_on_without_redis_and_comes_back_by_itself() {
    let mut redis = Redis::start();
    let limited = Options::default().env("RATE_LIMIT_ENABLED", "true");
    let server = limited.env("REDIS_URL", redis.url()).start();
    let operator = server.operator();
    let health = operator.get("/health").await.ok(200);
    assert_eq!(
        (&health["database"]["redis"], &health["database"]["live"]),
        (&json!("connected"), &json!("redis"))
    );
    let _ = operator
        .post("/hosts/register", &host("h", "alice"))
        .await
        .status_is(201);
    let before = operator
        .get("/hosts/h")
        .await
        .status_is(200)
        .number("x-ratelimit-remaining");
    assert!(before < 99, "{before}: requests draw on one bucket");

    redis.kill();
    status_of(&operator, "/health", 503).await;
    assert!(operator.get("/health").await.body.contains("disconnected"));
    let _ = operator.get("/health/live").await.status_is(200);
    let _ = operator.get("/health/ready").await.status_is(200);
    let asked = Instant::now();
    let alone = operator.get("/hosts/h").await.status_is(200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(alone.number("x-ratelimit-remaining") > before, "the node counts alone");
    let _ = operator.post("/hosts/h/heartbeat", &heartbeat()).await.status_is(200);

    redis.start_again();
    status_of(&operator, "/health", 200).await;
    let metrics = operator.get("/metrics").await.body;
    let local = metrics
        .lines()
        .find(|line| line.starts_with("p2p_rate_limit_local_total"))
        .unwrap()
        .to_owned();
    assert!(!local.ends_with(" 0"), "{local}");
    let _ = operator.get("/hosts/h").await.status_is(200);
    let metrics = operator.get("/metrics").await.body;
    assert!(metrics.contains(&local), "draws are shared again: {local}");
    let log = server.log();
    assert_eq!(log.matches("goes on by itself").count(), 1, "{log}");
    assert_eq!(log.matches("Redis is connected").count(), 2, "{log}");
}

#[tokio::test]
async fn hosts_of_one_node_are_good_on_another() {
    let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
    let database = format!("sqlite:///{}", folder.path().join("shared.db").display());
    let node = || {
        Options::default()
            .env("REDIS_URL", redis.url())
            .env("DATABASE_URL", &database)
            .start()
    };
    let nodes = (node(), node());
    let (one, other) = (nodes.0.operator(), nodes.1.operator());
    let listed = async |client: &Client| client.get("/hosts/available/list").await.ok(200);
    let _ = one.post("/hosts/register", &host("h", "alice")).await.status_is(201);
    let _ = other.get("/hosts/h").await.ok(200);
    eventually("the other node lists it", || async {
        (listed(&other).await != json!([])).then_some(())
    })
    .await;
    let mut beat = heartbeat();
    beat["current_players"] = json!(7);
    let _ = other.post("/hosts/h/heartbeat", &beat).await.ok(200);
    eventually("the first node hears of it", || async {
        (listed(&one).await[0]["current_players"] == 7).then_some(())
    })
    .await;
    let _ = other.delete("/hosts/h").await.status_is(204);
    eventually("the first node forgets it", || async {
        (one.get("/hosts/h").await.status == 404).then_some(())
    })
    .await;
}
