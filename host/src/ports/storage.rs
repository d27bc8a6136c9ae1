//! Durable truth: hosts, zones, sessions, refresh-token families; releases have a file of their own.
//!
//! Every method that changes something has committed when it returns `Ok`. Rules that must hold under concurrency
//! (ownership, capacity, transitions) are decided inside the method's own transaction, never by the caller between
//! two calls.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::releases::ReleaseRepository;
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Measurements, Registration};
use crate::domain::session::{FallbackReason, Session, SessionKey, SessionStatus};
use crate::domain::zone::{Zone, ZoneDefinition, ZoneStatus};

/// Why storage did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The database cannot be reached, is locked for too long, or its pool is exhausted. Trying again may help.
    #[error("storage is unavailable: {0}")]
    Unavailable(#[source] anyhow::Error),
    /// The database answered something that must not be. Trying again does not help.
    #[error("storage failed: {0}")]
    Internal(#[source] anyhow::Error),
}

/// What a storage method returns.
pub type Result<T> = std::result::Result<T, StorageError>;

/// What became of a registration.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and it moves once"
)]
pub enum Registered {
    /// Stored and online.
    Done(Host),
    /// The `host_id` belongs to another player and the caller may not take it over.
    OwnedByAnother,
}

/// One heartbeat on its way to the database.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRecord {
    pub host_id: String,
    pub measured: Measurements,
    pub quality_score: f64,
    pub at: Timestamp,
}

/// Hosts.
#[async_trait]
pub trait HostRepository: Send + Sync {
    /// Stores a registration: a new host, or the same `host_id` again with new facts. Puts it online, counts as a heartbeat, and
    /// keeps `created_at` and the last measurements. With `only_owner`, an existing host of another player is left alone.
    async fn register(
        &self,
        registration: &Registration,
        quality_score: f64,
        only_owner: Option<&str>,
        now: Timestamp,
    ) -> Result<Registered>;

    /// The host, none when there is none.
    async fn get(&self, host_id: &str) -> Result<Option<Host>>;

    /// All hosts, by number.
    async fn all(&self) -> Result<Vec<Host>>;

    /// Writes a batch of heartbeats in one transaction. Records of unknown hosts, and records older than what is stored, are
    /// passed over. An offline host comes online.
    async fn save_heartbeats(&self, records: &[HeartbeatRecord]) -> Result<()>;

    /// Sets the status; none when there is no such host.
    async fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Result<Option<Host>>;

    /// Puts offline every online or busy host whose last heartbeat lies before `cutoff`, and returns them.
    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Host>>;

    /// Removes the host; false when there was none. Its sessions stay as history.
    async fn delete(&self, host_id: &str) -> Result<bool>;
}

/// Which zones to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneFilter {
    pub p2p_enabled: Option<bool>,
    pub status: Option<ZoneStatus>,
}

/// Zones.
#[async_trait]
pub trait ZoneRepository: Send + Sync {
    /// Stores a definition: a new zone (enabled), or the same `zone_id` again with new values. Status and counters stay.
    async fn define(&self, definition: &ZoneDefinition, now: Timestamp) -> Result<Zone>;

    /// The zone, none when there is none.
    async fn get(&self, zone_id: &str) -> Result<Option<Zone>>;

    /// Zones that match, highest priority first, then by name.
    async fn list(&self, filter: ZoneFilter) -> Result<Vec<Zone>>;

    /// Switches peer-to-peer for the zone; none when there is no such zone.
    async fn set_p2p(&self, zone_id: &str, enabled: bool, now: Timestamp) -> Result<Option<Zone>>;

    /// Sets the status; none when there is no such zone.
    async fn set_status(&self, zone_id: &str, status: ZoneStatus, now: Timestamp) -> Result<Option<Zone>>;
}

/// A session to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// `session-` and 16 hex digits, made by the caller.
    pub session_id: String,
    pub host: String,
    pub zone: String,
    /// Without duplicates.
    pub players: Vec<String>,
}

/// What became of opening a session.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and it moves once"
)]
pub enum Opened {
    Done(Session),
    /// Nothing was stored.
    Refused(FallbackReason),
}

/// What became of a change to a session.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and it moves once"
)]
pub enum Changed {
    /// Stored; the session as it is now.
    Done(Session),
    /// The session is in this status, which does not allow the change.
    WrongStatus(SessionStatus),
    /// The session holds as many players as it takes.
    Full,
    /// The player is in the session already.
    AlreadyThere,
    /// The player is not in the session.
    NotThere,
    /// No such session.
    NotFound,
}

/// Measurements of a session; what is none stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SessionMetrics {
    pub average_latency_ms: Option<f64>,
    pub average_packet_loss_percent: Option<f64>,
    pub bandwidth_usage_mbps: Option<f64>,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this host (`host_id`).
    pub host: Option<String>,
    /// Of this zone (`zone_id`).
    pub zone: Option<String>,
    /// In one of these statuses; empty means any.
    pub statuses: Vec<SessionStatus>,
    /// At most so many, newest first.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
}

/// Sums for the metrics and the dashboard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionSums {
    /// How many sessions there are in each status, in the order of `SessionStatus::ALL`.
    pub by_status: [i64; 5],
    /// Players in active sessions.
    pub players: i64,
    /// Mean latency of active sessions that reported one, 0 when none did.
    pub average_latency_ms: f64,
}

