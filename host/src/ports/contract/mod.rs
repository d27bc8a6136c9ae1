//! What every implementation of a port must do: one suite, run against each of them.
//!
//! A check is a function over the port; it finds an empty store. `storage_contract!` and `live_contract!` turn the checks
//! into tests of one implementation. A check that is in no list does not compile without a warning; a port method that no
//! check calls fails `every_method_has_a_check`.

pub(crate) mod board;
pub(crate) mod buckets;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod leases;
pub(crate) mod refresh;
pub(crate) mod releases;
pub(crate) mod sessions;
pub(crate) mod sessions_race;
pub(crate) mod wakeups;
pub(crate) mod zones;

use std::collections::BTreeMap;

use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, Registration};
use crate::domain::session::{Session, SessionKey};
use crate::domain::zone::ZoneDefinition;
use crate::ports::storage::{Changed, NewSession, Opened, Registered, Storage};

/// Makes a test of each check. `$open` is an async function that returns an empty implementation and what keeps it alive.
macro_rules! contract {
    ($open:path => $($noun:ident: [$($check:ident),+ $(,)?])+) => {
        $(mod $noun {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let (port, _kept) = $open().await;
                $crate::ports::contract::$noun::$check(&port).await;
            })+
        })+
    };
}
pub(crate) use contract;

/// The checks of `Storage`.
macro_rules! storage_contract {
    ($open:path) => {
        $crate::ports::contract::contract! { $open =>
            health: [storage_answers]
            hosts: [
                registers_and_updates, keeps_what_belongs_to_another, sets_the_status, saves_heartbeats,
                a_late_heartbeat_does_not_bring_a_host_back, survives_odd_heartbeats, expires_silent_hosts, deletes,
                owners_race_for_a_name,
            ]
            zones: [defines_and_redefines, lists_by_priority, switches]
            sessions: [
                opens, refuses_to_open, counts_the_room_of_a_host, lives_and_ends, fails, moves_between_hosts,
                takes_measurements, adds_and_removes_players, knows_no_such_session, lists, touches_and_expires,
                purges, counts_live_sessions, sums, outlives_its_host,
            ]
            sessions_race: [players_race_for_room, activations_race, openings_race, ends_race, moves_race]
            releases: [
                stores_and_lists, a_signature_may_follow, components_are_shared_and_pruned, one_change_wins,
                changes_race, audits, nodes_report,
            ]
            refresh: [rotates, reuse_revokes_the_family, refuses_expired_and_unknown, presentations_race, purges]
        }
    };
}
pub(crate) use storage_contract;

/// The checks of `Live`.
macro_rules! live_contract {
    ($open:path) => {
        $crate::ports::contract::contract! { $open =>
            health: [live_answers]
            board: [
                puts_and_gets, an_older_copy_does_not_win, a_deleted_host_comes_back_anew, beats, orders_by_score,
                available_follows_every_change, status_changes, removes, hands_out_heartbeats_once,
                takes_heartbeats_back, heartbeats_outlive_a_put, beats_race, fills_from_storage,
                misses_nothing_twice,
            ]
            buckets: [
                draws_and_refills, draws_on_all_or_none, the_same_key_twice, sweeps_full_ones, draws_race,
            ]
            fleet: [
                the_newest_connection_counts, another_identity_is_refused, joins_one_session_at_a_time,
                messages_reach_whoever_is_in_the_session, sessions_close_and_players_are_put_out,
                a_place_is_kept_with_what_is_sent_meanwhile, leftovers_follow_a_peer_that_was_faster,
                a_mailbox_is_bounded, who_does_not_come_back_is_reaped, nodes_live_while_they_say_so,
                a_node_announces_what_it_has, joins_race, a_mailbox_that_was_emptied_has_room_again,
                a_token_works_once, what_a_node_settled_alone_is_told_afterwards,
                a_connection_is_known_by_its_token,
            ]
            wakeups: [wakes_who_listens, wakes_are_not_lost_between_two_waits]
            leases: [
                one_holder_at_a_time, a_release_makes_room_at_once, leases_end_by_themselves, renewals_keep_a_lease,
                holders_race,
            ]
        }
    };
}
pub(crate) use live_contract;

/// A moment to start from; the exact one does not matter.
pub(crate) const NOW: Timestamp = Timestamp(1_762_689_600_000);

/// A registration of `host_id` by the player `owner-of-<host_id>`, for 50 players in 5 sessions.
pub(crate) fn registration(host_id: &str) -> Registration {
    Registration {
        host_id: host_id.to_owned(),
        player_id: format!("owner-of-{host_id}"),
        player_name: "Ünïcode ☂ \"quoted\"".to_owned(),
        ip_address: "192.0.2.7".to_owned(),
        port: 65535,
        public_ip: Some("2001:db8::1".to_owned()),
        ice_servers: Some(serde_json::json!([{"urls": ["stun:stun.example:3478"], "n": 1.5}])),
        cpu_cores: 8,
        cpu_frequency_mhz: 3600,
        memory_mb: 16_384,
        network_speed_mbps: 1000,
        max_players: 50,
        max_zones: 5,
        region: Some("eu".to_owned()),
        labels: BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]),
    }
}

