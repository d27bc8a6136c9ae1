//! The table `hosts`.
//!
//! A statement that changes many rows locks them first, in the order of their numbers, so that two nodes cannot deadlock.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::{Database, key, number, status};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Registration};
use crate::ports::storage::{HeartbeatRecord, HostRepository, Registered, Result};
use crate::storage::beats;

/// The columns by name: a `*` would change its meaning under the statements that another node's migration finds prepared.
macro_rules! columns {
    () => {
        "id, host_id, player_id, player_name, ip_address, port, public_ip, ice_servers, cpu_cores, cpu_frequency_mhz,
        memory_mb, network_speed_mbps, max_players, max_zones, region, labels, latency_ms, packet_loss_percent,
        bandwidth_usage_mbps, status, current_players, current_zones, quality_score, created_at, updated_at,
        last_heartbeat, revision"
    };
}

pub(super) const REGISTER: &str = concat!(
    "
    INSERT INTO hosts (host_id, player_id, player_name, ip_address, port, public_ip, ice_servers, cpu_cores,
        cpu_frequency_mhz, memory_mb, network_speed_mbps, max_players, max_zones, region, labels, quality_score,
        status, created_at, updated_at, last_heartbeat)
    VALUES ($1, $2, $3, $4, $5, $6, $7::TEXT::JSON, $8, $9, $10, $11, $12, $13, $14, $15, $16, 'online', $17, $17, $17)
    ON CONFLICT (host_id) DO UPDATE SET
        player_id = excluded.player_id, player_name = excluded.player_name, ip_address = excluded.ip_address,
        port = excluded.port, public_ip = excluded.public_ip, ice_servers = excluded.ice_servers,
        cpu_cores = excluded.cpu_cores, cpu_frequency_mhz = excluded.cpu_frequency_mhz,
        memory_mb = excluded.memory_mb, network_speed_mbps = excluded.network_speed_mbps,
        max_players = excluded.max_players, max_zones = excluded.max_zones, region = excluded.region,
        labels = excluded.labels, quality_score = excluded.quality_score, status = 'online',
        updated_at = excluded.updated_at, last_heartbeat = excluded.last_heartbeat, revision = hosts.revision + 1
    WHERE $18::TEXT IS NULL OR hosts.player_id = $18
    RETURNING ",
    columns!()
);

pub(super) const GET: &str = concat!("SELECT ", columns!(), " FROM hosts WHERE host_id = $1");

pub(super) const LOCK: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM hosts WHERE host_id = $1 FOR NO KEY UPDATE"
);

pub(super) const ALL: &str = concat!("SELECT ", columns!(), " FROM hosts ORDER BY id");

// A heartbeat from before the host was put offline does not bring it back.
pub(super) const SAVE_HEARTBEATS: &str = "
    WITH held AS (SELECT id AS held_id FROM hosts WHERE host_id = ANY ($1) ORDER BY id FOR NO KEY UPDATE)
    UPDATE hosts SET
        latency_ms = beat.latency_ms, packet_loss_percent = beat.packet_loss_percent,
        bandwidth_usage_mbps = beat.bandwidth_usage_mbps, current_players = beat.current_players,
        current_zones = beat.current_zones, quality_score = beat.quality_score,
        status = CASE WHEN status = 'offline' AND beat.at >= updated_at THEN 'online' ELSE status END,
        last_heartbeat = beat.at, updated_at = GREATEST(updated_at, beat.at), revision = revision + 1
    FROM held, UNNEST($1::TEXT[], $2::DOUBLE PRECISION[], $3::DOUBLE PRECISION[], $4::DOUBLE PRECISION[], $5::BIGINT[],
                $6::BIGINT[], $7::DOUBLE PRECISION[], $8::TIMESTAMPTZ[])
            AS beat (host_id, latency_ms, packet_loss_percent, bandwidth_usage_mbps, current_players, current_zones,
                quality_score, at)
    WHERE hosts.id = held_id AND hosts.host_id = beat.host_id AND (last_heartbeat IS NULL OR beat.at >= last_heartbeat)";

pub(super) const SET_STATUS: &str = concat!(
    "UPDATE hosts SET status = $2, updated_at = $3, revision = revision + 1 WHERE host_id = $1 RETURNING ",
    columns!()
);

pub(super) const EXPIRE: &str = concat!(
    "
    WITH held AS (SELECT id AS held_id FROM hosts
        WHERE status IN ('online', 'busy') AND (last_heartbeat IS NULL OR last_heartbeat < $1)
        ORDER BY id FOR NO KEY UPDATE)
    UPDATE hosts SET status = 'offline', updated_at = $2, revision = revision + 1
    FROM held WHERE id = held_id RETURNING ",
    columns!()
);

pub(super) const DELETE: &str = "DELETE FROM hosts WHERE host_id = $1";

