//! Sessions: opening them on a host, running and ending them, and moving them when their host is lost.
//!
//! What must hold under concurrency is decided in storage. This file decides rights, the order of hosts to try, and
//! what connected peers are told.

use std::time::Duration;

use serde_json::Value;
use utoipa::ToSchema;

use super::App;
use super::auth::random_hex;
use super::error::AppError;
use super::members::{MAX_NUMBER, MAX_TEXT, Members, Request};
use crate::domain::identity::{Identity, player_of};
use crate::domain::session::{FallbackReason, Session, SessionKey, SessionStatus};
use crate::domain::zone::Zone;
use crate::ports::peers::Push;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest};
use crate::ports::storage::{Changed, NewSession, Opened, SessionFilter, SessionMetrics};

/// Most hosts that are handed to the host-selection policy.
const MAX_CANDIDATES: usize = 500;
/// Most picks of the policy that are tried.
const MAX_PICKS: usize = 8;
/// Most sessions in one list.
pub const MAX_LIST: u32 = 1000;
/// Sessions of a lost host that are handled between two looks at storage.
const LOST_BATCH: u32 = 200;
/// Most looks; far more than a host can serve.
const MAX_LOST_BATCHES: u32 = 1000;

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

/// Opens a session on the named host, or on the first pick of the policy that has room.
///
/// # Errors
/// `Forbidden` for another player's host, or for other players without a host; `Fallback` when peer-to-peer cannot serve.
pub async fn create(app: &App, caller: &Identity, request: CreateSession) -> Result<Session, AppError> {
    if !app.config.p2p.enabled {
        return Err(AppError::Fallback(FallbackReason::P2pDisabled));
    }
    match &request.host_id {
        Some(host_id) => {
            let owner = host_owner(app, host_id).await?;
            let owner = owner.ok_or(AppError::Fallback(FallbackReason::HostUnknown))?;
            if !caller.may_act_for(&owner) {
                return Err(forbidden("Only the host's player may open sessions on it"));
            }
            let session = open_on(app, host_id, &request).await?;
            tracing::info!(session_id = %session.session_id, host_id = %host_id, zone_id = %request.zone_id, "session opened");
            Ok(session)
        }
        None => {
            let alone = matches!(request.player_ids.as_slice(), [player] if caller.may_act_for(player));
            if !alone && !matches!(caller, Identity::Operator | Identity::AnyPlayer) {
                return Err(forbidden("Without host_id a player may open a session for itself only"));
            }
            create_on_picked_host(app, &request).await
        }
    }
}

/// Opens a session for one connected peer, on a host the policy picks.
///
/// # Errors
/// As `create`; `Forbidden` when the caller may not carry this `peer_id`.
pub async fn open_for_peer(app: &App, caller: &Identity, peer_id: &str, zone_id: &str) -> Result<Session, AppError> {
    if !caller.may_connect_as(peer_id) {
        return Err(forbidden("The token belongs to another player"));
    }
    let request = serde_json::json!({ "zone_id": zone_id, "player_ids": [player_of(peer_id)] });
    create(app, caller, CreateSession::read(request)?).await
}

async fn create_on_picked_host(app: &App, request: &CreateSession) -> Result<Session, AppError> {
    let zone = app.storage.zones.get(&request.zone_id).await?;
    let zone = zone.ok_or(AppError::Fallback(FallbackReason::ZoneUnknown))?;
    let players = u32::try_from(request.player_ids.len()).unwrap_or(u32::MAX);
    if let Some(reason) = zone.refusal(players) {
        return Err(AppError::Fallback(reason));
    }
    for pick in pick_hosts(app, zone, players, None).await? {
        match open_on(app, &pick.host_id, request).await {
            Ok(session) => {
                tracing::info!(
                    session_id = %session.session_id, host_id = %pick.host_id, zone_id = %request.zone_id,
                    score = pick.score, reason = %pick.reason, "session opened on the policy's pick"
                );
                return Ok(session);
            }
            Err(AppError::Fallback(
                reason @ (FallbackReason::HostFull | FallbackReason::HostNotOnline | FallbackReason::HostUnknown),
            )) => {
                tracing::debug!(host_id = %pick.host_id, reason = reason.as_str(), "pick passed over");
            }
            Err(error) => return Err(error),
        }
    }
    tracing::info!(zone_id = %request.zone_id, players, "no suitable host; the game server serves");
    Err(AppError::Fallback(FallbackReason::NoSuitableHost))
}

async fn open_on(app: &App, host_id: &str, request: &CreateSession) -> Result<Session, AppError> {
    let session = NewSession {
        session_id: format!("session-{}", random_hex::<8>()?),
        host: host_id.to_owned(),
        zone: request.zone_id.clone(),
        players: request.player_ids.clone(),
    };
    match app.storage.sessions.open(&session, app.clock.now()).await? {
        Opened::Done(session) => Ok(session),
        Opened::Refused(reason) => Err(AppError::Fallback(reason)),
    }
}

