//! The table `hosts`.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Database, failed, json, status, to_json};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Registration};
use crate::ports::storage::{HeartbeatRecord, HostRepository, Registered, Result};
use crate::storage::beats;

const REGISTER: &str = "
    INSERT INTO hosts (host_id, player_id, player_name, ip_address, port, public_ip, ice_servers, cpu_cores,
        cpu_frequency_mhz, memory_mb, network_speed_mbps, max_players, max_zones, region, labels, quality_score,
        status, created_at, updated_at, last_heartbeat)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, 'online', ?17, ?17, ?17)
    ON CONFLICT (host_id) DO UPDATE SET
        player_id = excluded.player_id, player_name = excluded.player_name, ip_address = excluded.ip_address,
        port = excluded.port, public_ip = excluded.public_ip, ice_servers = excluded.ice_servers,
        cpu_cores = excluded.cpu_cores, cpu_frequency_mhz = excluded.cpu_frequency_mhz,
        memory_mb = excluded.memory_mb, network_speed_mbps = excluded.network_speed_mbps,
        max_players = excluded.max_players, max_zones = excluded.max_zones, region = excluded.region,
        labels = excluded.labels, quality_score = excluded.quality_score, status = 'online',
        updated_at = excluded.updated_at, last_heartbeat = excluded.last_heartbeat, revision = revision + 1
    WHERE ?18 IS NULL OR hosts.player_id = ?18
    RETURNING *";

// A heartbeat from before the host was put offline does not bring it back.
const SAVE_HEARTBEATS: &str = "
    UPDATE hosts SET
        latency_ms = beat.latency_ms, packet_loss_percent = beat.packet_loss_percent,
        bandwidth_usage_mbps = beat.bandwidth_usage_mbps, current_players = beat.current_players,
        current_zones = beat.current_zones, quality_score = beat.quality_score,
        status = CASE WHEN status = 'offline' AND beat.at >= updated_at THEN 'online' ELSE status END,
        last_heartbeat = beat.at, updated_at = MAX(updated_at, beat.at), revision = revision + 1
    FROM (SELECT value ->> 0 AS host_id, value ->> 1 AS latency_ms, value ->> 2 AS packet_loss_percent,
                 value ->> 3 AS bandwidth_usage_mbps, value ->> 4 AS current_players, value ->> 5 AS current_zones,
                 value ->> 6 AS quality_score, value ->> 7 AS at
          FROM json_each(?1)) AS beat
    WHERE hosts.host_id = beat.host_id AND (last_heartbeat IS NULL OR beat.at >= last_heartbeat)";

#[async_trait]
impl HostRepository for Database {
    async fn register(
        &self,
        registration: &Registration,
        quality_score: f64,
        only_owner: Option<&str>,
        now: Timestamp,
    ) -> Result<Registered> {
        let ice_servers = registration.ice_servers.as_ref().map(to_json).transpose()?;
        let labels = to_json(&registration.labels)?;
        let mut tx = self.begin().await?;
        let row = sqlx::query(REGISTER)
            .bind(&registration.host_id)
            .bind(&registration.player_id)
            .bind(&registration.player_name)
            .bind(&registration.ip_address)
            .bind(registration.port)
            .bind(&registration.public_ip)
            .bind(ice_servers)
            .bind(registration.cpu_cores)
            .bind(registration.cpu_frequency_mhz)
            .bind(registration.memory_mb)
            .bind(registration.network_speed_mbps)
            .bind(registration.max_players)
            .bind(registration.max_zones)
            .bind(&registration.region)
            .bind(labels)
            .bind(quality_score)
            .bind(now.0)
            .bind(only_owner)
            .fetch_optional(&mut *tx)
            .await
            .map_err(failed)?;
        let Some(row) = row else {
            return Ok(Registered::OwnedByAnother);
        };
        let host = read(&row).map_err(failed)?;
        self.commit(tx).await?;
        Ok(Registered::Done(host))
    }