#[async_trait]
impl HostRepository for Database {
    async fn register(
        &self,
        registration: &Registration,
        quality_score: f64,
        only_owner: Option<&str>,
        now: Timestamp,
    ) -> Result<Registered> {
        let ice_servers = registration.ice_servers.as_ref().map(ToString::to_string);
        let ice_servers = ice_servers.as_deref();
        self.again(move || async move {
            let row = sqlx::query(REGISTER)
                .bind(&registration.host_id)
                .bind(&registration.player_id)
                .bind(&registration.player_name)
                .bind(&registration.ip_address)
                .bind(i64::from(registration.port))
                .bind(&registration.public_ip)
                .bind(ice_servers)
                .bind(i64::from(registration.cpu_cores))
                .bind(i64::from(registration.cpu_frequency_mhz))
                .bind(i64::from(registration.memory_mb))
                .bind(i64::from(registration.network_speed_mbps))
                .bind(i64::from(registration.max_players))
                .bind(i64::from(registration.max_zones))
                .bind(&registration.region)
                .bind(Json(&registration.labels))
                .bind(quality_score)
                .bind(now)
                .bind(only_owner)
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            Ok(match row {
                Some(row) => Registered::Done(read(&row)?),
                None => Registered::OwnedByAnother,
            })
        })
        .await
    }

    async fn get(&self, host_id: &str) -> Result<Option<Host>> {
        self.again(move || async move {
            let row = sqlx::query(GET)
                .bind(key(host_id))
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(read).transpose()
        })
        .await
    }

    async fn all(&self) -> Result<Vec<Host>> {
        self.again(move || async move {
            let rows = sqlx::query(ALL).fetch_all(&mut *self.connection().await?).await?;
            rows.iter().map(read).collect()
        })
        .await
    }

    async fn save_heartbeats(&self, records: &[HeartbeatRecord]) -> Result<()> {
        let latest = beats::latest(records);
        if latest.is_empty() {
            return Ok(());
        }
        let beats = &Beats::of(&latest);
        self.again(move || async move {
            sqlx::query(SAVE_HEARTBEATS)
                .bind(&beats.host_id)
                .bind(&beats.latency_ms)
                .bind(&beats.packet_loss_percent)
                .bind(&beats.bandwidth_usage_mbps)
                .bind(&beats.current_players)
                .bind(&beats.current_zones)
                .bind(&beats.quality_score)
                .bind(&beats.at)
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(())
        })
        .await
    }

    async fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Result<Option<Host>> {
        self.again(move || async move {
            let row = sqlx::query(SET_STATUS)
                .bind(key(host_id))
                .bind(status.as_str())
                .bind(now)
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(read).transpose()
        })
        .await
    }

    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Host>> {
        self.once(move || async move {
            let rows = sqlx::query(EXPIRE)
                .bind(cutoff)
                .bind(now)
                .fetch_all(&mut *self.connection().await?)
                .await?;
            rows.iter().map(read).collect()
        })
        .await
    }

    async fn delete(&self, host_id: &str) -> Result<bool> {
        self.once(move || async move {
            let done = sqlx::query(DELETE)
                .bind(key(host_id))
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(done.rows_affected() > 0)
        })
        .await
    }
}

/// A batch of heartbeats, one array per column.
#[derive(Default)]
struct Beats<'a> {
    host_id: Vec<&'a str>,
    latency_ms: Vec<f64>,
    packet_loss_percent: Vec<f64>,
    bandwidth_usage_mbps: Vec<f64>,
    current_players: Vec<i64>,
    current_zones: Vec<i64>,
    quality_score: Vec<f64>,
    at: Vec<Timestamp>,
}

impl<'a> Beats<'a> {
    fn of(records: &[&'a HeartbeatRecord]) -> Self {
        let mut beats = Self::default();
        for record in records {
            let Some(host_id) = key(&record.host_id) else { continue };
            let measured = &record.measured;
            beats.host_id.push(host_id);
            beats.latency_ms.push(measured.latency_ms);
            beats.packet_loss_percent.push(measured.packet_loss_percent);
            beats.bandwidth_usage_mbps.push(measured.bandwidth_usage_mbps);
            beats.current_players.push(i64::from(measured.current_players));
            beats.current_zones.push(i64::from(measured.current_zones));
            beats.quality_score.push(record.quality_score);
            beats.at.push(record.at);
        }
        beats
    }
}

/// Reads a row of `hosts`.
pub(super) fn read(row: &PgRow) -> sqlx::Result<Host> {
    let ice_servers: Option<Json<serde_json::Value>> = row.try_get("ice_servers")?;
    let labels: Json<_> = row.try_get("labels")?;
    Ok(Host {
        id: row.try_get("id")?,
        host_id: row.try_get("host_id")?,
        player_id: row.try_get("player_id")?,
        player_name: row.try_get("player_name")?,
        ip_address: row.try_get("ip_address")?,
        port: number(row, "port")?,
        public_ip: row.try_get("public_ip")?,
        ice_servers: ice_servers.map(|Json(value)| value),
        cpu_cores: number(row, "cpu_cores")?,
        cpu_frequency_mhz: number(row, "cpu_frequency_mhz")?,
        memory_mb: number(row, "memory_mb")?,
        network_speed_mbps: number(row, "network_speed_mbps")?,
        max_players: number(row, "max_players")?,
        max_zones: number(row, "max_zones")?,
        region: row.try_get("region")?,
        labels: labels.0,
        latency_ms: row.try_get("latency_ms")?,
        packet_loss_percent: row.try_get("packet_loss_percent")?,
        bandwidth_usage_mbps: row.try_get("bandwidth_usage_mbps")?,
        status: status(row, "status", HostStatus::parse)?,
        current_players: number(row, "current_players")?,
        current_zones: number(row, "current_zones")?,
        quality_score: row.try_get("quality_score")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_heartbeat: row.try_get("last_heartbeat")?,
        revision: row.try_get("revision")?,
    })
}
