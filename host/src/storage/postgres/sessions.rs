//! The table `p2p_sessions`, and the counters of `zones` that follow from it.
//!
//! Every rule is decided inside one transaction that has locked the rows it reads, in this order: the host, the session, the
//! zone. Many rows of one table are locked in the order of their numbers.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::{Database, hosts, key, number, sql, status, zones};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus};
use crate::domain::session::{FallbackReason, Session, SessionKey, SessionStatus};
use crate::domain::zone::Zone;
use crate::ports::storage::{
    Changed, NewSession, Opened, Result, SessionFilter, SessionMetrics, SessionRepository, SessionSums, StorageError,
};

#[async_trait]
impl SessionRepository for Database {
    async fn open(&self, session: &NewSession, now: Timestamp) -> Result<Opened> {
        let players = u32::try_from(session.players.len()).unwrap_or(u32::MAX);
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let host = lock_host(&mut tx, &session.host).await?;
            let Some(zone) = lock_zone(&mut tx, &session.zone).await? else {
                return Ok(Opened::Refused(FallbackReason::ZoneUnknown));
            };
            if let Some(reason) = zone.refusal(players) {
                return Ok(Opened::Refused(reason));
            }
            let Some(host) = host else {
                return Ok(Opened::Refused(FallbackReason::HostUnknown));
            };
            if host.status != HostStatus::Online {
                return Ok(Opened::Refused(FallbackReason::HostNotOnline));
            }
            let row = sqlx::query(sql::OPEN)
                .bind(&session.session_id)
                .bind(host.id)
                .bind(zone.id)
                .bind(&host.host_id)
                .bind(&zone.zone_id)
                .bind(Json(&session.players))
                .bind(i64::from(players))
                .bind(i64::from(zone.max_players))
                .bind(now)
                .bind(i64::from(host.max_zones))
                .bind(i64::from(host.max_players))
                .fetch_optional(&mut *tx)
                .await?;
            let Some(row) = row else {
                return Ok(Opened::Refused(FallbackReason::HostFull));
            };
            let opened = read(&row)?;
            tx.commit().await?;
            Ok(Opened::Done(opened))
        })
        .await
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<Session>> {
        self.again(move || async move {
            let mut connection = self.connection().await?;
            find(&mut connection, key, sql::GET_BY_ID, sql::GET_BY_NAME).await
        })
        .await
    }

    async fn list(&self, filter: &SessionFilter) -> Result<Vec<Session>> {
        self.again(move || async move {
            let mut query = sql::list(filter);
            let rows = query.build().fetch_all(&mut *self.connection().await?).await?;
            rows.iter().map(read).collect()
        })
        .await
    }

    async fn activate(&self, key: &SessionKey, now: Timestamp) -> Result<Changed> {
        self.change(key, now, move |session| match session.status {
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
        self.change_live(key, now, move |session| {
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
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let host = lock_host(&mut tx, to).await?;
            let Some(before) = lock(&mut tx, key).await? else {
                return Ok(Changed::NotFound);
            };
            if !before.status.is_live() || before.host != from {
                return Ok(Changed::WrongStatus(before.status));
            }
            let Some(host) = host.filter(|host| host.status == HostStatus::Online) else {
                return Ok(Changed::Full);
            };
            if !has_room(&mut tx, &host, &before).await? {
                return Ok(Changed::Full);
            }
            let mut session = before.clone();
            session.host_id = host.id;
            session.host = host.host_id;
            save(&mut tx, &before, &mut session, now).await?;
            tx.commit().await?;
            Ok(Changed::Done(session))
        })
        .await
    }

    async fn record_metrics(&self, key: &SessionKey, metrics: SessionMetrics, now: Timestamp) -> Result<Changed> {
        self.change_live(key, now, move |session| {
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
        self.change_live(key, now, move |session| {
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
        self.change_live(key, now, move |session| {
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
        let names: &Vec<&str> = &session_ids.iter().filter_map(|name| key(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        self.again(move || async move {
            sqlx::query(sql::TOUCH)
                .bind(names)
                .bind(now)
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(())
        })
        .await
    }

    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Session>> {
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let rows = sqlx::query(sql::EXPIRE)
                .bind(cutoff)
                .bind(now)
                .fetch_all(&mut *tx)
                .await?;
            let sessions: Vec<Session> = rows.iter().map(read).collect::<sqlx::Result<_>>()?;
            let mut gone: BTreeMap<i64, i64> = BTreeMap::new();
            for session in &sessions {
                *gone.entry(session.zone_id).or_default() += 1;
            }
            if !gone.is_empty() {
                sqlx::query(sql::COUNT_GONE)
                    .bind(gone.keys().copied().collect::<Vec<_>>())
                    .bind(gone.values().copied().collect::<Vec<_>>())
                    .execute(&mut *tx)
                    .await?;
            }
            tx.commit().await?;
            Ok(sessions)
        })
        .await
    }

    async fn purge(&self, cutoff: Timestamp, limit: u32) -> Result<u64> {
        self.once(move || async move {
            let done = sqlx::query(sql::PURGE)
                .bind(cutoff)
                .bind(i64::from(limit))
                .execute(&mut *self.connection().await?)
                .await?;
            Ok(done.rows_affected())
        })
        .await
    }

    async fn live_counts(&self) -> Result<HashMap<String, u32>> {
        self.again(move || async move {
            let rows = sqlx::query(sql::LIVE_COUNTS)
                .fetch_all(&mut *self.connection().await?)
                .await?;
            let count = |row: &PgRow| Ok((row.try_get("host")?, number(row, "sessions")?));
            rows.iter().map(count).collect()
        })
        .await
    }

    async fn sums(&self) -> Result<SessionSums> {
        self.again(move || async move {
            let rows = sqlx::query(sql::SUMS).fetch_all(&mut *self.connection().await?).await?;
            let mut sums = SessionSums::default();
            for row in &rows {
                let status = status(row, "status", SessionStatus::parse)?;
                for (sum, of) in sums.by_status.iter_mut().zip(SessionStatus::ALL) {
                    if of == status {
                        *sum = row.try_get("sessions")?;
                    }
                }
                sums.players = row.try_get("players")?;
                sums.average_latency_ms = row.try_get::<Option<f64>, _>("latency")?.unwrap_or_default();
            }
            Ok(sums)
        })
        .await
    }
}

impl Database {
    /// Reads the session, lets `rule` edit it or answer why not, and stores the outcome with the zone's counters, as one
    /// transaction. The rule may be asked again.
    async fn change(
        &self,
        key: &SessionKey,
        now: Timestamp,
        rule: impl Fn(&mut Session) -> Option<Changed> + Send + Sync,
    ) -> Result<Changed> {
        let rule = &rule;
        self.once(move || async move {
            let mut lease = self.connection().await?;
            let mut tx = lease.begin().await?;
            let Some(before) = lock(&mut tx, key).await? else {
                return Ok(Changed::NotFound);
            };
            let mut session = before.clone();
            if let Some(refused) = rule(&mut session) {
                return Ok(refused);
            }
            save(&mut tx, &before, &mut session, now).await?;
            tx.commit().await?;
            Ok(Changed::Done(session))
        })
        .await
    }

    /// As `change`, for sessions that are not over.
    async fn change_live(
        &self,
        key: &SessionKey,
        now: Timestamp,
        rule: impl Fn(&mut Session) -> Option<Changed> + Send + Sync,
    ) -> Result<Changed> {
        self.change(key, now, |session| match session.status.is_live() {
            true => rule(session),
            false => Some(Changed::WrongStatus(session.status)),
        })
        .await
    }
}

/// Whether the host takes this session beside the others that it serves.
async fn has_room(connection: &mut PgConnection, host: &Host, session: &Session) -> sqlx::Result<bool> {
    let row = sqlx::query(sql::ROOM)
        .bind(&host.host_id)
        .bind(session.id)
        .fetch_one(connection)
        .await?;
    let sessions: i64 = row.try_get("sessions")?;
    let players: i64 = row.try_get("players")?;
    Ok(sessions < i64::from(host.max_zones)
        && players + i64::from(session.current_players) <= i64::from(host.max_players))
}

async fn lock_zone(connection: &mut PgConnection, zone_id: &str) -> sqlx::Result<Option<Zone>> {
    let row = sqlx::query(zones::LOCK)
        .bind(key(zone_id))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(zones::read).transpose()
}

async fn lock_host(connection: &mut PgConnection, host_id: &str) -> sqlx::Result<Option<Host>> {
    let row = sqlx::query(hosts::LOCK)
        .bind(key(host_id))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(hosts::read).transpose()
}

async fn lock(connection: &mut PgConnection, key: &SessionKey) -> sqlx::Result<Option<Session>> {
    find(connection, key, sql::LOCK_BY_ID, sql::LOCK_BY_NAME).await
}

async fn find(
    connection: &mut PgConnection,
    session: &SessionKey,
    by_id: &'static str,
    by_name: &'static str,
) -> sqlx::Result<Option<Session>> {
    let query = match session {
        SessionKey::Id(id) => sqlx::query(by_id).bind(id),
        SessionKey::SessionId(name) => sqlx::query(by_name).bind(key(name)),
    };
    let row = query.fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// Writes the session back as changed at `now`, which is a sign of life, and what that adds to the zone's counters.
async fn save(
    connection: &mut PgConnection,
    before: &Session,
    session: &mut Session,
    now: Timestamp,
) -> sqlx::Result<()> {
    session.updated_at = now;
    session.last_activity_at = session.last_activity_at.max(now);
    let live = i64::from(session.status.is_live()) - i64::from(before.status.is_live());
    let players = session.current_players.saturating_sub(before.current_players);
    sqlx::query(sql::SAVE)
        .bind(session.id)
        .bind(session.host_id)
        .bind(&session.host)
        .bind(Json(&session.connected_players))
        .bind(i64::from(session.current_players))
        .bind(session.status.as_str())
        .bind(session.average_latency_ms)
        .bind(session.average_packet_loss_percent)
        .bind(session.bandwidth_usage_mbps)
        .bind(session.started_at)
        .bind(session.ended_at)
        .bind(session.updated_at)
        .bind(session.last_activity_at)
        .bind(session.zone_id)
        .bind(live)
        .bind(i64::from(players))
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads a row of `p2p_sessions`.
fn read(row: &PgRow) -> sqlx::Result<Session> {
    let connected_players: Json<Vec<String>> = row.try_get("connected_players")?;
    Ok(Session {
        id: row.try_get("id")?,
        session_id: row.try_get("session_id")?,
        host_id: row.try_get("host_id")?,
        zone_id: row.try_get("zone_id")?,
        host: row.try_get("host")?,
        zone: row.try_get("zone")?,
        connected_players: connected_players.0,
        current_players: number(row, "current_players")?,
        max_players: number(row, "max_players")?,
        status: status(row, "status", SessionStatus::parse)?,
        average_latency_ms: row.try_get("average_latency_ms")?,
        average_packet_loss_percent: row.try_get("average_packet_loss_percent")?,
        bandwidth_usage_mbps: row.try_get("bandwidth_usage_mbps")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_activity_at: row.try_get("last_activity_at")?,
    })
}
