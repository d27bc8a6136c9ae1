//! Which host a session gets: the one that is named, or the first pick of the host-selection policy that has room.
//!
//! Whether a host has room is decided in storage; the order in which hosts are tried is decided here.

use super::App;
use super::auth::random_hex;
use super::error::AppError;
use super::members::Request as _;
use super::sessions::{CreateSession, forbidden, host_owner};
use crate::domain::identity::{Identity, player_of};
use crate::domain::session::{FallbackReason, Session};
use crate::domain::zone::Zone;
use crate::ports::policies::{HostCandidate, HostPick, HostRequest};
use crate::ports::storage::{NewSession, Opened};

/// Most hosts that are handed to the host-selection policy.
const MAX_CANDIDATES: usize = 500;
/// Most picks of the policy that are tried.
const MAX_PICKS: usize = 8;

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
            let session = open_on(app, new_session_id()?, host_id, &request).await?;
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
    // One name for every try, so that the decision log knows which session a choice was for.
    let session_id = new_session_id()?;
    for pick in pick_hosts(app, zone, players, &session_id, None).await? {
        match open_on(app, session_id.clone(), &pick.host_id, request).await {
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

fn new_session_id() -> Result<String, AppError> {
    Ok(format!("session-{}", random_hex::<8>()?))
}

async fn open_on(app: &App, session_id: String, host_id: &str, request: &CreateSession) -> Result<Session, AppError> {
    let session = NewSession {
        session_id,
        host: host_id.to_owned(),
        zone: request.zone_id.clone(),
        players: request.player_ids.clone(),
    };
    match app.storage.sessions.open(&session, app.clock.now()).await? {
        Opened::Done(session) => Ok(session),
        Opened::Refused(reason) => Err(AppError::Fallback(reason)),
    }
}

/// The hosts to try for this session, best first, as the policy ranks them.
pub(super) async fn pick_hosts(
    app: &App,
    zone: Zone,
    players: u32,
    session_id: &str,
    except: Option<&str>,
) -> Result<Vec<HostPick>, AppError> {
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
        session_id: Some(session_id.to_owned()),
    };
    let (mut picks, _) = app.policies.host_selection.rank(request, candidates).await;
    picks.truncate(MAX_PICKS);
    Ok(picks)
}
