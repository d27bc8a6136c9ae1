//! Contract of `SessionRepository`, one caller at a time.

mod many;

pub(crate) use self::many::{counts_live_sessions, lists, outlives_its_host, purges, sums, touches_and_expires};
use super::{NOW, a_host, a_session, a_zone, definition, done, key, new_session, opened, registration};
use crate::domain::host::HostStatus;
use crate::domain::session::{FallbackReason, SessionKey, SessionStatus};
use crate::domain::zone::ZoneStatus;
use crate::ports::storage::{Changed, NewSession, Opened, SessionMetrics, Storage};

async fn a_place(store: &Storage) {
    a_host(store, "one").await;
    a_zone(store, "plaza").await;
}

/// Total, active, served.
async fn counters(store: &Storage) -> (i64, i64, i64) {
    let zone = store.zones.get("plaza").await.unwrap().unwrap();
    (zone.total_sessions, zone.active_sessions, zone.total_players_served)
}

pub(crate) async fn opens(store: &Storage) {
    let host = a_host(store, "one").await;
    a_zone(store, "plaza").await;
    let zone = store.zones.get("plaza").await.unwrap().unwrap();
    let session = a_session(store, "a", "one", "plaza", &["ann", "bob"]).await;
    assert_eq!(
        (session.session_id.as_str(), session.status),
        ("session-a", SessionStatus::Pending)
    );
    assert_eq!((session.host_id, session.zone_id), (host.id, zone.id));
    assert_eq!((session.host.as_str(), session.zone.as_str()), ("one", "plaza"));
    assert_eq!(session.connected_players, ["ann", "bob"]);
    assert_eq!((session.current_players, session.max_players), (2, 20));
    assert_eq!((session.started_at, session.ended_at), (None, None));
    assert_eq!(
        (session.created_at, session.updated_at, session.last_activity_at),
        (NOW, NOW, NOW)
    );
    assert_eq!((session.average_latency_ms, session.bandwidth_usage_mbps), (0.0, 0.0));
    assert_eq!(counters(store).await, (1, 1, 2));
    for key in [key("a"), SessionKey::Id(session.id)] {
        assert_eq!(store.sessions.get(&key).await.unwrap(), Some(session.clone()));
    }
    let again = store.sessions.open(&new_session("a", "one", "plaza", &[]), NOW).await;
    assert!(again.is_err(), "a session_id is given once");
    assert_eq!(counters(store).await, (1, 1, 2));
}

pub(crate) async fn refuses_to_open(store: &Storage) {
    a_place(store).await;
    let refused = async |session: NewSession, reason: FallbackReason| {
        let answer = store.sessions.open(&session, NOW).await.unwrap();
        assert_eq!(answer, Opened::Refused(reason));
    };
    let session = || new_session("a", "one", "plaza", &["ann"]);
    refused(new_session("a", "one", "nowhere", &[]), FallbackReason::ZoneUnknown).await;
    refused(new_session("a", "nobody", "plaza", &[]), FallbackReason::HostUnknown).await;
    store.zones.set_p2p("plaza", false, NOW).await.unwrap();
    refused(session(), FallbackReason::ZoneP2pDisabled).await;
    store.zones.set_p2p("plaza", true, NOW).await.unwrap();
    for status in [ZoneStatus::Disabled, ZoneStatus::Maintenance] {
        store.zones.set_status("plaza", status, NOW).await.unwrap();
        refused(session(), FallbackReason::ZoneNotEnabled).await;
    }
    store.zones.set_status("plaza", ZoneStatus::Enabled, NOW).await.unwrap();
    for status in [HostStatus::Offline, HostStatus::Busy, HostStatus::Maintenance] {
        store.hosts.set_status("one", status, NOW).await.unwrap();
        refused(session(), FallbackReason::HostNotOnline).await;
    }
    store.hosts.set_status("one", HostStatus::Online, NOW).await.unwrap();
    let crowd: Vec<String> = (0..21).map(|number| format!("player-{number}")).collect();
    let mut crowded = NewSession {
        players: crowd,
        ..session()
    };
    refused(crowded.clone(), FallbackReason::ZoneCapacity).await;
    assert_eq!(store.sessions.get(&key("a")).await.unwrap(), None);
    assert_eq!(counters(store).await, (0, 0, 0));
    crowded.players.pop();
    assert_eq!(
        opened(store.sessions.open(&crowded, NOW).await.unwrap()).current_players,
        20
    );
}

