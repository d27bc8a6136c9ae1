//! What a call does when it fails: again, or not, and for how long; and how many connections all calls together open.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use p2p_coordinator_tests::eventually;
use p2p_coordinator_tests::postgres::database;

use super::super::{Database, REPEATS, reach};
use super::{LIMITS, Limits, empty};
use crate::ports::contract::a_host;
use crate::ports::storage::StorageError;

/// Fails with `code` at the first `times` attempts; tells the answer and how many attempts there were.
async fn attempts(database: &Database, code: &str, times: u32, again: bool) -> (Result<(), StorageError>, u32) {
    let count = AtomicU32::new(0);
    let asked = &count;
    let text = &format!("DO $$ BEGIN RAISE EXCEPTION 'told' USING ERRCODE = '{code}'; END $$");
    let work = move || async move {
        let mut lease = database.connection().await?;
        let mut tx = lease.begin().await?;
        if asked.fetch_add(1, Ordering::SeqCst) < times {
            sqlx::raw_sql(sqlx::AssertSqlSafe(text.as_str()))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    };
    let answer = if again {
        database.again(work).await
    } else {
        database.once(work).await
    };
    (answer, count.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_left_no_trace_is_done_again() {
    let kept = database();
    let database = reach(kept.url(), LIMITS).await.unwrap();
    for code in ["40001", "40P01"] {
        assert!(
            matches!(attempts(&database, code, 2, false).await, (Ok(()), 3)),
            "{code}"
        );
        let (answer, count) = attempts(&database, code, 99, false).await;
        assert!(
            matches!(answer, Err(StorageError::Unavailable(_))),
            "{code}: {answer:?}"
        );
        assert_eq!(count, REPEATS + 1, "{code}");
    }
    // The connection is gone, and nobody knows what became of the work.
    let (answer, count) = attempts(&database, "57P01", 1, false).await;
    assert!(
        matches!(answer, Err(StorageError::Unavailable(_))) && count == 1,
        "{answer:?}"
    );
    assert!(matches!(attempts(&database, "57P01", 1, true).await, (Ok(()), 2)));
    let (answer, count) = attempts(&database, "22P02", 1, true).await;
    assert!(
        matches!(answer, Err(StorageError::Internal(_))) && count == 1,
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_a_statement_that_takes_too_long() {
    let kept = database();
    let limits = Limits {
        statement: Duration::from_millis(300),
        ..LIMITS
    };
    let database = &reach(kept.url(), limits).await.unwrap();
    let start = Instant::now();
    let sleep = move || async move {
        let mut lease = database.connection().await?;
        sqlx::raw_sql("SELECT pg_sleep(20)").execute(&mut *lease).await
    };
    let error = database.again(sleep).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let StorageError::Unavailable(cause) = error else {
        panic!("{error}")
    };
    assert!(format!("{cause:#}").contains("statement timeout"), "{cause:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_keeps_some_connections_and_opens_more_up_to_its_end() {
    let (store, database) = empty().await;
    let open = || {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'p2p-coordinator'
            AND datname = current_database()";
        database.sql(asked).parse::<u32>().unwrap()
    };
    eventually("those that are kept are open", || async {
        (open() == LIMITS.kept).then_some(())
    })
    .await;
    a_host(&store, "one").await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    store.hosts.all().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let opened = open();
    assert!(opened > LIMITS.kept && opened <= LIMITS.most, "{opened}");
    store.health.close().await;
    eventually("all are closed", || async { (open() == 0).then_some(()) }).await;
}
