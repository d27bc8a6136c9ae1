//! Contract of `HostBoard`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::NOW;
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Measurements};
use crate::ports::live::{HostBoard, Live};
use crate::ports::storage::HeartbeatRecord;

pub(crate) fn host(host_id: &str, quality_score: f64) -> Host {
    Host {
        id: 1,
        host_id: host_id.to_owned(),
        player_id: format!("owner-of-{host_id}"),
        player_name: "Name".to_owned(),
        ip_address: "192.0.2.7".to_owned(),
        port: 7777,
        public_ip: None,
        ice_servers: None,
        cpu_cores: 8,
        cpu_frequency_mhz: 3600,
        memory_mb: 16_384,
        network_speed_mbps: 1000,
        max_players: 50,
        max_zones: 5,
        region: None,
        labels: BTreeMap::new(),
        latency_ms: 0.0,
        packet_loss_percent: 0.0,
        bandwidth_usage_mbps: 0.0,
        status: HostStatus::Online,
        current_players: 0,
        current_zones: 0,
        quality_score,
        created_at: NOW,
        updated_at: NOW,
        last_heartbeat: Some(NOW),
        revision: 1,
    }
}

fn players(current_players: u32) -> Measurements {
    Measurements {
        latency_ms: 12.5,
        current_players,
        ..Measurements::default()
    }
}

fn names(hosts: &[Arc<Host>]) -> Vec<&str> {
    hosts.iter().map(|host| host.host_id.as_str()).collect()
}

fn beat(board: &dyn HostBoard, host_id: &str, current_players: u32, at: Timestamp, score: f64) -> Option<Arc<Host>> {
    board.beat(host_id, &players(current_players), at, &|_| score)
}

pub(crate) async fn puts_and_gets(live: &Live) {
    assert!(live.hosts.get("one").is_none());
    assert!(live.hosts.all().is_empty());
    live.hosts.put(host("one", 50.0));
    assert_eq!(*live.hosts.get("one").unwrap(), host("one", 50.0));
    let mut newer = host("one", 60.0);
    newer.revision = 2;
    newer.player_name = "Other".to_owned();
    live.hosts.put(newer.clone());
    assert_eq!(*live.hosts.get("one").unwrap(), newer);
    assert_eq!(live.hosts.all().len(), 1);
}

pub(crate) async fn an_older_copy_does_not_win(live: &Live) {
    let mut newer = host("one", 60.0);
    newer.revision = 5;
    live.hosts.put(newer.clone());
    live.hosts.put(host("one", 10.0));
    assert_eq!(*live.hosts.get("one").unwrap(), newer);
}

pub(crate) async fn a_deleted_host_comes_back_anew(live: &Live) {
    let mut old = host("one", 60.0);
    old.revision = 5;
    live.hosts.put(old);
    let mut anew = host("one", 10.0);
    anew.id = 2;
    live.hosts.put(anew.clone());
    assert_eq!(*live.hosts.get("one").unwrap(), anew);
}

pub(crate) async fn beats(live: &Live) {
    assert!(beat(&*live.hosts, "one", 1, NOW, 1.0).is_none());
    let mut offline = host("one", 50.0);
    offline.status = HostStatus::Offline;
    live.hosts.put(offline);
    let later = NOW.plus_seconds(30);
    let measured = Measurements {
        latency_ms: 9.5,
        packet_loss_percent: 1.5,
        bandwidth_usage_mbps: 7.0,
        current_players: 4,
        current_zones: 2,
    };
    let score = |host: &Host| f64::from(host.current_players) + host.latency_ms;
    let answered = live.hosts.beat("one", &measured, later, &score).unwrap();
    assert_eq!(
        (
            answered.latency_ms,
            answered.packet_loss_percent,
            answered.bandwidth_usage_mbps
        ),
        (9.5, 1.5, 7.0)
    );
    assert_eq!(
        (answered.current_players, answered.current_zones, answered.quality_score),
        (4, 2, 13.5)
    );
    assert_eq!(
        (answered.status, answered.last_heartbeat),
        (HostStatus::Online, Some(later))
    );
    assert_eq!(live.hosts.get("one").unwrap(), answered);
    let kept = beat(&*live.hosts, "one", 1, later, f64::NAN).unwrap();
    assert_eq!(kept.quality_score, 13.5, "a score that is no number changes nothing");
    assert_eq!(beat(&*live.hosts, "one", 1, later, 1e9).unwrap().quality_score, 100.0);
}