pub(crate) async fn counts_the_room_of_a_host(store: &Storage) {
    a_zone(store, "plaza").await;
    let mut small = registration("one");
    small.max_zones = 2;
    small.max_players = 3;
    store.hosts.register(&small, 80.0, None, NOW).await.unwrap();
    let full = async |name: &str, players: &[&str]| {
        let answer = store
            .sessions
            .open(&new_session(name, "one", "plaza", players), NOW)
            .await
            .unwrap();
        assert_eq!(answer, Opened::Refused(FallbackReason::HostFull));
    };
    a_session(store, "a", "one", "plaza", &["ann", "bob"]).await;
    full("b", &["cid", "dan"]).await;
    a_session(store, "b", "one", "plaza", &["cid"]).await;
    full("c", &[]).await;
    done(
        store
            .sessions
            .finish(&key("a"), SessionStatus::Ended, None, NOW)
            .await
            .unwrap(),
    );
    full("c", &["dan", "eve", "fay"]).await;
    a_session(store, "c", "one", "plaza", &["dan", "eve"]).await;
}

pub(crate) async fn lives_and_ends(store: &Storage) {
    a_place(store).await;
    let session = a_session(store, "a", "one", "plaza", &["ann"]).await;
    let (second, third) = (NOW.plus_seconds(1), NOW.plus_seconds(2));
    let active = done(
        store
            .sessions
            .activate(&SessionKey::Id(session.id), second)
            .await
            .unwrap(),
    );
    assert_eq!(
        (active.status, active.started_at, active.ended_at),
        (SessionStatus::Active, Some(second), None)
    );
    assert_eq!((active.updated_at, active.last_activity_at), (second, second));
    let again = store.sessions.activate(&key("a"), second).await.unwrap();
    assert_eq!(again, Changed::WrongStatus(SessionStatus::Active));
    assert!(
        store
            .sessions
            .finish(&key("a"), SessionStatus::Paused, None, third)
            .await
            .is_err()
    );
    let ended = done(
        store
            .sessions
            .finish(&key("a"), SessionStatus::Ended, None, third)
            .await
            .unwrap(),
    );
    assert_eq!(
        (ended.status, ended.started_at, ended.ended_at),
        (SessionStatus::Ended, Some(second), Some(third))
    );
    assert_eq!(ended.connected_players, ["ann"], "who was there stays on record");
    assert_eq!(store.sessions.get(&key("a")).await.unwrap(), Some(ended));
    assert_eq!(counters(store).await, (1, 0, 1));
    let over = Changed::WrongStatus(SessionStatus::Ended);
    assert_eq!(
        store
            .sessions
            .finish(&key("a"), SessionStatus::Failed, None, third)
            .await
            .unwrap(),
        over
    );
    assert_eq!(store.sessions.activate(&key("a"), third).await.unwrap(), over);
    assert_eq!(store.sessions.add_player(&key("a"), "bob", third).await.unwrap(), over);
    assert_eq!(
        store.sessions.remove_player(&key("a"), "ann", third).await.unwrap(),
        over
    );
    assert_eq!(
        store
            .sessions
            .record_metrics(&key("a"), SessionMetrics::default(), third)
            .await
            .unwrap(),
        over
    );
    assert_eq!(
        store.sessions.move_host(&key("a"), "one", "one", third).await.unwrap(),
        over
    );
    assert_eq!(counters(store).await, (1, 0, 1));
}

pub(crate) async fn fails(store: &Storage) {
    a_place(store).await;
    a_session(store, "a", "one", "plaza", &[]).await;
    let elsewhere = store
        .sessions
        .finish(&key("a"), SessionStatus::Failed, Some("two"), NOW)
        .await
        .unwrap();
    assert_eq!(elsewhere, Changed::WrongStatus(SessionStatus::Pending));
    let failed = done(
        store
            .sessions
            .finish(&key("a"), SessionStatus::Failed, Some("one"), NOW)
            .await
            .unwrap(),
    );
    assert_eq!(
        (failed.status, failed.started_at, failed.ended_at),
        (SessionStatus::Failed, None, Some(NOW))
    );
    let again = store.sessions.activate(&key("a"), NOW).await.unwrap();
    assert_eq!(again, Changed::WrongStatus(SessionStatus::Failed));
    assert_eq!(counters(store).await, (1, 0, 0));
}

