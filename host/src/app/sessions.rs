//! Sessions: running and ending them, and who takes part. They open in `placement` and move in `losses`.
//!
//! What must hold under concurrency is decided in storage. This file decides rights and what connected peers are told.

use std::time::Duration;

use serde_json::Value;
use utoipa::ToSchema;

use super::App;
use super::error::AppError;
use super::members::{MAX_NUMBER, MAX_TEXT, Members, Request};
use crate::domain::identity::Identity;
use crate::domain::session::{Session, SessionKey, SessionStatus};
use crate::ports::peers::Push;
use crate::ports::storage::{Changed, SessionFilter, SessionMetrics};

/// Most sessions in one list.
pub const MAX_LIST: u32 = 1000;
/// A session to create.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
pub struct CreateSession {
    pub zone_id: String,
    /// Without it the host-selection policy picks the host.
    pub host_id: Option<String>,
    #[schema(max_items = 1000)]
    pub player_ids: Vec<String>,
}

/// Measurements of a session; what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, ToSchema)]
pub struct SessionMeasurements {
    #[schema(minimum = 0)]
    pub avg_latency_ms: Option<f64>,
    #[schema(minimum = 0, maximum = 100)]
    pub packet_loss_percent: Option<f64>,
    #[schema(minimum = 0)]
    pub bandwidth_usage_mbps: Option<f64>,
}

/// A player to add.
#[derive(Clone, Debug, ToSchema)]
pub struct AddPlayer {
    pub player_id: String,
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most so many, 1 to 1000.
    pub limit: u32,
    /// After so many.
    pub offset: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: MAX_LIST,
            offset: 0,
        }
    }
}

impl Request for CreateSession {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let request = Self {
            zone_id: members.id("zone_id"),
            host_id: members.optional_id("host_id"),
            player_ids: members.players("player_ids"),
        };
        members.finish(request)
    }
}

impl Request for SessionMeasurements {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let request = Self {
            avg_latency_ms: members.optional_number("avg_latency_ms", 0.0, MAX_NUMBER),
            packet_loss_percent: members.optional_number("packet_loss_percent", 0.0, 100.0),
            bandwidth_usage_mbps: members.optional_number("bandwidth_usage_mbps", 0.0, MAX_NUMBER),
        };
        members.finish(request)
    }
}

impl Request for AddPlayer {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let player_id = members.player("player_id");
        members.finish(Self { player_id })
    }
}

/// The session.
///
/// # Errors
/// `NotFound`.
pub async fn get(app: &App, key: &SessionKey) -> Result<Session, AppError> {
    app.storage.sessions.get(key).await?.ok_or_else(|| not_found(key))
}

/// `pending` → `active`.
///
/// # Errors
/// `NotFound`, `WrongState`, or `Forbidden` for anybody but the host's player and operators.
pub async fn activate(app: &App, caller: &Identity, key: &SessionKey) -> Result<Session, AppError> {
    owned(app, caller, key).await?;
    let changed = app.storage.sessions.activate(key, app.clock.now()).await?;
    let session = settled(changed, key, "activated")?;
    tracing::info!(session_id = %session.session_id, "session activated");
    Ok(session)
}

/// Ends a live session and tells its peers why.
///
/// # Errors
/// As `activate`; `Invalid` for a bad reason.
pub async fn end(app: &App, caller: &Identity, key: &SessionKey, reason: &str) -> Result<Session, AppError> {
    if reason.is_empty() || reason.len() > MAX_TEXT || reason.chars().any(char::is_control) {
        let message = format!("must be 1 to {MAX_TEXT} bytes without control characters");
        return Err(super::members::invalid("reason", message));
    }
    owned(app, caller, key).await?;
    let now = app.clock.now();
    let changed = app
        .storage
        .sessions
        .finish(key, SessionStatus::Ended, None, now)
        .await?;
    let session = settled(changed, key, "ended")?;
    tracing::info!(session_id = %session.session_id, reason, "session ended");
    tell_ended(app, &session, reason);
    Ok(session)
}

/// Takes over what the host measured for a live session.
///
/// # Errors
/// As `activate`.
pub async fn record_metrics(
    app: &App,
    caller: &Identity,
    key: &SessionKey,
    measured: SessionMeasurements,
) -> Result<Session, AppError> {
    owned(app, caller, key).await?;
    let metrics = SessionMetrics {
        average_latency_ms: measured.avg_latency_ms,
        average_packet_loss_percent: measured.packet_loss_percent,
        bandwidth_usage_mbps: measured.bandwidth_usage_mbps,
    };
    let changed = app
        .storage
        .sessions
        .record_metrics(key, metrics, app.clock.now())
        .await?;
    settled(changed, key, "measured")
}

/// Adds a player to a live session.
///
/// # Errors
/// As `activate`; `WrongState` when the session is full or the player is there already.
pub async fn add_player(app: &App, caller: &Identity, key: &SessionKey, player_id: &str) -> Result<Session, AppError> {
    owned(app, caller, key).await?;
    match app.storage.sessions.add_player(key, player_id, app.clock.now()).await? {
        Changed::Full => Err(AppError::WrongState(format!("Session {key} is full"))),
        Changed::AlreadyThere => Err(AppError::WrongState(format!(
            "Player {player_id} is in session {key} already"
        ))),
        changed => settled(changed, key, "joined"),
    }
}