    async fn get(&self, host_id: &str) -> Result<Option<Host>> {
        let row = sqlx::query("SELECT * FROM hosts WHERE host_id = ?1")
            .bind(host_id)
            .fetch_optional(&self.read)
            .await
            .map_err(failed)?;
        row.as_ref().map(read).transpose().map_err(failed)
    }

    async fn all(&self) -> Result<Vec<Host>> {
        let rows = sqlx::query("SELECT * FROM hosts ORDER BY id")
            .fetch_all(&self.read)
            .await
            .map_err(failed)?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn save_heartbeats(&self, records: &[HeartbeatRecord]) -> Result<()> {
        let latest = beats::latest(records);
        if latest.is_empty() {
            return Ok(());
        }
        let beats: Vec<_> = latest
            .into_iter()
            .map(
                |HeartbeatRecord {
                     host_id,
                     measured: m,
                     quality_score,
                     at,
                 }| {
                    (
                        host_id,
                        m.latency_ms,
                        m.packet_loss_percent,
                        m.bandwidth_usage_mbps,
                        m.current_players,
                        m.current_zones,
                        quality_score,
                        at.0,
                    )
                },
            )
            .collect();
        let beats = to_json(&beats)?;
        let mut tx = self.begin().await?;
        sqlx::query(SAVE_HEARTBEATS)
            .bind(beats)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.commit(tx).await
    }

    async fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Result<Option<Host>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE hosts SET status = ?2, updated_at = ?3, revision = revision + 1 WHERE host_id = ?1 RETURNING *",
        )
        .bind(host_id)
        .bind(status.as_str())
        .bind(now.0)
        .fetch_optional(&mut *tx)
        .await
        .map_err(failed)?;
        let host = row.as_ref().map(read).transpose().map_err(failed)?;
        self.commit(tx).await?;
        Ok(host)
    }

    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Host>> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query(
            "UPDATE hosts SET status = 'offline', updated_at = ?2, revision = revision + 1
             WHERE status IN ('online', 'busy') AND (last_heartbeat IS NULL OR last_heartbeat < ?1)
             RETURNING *",
        )
        .bind(cutoff.0)
        .bind(now.0)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
        let hosts = rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)?;
        self.commit(tx).await?;
        Ok(hosts)
    }

    async fn delete(&self, host_id: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM hosts WHERE host_id = ?1")
            .bind(host_id)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.commit(tx).await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Reads a row of `hosts`.
pub(super) fn read(row: &SqliteRow) -> sqlx::Result<Host> {
    let has_ice_servers = row.try_get::<Option<&str>, _>("ice_servers")?.is_some();
    Ok(Host {
        id: row.try_get("id")?,
        host_id: row.try_get("host_id")?,
        player_id: row.try_get("player_id")?,
        player_name: row.try_get("player_name")?,
        ip_address: row.try_get("ip_address")?,
        port: row.try_get("port")?,
        public_ip: row.try_get("public_ip")?,
        ice_servers: has_ice_servers.then(|| json(row, "ice_servers")).transpose()?,
        cpu_cores: row.try_get("cpu_cores")?,
        cpu_frequency_mhz: row.try_get("cpu_frequency_mhz")?,
        memory_mb: row.try_get("memory_mb")?,
        network_speed_mbps: row.try_get("network_speed_mbps")?,
        max_players: row.try_get("max_players")?,
        max_zones: row.try_get("max_zones")?,
        region: row.try_get("region")?,
        labels: json(row, "labels")?,
        latency_ms: row.try_get("latency_ms")?,
        packet_loss_percent: row.try_get("packet_loss_percent")?,
        bandwidth_usage_mbps: row.try_get("bandwidth_usage_mbps")?,
        status: status(row, "status", HostStatus::parse)?,
        current_players: row.try_get("current_players")?,
        current_zones: row.try_get("current_zones")?,
        quality_score: row.try_get("quality_score")?,
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
        last_heartbeat: row.try_get::<Option<i64>, _>("last_heartbeat")?.map(Timestamp),
        revision: row.try_get("revision")?,
    })
}
