//! What is asked of, or done to, many sessions at once: lists, expiry, removal, sums.

use std::collections::HashMap;

use super::*;
use crate::ports::storage::{SessionFilter, SessionSums};

pub(crate) async fn lists(store: &Storage) {
    for (host, zone) in [("one", "plaza"), ("two", "arena")] {
        a_host(store, host).await;
        a_zone(store, zone).await;
    }
    a_session(store, "a", "one", "plaza", &[]).await;
    a_session(store, "b", "two", "plaza", &[]).await;
    a_session(store, "c", "one", "arena", &[]).await;
    done(store.sessions.activate(&key("b"), NOW).await.unwrap());
    done(
        store
            .sessions
            .finish(&key("c"), SessionStatus::Failed, None, NOW)
            .await
            .unwrap(),
    );
    let all = SessionFilter {
        limit: 10,
        ..SessionFilter::default()
    };
    let host = |host: &str| SessionFilter {
        host: Some(host.to_owned()),
        ..all.clone()
    };
    let zone = |zone: &str| SessionFilter {
        zone: Some(zone.to_owned()),
        ..all.clone()
    };
    let statuses = |statuses: &[SessionStatus]| SessionFilter {
        statuses: statuses.to_vec(),
        ..all.clone()
    };
    let live = [SessionStatus::Pending, SessionStatus::Active, SessionStatus::Paused];
    for (filter, expected) in [
        (all.clone(), vec!["session-c", "session-b", "session-a"]),
        (
            SessionFilter {
                limit: 1,
                offset: 1,
                ..all.clone()
            },
            vec!["session-b"],
        ),
        (
            SessionFilter {
                limit: 0,
                ..all.clone()
            },
            vec![],
        ),
        (host("one"), vec!["session-c", "session-a"]),
        (host("nobody"), vec![]),
        (zone("plaza"), vec!["session-b", "session-a"]),
        (zone("nowhere"), vec![]),
        (statuses(&live), vec!["session-b", "session-a"]),
        (statuses(&[SessionStatus::Failed]), vec!["session-c"]),
        (
            SessionFilter {
                host: Some("one".to_owned()),
                ..statuses(&live)
            },
            vec!["session-a"],
        ),
        (
            SessionFilter {
                host: Some("one".to_owned()),
                ..zone("arena")
            },
            vec!["session-c"],
        ),
    ] {
        let sessions = store.sessions.list(&filter).await.unwrap();
        let names: Vec<_> = sessions.iter().map(|session| session.session_id.as_str()).collect();
        assert_eq!(names, expected, "{filter:?}");
    }
}

pub(crate) async fn touches_and_expires(store: &Storage) {
    a_place(store).await;
    for name in ["pending", "active", "touched", "over"] {
        a_session(store, name, "one", "plaza", &["ann"]).await;
    }
    done(store.sessions.activate(&key("active"), NOW).await.unwrap());
    done(
        store
            .sessions
            .finish(&key("over"), SessionStatus::Ended, None, NOW)
            .await
            .unwrap(),
    );
    let later = NOW.plus_seconds(30);
    let named = ["session-touched", "session-over", "session-unknown"].map(str::to_owned);
    store.sessions.touch(&named, later).await.unwrap();
    store.sessions.touch(&named, NOW).await.unwrap();
    store.sessions.touch(&[], later).await.unwrap();
    let touched = store.sessions.get(&key("touched")).await.unwrap().unwrap();
    assert_eq!(
        (touched.last_activity_at, touched.updated_at),
        (later, NOW),
        "activity never goes back"
    );

    let now = NOW.plus_seconds(60);
    let mut gone = store.sessions.expire(later, now).await.unwrap();
    gone.sort_by_key(|session| session.id);
    let names: Vec<_> = gone
        .iter()
        .map(|session| (session.session_id.as_str(), session.status))
        .collect();
    assert_eq!(
        names,
        [
            ("session-pending", SessionStatus::Failed),
            ("session-active", SessionStatus::Ended)
        ]
    );
    assert!(
        gone.iter()
            .all(|session| session.ended_at == Some(now) && session.updated_at == now)
    );
    for session in gone {
        assert_eq!(
            store.sessions.get(&SessionKey::Id(session.id)).await.unwrap(),
            Some(session)
        );
    }
    assert_eq!(counters(store).await, (4, 1, 4));
    assert!(store.sessions.expire(later, now).await.unwrap().is_empty());
}

