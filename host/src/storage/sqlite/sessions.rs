//! The table `p2p_sessions`, and the counters of `zones` that follow from it.
//!
//! Every rule is decided inside a transaction that holds the write lock from its start.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, Transaction};

use super::{Database, failed, hosts, json, status, to_json, zones};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus};
use crate::domain::session::{FallbackReason, Session, SessionKey, SessionStatus};
use crate::domain::zone::Zone;
use crate::ports::storage::{
    Changed, NewSession, Opened, Result, SessionFilter, SessionMetrics, SessionRepository, SessionSums, StorageError,
};

const OPEN: &str = "
    INSERT INTO p2p_sessions (session_id, host_id, zone_id, host, zone, connected_players, current_players,
        max_players, status, created_at, updated_at, last_activity_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'pending', ?9, ?9, ?9)
    RETURNING *";

const SAVE: &str = "
    UPDATE p2p_sessions SET host_id = ?2, host = ?3, connected_players = ?4, current_players = ?5, status = ?6,
        average_latency_ms = ?7, average_packet_loss_percent = ?8, bandwidth_usage_mbps = ?9, started_at = ?10,
        ended_at = ?11, updated_at = ?12, last_activity_at = ?13
    WHERE id = ?1";

#[async_trait]
impl SessionRepository for Database {
    async fn open(&self, session: &NewSession, now: Timestamp) -> Result<Opened> {
        let players = u32::try_from(session.players.len()).unwrap_or(u32::MAX);
        let names = to_json(&session.players)?;
        let mut tx = self.begin().await?;
        let Some(zone) = zone(&mut tx, &session.zone).await? else {
            return Ok(Opened::Refused(FallbackReason::ZoneUnknown));
        };
        let host = host(&mut tx, &session.host).await?;
        if let Some(reason) = zone.refusal(players) {
            return Ok(Opened::Refused(reason));
        }
        let Some(host) = host else {
            return Ok(Opened::Refused(FallbackReason::HostUnknown));
        };
        if host.status != HostStatus::Online {
            return Ok(Opened::Refused(FallbackReason::HostNotOnline));
        }
        if !has_room(&mut tx, &host, players, None).await? {
            return Ok(Opened::Refused(FallbackReason::HostFull));
        }
        let row = sqlx::query(OPEN)
            .bind(&session.session_id)
            .bind(host.id)
            .bind(zone.id)
            .bind(&host.host_id)
            .bind(&zone.zone_id)
            .bind(names)
            .bind(players)
            .bind(zone.max_players)
            .bind(now.0)
            .fetch_one(&mut *tx)
            .await
            .map_err(failed)?;
        let opened = read(&row).map_err(failed)?;
        count(
            &mut tx,
            zone.id,
            Counted {
                opened: 1,
                live: 1,
                players: i64::from(players),
            },
        )
        .await?;
        self.commit(tx).await?;
        Ok(Opened::Done(opened))
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<Session>> {
        let mut connection = self.read.acquire().await.map_err(failed)?;
        find(&mut connection, key).await
    }

    async fn list(&self, filter: &SessionFilter) -> Result<Vec<Session>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM p2p_sessions WHERE TRUE");
        if let Some(host) = &filter.host {
            query.push(" AND host = ").push_bind(host);
        }
        if let Some(zone) = &filter.zone {
            query
                .push(" AND zone_id = (SELECT id FROM zones WHERE zone_id = ")
                .push_bind(zone)
                .push(")");
        }
        if !filter.statuses.is_empty() {
            query.push(" AND status IN (");
            let mut names = query.separated(", ");
            for status in &filter.statuses {
                names.push_bind(status.as_str());
            }
            query.push(")");
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(filter.limit);
        query.push(" OFFSET ").push_bind(filter.offset);
        let rows = query.build().fetch_all(&self.read).await.map_err(failed)?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn activate(&self, key: &SessionKey, now: Timestamp) -> Result<Changed> {
        self.change(key, now, |session| match session.status {
            SessionStatus::Pending => {
                session.status = SessionStatus::Active;
                session.started_at = Some(now);
                None
            }
            status => Some(Changed::WrongStatus(status)),
        })
        .await
    }

    async fn finish(
        &self,
        key: &SessionKey,
        status: SessionStatus,
        on_host: Option<&str>,
        now: Timestamp,
    ) -> Result<Changed> {
        if status.is_live() {
            let error = anyhow::anyhow!("a session cannot finish as {}", status.as_str());
            return Err(StorageError::Internal(error));
        }
        self.change_live(key, now, |session| {
            if on_host.is_some_and(|host_id| session.host != host_id) {
                return Some(Changed::WrongStatus(session.status));
            }
            session.status = status;
            session.ended_at = Some(now);
            None
        })
        .await
    }

    async fn move_host(&self, key: &SessionKey, from: &str, to: &str, now: Timestamp) -> Result<Changed> {
        let mut tx = self.begin().await?;
        let Some(mut session) = find(&mut tx, key).await? else {
            return Ok(Changed::NotFound);
        };
        if !session.status.is_live() || session.host != from {
            return Ok(Changed::WrongStatus(session.status));
        }
        let Some(host) = host(&mut tx, to)
            .await?
            .filter(|host| host.status == HostStatus::Online)
        else {
            return Ok(Changed::Full);
        };
        if !has_room(&mut tx, &host, session.current_players, Some(session.id)).await? {
            return Ok(Changed::Full);
        }
        session.host_id = host.id;
        session.host = host.host_id;
        save(&mut tx, &mut session, now).await?;
        self.commit(tx).await?;
        Ok(Changed::Done(session))
    }

    async fn record_metrics(&self, key: &SessionKey, metrics: SessionMetrics, now: Timestamp) -> Result<Changed> {
        self.change_live(key, now, |session| {
            session.average_latency_ms = metrics.average_latency_ms.unwrap_or(session.average_latency_ms);
            session.average_packet_loss_percent = metrics
                .average_packet_loss_percent
                .unwrap_or(session.average_packet_loss_percent);
            session.bandwidth_usage_mbps = metrics.bandwidth_usage_mbps.unwrap_or(session.bandwidth_usage_mbps);
            None
        })
        .await
    }

    async fn add_player(&self, key: &SessionKey, player_id: &str, now: Timestamp) -> Result<Changed> {
        self.change_live(key, now, |session| {
            if session.connected_players.iter().any(|player| player == player_id) {
                return Some(Changed::AlreadyThere);
            }
            if session.current_players >= session.max_players {
                return Some(Changed::Full);
            }
            session.connected_players.push(player_id.to_owned());
            session.current_players += 1;
            None
        })
        .await
    }

    async fn remove_player(&self, key: &SessionKey, player_id: &str, now: Timestamp) -> Result<Changed> {
        self.change_live(key, now, |session| {
            let Some(place) = session.connected_players.iter().position(|player| player == player_id) else {
                return Some(Changed::NotThere);
            };
            session.connected_players.remove(place);
            session.current_players = session.current_players.saturating_sub(1);
            None
        })
        .await
    }

    async fn touch(&self, session_ids: &[String], now: Timestamp) -> Result<()> {
        if session_ids.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE p2p_sessions SET last_activity_at = MAX(last_activity_at, ?2)
             WHERE session_id IN (SELECT value FROM json_each(?1)) AND status IN ('pending', 'active', 'paused')",
        )
        .bind(to_json(session_ids)?)
        .bind(now.0)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        self.commit(tx).await
    }

    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Session>> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query(
            "UPDATE p2p_sessions SET status = CASE status WHEN 'pending' THEN 'failed' ELSE 'ended' END,
                ended_at = ?2, updated_at = ?2
             WHERE status IN ('pending', 'active', 'paused') AND last_activity_at < ?1
             RETURNING *",
        )
        .bind(cutoff.0)
        .bind(now.0)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed)?;
        let sessions: Vec<Session> = rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)?;
        let mut over: BTreeMap<i64, i64> = BTreeMap::new();
        for session in &sessions {
            *over.entry(session.zone_id).or_default() += 1;
        }
        for (zone, sessions) in over {
            count(
                &mut tx,
                zone,
                Counted {
                    live: -sessions,
                    ..Counted::default()
                },
            )
            .await?;
        }
        self.commit(tx).await?;
        Ok(sessions)
    }

    async fn purge(&self, cutoff: Timestamp, limit: u32) -> Result<u64> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "DELETE FROM p2p_sessions WHERE id IN (
                SELECT id FROM p2p_sessions WHERE status IN ('ended', 'failed') AND ended_at < ?1 LIMIT ?2)",
        )
        .bind(cutoff.0)
        .bind(limit)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        self.commit(tx).await?;
        Ok(done.rows_affected())
    }

    async fn live_counts(&self) -> Result<HashMap<String, u32>> {
        let rows = sqlx::query(
            "SELECT host, COUNT(*) AS sessions FROM p2p_sessions WHERE status IN ('pending', 'active', 'paused')
             GROUP BY host",
        )
        .fetch_all(&self.read)
        .await
        .map_err(failed)?;
        let count = |row: &SqliteRow| Ok((row.try_get("host")?, row.try_get("sessions")?));
        rows.iter().map(count).collect::<sqlx::Result<_>>().map_err(failed)
    }

    async fn sums(&self) -> Result<SessionSums> {
        // One statement, so that the figures belong to one moment.
        let rows = sqlx::query(
            "SELECT status, COUNT(*) AS sessions,
                    SUM(CASE WHEN status = 'active' THEN current_players ELSE 0 END) AS players,
                    AVG(CASE WHEN status = 'active' AND average_latency_ms > 0 THEN average_latency_ms END) AS latency
             FROM p2p_sessions GROUP BY status",
        )
        .fetch_all(&self.read)
        .await
        .map_err(failed)?;
        let mut sums = SessionSums::default();
        for row in &rows {
            let status = status(row, "status", SessionStatus::parse).map_err(failed)?;
            for (sum, of) in sums.by_status.iter_mut().zip(SessionStatus::ALL) {
                if of == status {
                    *sum = row.try_get("sessions").map_err(failed)?;
                }
            }
            sums.players += row.try_get::<i64, _>("players").map_err(failed)?;
            sums.average_latency_ms += row
                .try_get::<Option<f64>, _>("latency")
                .map_err(failed)?
                .unwrap_or_default();
        }
        Ok(sums)
    }
}

