//! Opening: the schema, and what is said when it cannot be.

use std::time::{Duration, Instant};

use p2p_coordinator_tests::postgres::{PASSWORD, Postgres, database};

use super::{LIMITS, empty, open};
use crate::ports::contract::{a_host, a_zone};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_open_an_empty_database_at_once() {
    let database = database();
    let nodes = futures_util::future::join_all((0..8).map(|_| open(database.url(), LIMITS))).await;
    for (number, node) in nodes.into_iter().enumerate() {
        a_host(&node.unwrap(), &format!("host-{number}")).await;
    }
    assert_eq!(database.sql("SELECT count(*) FROM hosts"), "8");
    let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/postgres"))
        .unwrap()
        .count();
    assert_eq!(
        database.sql("SELECT count(*) FROM _sqlx_migrations"),
        migrations.to_string()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guides_indexes_are_there() {
    let (_store, database) = empty().await;
    let there = database.sql("SELECT indexname, tablename, indexdef FROM pg_indexes");
    for (name, columns) in [
        ("idx_zone_status", "p2p_sessions USING btree (zone_id, status)"),
        ("idx_host_status", "hosts USING btree (status)"),
        (
            "idx_zone_status_capacity",
            "p2p_sessions USING btree (zone_id, status, current_players)",
        ),
        ("idx_status_ended_at", "p2p_sessions USING btree (status, ended_at)"),
    ] {
        let index = there.lines().find(|line| line.starts_with(&format!("{name}|")));
        assert!(index.is_some_and(|index| index.ends_with(columns)), "{name}: {index:?}");
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |folder: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../migrations")
            .join(folder);
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("postgres"), names("sqlite"));
}

/// Opens what cannot be opened; the error must come soon and without the password.
async fn refusal(url: &str) -> String {
    let start = Instant::now();
    let error = open(url, LIMITS).await.err().unwrap_or_else(|| panic!("{url} opened"));
    assert!(start.elapsed() < Duration::from_secs(5), "{url}: {:?}", start.elapsed());
    let text = format!("{error:#}");
    assert!(!text.contains(PASSWORD) && !text.contains("wr0ng"), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let server = Postgres::start();
    let admin = |database: &str| server.url_of("postgres", PASSWORD, database);
    let text = refusal(&server.url_of("postgres", "wr0ng", "postgres")).await;
    assert!(
        text.contains("password is wrong") && text.contains("ALTER USER"),
        "{text}"
    );
    let text = refusal(&admin("absent")).await;
    assert!(text.contains("CREATE DATABASE \"absent\""), "{text}");
    let text = refusal(&format!("{}?sslmode=require", admin("postgres"))).await;
    assert!(text.contains("ssl = on"), "{text}");
    let text = refusal("postgresql://u:wr0ng@host.invalid/d").await;
    assert!(text.contains("check the host name"), "{text}");

    let taken = server.database();
    taken.sql("CREATE TABLE hosts (id INTEGER PRIMARY KEY)");
    let text = refusal(taken.url()).await;
    assert!(text.contains("tables of another program"), "{text}");

    let newer = server.database();
    drop(open(newer.url(), LIMITS).await.unwrap());
    newer.sql("INSERT INTO _sqlx_migrations VALUES (9999, 'future', now(), TRUE, '', 0)");
    let text = refusal(newer.url()).await;
    assert!(text.contains("newer than this program"), "{text}");

    let standby = server.database();
    standby.sql(&format!(
        "ALTER DATABASE \"{}\" SET default_transaction_read_only = on",
        standby.name()
    ));
    let text = refusal(standby.url()).await;
    assert!(text.contains("takes no writes"), "{text}");

    let server_port = server.port();
    server.stop();
    let text = refusal(&admin("postgres")).await;
    assert!(
        text.contains("nothing listens there") && text.contains(&server_port.to_string()),
        "{text}"
    );
    server.start_again();
    server.pause();
    let text = refusal(&admin("postgres")).await;
    assert!(text.contains("no answer in time"), "{text}");
    server.resume();
}

/// Such a user may not write to the schema `public` since PostgreSQL 15.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_privileges_on_the_database_are_enough() {
    let server = Postgres::start();
    server.sql("CREATE USER ai_world_user WITH PASSWORD 'pw'");
    let database = server.database();
    let url = server.url_of("ai_world_user", "pw", database.name());
    let text = refusal(&url).await;
    assert!(text.contains("GRANT CREATE ON SCHEMA public"), "{text}");

    server.sql(&format!(
        "GRANT ALL PRIVILEGES ON DATABASE \"{}\" TO ai_world_user",
        database.name()
    ));
    let (first, second) = tokio::join!(open(&url, LIMITS), open(&url, LIMITS));
    a_zone(&first.unwrap(), "plaza").await;
    let again = open(&url, LIMITS).await.unwrap();
    for store in [second.unwrap(), again] {
        assert!(store.zones.get("plaza").await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_starting_is_waited_for() {
    let server = Postgres::start();
    let database = server.database();
    drop(open(database.url(), LIMITS).await.unwrap());
    // A killed server recovers at its next start, and says so to who comes too early.
    server.kill();
    server.start_again();
    open(database.url(), LIMITS).await.unwrap();
}