pub(crate) async fn purges(store: &Storage) {
    a_place(store).await;
    for name in ["a", "b", "c", "live"] {
        a_session(store, name, "one", "plaza", &[]).await;
    }
    for (name, status) in [("a", SessionStatus::Ended), ("b", SessionStatus::Failed)] {
        done(store.sessions.finish(&key(name), status, None, NOW).await.unwrap());
    }
    done(
        store
            .sessions
            .finish(&key("c"), SessionStatus::Ended, None, NOW.plus_seconds(10))
            .await
            .unwrap(),
    );
    let cutoff = NOW.plus_seconds(10);
    assert_eq!(store.sessions.purge(cutoff, 1).await.unwrap(), 1);
    assert_eq!(store.sessions.purge(cutoff, 10).await.unwrap(), 1);
    assert_eq!(store.sessions.purge(cutoff, 10).await.unwrap(), 0);
    let left = store
        .sessions
        .list(&SessionFilter {
            limit: 10,
            ..SessionFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(
        left.iter()
            .map(|session| session.session_id.as_str())
            .collect::<Vec<_>>(),
        ["session-live", "session-c"]
    );
    assert_eq!(counters(store).await, (4, 1, 0), "what was counted stays counted");
}

pub(crate) async fn sums(store: &Storage) {
    assert_eq!(store.sessions.sums().await.unwrap(), SessionSums::default());
    a_place(store).await;
    let latency = |value| SessionMetrics {
        average_latency_ms: Some(value),
        ..SessionMetrics::default()
    };
    for (name, value) in [
        ("a", Some(10.0)),
        ("b", Some(20.0)),
        ("c", None),
        ("d", Some(1000.0)),
        ("e", None),
    ] {
        a_session(store, name, "one", "plaza", &["ann", "bob"]).await;
        if let Some(value) = value {
            done(
                store
                    .sessions
                    .record_metrics(&key(name), latency(value), NOW)
                    .await
                    .unwrap(),
            );
        }
    }
    for name in ["a", "b", "c"] {
        done(store.sessions.activate(&key(name), NOW).await.unwrap());
    }
    done(
        store
            .sessions
            .finish(&key("d"), SessionStatus::Failed, None, NOW)
            .await
            .unwrap(),
    );
    let sums = store.sessions.sums().await.unwrap();
    assert_eq!(
        sums,
        SessionSums {
            by_status: [1, 3, 0, 0, 1],
            players: 6,
            average_latency_ms: 15.0
        }
    );
}

pub(crate) async fn counts_live_sessions(store: &Storage) {
    assert!(store.sessions.live_counts().await.unwrap().is_empty());
    a_place(store).await;
    a_host(store, "two").await;
    a_host(store, "idle").await;
    for (name, host) in [
        ("a", "one"),
        ("b", "one"),
        ("c", "two"),
        ("over", "two"),
        ("past", "idle"),
    ] {
        a_session(store, name, host, "plaza", &[]).await;
    }
    done(store.sessions.activate(&key("a"), NOW).await.unwrap());
    done(
        store
            .sessions
            .finish(&key("over"), SessionStatus::Ended, None, NOW)
            .await
            .unwrap(),
    );
    done(
        store
            .sessions
            .finish(&key("past"), SessionStatus::Failed, None, NOW)
            .await
            .unwrap(),
    );
    let counts = store.sessions.live_counts().await.unwrap();
    assert_eq!(counts, HashMap::from([("one".to_owned(), 2), ("two".to_owned(), 1)]));
}

pub(crate) async fn outlives_its_host(store: &Storage) {
    a_place(store).await;
    let session = a_session(store, "a", "one", "plaza", &["ann"]).await;
    assert!(store.hosts.delete("one").await.unwrap());
    assert_eq!(store.sessions.get(&key("a")).await.unwrap(), Some(session));
    let host = a_host(store, "two").await;
    let moved = done(store.sessions.move_host(&key("a"), "one", "two", NOW).await.unwrap());
    assert_eq!((moved.host.as_str(), moved.host_id), ("two", host.id));
}
