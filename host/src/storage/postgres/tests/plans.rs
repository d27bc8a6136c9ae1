//! Every statement that runs per request or per task is answered by an index.
//!
//! The planner is asked with plans for any parameters, and with reading whole tables made so dear that it does it only where no
//! index would do.

use super::super::{hosts, refresh, sql, zones};
use super::empty;
use crate::domain::session::SessionStatus;
use crate::ports::storage::SessionFilter;

const TEXT: &str = "TEXT";
const NUMBER: &str = "BIGINT";
const MOMENT: &str = "TIMESTAMPTZ";
const REAL: &str = "DOUBLE PRECISION";

/// A type's array.
fn many(kind: &str) -> String {
    format!("{kind}[]")
}

/// Statements with the types of their parameters, in order.
fn statements() -> Vec<(&'static str, String, Vec<String>)> {
    let fixed = |name: &'static str, text: &str, types: &[&str]| {
        (
            name,
            text.to_owned(),
            types.iter().map(|&kind| kind.to_owned()).collect(),
        )
    };
    let (texts, numbers, reals, moments) = (many(TEXT), many(NUMBER), many(REAL), many(MOMENT));
    let mut all = vec![
        fixed("hosts::GET", hosts::GET, &[TEXT]),
        fixed("hosts::LOCK", hosts::LOCK, &[TEXT]),
        fixed("hosts::SET_STATUS", hosts::SET_STATUS, &[TEXT, TEXT, MOMENT]),
        fixed("hosts::EXPIRE", hosts::EXPIRE, &[MOMENT, MOMENT]),
        fixed("hosts::DELETE", hosts::DELETE, &[TEXT]),
        fixed("hosts::ALL", hosts::ALL, &[]),
        fixed(
            "hosts::SAVE_HEARTBEATS",
            hosts::SAVE_HEARTBEATS,
            &[&texts, &reals, &reals, &reals, &numbers, &numbers, &reals, &moments],
        ),
        fixed("zones::GET", zones::GET, &[TEXT]),
        fixed("zones::LOCK", zones::LOCK, &[TEXT]),
        fixed("zones::LIST", zones::LIST, &["BOOLEAN", TEXT]),
        fixed("zones::SET_P2P", zones::SET_P2P, &[TEXT, "BOOLEAN", MOMENT]),
        fixed("zones::SET_STATUS", zones::SET_STATUS, &[TEXT, TEXT, MOMENT]),
        fixed("sql::GET_BY_ID", sql::GET_BY_ID, &[NUMBER]),
        fixed("sql::GET_BY_NAME", sql::GET_BY_NAME, &[TEXT]),
        fixed("sql::LOCK_BY_ID", sql::LOCK_BY_ID, &[NUMBER]),
        fixed("sql::LOCK_BY_NAME", sql::LOCK_BY_NAME, &[TEXT]),
        fixed(
            "sql::OPEN",
            sql::OPEN,
            &[
                TEXT, NUMBER, NUMBER, TEXT, TEXT, "JSONB", NUMBER, NUMBER, MOMENT, NUMBER, NUMBER,
            ],
        ),
        fixed(
            "sql::SAVE",
            sql::SAVE,
            &[
                NUMBER, NUMBER, TEXT, "JSONB", NUMBER, TEXT, REAL, REAL, REAL, MOMENT, MOMENT, MOMENT, MOMENT, NUMBER,
                NUMBER, NUMBER,
            ],
        ),
        fixed("sql::ROOM", sql::ROOM, &[TEXT, NUMBER]),
        fixed("sql::TOUCH", sql::TOUCH, &[&texts, MOMENT]),
        fixed("sql::EXPIRE", sql::EXPIRE, &[MOMENT, MOMENT]),
        fixed("sql::COUNT_GONE", sql::COUNT_GONE, &[&numbers, &numbers]),
        fixed("sql::PURGE", sql::PURGE, &[MOMENT, NUMBER]),
        fixed("sql::LIVE_COUNTS", sql::LIVE_COUNTS, &[]),
        fixed("sql::SUMS", sql::SUMS, &[]),
        fixed("refresh::LOCK", refresh::LOCK, &[TEXT, MOMENT]),
        fixed("refresh::SPEND", refresh::SPEND, &[TEXT, TEXT, MOMENT, MOMENT]),
        fixed("refresh::REVOKE", refresh::REVOKE, &[TEXT, MOMENT]),
        fixed("refresh::PURGE", refresh::PURGE, &[MOMENT]),
    ];
    for (host, zone, live) in (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0)) {
        let filter = SessionFilter {
            host: host.then(|| "host".to_owned()),
            zone: zone.then(|| "zone".to_owned()),
            statuses: if live { vec![SessionStatus::Active] } else { Vec::new() },
            limit: 50,
            offset: 0,
        };
        let mut types = vec![TEXT.to_owned(); usize::from(host) + usize::from(zone)];
        types.extend(live.then(|| texts.clone()));
        types.extend([NUMBER.to_owned(), NUMBER.to_owned()]);
        all.push(("sql::list", sql::list(&filter).sql().as_str().to_owned(), types));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_uses_an_index() {
    let (_store, database) = empty().await;
    database.sql(
        "INSERT INTO zones (zone_id, zone_name, zone_display_name, map_name, max_players, recommended_players, p2p_enabled,
             p2p_priority, fallback_enabled, min_host_quality_score, min_bandwidth_mbps, max_latency_ms, status, created_at,
             updated_at)
         SELECT 'zone-' || n, 'zone', 'zone', 'map', 9, 9, TRUE, n % 10, TRUE, 1, 1, 1, 'enabled', now(), now()
         FROM generate_series(1, 50) AS n;
         INSERT INTO hosts (host_id, player_id, player_name, ip_address, port, cpu_cores, cpu_frequency_mhz, memory_mb,
             network_speed_mbps, max_players, max_zones, status, created_at, updated_at, last_heartbeat)
         SELECT 'host-' || n, 'p', 'p', 'ip', 1, 1, 1, 1, 1, 9, 9, CASE n % 9 WHEN 0 THEN 'online' ELSE 'offline' END,
             now(), now(), now()
         FROM generate_series(1, 2000) AS n;
         INSERT INTO p2p_sessions (session_id, host_id, zone_id, host, zone, max_players, status, ended_at, created_at,
             updated_at, last_activity_at)
         SELECT 'session-' || n, n % 2000, n % 50 + 1, 'host-' || n % 2000, 'zone', 9,
             CASE n % 99 WHEN 0 THEN 'active' ELSE 'ended' END, now(), now(), now(), now()
         FROM generate_series(1, 20000) AS n;
         INSERT INTO refresh_families SELECT 'f-' || n, 'p', NULL, 'j', now() + n * INTERVAL '1 s', NULL, now(), now()
         FROM generate_series(1, 2000) AS n;
         ANALYZE",
    );
    let mut bad = Vec::new();
    for (name, text, types) in statements() {
        let declared = if types.is_empty() {
            String::new()
        } else {
            format!("({})", types.join(", "))
        };
        let values = vec!["NULL"; types.len()].join(", ");
        let values = if types.is_empty() {
            String::new()
        } else {
            format!("({values})")
        };
        let plan = database.sql(&format!(
            "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
             PREPARE asked{declared} AS {text}; EXPLAIN EXECUTE asked{values}"
        ));
        if plan.contains("Seq Scan") || !plan.contains("Index") {
            bad.push(format!("{name}:\n{plan}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_stays_on_its_page() {
    let (store, database) = empty().await;
    let host = crate::ports::contract::a_host(&store, "one").await;
    for second in 1..20 {
        let record = crate::ports::storage::HeartbeatRecord {
            host_id: host.host_id.clone(),
            measured: Default::default(),
            quality_score: 1.0,
            at: crate::ports::contract::NOW.plus_seconds(second),
        };
        store.hosts.save_heartbeats(&[record]).await.unwrap();
    }
    // A connection reports what it did when it ends.
    store.health.close().await;
    let asked = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'hosts'";
    p2p_coordinator_tests::eventually("19 updates, none of which touches an index", || async {
        (database.sql(asked) == "19|19").then_some(())
    })
    .await;
}