/// Sessions.
#[async_trait]
pub trait SessionRepository: Send + Sync {
    /// Opens a pending session, if the zone serves peer-to-peer, the host is online, and the host's live sessions stay within
    /// its `max_zones` and, with these players, its `max_players`. `max_players` of the session is the zone's. Counts in the zone.
    async fn open(&self, session: &NewSession, now: Timestamp) -> Result<Opened>;

    /// The session, none when there is none.
    async fn get(&self, key: &SessionKey) -> Result<Option<Session>>;

    /// Sessions that match, newest first.
    async fn list(&self, filter: &SessionFilter) -> Result<Vec<Session>>;

    /// `pending` → `active`, and sets `started_at`.
    async fn activate(&self, key: &SessionKey, now: Timestamp) -> Result<Changed>;

    /// Live → `ended` or `failed`, sets `ended_at`, counts in the zone. With `on_host` (`host_id`), only while the session is
    /// there; `WrongStatus` when it has moved.
    async fn finish(
        &self,
        key: &SessionKey,
        status: SessionStatus,
        on_host: Option<&str>,
        now: Timestamp,
    ) -> Result<Changed>;

    /// Moves a live session from one host to another, if it still is on `from` and `to` is online with room for it.
    /// `WrongStatus` when the session is over or has moved already; `Full` when `to` has no room or is not online.
    async fn move_host(&self, key: &SessionKey, from: &str, to: &str, now: Timestamp) -> Result<Changed>;

    /// Takes over measurements of a live session.
    async fn record_metrics(&self, key: &SessionKey, metrics: SessionMetrics, now: Timestamp) -> Result<Changed>;

    /// Adds a player to a live session, within its capacity.
    async fn add_player(&self, key: &SessionKey, player_id: &str, now: Timestamp) -> Result<Changed>;

    /// Removes a player from a live session.
    async fn remove_player(&self, key: &SessionKey, player_id: &str, now: Timestamp) -> Result<Changed>;

    /// Marks live sessions (by `session_id`) as alive now.
    async fn touch(&self, session_ids: &[String], now: Timestamp) -> Result<()>;

    /// Ends every live session without activity since `cutoff`, and returns them: active and paused ones become `ended`,
    /// pending ones `failed`.
    async fn expire(&self, cutoff: Timestamp, now: Timestamp) -> Result<Vec<Session>>;

    /// Removes at most `limit` sessions that were over before `cutoff`; returns how many.
    async fn purge(&self, cutoff: Timestamp, limit: u32) -> Result<u64>;

    /// How many live sessions each host (`host_id`) serves; hosts without one are left out.
    async fn live_counts(&self) -> Result<HashMap<String, u32>>;

    /// Sums over all sessions.
    async fn sums(&self) -> Result<SessionSums>;
}

/// A family of refresh tokens: one sign-in and all that was refreshed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshFamily {
    pub family_id: String,
    pub player_id: String,
    pub user_id: Option<String>,
    /// `jti` of the one refresh token that is good now.
    pub current_jti: String,
    pub expires_at: Timestamp,
}

/// What became of presenting a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The new `jti` is the good one now.
    Done(RefreshFamily),
    /// The token was spent before: the family is revoked by this very call.
    Reused,
    /// The family is unknown, expired or revoked.
    Refused,
}

/// Refresh-token families.
#[async_trait]
pub trait RefreshRepository: Send + Sync {
    /// Stores a new family.
    async fn start(&self, family: &RefreshFamily, now: Timestamp) -> Result<()>;

    /// Spends `presented` for `next`, atomically: of two calls with the same token one is `Done` and one `Reused`.
    async fn rotate(
        &self,
        family_id: &str,
        presented: &str,
        next: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Rotated>;

    /// Removes families that expired before `cutoff`; returns how many.
    async fn purge(&self, cutoff: Timestamp) -> Result<u64>;
}

/// All of storage, as the application holds it.
#[derive(Clone)]
pub struct Storage {
    pub hosts: Arc<dyn HostRepository>,
    pub zones: Arc<dyn ZoneRepository>,
    pub sessions: Arc<dyn SessionRepository>,
    pub refresh: Arc<dyn RefreshRepository>,
    pub releases: Arc<dyn ReleaseRepository>,
    pub health: Arc<dyn StorageHealth>,
}

/// How the connections of a pool are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// One of the fixed names of the database's kind.
    pub pool: &'static str,
    /// Connections at most.
    pub most: u32,
    /// Open and free.
    pub idle: u32,
    /// On loan, or being opened.
    pub in_use: u32,
    /// Calls that wait for a connection; none where that is not known.
    pub waiting: Option<u32>,
}

/// How far the schema is, by the numbers of migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersions {
    /// The newest one that has run.
    pub applied: i64,
    /// The newest one that this program has.
    pub known: i64,
}

/// Whether storage answers.
#[async_trait]
pub trait StorageHealth: Send + Sync {
    /// What the database calls itself in `/health`: `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;

    /// One cheap round trip.
    async fn ping(&self) -> Result<()>;

    /// How far the schema is now: a node with a newer program may have gone on.
    async fn schema(&self) -> Result<SchemaVersions>;

    /// The pools as they are used now. Asks no database.
    fn pools(&self) -> Vec<PoolUse>;

    /// Writes out what is pending and closes the connections.
    async fn close(&self);
}
