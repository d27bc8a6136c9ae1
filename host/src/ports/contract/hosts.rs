//! Contract of `HostRepository`.

use super::{NOW, a_host, registration};
use crate::domain::clock::Timestamp;
use crate::domain::host::{HostStatus, Measurements};
use crate::ports::storage::{HeartbeatRecord, Registered, Storage};

const MEASURED: Measurements = Measurements {
    latency_ms: 12.25,
    packet_loss_percent: 0.5,
    bandwidth_usage_mbps: 30.0,
    current_players: 3,
    current_zones: 2,
};

fn beat(host_id: &str, at: Timestamp) -> HeartbeatRecord {
    HeartbeatRecord {
        host_id: host_id.to_owned(),
        measured: MEASURED,
        quality_score: 66.5,
        at,
    }
}

pub(crate) async fn registers_and_updates(store: &Storage) {
    let first = a_host(store, "one").await;
    let facts = registration("one");
    assert_eq!(first.player_name, facts.player_name);
    assert_eq!(first.ice_servers, facts.ice_servers);
    assert_eq!(first.labels, facts.labels);
    assert_eq!((first.port, first.status), (65535, HostStatus::Online));
    assert_eq!((first.quality_score, first.latency_ms), (80.0, 0.0));
    assert_eq!(
        (first.created_at, first.updated_at, first.last_heartbeat),
        (NOW, NOW, Some(NOW))
    );
    assert_eq!(store.hosts.get("one").await.unwrap(), Some(first.clone()));
    assert_eq!(store.hosts.get("two").await.unwrap(), None);

    store
        .hosts
        .save_heartbeats(&[beat("one", NOW.plus_seconds(5))])
        .await
        .unwrap();
    store
        .hosts
        .set_status("one", HostStatus::Maintenance, NOW)
        .await
        .unwrap();
    let later = NOW.plus_seconds(60);
    let mut again = registration("one");
    again.public_ip = None;
    again.ice_servers = None;
    again.region = None;
    again.max_players = 8;
    again.labels.clear();
    let Registered::Done(second) = store
        .hosts
        .register(&again, 50.5, Some("owner-of-one"), later)
        .await
        .unwrap()
    else {
        panic!("refused")
    };
    assert_eq!((second.id, second.created_at), (first.id, NOW));
    assert_eq!((second.updated_at, second.last_heartbeat), (later, Some(later)));
    assert_eq!(
        (second.status, second.max_players, second.quality_score),
        (HostStatus::Online, 8, 50.5)
    );
    assert_eq!(
        (second.latency_ms, second.current_players),
        (12.25, 3),
        "the last measurements stay"
    );
    assert_eq!(
        (&second.public_ip, &second.ice_servers, &second.region),
        (&None, &None, &None)
    );
    assert!(second.labels.is_empty());
    assert!(second.revision > first.revision);

    let other = a_host(store, "two").await;
    let all = store.hosts.all().await.unwrap();
    assert_eq!(all, [second, other], "by number");
}

pub(crate) async fn keeps_what_belongs_to_another(store: &Storage) {
    let first = a_host(store, "one").await;
    let mut thief = registration("one");
    thief.player_id = "thief".to_owned();
    let answer = store.hosts.register(&thief, 1.0, Some("thief"), NOW).await.unwrap();
    assert_eq!(answer, Registered::OwnedByAnother);
    assert_eq!(store.hosts.get("one").await.unwrap(), Some(first));
    let answer = store.hosts.register(&thief, 1.0, None, NOW).await.unwrap();
    assert!(matches!(answer, Registered::Done(host) if host.player_id == "thief"));
}

pub(crate) async fn sets_the_status(store: &Storage) {
    let before = a_host(store, "one").await;
    let mut revision = before.revision;
    for status in HostStatus::ALL {
        let later = NOW.plus_seconds(1);
        let host = store.hosts.set_status("one", status, later).await.unwrap().unwrap();
        assert_eq!(
            (host.status, host.updated_at, host.last_heartbeat),
            (status, later, Some(NOW))
        );
        assert!(host.revision > revision);
        revision = host.revision;
        assert_eq!(store.hosts.get("one").await.unwrap(), Some(host));
    }
    assert_eq!(
        store.hosts.set_status("two", HostStatus::Busy, NOW).await.unwrap(),
        None
    );
}