/// Removes a player from a live session and its peers from the signaling. A player may remove itself.
///
/// # Errors
/// As `activate`; `WrongState` when the player is not there.
pub async fn remove_player(
    app: &App,
    caller: &Identity,
    key: &SessionKey,
    player_id: &str,
) -> Result<Session, AppError> {
    if !caller.may_act_for(player_id) {
        owned(app, caller, key).await?;
    }
    match app
        .storage
        .sessions
        .remove_player(key, player_id, app.clock.now())
        .await?
    {
        Changed::NotThere => Err(AppError::WrongState(format!(
            "Player {player_id} is not in session {key}"
        ))),
        changed => {
            let session = settled(changed, key, "left")?;
            app.peers.evict(&session.session_id, player_id);
            Ok(session)
        }
    }
}

/// Active sessions of a host, newest first.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn active_for_host(app: &App, host_id: &str, page: Page) -> Result<Vec<Session>, AppError> {
    let host = Some(host_id.to_owned());
    list_active(app, SessionFilter { host, ..active(page) }).await
}

/// Active sessions of a zone, newest first.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn active_for_zone(app: &App, zone_id: &str, page: Page) -> Result<Vec<Session>, AppError> {
    let zone = Some(zone_id.to_owned());
    list_active(app, SessionFilter { zone, ..active(page) }).await
}

fn active(page: Page) -> SessionFilter {
    SessionFilter {
        statuses: vec![SessionStatus::Active],
        limit: page.limit.min(MAX_LIST),
        offset: page.offset,
        ..SessionFilter::default()
    }
}

async fn list_active(app: &App, filter: SessionFilter) -> Result<Vec<Session>, AppError> {
    Ok(app.storage.sessions.list(&filter).await?)
}

/// Ends every live session without activity for `timeout`, and tells their peers. Returns them.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn cleanup(app: &App, timeout: Duration) -> Result<Vec<Session>, AppError> {
    let now = app.clock.now();
    let ended = app.storage.sessions.expire(now.minus(timeout), now).await?;
    for session in &ended {
        tracing::info!(session_id = %session.session_id, status = session.status.as_str(), "inactive session closed");
        tell_ended(app, session, "timeout");
    }
    Ok(ended)
}

/// Whether a peer may take part in a session's signaling; the session when it may.
///
/// # Errors
/// `NotFound`, `WrongState` when it is over, `Forbidden` for a player that is neither in it nor its host.
pub async fn may_join(app: &App, caller: &Identity, peer_id: &str, key: &SessionKey) -> Result<Session, AppError> {
    if !caller.may_connect_as(peer_id) {
        return Err(forbidden("The token belongs to another player"));
    }
    let session = get(app, key).await?;
    let allowed = match caller {
        Identity::Operator | Identity::AnyPlayer => true,
        Identity::Anonymous => false,
        Identity::Player { player_id, .. } => {
            session.connected_players.iter().any(|player| **player == **player_id)
                || host_owner(app, &session.host).await?.as_deref() == Some(&**player_id)
        }
    };
    if !allowed {
        return Err(forbidden("The player is not in this session"));
    }
    if !session.status.is_live() {
        let status = session.status.as_str();
        return Err(AppError::WrongState(format!("Session {key} is over: it is {status}")));
    }
    Ok(session)
}

/// The session, if the caller is an operator or the player of its host.
async fn owned(app: &App, caller: &Identity, key: &SessionKey) -> Result<(), AppError> {
    if matches!(caller, Identity::Operator | Identity::AnyPlayer) {
        return Ok(());
    }
    let session = get(app, key).await?;
    match host_owner(app, &session.host).await? {
        Some(owner) if caller.may_act_for(&owner) => Ok(()),
        _ => Err(forbidden("Only the player of the session's host may do this")),
    }
}

/// The player of a host, none when there is no such host.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn host_owner(app: &App, host_id: &str) -> Result<Option<String>, AppError> {
    match app.live.hosts.get(host_id) {
        Some(host) => Ok(Some(host.player_id.clone())),
        None => Ok(app.storage.hosts.get(host_id).await?.map(|host| host.player_id)),
    }
}

fn settled(changed: Changed, key: &SessionKey, verb: &str) -> Result<Session, AppError> {
    match changed {
        Changed::Done(session) => Ok(session),
        Changed::NotFound => Err(not_found(key)),
        Changed::WrongStatus(status) => {
            let status = status.as_str();
            Err(AppError::WrongState(format!(
                "Session {key} cannot be {verb}: it is {status}"
            )))
        }
        Changed::Full | Changed::AlreadyThere | Changed::NotThere => {
            Err(AppError::WrongState(format!("Session {key} cannot be {verb}")))
        }
    }
}

fn tell_ended(app: &App, session: &Session, reason: &str) {
    let push = Push::SessionEnded {
        session_id: session.session_id.clone(),
        reason: reason.to_owned(),
    };
    app.peers.notify_session(&session.session_id, &push);
    app.peers.close_session(&session.session_id);
}

fn not_found(key: &SessionKey) -> AppError {
    AppError::NotFound(format!("Session {key} not found"))
}

pub(super) fn forbidden(text: &str) -> AppError {
    AppError::Forbidden(text.to_owned())
}