pub(crate) async fn orders_by_score(live: &Live) {
    for (name, score) in [("b", 50.0), ("d", 0.0), ("a", 50.0), ("c", 99.99)] {
        live.hosts.put(host(name, score));
    }
    assert_eq!(names(&live.hosts.all()), ["c", "a", "b", "d"]);
    assert_eq!(names(&live.hosts.available(0.0, 10)), ["c", "a", "b", "d"]);
    assert_eq!(names(&live.hosts.available(50.0, 10)), ["c", "a", "b"]);
    assert_eq!(names(&live.hosts.available(0.0, 2)), ["c", "a"]);
    assert!(live.hosts.available(99.991, 10).is_empty());
    assert!(live.hosts.available(0.0, 0).is_empty());
    beat(&*live.hosts, "d", 0, NOW, 100.0);
    assert_eq!(names(&live.hosts.available(0.0, 1)), ["d"]);
    assert_eq!(names(&live.hosts.all()), ["d", "c", "a", "b"]);
}

pub(crate) async fn available_follows_every_change(live: &Live) {
    live.hosts.put(host("one", 50.0));
    beat(&*live.hosts, "one", 50, NOW.plus_seconds(1), 50.0);
    assert!(live.hosts.available(0.0, 9).is_empty(), "full by its own report");
    assert_eq!(live.hosts.all().len(), 1);
    beat(&*live.hosts, "one", 49, NOW.plus_seconds(2), 40.0);
    assert_eq!(live.hosts.available(0.0, 9)[0].current_players, 49);
    let mut smaller = host("one", 50.0);
    smaller.max_players = 49;
    smaller.revision = 2;
    live.hosts.put(smaller);
    assert!(live.hosts.available(0.0, 9).is_empty());
    live.hosts.remove("one");
    assert!(live.hosts.available(0.0, 9).is_empty());
    live.hosts.put(host("one", 50.0));
    assert_eq!(live.hosts.available(0.0, 9)[0].current_players, 0);
}

pub(crate) async fn status_changes(live: &Live) {
    assert!(live.hosts.set_status("one", HostStatus::Busy, NOW).is_none());
    live.hosts.put(host("one", 50.0));
    for status in HostStatus::ALL {
        let later = NOW.plus_seconds(1);
        let changed = live.hosts.set_status("one", status, later).unwrap();
        assert_eq!((changed.status, changed.updated_at), (status, later));
        assert_eq!(
            live.hosts.available(0.0, 9).len(),
            usize::from(status == HostStatus::Online)
        );
    }
    assert!(live.hosts.take_unsaved(9).is_empty(), "a status is no heartbeat");
}

pub(crate) async fn removes(live: &Live) {
    live.hosts.put(host("one", 50.0));
    live.hosts.put(host("two", 50.0));
    beat(&*live.hosts, "one", 1, NOW, 50.0);
    live.hosts.remove("one");
    live.hosts.remove("one");
    assert!(live.hosts.get("one").is_none());
    assert_eq!(names(&live.hosts.available(0.0, 9)), ["two"]);
    assert!(live.hosts.take_unsaved(9).is_empty());
}

pub(crate) async fn hands_out_heartbeats_once(live: &Live) {
    for name in ["one", "two", "three"] {
        live.hosts.put(host(name, 50.0));
        beat(&*live.hosts, name, 1, NOW.plus_seconds(1), 40.0);
    }
    beat(&*live.hosts, "one", 2, NOW.plus_seconds(2), 30.0);
    let mut records = live.hosts.take_unsaved(2);
    assert_eq!(records.len(), 2);
    records.extend(live.hosts.take_unsaved(9));
    records.sort_by(|a, b| a.host_id.cmp(&b.host_id));
    assert_eq!(records.len(), 3);
    let latest = HeartbeatRecord {
        host_id: "one".to_owned(),
        measured: players(2),
        quality_score: 30.0,
        at: NOW.plus_seconds(2),
    };
    assert_eq!(records[0], latest);
    assert!(live.hosts.take_unsaved(9).is_empty());
}

