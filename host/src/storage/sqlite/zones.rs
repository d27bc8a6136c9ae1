//! The table `zones`. Its counters are written by `sessions`, in the transaction that they count.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Database, failed, status};
use crate::domain::clock::Timestamp;
use crate::domain::zone::{Zone, ZoneDefinition, ZoneStatus};
use crate::ports::storage::{Result, ZoneFilter, ZoneRepository};

const DEFINE: &str = "
    INSERT INTO zones (zone_id, zone_name, zone_display_name, map_name, description, max_players,
        recommended_players, p2p_enabled, p2p_priority, fallback_enabled, min_host_quality_score,
        min_bandwidth_mbps, max_latency_ms, status, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 'enabled', ?14, ?14)
    ON CONFLICT (zone_id) DO UPDATE SET
        zone_name = excluded.zone_name, zone_display_name = excluded.zone_display_name,
        map_name = excluded.map_name, description = excluded.description, max_players = excluded.max_players,
        recommended_players = excluded.recommended_players, p2p_enabled = excluded.p2p_enabled,
        p2p_priority = excluded.p2p_priority, fallback_enabled = excluded.fallback_enabled,
        min_host_quality_score = excluded.min_host_quality_score,
        min_bandwidth_mbps = excluded.min_bandwidth_mbps, max_latency_ms = excluded.max_latency_ms,
        updated_at = excluded.updated_at
    RETURNING *";

#[async_trait]
impl ZoneRepository for Database {
    async fn define(&self, definition: &ZoneDefinition, now: Timestamp) -> Result<Zone> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(DEFINE)
            .bind(&definition.zone_id)
            .bind(&definition.zone_name)
            .bind(&definition.zone_display_name)
            .bind(&definition.map_name)
            .bind(&definition.description)
            .bind(definition.max_players)
            .bind(definition.recommended_players)
            .bind(definition.p2p_enabled)
            .bind(definition.p2p_priority)
            .bind(definition.fallback_enabled)
            .bind(definition.min_host_quality_score)
            .bind(definition.min_bandwidth_mbps)
            .bind(definition.max_latency_ms)
            .bind(now.0)
            .fetch_one(&mut *tx)
            .await
            .map_err(failed)?;
        let zone = read(&row).map_err(failed)?;
        self.commit(tx).await?;
        Ok(zone)
    }

    async fn get(&self, zone_id: &str) -> Result<Option<Zone>> {
        let row = sqlx::query("SELECT * FROM zones WHERE zone_id = ?1")
            .bind(zone_id)
            .fetch_optional(&self.read)
            .await
            .map_err(failed)?;
        row.as_ref().map(read).transpose().map_err(failed)
    }

    async fn list(&self, filter: ZoneFilter) -> Result<Vec<Zone>> {
        let rows = sqlx::query(
            "SELECT * FROM zones WHERE (?1 IS NULL OR p2p_enabled = ?1) AND (?2 IS NULL OR status = ?2)
             ORDER BY p2p_priority DESC, zone_name, zone_id",
        )
        .bind(filter.p2p_enabled)
        .bind(filter.status.map(ZoneStatus::as_str))
        .fetch_all(&self.read)
        .await
        .map_err(failed)?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn set_p2p(&self, zone_id: &str, enabled: bool, now: Timestamp) -> Result<Option<Zone>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("UPDATE zones SET p2p_enabled = ?2, updated_at = ?3 WHERE zone_id = ?1 RETURNING *")
            .bind(zone_id)
            .bind(enabled)
            .bind(now.0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed)?;
        let zone = row.as_ref().map(read).transpose().map_err(failed)?;
        self.commit(tx).await?;
        Ok(zone)
    }

    async fn set_status(&self, zone_id: &str, status: ZoneStatus, now: Timestamp) -> Result<Option<Zone>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("UPDATE zones SET status = ?2, updated_at = ?3 WHERE zone_id = ?1 RETURNING *")
            .bind(zone_id)
            .bind(status.as_str())
            .bind(now.0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed)?;
        let zone = row.as_ref().map(read).transpose().map_err(failed)?;
        self.commit(tx).await?;
        Ok(zone)
    }
}

/// Reads a row of `zones`.
pub(super) fn read(row: &SqliteRow) -> sqlx::Result<Zone> {
    Ok(Zone {
        id: row.try_get("id")?,
        zone_id: row.try_get("zone_id")?,
        zone_name: row.try_get("zone_name")?,
        zone_display_name: row.try_get("zone_display_name")?,
        map_name: row.try_get("map_name")?,
        description: row.try_get("description")?,
        max_players: row.try_get("max_players")?,
        recommended_players: row.try_get("recommended_players")?,
        p2p_enabled: row.try_get("p2p_enabled")?,
        p2p_priority: row.try_get("p2p_priority")?,
        fallback_enabled: row.try_get("fallback_enabled")?,
        min_host_quality_score: row.try_get("min_host_quality_score")?,
        min_bandwidth_mbps: row.try_get("min_bandwidth_mbps")?,
        max_latency_ms: row.try_get("max_latency_ms")?,
        status: status(row, "status", ZoneStatus::parse)?,
        total_sessions: row.try_get("total_sessions")?,
        active_sessions: row.try_get("active_sessions")?,
        total_players_served: row.try_get("total_players_served")?,
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
    })
}
