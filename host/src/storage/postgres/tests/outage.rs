//! A database that is slow, away, or back again: every call ends in time, and the pool recovers by itself.

use std::future::Future;
use std::time::{Duration, Instant};

use p2p_coordinator_tests::postgres::Postgres;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::super::fault::failed;
use super::{LIMITS, Limits, empty, open};
use crate::domain::session::SessionStatus;
use crate::ports::contract::{NOW, a_host, a_session, a_zone, key};
use crate::ports::storage::{Result, Storage, StorageError};

const SHORT: Limits = Limits {
    statement: Duration::from_secs(1),
    ..LIMITS
};

/// What is left of the machine's patience when many tests run.
const BUSY: Duration = Duration::from_secs(2);

/// The call must end in `Unavailable` within `limit`.
async fn away<T: std::fmt::Debug>(what: &str, limit: Duration, call: impl Future<Output = Result<T>>) {
    let start = Instant::now();
    let answer = call.await;
    assert!(
        matches!(answer, Err(StorageError::Unavailable(_))),
        "{what}: {answer:?}"
    );
    assert!(start.elapsed() < limit + BUSY, "{what}: {:?}", start.elapsed());
}

async fn all_is_away(store: &Storage) {
    let (limit, key) = (SHORT.statement + super::super::SLACK, key("a"));
    tokio::join!(
        away("reading", limit, store.hosts.get("one")),
        away("writing", limit, store.zones.set_p2p("plaza", true, NOW)),
        away("a transaction", limit, store.sessions.add_player(&key, "bob", NOW)),
        away("a sign of life", super::super::PING_TIMEOUT, store.health.ping()),
    );
}

async fn all_is_well(store: &Storage) {
    let key = key("a");
    tokio::join!(
        async { assert!(store.hosts.get("one").await.unwrap().is_some()) },
        async { assert!(store.zones.set_p2p("plaza", true, NOW).await.unwrap().is_some()) },
        async { drop(store.sessions.add_player(&key, "ann", NOW).await.unwrap()) },
        async { store.health.ping().await.unwrap() },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_and_comes_back() {
    let server = Postgres::start();
    let database = server.database();
    let store = open(database.url(), SHORT).await.unwrap();
    a_host(&store, "one").await;
    a_zone(&store, "plaza").await;
    a_session(&store, "a", "one", "plaza", &[]).await;

    for (end, begin) in [
        (Postgres::stop as fn(&Postgres), Postgres::start_again as fn(&Postgres)),
        (Postgres::kill, Postgres::start_again),
        (Postgres::pause, Postgres::resume),
    ] {
        // Connections that were in use until now, and are dead unnoticed.
        all_is_well(&store).await;
        end(&server);
        all_is_away(&store).await;
        begin(&server);
        all_is_well(&store).await;
    }
    // Back before anyone noticed: no call fails.
    server.stop();
    server.start_again();
    all_is_well(&store).await;
}

/// Hands on what is sent through it, until the connections that are open are cut off without a word.
async fn a_way_to(port: u16) -> (u16, tokio::sync::watch::Sender<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    let (cut, cuts) = tokio::sync::watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cuts = cuts.clone();
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    // Both ends stay open, and nothing passes any more.
                    _ = cuts.changed() => std::future::pending().await,
                }
            });
        }
    });
    (here, cut)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_is_replaced() {
    let server = Postgres::start();
    let database = server.database();
    let (port, cut) = a_way_to(server.port()).await;
    let url = database
        .url()
        .replace(&format!(":{}/", server.port()), &format!(":{port}/"));
    let limits = Limits {
        kept: 1,
        most: 1,
        ..SHORT
    };
    let store = open(&url, limits).await.unwrap();
    a_zone(&store, "plaza").await;
    cut.send(()).unwrap();
    // Whether the cut met this call or the one before on its way back.
    let start = Instant::now();
    let answer = store.zones.set_p2p("plaza", true, NOW).await;
    assert!(!matches!(answer, Err(StorageError::Internal(_))), "{answer:?}");
    assert!(
        start.elapsed() < SHORT.statement + super::super::SLACK + BUSY,
        "{:?}",
        start.elapsed()
    );
    // The only place in the pool is free again as soon as the test of what came back is over.
    p2p_coordinator_tests::eventually("another connection", || async {
        store.zones.get("plaza").await.ok().flatten()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_ends_the_wait() {
    let (store, database) = empty().await;
    a_host(&store, "one").await;
    a_zone(&store, "plaza").await;
    a_session(&store, "a", "one", "plaza", &[]).await;
    let impatient = open(
        database.url(),
        Limits {
            most: 1,
            kept: 1,
            ..SHORT
        },
    )
    .await
    .unwrap();
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    other.execute("BEGIN; LOCK TABLE p2p_sessions").await.unwrap();
    let key = key("a");
    let end = impatient.sessions.finish(&key, SessionStatus::Ended, None, NOW);
    tokio::join!(
        away("a locked row", SHORT.statement / 2, end),
        // With one connection in all, and that one waiting.
        away("a pool in use", SHORT.statement * 2, impatient.sessions.sums()),
    );
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(
        impatient.sessions.sums().await.unwrap().by_status[0],
        1,
        "nothing half done"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_not_well() {
    let (store, database) = empty().await;
    a_zone(&store, "plaza").await;
    database.sql(&format!(
        "ALTER DATABASE \"{}\" SET default_transaction_read_only = on",
        database.name()
    ));
    // As after a failover: the old connections end, and the next ones find a standby.
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'p2p-coordinator'
        AND datname = current_database()",
    );
    assert!(store.zones.get("plaza").await.unwrap().is_some());
    away("writing", BUSY, store.zones.set_p2p("plaza", true, NOW)).await;
    away("a sign of life", BUSY, store.health.ping()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_told_apart_by_their_code() {
    let (_store, database) = empty().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let mut raise = async |code: &str| {
        let text = format!("DO $$ BEGIN RAISE EXCEPTION 'told' USING ERRCODE = '{code}'; END $$");
        failed(connection.execute(sqlx::AssertSqlSafe(text)).await.unwrap_err())
    };
    for code in [
        "08006", "53100", "53300", "57014", "57P01", "58030", "25006", "40001", "40P01", "55P03",
    ] {
        assert!(matches!(raise(code).await, StorageError::Unavailable(_)), "{code}");
    }
    for code in ["23505", "22P02", "42P01", "42501", "XX000", "0A000"] {
        assert!(matches!(raise(code).await, StorageError::Internal(_)), "{code}");
    }
}