/// A zone for 20 players.
pub(crate) fn definition(zone_id: &str) -> ZoneDefinition {
    ZoneDefinition {
        zone_id: zone_id.to_owned(),
        zone_name: format!("name of {zone_id}"),
        zone_display_name: "The Zone".to_owned(),
        map_name: "map".to_owned(),
        description: None,
        max_players: 20,
        recommended_players: 10,
        p2p_enabled: true,
        p2p_priority: 1,
        fallback_enabled: true,
        min_host_quality_score: 7.0,
        min_bandwidth_mbps: 100.0,
        max_latency_ms: 99.5,
    }
}

/// A session `session-<name>` to open.
pub(crate) fn new_session(name: &str, host: &str, zone: &str, players: &[&str]) -> NewSession {
    NewSession {
        session_id: format!("session-{name}"),
        host: host.to_owned(),
        zone: zone.to_owned(),
        players: players.iter().map(|&player| player.to_owned()).collect(),
    }
}

/// The key of `session-<name>`.
pub(crate) fn key(name: &str) -> SessionKey {
    SessionKey::SessionId(format!("session-{name}"))
}

/// Stores a host as `registration` describes it.
pub(crate) async fn a_host(store: &Storage, host_id: &str) -> Host {
    let registered = store
        .hosts
        .register(&registration(host_id), 80.0, None, NOW)
        .await
        .unwrap();
    let Registered::Done(host) = registered else {
        panic!("{registered:?}")
    };
    host
}

/// Stores a zone as `definition` describes it.
pub(crate) async fn a_zone(store: &Storage, zone_id: &str) {
    store.zones.define(&definition(zone_id), NOW).await.unwrap();
}

/// Asks again and again, within a bounded time, until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), asking)
        .await
        .expect("an answer")
}

/// Opens a session that must open.
pub(crate) async fn a_session(store: &Storage, name: &str, host: &str, zone: &str, players: &[&str]) -> Session {
    opened(
        store
            .sessions
            .open(&new_session(name, host, zone, players), NOW)
            .await
            .unwrap(),
    )
}

/// The session that was opened.
pub(crate) fn opened(answer: Opened) -> Session {
    match answer {
        Opened::Done(session) => session,
        Opened::Refused(reason) => panic!("refused: {reason:?}"),
    }
}

/// The session that was changed.
pub(crate) fn done(answer: Changed) -> Session {
    match answer {
        Changed::Done(session) => session,
        other => panic!("not done: {other:?}"),
    }
}

/// The port's own text says which methods there are; the checks' text says which are called.
mod coverage {
    const PORTS: [(&str, &str, &str); 2] = [
        (
            "store",
            "Storage",
            concat!(include_str!("../storage.rs"), include_str!("../releases.rs")),
        ),
        (
            "live",
            "Live",
            concat!(include_str!("../live.rs"), include_str!("../fleet.rs")),
        ),
    ];

    const CHECKS: [&str; 16] = [
        include_str!("board.rs"),
        include_str!("buckets.rs"),
        include_str!("fleet/mod.rs"),
        include_str!("fleet/nodes.rs"),
        include_str!("fleet/places.rs"),
        include_str!("fleet/sessions.rs"),
        include_str!("health.rs"),
        include_str!("hosts.rs"),
        include_str!("leases.rs"),
        include_str!("refresh.rs"),
        include_str!("releases.rs"),
        include_str!("sessions.rs"),
        include_str!("sessions/many.rs"),
        include_str!("sessions_race.rs"),
        include_str!("wakeups.rs"),
        include_str!("zones.rs"),
    ];

    fn squeezed(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    /// What stands between `start` and the next `}` at the start of a line.
    fn block<'a>(text: &'a str, start: &str) -> &'a str {
        let rest = text
            .split_once(start)
            .map(|(_, rest)| rest)
            .unwrap_or_else(|| panic!("no {start:?}"));
        rest.split_once("\n}").map(|(block, _)| block).unwrap_or(rest)
    }

    #[test]
    fn every_method_has_a_check() {
        let checks = squeezed(&CHECKS.concat());
        let mut methods = 0;
        let mut missing = Vec::new();
        for (variable, whole, text) in PORTS {
            for field in block(text, &format!("pub struct {whole} {{")).lines() {
                let Some((name, of)) = field.trim().trim_start_matches("pub ").split_once(": Arc<dyn ") else {
                    continue;
                };
                let of = of.trim_end_matches(">,");
                for line in block(text, &format!("pub trait {of}: Send + Sync {{")).lines() {
                    let line = line.trim().trim_start_matches("async ");
                    let Some(method) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) else {
                        continue;
                    };
                    methods += 1;
                    let call = format!("{variable}.{name}.{method}(");
                    if !checks.contains(&call) {
                        missing.push(call);
                    }
                }
            }
        }
        assert!(methods >= 40, "the port's text was not understood: {methods} methods");
        assert!(missing.is_empty(), "no check calls {missing:?}");
    }
}