impl Database {
    /// Reads the session, lets `rule` edit it or answer why not, and stores the outcome with the zone's counters, as one
    /// transaction.
    async fn change(
        &self,
        key: &SessionKey,
        now: Timestamp,
        rule: impl FnOnce(&mut Session) -> Option<Changed> + Send,
    ) -> Result<Changed> {
        let mut tx = self.begin().await?;
        let Some(before) = find(&mut tx, key).await? else {
            return Ok(Changed::NotFound);
        };
        let mut session = before.clone();
        if let Some(refused) = rule(&mut session) {
            return Ok(refused);
        }
        save(&mut tx, &mut session, now).await?;
        let counted = Counted {
            opened: 0,
            live: i64::from(session.status.is_live()) - i64::from(before.status.is_live()),
            players: i64::from(session.current_players.saturating_sub(before.current_players)),
        };
        if counted != Counted::default() {
            count(&mut tx, session.zone_id, counted).await?;
        }
        self.commit(tx).await?;
        Ok(Changed::Done(session))
    }

    /// As `change`, for sessions that are not over.
    async fn change_live(
        &self,
        key: &SessionKey,
        now: Timestamp,
        rule: impl FnOnce(&mut Session) -> Option<Changed> + Send,
    ) -> Result<Changed> {
        self.change(key, now, |session| match session.status.is_live() {
            true => rule(session),
            false => Some(Changed::WrongStatus(session.status)),
        })
        .await
    }
}

