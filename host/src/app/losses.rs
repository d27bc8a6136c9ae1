//! Sessions whose host is lost: each moves to another host, or fails and its peers are sent to the game server.
//!
//! What was done stays done when storage goes away half-way; calling again goes on.

use super::App;
use super::error::AppError;
use super::placement::pick_hosts;
use super::sessions::host_owner;
use crate::domain::session::{FallbackReason, Session, SessionKey, SessionStatus};
use crate::ports::peers::Push;
use crate::ports::storage::{Changed, SessionFilter};

/// Sessions of a lost host that are handled between two looks at storage.
const LOST_BATCH: u32 = 200;
/// Most looks; far more than a host can serve.
const MAX_LOST_BATCHES: u32 = 1000;

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
            pick_hosts(app, zone, session.current_players, &session.session_id, Some(from)).await?
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
