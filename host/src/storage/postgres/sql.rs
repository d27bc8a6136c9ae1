//! The statements of `sessions`. Text only; who sends them holds the locks that they rely on.

use sqlx::{Postgres, QueryBuilder};

use super::key;
use crate::ports::storage::SessionFilter;

/// The columns by name: a `*` would change its meaning under the statements that another node's migration finds prepared.
macro_rules! columns {
    () => {
        "id, session_id, host_id, zone_id, host, zone, connected_players, current_players, max_players, status,
        average_latency_ms, average_packet_loss_percent, bandwidth_usage_mbps, started_at, ended_at, created_at, updated_at,
        last_activity_at"
    };
}

/// To the letter as in the partial indexes: the planner must see that they match.
macro_rules! live {
    () => {
        "status IN ('pending', 'active', 'paused')"
    };
}

/// The host is locked and online, the zone is locked and takes the players. No row when the host has no room.
pub(super) const OPEN: &str = concat!(
    "
    WITH room AS (
        SELECT COUNT(*) AS sessions, COALESCE(SUM(current_players), 0) AS players FROM p2p_sessions
        WHERE host = $4 AND ",
    live!(),
    "), opened AS (
        INSERT INTO p2p_sessions (session_id, host_id, zone_id, host, zone, connected_players, current_players,
            max_players, status, created_at, updated_at, last_activity_at)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, 'pending', $9, $9, $9 FROM room
        WHERE sessions < $10 AND players + $7 <= $11
        RETURNING ",
    columns!(),
    "), counted AS (
        UPDATE zones SET total_sessions = total_sessions + 1, active_sessions = active_sessions + 1,
            total_players_served = total_players_served + $7
        WHERE id = $3 AND EXISTS (SELECT FROM opened))
    SELECT ",
    columns!(),
    " FROM opened"
);

pub(super) const GET_BY_ID: &str = concat!("SELECT ", columns!(), " FROM p2p_sessions WHERE id = $1");

pub(super) const GET_BY_NAME: &str = concat!("SELECT ", columns!(), " FROM p2p_sessions WHERE session_id = $1");

pub(super) const LOCK_BY_ID: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM p2p_sessions WHERE id = $1 FOR NO KEY UPDATE"
);

pub(super) const LOCK_BY_NAME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM p2p_sessions WHERE session_id = $1 FOR NO KEY UPDATE"
);

const LIST: &str = concat!("SELECT ", columns!(), " FROM p2p_sessions WHERE TRUE");

/// The session is locked. The zone is touched only when there is something to count.
pub(super) const SAVE: &str = "
    WITH saved AS (
        UPDATE p2p_sessions SET host_id = $2, host = $3, connected_players = $4, current_players = $5, status = $6,
            average_latency_ms = $7, average_packet_loss_percent = $8, bandwidth_usage_mbps = $9, started_at = $10,
            ended_at = $11, updated_at = $12, last_activity_at = $13
        WHERE id = $1)
    UPDATE zones SET active_sessions = active_sessions + $15, total_players_served = total_players_served + $16
    WHERE id = $14 AND ($15 <> 0 OR $16 <> 0)";

/// What the host `$1` serves, without the session `$2`.
pub(super) const ROOM: &str = concat!(
    "SELECT COUNT(*) AS sessions, COALESCE(SUM(current_players), 0)::BIGINT AS players FROM p2p_sessions
    WHERE host = $1 AND id <> $2 AND ",
    live!()
);

pub(super) const TOUCH: &str = concat!(
    "
    WITH held AS (SELECT id AS held_id FROM p2p_sessions WHERE session_id = ANY ($1) AND ",
    live!(),
    " ORDER BY id FOR NO KEY UPDATE)
    UPDATE p2p_sessions SET last_activity_at = $2 FROM held WHERE id = held_id AND last_activity_at < $2"
);

pub(super) const EXPIRE: &str = concat!(
    "
    WITH held AS (SELECT id AS held_id FROM p2p_sessions WHERE last_activity_at < $1 AND ",
    live!(),
    " ORDER BY id FOR NO KEY UPDATE)
    UPDATE p2p_sessions SET status = CASE status WHEN 'pending' THEN 'failed' ELSE 'ended' END, ended_at = $2,
        updated_at = $2
    FROM held WHERE id = held_id RETURNING ",
    columns!()
);

/// Takes from each zone of `$1` as many live sessions as `$2` says.
pub(super) const COUNT_GONE: &str = "
    WITH held AS (SELECT id AS held_id FROM zones WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE)
    UPDATE zones SET active_sessions = active_sessions - gone.sessions
    FROM held, UNNEST($1::BIGINT[], $2::BIGINT[]) AS gone (zone, sessions)
    WHERE zones.id = held_id AND zones.id = gone.zone";

/// Two nodes may purge at once: what one of them holds is its business.
pub(super) const PURGE: &str = "
    DELETE FROM p2p_sessions WHERE id IN (
        SELECT id FROM p2p_sessions WHERE status IN ('ended', 'failed') AND ended_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";

pub(super) const LIVE_COUNTS: &str = concat!(
    "SELECT host, COUNT(*) AS sessions FROM p2p_sessions WHERE ",
    live!(),
    " GROUP BY host"
);

/// One statement, so that the figures belong to one moment; each part is answered by an index.
pub(super) const SUMS: &str = "
    SELECT status, COUNT(*) AS sessions,
        (SELECT COALESCE(SUM(current_players), 0)::BIGINT FROM p2p_sessions WHERE status = 'active') AS players,
        (SELECT AVG(average_latency_ms) FROM p2p_sessions WHERE status = 'active' AND average_latency_ms > 0) AS latency
    FROM p2p_sessions GROUP BY status";

/// The statement for a list.
pub(super) fn list(filter: &SessionFilter) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(LIST);
    if let Some(host) = &filter.host {
        query.push(" AND host = ").push_bind(key(host).map(str::to_owned));
    }
    if let Some(zone) = &filter.zone {
        query
            .push(" AND zone_id = (SELECT id FROM zones WHERE zone_id = ")
            .push_bind(key(zone).map(str::to_owned))
            .push(")");
    }
    if !filter.statuses.is_empty() {
        let names: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        query.push(" AND status = ANY (").push_bind(names).push(")");
    }
    query
        .push(" ORDER BY id DESC LIMIT ")
        .push_bind(i64::from(filter.limit));
    query.push(" OFFSET ").push_bind(i64::from(filter.offset));
    query
}
