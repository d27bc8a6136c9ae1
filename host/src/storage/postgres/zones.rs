//! The table `zones`. Its counters are written by `sessions`, in the transaction that they count.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{Database, key, number, status};
use crate::domain::clock::Timestamp;
use crate::domain::zone::{Zone, ZoneDefinition, ZoneStatus};
use crate::ports::storage::{Result, ZoneFilter, ZoneRepository};

/// The columns by name: a `*` would change its meaning under the statements that another node's migration finds prepared.
macro_rules! columns {
    () => {
        "id, zone_id, zone_name, zone_display_name, map_name, description, max_players, recommended_players, p2p_enabled,
        p2p_priority, fallback_enabled, min_host_quality_score, min_bandwidth_mbps, max_latency_ms, status, total_sessions,
        active_sessions, total_players_served, created_at, updated_at"
    };
}

pub(super) const DEFINE: &str = concat!(
    "
    INSERT INTO zones (zone_id, zone_name, zone_display_name, map_name, description, max_players,
        recommended_players, p2p_enabled, p2p_priority, fallback_enabled, min_host_quality_score,
        min_bandwidth_mbps, max_latency_ms, status, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'enabled', $14, $14)
    ON CONFLICT (zone_id) DO UPDATE SET
        zone_name = excluded.zone_name, zone_display_name = excluded.zone_display_name,
        map_name = excluded.map_name, description = excluded.description, max_players = excluded.max_players,
        recommended_players = excluded.recommended_players, p2p_enabled = excluded.p2p_enabled,
        p2p_priority = excluded.p2p_priority, fallback_enabled = excluded.fallback_enabled,
        min_host_quality_score = excluded.min_host_quality_score,
        min_bandwidth_mbps = excluded.min_bandwidth_mbps, max_latency_ms = excluded.max_latency_ms,
        updated_at = excluded.updated_at
    RETURNING ",
    columns!()
);

pub(super) const GET: &str = concat!("SELECT ", columns!(), " FROM zones WHERE zone_id = $1");

pub(super) const LOCK: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM zones WHERE zone_id = $1 FOR NO KEY UPDATE"
);

pub(super) const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM zones WHERE ($1::BOOLEAN IS NULL OR p2p_enabled = $1) AND ($2::TEXT IS NULL OR status = $2)
    ORDER BY p2p_priority DESC, zone_name, zone_id"
);

pub(super) const SET_P2P: &str = concat!(
    "UPDATE zones SET p2p_enabled = $2, updated_at = $3 WHERE zone_id = $1 RETURNING ",
    columns!()
);

pub(super) const SET_STATUS: &str = concat!(
    "UPDATE zones SET status = $2, updated_at = $3 WHERE zone_id = $1 RETURNING ",
    columns!()
);

#[async_trait]
impl ZoneRepository for Database {
    async fn define(&self, definition: &ZoneDefinition, now: Timestamp) -> Result<Zone> {
        self.again(move || async move {
            let row = sqlx::query(DEFINE)
                .bind(&definition.zone_id)
                .bind(&definition.zone_name)
                .bind(&definition.zone_display_name)
                .bind(&definition.map_name)
                .bind(&definition.description)
                .bind(i64::from(definition.max_players))
                .bind(i64::from(definition.recommended_players))
                .bind(definition.p2p_enabled)
                .bind(i64::from(definition.p2p_priority))
                .bind(definition.fallback_enabled)
                .bind(definition.min_host_quality_score)
                .bind(definition.min_bandwidth_mbps)
                .bind(definition.max_latency_ms)
                .bind(now)
                .fetch_one(&mut *self.connection().await?)
                .await?;
            read(&row)
        })
        .await
    }

    async fn get(&self, zone_id: &str) -> Result<Option<Zone>> {
        self.again(move || async move {
            let row = sqlx::query(GET)
                .bind(key(zone_id))
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(read).transpose()
        })
        .await
    }

    async fn list(&self, filter: ZoneFilter) -> Result<Vec<Zone>> {
        self.again(move || async move {
            let rows = sqlx::query(LIST)
                .bind(filter.p2p_enabled)
                .bind(filter.status.map(ZoneStatus::as_str))
                .fetch_all(&mut *self.connection().await?)
                .await?;
            rows.iter().map(read).collect()
        })
        .await
    }

    async fn set_p2p(&self, zone_id: &str, enabled: bool, now: Timestamp) -> Result<Option<Zone>> {
        self.again(move || async move {
            let row = sqlx::query(SET_P2P)
                .bind(key(zone_id))
                .bind(enabled)
                .bind(now)
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(read).transpose()
        })
        .await
    }

    async fn set_status(&self, zone_id: &str, status: ZoneStatus, now: Timestamp) -> Result<Option<Zone>> {
        self.again(move || async move {
            let row = sqlx::query(SET_STATUS)
                .bind(key(zone_id))
                .bind(status.as_str())
                .bind(now)
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(read).transpose()
        })
        .await
    }
}

/// Reads a row of `zones`.
pub(super) fn read(row: &PgRow) -> sqlx::Result<Zone> {
    Ok(Zone {
        id: row.try_get("id")?,
        zone_id: row.try_get("zone_id")?,
        zone_name: row.try_get("zone_name")?,
        zone_display_name: row.try_get("zone_display_name")?,
        map_name: row.try_get("map_name")?,
        description: row.try_get("description")?,
        max_players: number(row, "max_players")?,
        recommended_players: number(row, "recommended_players")?,
        p2p_enabled: row.try_get("p2p_enabled")?,
        p2p_priority: number(row, "p2p_priority")?,
        fallback_enabled: row.try_get("fallback_enabled")?,
        min_host_quality_score: row.try_get("min_host_quality_score")?,
        min_bandwidth_mbps: row.try_get("min_bandwidth_mbps")?,
        max_latency_ms: row.try_get("max_latency_ms")?,
        status: status(row, "status", ZoneStatus::parse)?,
        total_sessions: row.try_get("total_sessions")?,
        active_sessions: row.try_get("active_sessions")?,
        total_players_served: row.try_get("total_players_served")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