/// The hosts to try, best first, as the policy ranks them.
async fn pick_hosts(app: &App, zone: Zone, players: u32, except: Option<&str>) -> Result<Vec<HostPick>, AppError> {
    let hosts = app.live.hosts.available(zone.min_host_quality_score, MAX_CANDIDATES);
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let counts = app.storage.sessions.live_counts().await?;
    let candidates: Vec<_> = hosts
        .into_iter()
        .filter(|host| except != Some(host.host_id.as_str()))
        .map(|host| HostCandidate {
            sessions: counts.get(&host.host_id).copied().unwrap_or(0),
            host,
        })
        .collect();
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let request = HostRequest {
        zone,
        players,
        now: app.clock.now(),
        seed: getrandom::u64().unwrap_or_default(),
    };
    let (mut picks, _) = app.policies.host_selection.rank(request, candidates).await;
    picks.truncate(MAX_PICKS);
    Ok(picks)
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

/// Finds another host for each live session of a host that is lost. Peers learn the new host; where there is none, the
/// session fails and its peers are sent to the game server.
///
/// # Errors
/// `Unavailable` when storage is away; what was done until then stays done, and calling again goes on.
pub async fn host_lost(app: &App, host_id: &str, reason: &str) -> Result<(), AppError> {
    let filter = SessionFilter {
        host: Some(host_id.to_owned()),
        statuses: SessionStatus::ALL
            .into_iter()
            .filter(|status| status.is_live())
            .collect(),
        limit: LOST_BATCH,
        ..SessionFilter::default()
    };
    // Each pass takes its sessions off the host, so the last one is short.
    for _ in 0..MAX_LOST_BATCHES {
        let sessions = app.storage.sessions.list(&filter).await?;
        for session in &sessions {
            move_or_fail(app, session, host_id, reason).await?;
        }
        if sessions.len() < LOST_BATCH as usize {
            break;
        }
    }
    Ok(())
}

/// Finds another host for one session whose host left it; the host's other sessions stay. Does nothing when the session is over or
/// has another host already.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn host_left(app: &App, session_id: &str, host_id: &str, reason: &str) -> Result<(), AppError> {
    let key = SessionKey::SessionId(session_id.to_owned());
    match app.storage.sessions.get(&key).await? {
        Some(session) if session.status.is_live() && session.host == host_id => {
            move_or_fail(app, &session, host_id, reason).await
        }
        _ => Ok(()),
    }
}

/// As `host_left`, when only the player is known whose last connection left the session.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn player_left(app: &App, session_id: &str, player_id: &str, reason: &str) -> Result<(), AppError> {
    let key = SessionKey::SessionId(session_id.to_owned());
    match app.storage.sessions.get(&key).await? {
        Some(session)
            if session.status.is_live() && host_owner(app, &session.host).await?.as_deref() == Some(player_id) =>
        {
            move_or_fail(app, &session, &session.host, reason).await
        }
        _ => Ok(()),
    }
}

/// Takes one session off its host: to another one, or to its end.
async fn move_or_fail(app: &App, session: &Session, from: &str, reason: &str) -> Result<(), AppError> {
    let key = SessionKey::Id(session.id);
    let picks = match app.storage.zones.get(&session.zone).await? {
        // The zone took these players when it was larger, perhaps; they stay.
        Some(zone) if app.config.p2p.enabled && zone.serves_p2p() => {
            pick_hosts(app, zone, session.current_players, Some(from)).await?
        }
        _ => Vec::new(),
    };
    for pick in picks {
        match app
            .storage
            .sessions
            .move_host(&key, from, &pick.host_id, app.clock.now())
            .await?
        {
            Changed::Done(moved) => {
                tracing::info!(
                    session_id = %moved.session_id, from, to = %pick.host_id, reason, why = %pick.reason, "session moved"
                );
                let peer_id = host_owner(app, &pick.host_id).await?.unwrap_or_default();
                let push = Push::HostChanged {
                    session_id: moved.session_id.clone(),
                    host_id: pick.host_id,
                    peer_id,
                    reason: reason.to_owned(),
                };
                app.peers.notify_session(&moved.session_id, &push);
                return Ok(());
            }
            Changed::Full => {}
            _ => return Ok(()),
        }
    }
    if let Changed::Done(failed) = app
        .storage
        .sessions
        .finish(&key, SessionStatus::Failed, Some(from), app.clock.now())
        .await?
    {
        tracing::info!(session_id = %failed.session_id, from, reason, "session failed: no other host; the game server serves");
        let push = Push::Fallback {
            session_id: failed.session_id.clone(),
            mode: "server",
            reason: FallbackReason::NoSuitableHost.as_str().to_owned(),
        };
        app.peers.notify_session(&failed.session_id, &push);
        app.peers.close_session(&failed.session_id);
    }
    Ok(())
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

fn forbidden(text: &str) -> AppError {
    AppError::Forbidden(text.to_owned())
}