pub(crate) async fn takes_heartbeats_back(live: &Live) {
    for name in ["one", "two", "gone"] {
        live.hosts.put(host(name, 50.0));
        beat(&*live.hosts, name, 1, NOW.plus_seconds(1), 40.0);
    }
    let records = live.hosts.take_unsaved(9);
    beat(&*live.hosts, "two", 2, NOW.plus_seconds(2), 40.0);
    live.hosts.remove("gone");
    live.hosts.put_back(records);
    let mut again = live.hosts.take_unsaved(9);
    again.sort_by(|a, b| a.host_id.cmp(&b.host_id));
    let seen: Vec<_> = again
        .iter()
        .map(|r| (r.host_id.as_str(), r.measured.current_players, r.at))
        .collect();
    assert_eq!(seen, [("one", 1, NOW.plus_seconds(1)), ("two", 2, NOW.plus_seconds(2))]);
}

pub(crate) async fn heartbeats_outlive_a_put(live: &Live) {
    live.hosts.put(host("one", 50.0));
    beat(&*live.hosts, "one", 3, NOW.plus_seconds(9), 40.0);
    let mut renamed = host("one", 50.0);
    renamed.revision = 2;
    renamed.player_name = "Other".to_owned();
    renamed.status = HostStatus::Offline;
    renamed.updated_at = NOW.plus_seconds(1);
    live.hosts.put(renamed.clone());
    let merged = live.hosts.get("one").unwrap();
    assert_eq!(
        (
            merged.player_name.as_str(),
            merged.current_players,
            merged.quality_score
        ),
        ("Other", 3, 40.0)
    );
    assert_eq!(
        (merged.status, merged.last_heartbeat),
        (HostStatus::Online, Some(NOW.plus_seconds(9)))
    );
    // What storage decided after the heartbeat stands.
    renamed.revision = 3;
    renamed.updated_at = NOW.plus_seconds(10);
    live.hosts.put(renamed);
    let merged = live.hosts.get("one").unwrap();
    assert_eq!(
        (merged.status, merged.updated_at),
        (HostStatus::Offline, NOW.plus_seconds(10))
    );
    assert_eq!(
        (merged.current_players, merged.last_heartbeat),
        (3, Some(NOW.plus_seconds(9)))
    );
    assert_eq!(live.hosts.take_unsaved(9).len(), 1);
}

pub(crate) async fn beats_race(live: &Live) {
    for number in 0..4 {
        live.hosts.put(host(&format!("host-{number}"), 50.0));
    }
    let threads: Vec<_> = (0..4_u32)
        .map(|thread| {
            let board = live.hosts.clone();
            std::thread::spawn(move || {
                for round in 0..500_u32 {
                    let name = format!("host-{}", (thread + round) % 4);
                    beat(
                        &*board,
                        &name,
                        round % 50,
                        NOW.plus_millis(round.into()),
                        f64::from(round % 100),
                    )
                    .unwrap();
                    assert_eq!(board.available(0.0, 9).len(), 4);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let available = live.hosts.available(0.0, 9);
    assert_eq!(available, live.hosts.all(), "the order and the board agree");
    assert_eq!(live.hosts.take_unsaved(9).len(), 4);
}

pub(crate) async fn fills_from_storage(live: &Live) {
    for name in ["kept", "gone", "anew"] {
        live.hosts.put(host(name, 50.0));
    }
    beat(&*live.hosts, "kept", 1, NOW.plus_seconds(1), 40.0);
    let known = live.hosts.all();
    let mut anew = host("anew", 50.0);
    anew.id = 2;
    live.hosts.put(anew.clone());
    live.hosts.put(host("later", 50.0));
    live.hosts
        .fill(vec![host("kept", 50.0), host("from another node", 60.0)], &known);
    assert_eq!(names(&live.hosts.all()), ["from another node", "anew", "later", "kept"]);
    assert_eq!(
        live.hosts.get("kept").unwrap().current_players,
        1,
        "a heartbeat outlives it"
    );
    assert_eq!(live.hosts.take_unsaved(9).len(), 1);
}

pub(crate) async fn misses_nothing_twice(live: &Live) {
    // A board that has just joined others may have missed something; it says so once.
    while live.hosts.take_missed() {}
    assert!(!live.hosts.take_missed());
}