/// Whether the host takes one more live session with so many players. The session `except` does not count.
async fn has_room(connection: &mut SqliteConnection, host: &Host, players: u32, except: Option<i64>) -> Result<bool> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS sessions, COALESCE(SUM(current_players), 0) AS players FROM p2p_sessions
         WHERE host = ?1 AND status IN ('pending', 'active', 'paused') AND id IS NOT ?2",
    )
    .bind(&host.host_id)
    .bind(except)
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let sessions: i64 = row.try_get("sessions").map_err(failed)?;
    let served: i64 = row.try_get("players").map_err(failed)?;
    Ok(sessions < i64::from(host.max_zones) && served + i64::from(players) <= i64::from(host.max_players))
}

/// What a change adds to a zone's counters.
#[derive(Clone, Copy, Default, PartialEq)]
struct Counted {
    opened: i64,
    live: i64,
    players: i64,
}

async fn count(connection: &mut SqliteConnection, zone: i64, counted: Counted) -> Result<()> {
    sqlx::query(
        "UPDATE zones SET total_sessions = total_sessions + ?2, active_sessions = active_sessions + ?3,
            total_players_served = total_players_served + ?4
         WHERE id = ?1",
    )
    .bind(zone)
    .bind(counted.opened)
    .bind(counted.live)
    .bind(counted.players)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn zone(connection: &mut SqliteConnection, zone_id: &str) -> Result<Option<Zone>> {
    let row = sqlx::query("SELECT * FROM zones WHERE zone_id = ?1")
        .bind(zone_id)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(zones::read).transpose().map_err(failed)
}

async fn host(connection: &mut SqliteConnection, host_id: &str) -> Result<Option<Host>> {
    let row = sqlx::query("SELECT * FROM hosts WHERE host_id = ?1")
        .bind(host_id)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(hosts::read).transpose().map_err(failed)
}

async fn find(connection: &mut SqliteConnection, key: &SessionKey) -> Result<Option<Session>> {
    let query = match key {
        SessionKey::Id(id) => sqlx::query("SELECT * FROM p2p_sessions WHERE id = ?1").bind(id),
        SessionKey::SessionId(name) => sqlx::query("SELECT * FROM p2p_sessions WHERE session_id = ?1").bind(name),
    };
    let row = query.fetch_optional(connection).await.map_err(failed)?;
    row.as_ref().map(read).transpose().map_err(failed)
}

/// Writes the session back as changed at `now`, which is a sign of life.
async fn save(tx: &mut Transaction<'static, Sqlite>, session: &mut Session, now: Timestamp) -> Result<()> {
    session.updated_at = now;
    session.last_activity_at = session.last_activity_at.max(now);
    sqlx::query(SAVE)
        .bind(session.id)
        .bind(session.host_id)
        .bind(&session.host)
        .bind(to_json(&session.connected_players)?)
        .bind(session.current_players)
        .bind(session.status.as_str())
        .bind(session.average_latency_ms)
        .bind(session.average_packet_loss_percent)
        .bind(session.bandwidth_usage_mbps)
        .bind(session.started_at.map(|at| at.0))
        .bind(session.ended_at.map(|at| at.0))
        .bind(session.updated_at.0)
        .bind(session.last_activity_at.0)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
    Ok(())
}

/// Reads a row of `p2p_sessions`.
fn read(row: &SqliteRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: row.try_get("id")?,
        session_id: row.try_get("session_id")?,
        host_id: row.try_get("host_id")?,
        zone_id: row.try_get("zone_id")?,
        host: row.try_get("host")?,
        zone: row.try_get("zone")?,
        connected_players: json(row, "connected_players")?,
        current_players: row.try_get("current_players")?,
        max_players: row.try_get("max_players")?,
        status: status(row, "status", SessionStatus::parse)?,
        average_latency_ms: row.try_get("average_latency_ms")?,
        average_packet_loss_percent: row.try_get("average_packet_loss_percent")?,
        bandwidth_usage_mbps: row.try_get("bandwidth_usage_mbps")?,
        started_at: row.try_get::<Option<i64>, _>("started_at")?.map(Timestamp),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp),
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
        last_activity_at: Timestamp(row.try_get("last_activity_at")?),
    })
}