pub(crate) async fn moves_between_hosts(store: &Storage) {
    a_place(store).await;
    let two = a_host(store, "two").await;
    let mut small = registration("small");
    small.max_players = 1;
    store.hosts.register(&small, 80.0, None, NOW).await.unwrap();
    a_host(store, "gone").await;
    store.hosts.set_status("gone", HostStatus::Offline, NOW).await.unwrap();
    a_session(store, "a", "one", "plaza", &["ann", "bob"]).await;
    done(store.sessions.activate(&key("a"), NOW).await.unwrap());
    for to in ["small", "gone", "nobody"] {
        assert_eq!(
            store.sessions.move_host(&key("a"), "one", to, NOW).await.unwrap(),
            Changed::Full,
            "{to}"
        );
    }
    let wrong = store.sessions.move_host(&key("a"), "two", "one", NOW).await.unwrap();
    assert_eq!(wrong, Changed::WrongStatus(SessionStatus::Active));
    let later = NOW.plus_seconds(1);
    let moved = done(store.sessions.move_host(&key("a"), "one", "two", later).await.unwrap());
    assert_eq!(
        (moved.host.as_str(), moved.host_id, moved.updated_at),
        ("two", two.id, later)
    );
    assert_eq!((moved.status, moved.current_players), (SessionStatus::Active, 2));
    assert_eq!(store.sessions.get(&key("a")).await.unwrap(), Some(moved));
    let again = store.sessions.move_host(&key("a"), "one", "two", later).await.unwrap();
    assert_eq!(again, Changed::WrongStatus(SessionStatus::Active));
    assert_eq!(counters(store).await, (1, 1, 2));
}

pub(crate) async fn takes_measurements(store: &Storage) {
    a_place(store).await;
    a_session(store, "a", "one", "plaza", &[]).await;
    let metrics = SessionMetrics {
        average_latency_ms: Some(33.5),
        ..SessionMetrics::default()
    };
    done(store.sessions.record_metrics(&key("a"), metrics, NOW).await.unwrap());
    let metrics = SessionMetrics {
        average_latency_ms: None,
        average_packet_loss_percent: Some(1.25),
        bandwidth_usage_mbps: Some(9.0),
    };
    let later = NOW.plus_seconds(1);
    let session = done(store.sessions.record_metrics(&key("a"), metrics, later).await.unwrap());
    assert_eq!(
        (session.average_latency_ms, session.average_packet_loss_percent),
        (33.5, 1.25)
    );
    assert_eq!((session.bandwidth_usage_mbps, session.last_activity_at), (9.0, later));
    assert_eq!(store.sessions.get(&key("a")).await.unwrap(), Some(session));
}

pub(crate) async fn adds_and_removes_players(store: &Storage) {
    a_host(store, "one").await;
    let mut zone = definition("plaza");
    zone.max_players = 2;
    store.zones.define(&zone, NOW).await.unwrap();
    a_session(store, "a", "one", "plaza", &["ann"]).await;
    let later = NOW.plus_seconds(1);
    let session = done(store.sessions.add_player(&key("a"), "bob", later).await.unwrap());
    assert_eq!((session.current_players, session.last_activity_at), (2, later));
    assert_eq!(session.connected_players, ["ann", "bob"]);
    assert_eq!(
        store.sessions.add_player(&key("a"), "bob", later).await.unwrap(),
        Changed::AlreadyThere
    );
    assert_eq!(
        store.sessions.add_player(&key("a"), "cid", later).await.unwrap(),
        Changed::Full
    );
    assert_eq!(
        store.sessions.remove_player(&key("a"), "cid", later).await.unwrap(),
        Changed::NotThere
    );
    let session = done(store.sessions.remove_player(&key("a"), "ann", later).await.unwrap());
    assert_eq!(
        (session.current_players, session.connected_players),
        (1, vec!["bob".to_owned()])
    );
    done(store.sessions.add_player(&key("a"), "cid", later).await.unwrap());
    assert_eq!(counters(store).await, (1, 1, 3));
}

pub(crate) async fn knows_no_such_session(store: &Storage) {
    for key in [key("x"), SessionKey::Id(77), SessionKey::Id(i64::MAX)] {
        assert_eq!(store.sessions.get(&key).await.unwrap(), None);
        let ended = store
            .sessions
            .finish(&key, SessionStatus::Ended, None, NOW)
            .await
            .unwrap();
        let measured = store
            .sessions
            .record_metrics(&key, SessionMetrics::default(), NOW)
            .await
            .unwrap();
        for answer in [
            ended,
            measured,
            store.sessions.activate(&key, NOW).await.unwrap(),
            store.sessions.move_host(&key, "one", "two", NOW).await.unwrap(),
            store.sessions.add_player(&key, "ann", NOW).await.unwrap(),
            store.sessions.remove_player(&key, "ann", NOW).await.unwrap(),
        ] {
            assert_eq!(answer, Changed::NotFound);
        }
    }
}
