//! The service over PostgreSQL: what it says when it cannot start, and what happens when the database goes and comes back.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::postgres::{PASSWORD, Postgres};
use p2p_coordinator_tests::shapes::{host, zone};
use p2p_coordinator_tests::{Options, eventually};
use serde_json::json;

/// Starts what must refuse to start; returns all that it says.
fn refusal(url: &str, status: i32) -> String {
    let start = Instant::now();
    let (ended, said) = Options::default().env("DATABASE_URL", url).run(&[]);
    // Five seconds, and what a busy machine takes to start a process.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}: {said}",
        start.elapsed()
    );
    assert_eq!(ended.code(), Some(status), "{said}");
    assert!(!said.contains(PASSWORD) && !said.contains("wr0ng"), "{said}");
    said
}

#[test]
fn a_start_without_the_database_says_what_to_do_and_ends() {
    let server = Postgres::start();
    let said = refusal(&server.url_of("postgres", "wr0ng", "postgres"), 1);
    let told = said
        .lines()
        .filter(|line| line.contains("DATABASE_URL"))
        .collect::<Vec<_>>();
    assert!(told.len() == 1 && told[0].contains("the password is wrong"), "{said}");
    let said = refusal(&server.url_of("postgres", PASSWORD, "absent"), 1);
    assert!(said.contains("CREATE DATABASE \"absent\""), "{said}");
    server.stop();
    let said = refusal(&server.url_of("postgres", PASSWORD, "postgres"), 1);
    assert!(said.contains("start PostgreSQL"), "{said}");
    let said = refusal("postgresql+asyncpg://user:wr0ng@localhost/", 2);
    assert!(
        said.contains("DATABASE_URL") && said.contains("name of the database"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_goes_and_comes_back() {
    let database_server = Postgres::start();
    let database = database_server.database();
    let server = Options::default()
        .env(
            "DATABASE_URL",
            database.url().replacen("postgresql:", "postgresql+asyncpg:", 1),
        )
        .env("DATABASE_STATEMENT_TIMEOUT_MS", 1000)
        .start();
    let (operator, anonymous) = (server.operator(), server.anonymous());
    let health = anonymous.get("/health").await.ok(200);
    assert_eq!(health["database"]["storage"], json!("postgres"), "{health}");
    let _ = operator.post("/zones/", &zone("plaza")).await.ok(201);

    for (number, (end, begin)) in [
        (Postgres::kill as fn(&Postgres), Postgres::start_again as fn(&Postgres)),
        (Postgres::stop, Postgres::start_again),
        (Postgres::pause, Postgres::resume),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("host-{number}");
        let _ = operator.post("/hosts/register", &host(&name, "alice")).await.ok(201);
        end(&database_server);
        let start = Instant::now();
        let refused = operator.post("/hosts/register", &host("late", "alice")).await;
        assert_eq!(refused.status, 503, "{refused}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        eventually("the loss is noticed", || async {
            let (health, ready) = (anonymous.get("/health").await, anonymous.get("/health/ready").await);
            (health.status == 503 && ready.status == 503).then_some(())
        })
        .await;
        assert_eq!(anonymous.get("/health/live").await.status, 200);
        begin(&database_server);
        eventually("it is back", || async {
            (anonymous.get("/health/ready").await.status == 200).then_some(())
        })
        .await;
        let found = operator.get(&format!("/hosts/{name}")).await;
        assert_eq!(found.status, 200, "acknowledged and lost: {found}");
        let _ = operator.post("/hosts/register", &host("late", "alice")).await.ok(201);
    }
    assert_eq!(
        database.sql("SELECT count(*) FROM hosts WHERE host_id LIKE 'host-%'"),
        "3"
    );
}