pub(crate) async fn saves_heartbeats(store: &Storage) {
    let before = a_host(store, "one").await;
    a_host(store, "two").await;
    store
        .hosts
        .set_status("one", HostStatus::Offline, NOW.plus_seconds(1))
        .await
        .unwrap();
    store
        .hosts
        .set_status("two", HostStatus::Busy, NOW.plus_seconds(1))
        .await
        .unwrap();
    let later = NOW.plus_seconds(2);
    store
        .hosts
        .save_heartbeats(&[beat("one", later), beat("unknown", later), beat("two", later)])
        .await
        .unwrap();

    let one = store.hosts.get("one").await.unwrap().unwrap();
    assert_eq!(
        (one.latency_ms, one.packet_loss_percent, one.bandwidth_usage_mbps),
        (12.25, 0.5, 30.0)
    );
    assert_eq!(
        (one.current_players, one.current_zones, one.quality_score),
        (3, 2, 66.5)
    );
    assert_eq!(
        (one.status, one.last_heartbeat, one.updated_at),
        (HostStatus::Online, Some(later), later)
    );
    assert!(one.revision > before.revision);
    assert_eq!(store.hosts.get("two").await.unwrap().unwrap().status, HostStatus::Busy);
    assert_eq!(store.hosts.get("unknown").await.unwrap(), None);

    let mut old = beat("one", NOW.plus_seconds(1));
    old.measured.current_players = 49;
    store.hosts.save_heartbeats(&[old]).await.unwrap();
    assert_eq!(store.hosts.get("one").await.unwrap(), Some(one));
    store.hosts.save_heartbeats(&[]).await.unwrap();
}

pub(crate) async fn a_late_heartbeat_does_not_bring_a_host_back(store: &Storage) {
    a_host(store, "one").await;
    store
        .hosts
        .set_status("one", HostStatus::Offline, NOW.plus_seconds(10))
        .await
        .unwrap();
    store
        .hosts
        .save_heartbeats(&[beat("one", NOW.plus_seconds(5))])
        .await
        .unwrap();
    let host = store.hosts.get("one").await.unwrap().unwrap();
    assert_eq!(
        (host.status, host.updated_at),
        (HostStatus::Offline, NOW.plus_seconds(10))
    );
    assert_eq!(
        (host.last_heartbeat, host.current_players),
        (Some(NOW.plus_seconds(5)), 3)
    );
}

pub(crate) async fn survives_odd_heartbeats(store: &Storage) {
    a_host(store, "one").await;
    a_host(store, "it's \"odd\"").await;
    let later = NOW.plus_seconds(1);
    let mut broken = beat("one", later);
    broken.measured.latency_ms = f64::NAN;
    let mut first = beat("one", later);
    first.measured.current_players = 1;
    let newest = beat("one", NOW.plus_seconds(2));
    store
        .hosts
        .save_heartbeats(&[broken, newest, first, beat("it's \"odd\"", later)])
        .await
        .unwrap();
    let host = store.hosts.get("one").await.unwrap().unwrap();
    assert_eq!(
        (host.current_players, host.last_heartbeat),
        (3, Some(NOW.plus_seconds(2))),
        "the newest of a batch wins"
    );
    assert_eq!(
        store.hosts.get("it's \"odd\"").await.unwrap().unwrap().last_heartbeat,
        Some(later)
    );
}

pub(crate) async fn expires_silent_hosts(store: &Storage) {
    for name in ["silent", "busy", "kept", "offline", "maintenance"] {
        a_host(store, name).await;
    }
    store.hosts.set_status("busy", HostStatus::Busy, NOW).await.unwrap();
    store
        .hosts
        .set_status("offline", HostStatus::Offline, NOW)
        .await
        .unwrap();
    store
        .hosts
        .set_status("maintenance", HostStatus::Maintenance, NOW)
        .await
        .unwrap();
    store
        .hosts
        .save_heartbeats(&[beat("kept", NOW.plus_seconds(30))])
        .await
        .unwrap();
    let now = NOW.plus_seconds(60);
    let mut gone = store.hosts.expire(NOW.plus_seconds(30), now).await.unwrap();
    gone.sort_by(|a, b| a.host_id.cmp(&b.host_id));
    let names: Vec<_> = gone
        .iter()
        .map(|host| (host.host_id.as_str(), host.status, host.updated_at))
        .collect();
    assert_eq!(
        names,
        [("busy", HostStatus::Offline, now), ("silent", HostStatus::Offline, now)]
    );
    assert!(store.hosts.expire(NOW.plus_seconds(30), now).await.unwrap().is_empty());
    let status = store.hosts.get("maintenance").await.unwrap().unwrap().status;
    assert_eq!(status, HostStatus::Maintenance);
}

pub(crate) async fn deletes(store: &Storage) {
    let first = a_host(store, "one").await;
    assert!(store.hosts.delete("one").await.unwrap());
    assert!(!store.hosts.delete("one").await.unwrap());
    assert_eq!(store.hosts.get("one").await.unwrap(), None);
    let second = a_host(store, "one").await;
    assert!(second.id > first.id, "numbers are not given twice");
}

pub(crate) async fn owners_race_for_a_name(store: &Storage) {
    let tasks = (0..10).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut claim = registration("one");
            claim.player_id = format!("player-{number}");
            store
                .hosts
                .register(&claim, 1.0, Some(&claim.player_id), NOW)
                .await
                .unwrap()
        })
    });
    let mut won = 0;
    for task in tasks.collect::<Vec<_>>() {
        won += u32::from(matches!(task.await.unwrap(), Registered::Done(_)));
    }
    assert_eq!(won, 1);
}
