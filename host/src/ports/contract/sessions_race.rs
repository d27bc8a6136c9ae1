//! Contract of `SessionRepository`, many callers at once: every rule holds, whoever comes first.

use std::future::Future;

use super::{NOW, a_host, a_session, a_zone, definition, done, key, new_session, registration};
use crate::domain::session::{FallbackReason, SessionStatus};
use crate::ports::storage::{Changed, Opened, Storage};

/// Runs `count` calls at once and returns their answers.
async fn at_once<T, F>(store: &Storage, count: usize, call: impl Fn(Storage, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count)
        .map(|number| tokio::spawn(call(store.clone(), number)))
        .collect();
    let mut answers = Vec::with_capacity(count);
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn how_many_done(answers: &[Changed]) -> usize {
    answers
        .iter()
        .filter(|answer| matches!(answer, Changed::Done(_)))
        .count()
}

pub(crate) async fn players_race_for_room(store: &Storage) {
    a_host(store, "one").await;
    let mut zone = definition("plaza");
    zone.max_players = 12;
    store.zones.define(&zone, NOW).await.unwrap();
    a_session(store, "a", "one", "plaza", &["ann", "bob"]).await;
    let answers = at_once(store, 50, |store, number| async move {
        store
            .sessions
            .add_player(&key("a"), &format!("player-{number}"), NOW)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 10);
    assert_eq!(answers.iter().filter(|answer| **answer == Changed::Full).count(), 40);
    let session = store.sessions.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((session.current_players, session.connected_players.len()), (12, 12));
    assert_eq!(
        store.zones.get("plaza").await.unwrap().unwrap().total_players_served,
        12
    );

    let answers = at_once(store, 10, |store, _| async move {
        store.sessions.remove_player(&key("a"), "ann", NOW).await.unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 1);
    let answers = at_once(store, 10, |store, _| async move {
        store.sessions.add_player(&key("a"), "cid", NOW).await.unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 1);
}

pub(crate) async fn activations_race(store: &Storage) {
    a_host(store, "one").await;
    a_zone(store, "plaza").await;
    a_session(store, "a", "one", "plaza", &[]).await;
    let answers = at_once(store, 20, |store, number| async move {
        store
            .sessions
            .activate(&key("a"), NOW.plus_seconds(number as i64))
            .await
            .unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 1);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Changed::WrongStatus(SessionStatus::Active))
            .count(),
        19
    );
}

pub(crate) async fn openings_race(store: &Storage) {
    a_zone(store, "plaza").await;
    let mut host = registration("one");
    host.max_zones = 3;
    store.hosts.register(&host, 80.0, None, NOW).await.unwrap();
    let answers = at_once(store, 20, |store, number| async move {
        store
            .sessions
            .open(&new_session(&number.to_string(), "one", "plaza", &["ann"]), NOW)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| matches!(answer, Opened::Done(_)))
            .count(),
        3
    );
    let refused = Opened::Refused(FallbackReason::HostFull);
    assert_eq!(answers.iter().filter(|answer| **answer == refused).count(), 17);
    let zone = store.zones.get("plaza").await.unwrap().unwrap();
    assert_eq!(
        (zone.total_sessions, zone.active_sessions, zone.total_players_served),
        (3, 3, 3)
    );
}

pub(crate) async fn ends_race(store: &Storage) {
    a_host(store, "one").await;
    a_zone(store, "plaza").await;
    a_session(store, "a", "one", "plaza", &[]).await;
    let answers = at_once(store, 20, |store, _| async move {
        store
            .sessions
            .finish(&key("a"), SessionStatus::Ended, None, NOW)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 1);
    assert_eq!(store.zones.get("plaza").await.unwrap().unwrap().active_sessions, 0);
}

pub(crate) async fn moves_race(store: &Storage) {
    a_zone(store, "plaza").await;
    a_host(store, "one").await;
    let mut host = registration("two");
    host.max_zones = 2;
    store.hosts.register(&host, 80.0, None, NOW).await.unwrap();
    for name in ["0", "1", "2", "3"] {
        a_session(store, name, "one", "plaza", &[]).await;
    }
    let answers = at_once(store, 4, |store, number| async move {
        store
            .sessions
            .move_host(&key(&number.to_string()), "one", "two", NOW)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 2);
    assert_eq!(answers.iter().filter(|answer| **answer == Changed::Full).count(), 2);

    a_host(store, "three").await;
    a_session(store, "moving", "one", "plaza", &[]).await;
    let answers = at_once(store, 10, |store, _| async move {
        store
            .sessions
            .move_host(&key("moving"), "one", "three", NOW)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(how_many_done(&answers), 1);
    assert_eq!(
        done(store.sessions.activate(&key("moving"), NOW).await.unwrap()).host,
        "three"
    );
}
