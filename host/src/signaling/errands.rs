//! What a connection asks that takes more than memory: to join, to leave, to open a session, to go on in a place that was kept.
//!
//! Rights are checked here, in storage; the hub is told what was found.

use std::time::Duration;

use super::connection::Connection;
use super::membership::{Joined, Left, Seen};
use super::room::{JoinAnswer, SessionHost};
use super::wire;
use crate::app::error::AppError;
use crate::app::{losses, placement, sessions};
use crate::domain::session::{Session, SessionKey};
use crate::http::state::HttpState;
use crate::ports::fleet::{self, Arrived, Parcel};

/// Times a join is checked again because sessions ended meanwhile.
const JOIN_ATTEMPTS: u32 = 8;
/// Times a kept place is tried to be restored while a store does not answer.
const RESTORE_ATTEMPTS: u32 = 3;
/// Between two of them, at most.
const RESTORE_PAUSE: Duration = Duration::from_secs(1);

/// What needs more than memory.
pub(super) enum Errand {
    Join(String),
    Leave,
    Create { zone: String },
}

impl Connection {
    /// Goes on in the place that the peer has, and returns the errand that is left to do.
    pub(super) async fn take_place(&mut self, place: Arrived, first: Option<Errand>) -> Option<Errand> {
        let Some(session_id) = place.session_id else {
            self.give_up(place.mailbox);
            self.state.hub.hand_over(&self.peer, Vec::new(), false).await;
            return first;
        };
        let answer = if place.resumed {
            JoinAnswer::Resumed
        } else {
            JoinAnswer::Silent
        };
        let key = SessionKey::SessionId(session_id.clone());
        let restored = self.restore(&key, answer).await;
        if restored.is_err() {
            self.state.hub.leave(&self.peer).await;
        }
        let mailbox = match restored {
            Ok(()) => place.mailbox,
            Err(_) => {
                self.give_up(place.mailbox);
                Vec::new()
            }
        };
        self.state.hub.hand_over(&self.peer, mailbox, place.owed).await;
        match (restored, first) {
            (Err(error), _) if place.resumed => {
                self.answer(error_frame(&error));
                None
            }
            // It is there already, and has been told so.
            (Ok(()), Some(Errand::Join(wanted))) if place.resumed && wanted == session_id => None,
            (_, first) => first,
        }
    }

    /// Joins the session that the peer has a place in. A store that is slow for a moment costs nobody the place.
    async fn restore(&self, key: &SessionKey, answer: JoinAnswer) -> Result<(), AppError> {
        for _ in 1..RESTORE_ATTEMPTS {
            match self.join(key, answer).await {
                Err(AppError::Unavailable(error)) => tracing::debug!(%error, %key, "a place is not restored yet"),
                other => return other,
            }
            let jitter = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
            tokio::time::sleep(RESTORE_PAUSE.mul_f64(0.5 + jitter / 2.0)).await;
        }
        self.join(key, answer).await
    }

    /// What waited for a place that is gone.
    fn give_up(&self, mailbox: Vec<Parcel>) {
        for parcel in mailbox {
            self.state.hub.report(parcel, fleet::Outcome::Expired);
        }
    }

    pub(super) async fn run_errand(&mut self, errand: Errand) {
        let done = match errand {
            Errand::Join(session_id) => self.join(&SessionKey::parse(&session_id), JoinAnswer::Joined).await,
            Errand::Create { zone } => self.create(&zone).await,
            Errand::Leave => {
                self.leave().await;
                Ok(())
            }
        };
        if let Err(error) = done {
            self.answer(error_frame(&error));
        }
    }

    async fn leave(&self) {
        match self.state.hub.leave(&self.peer).await {
            Some(left) => {
                self.answer(wire::session_left(self.peer.dialect, &left.session_id));
                after_leaving(&self.state, Some(&left), "host_left").await;
            }
            None => self.answer(wire::error("You are in no session", "")),
        }
    }

    async fn join(&self, key: &SessionKey, answer: JoinAnswer) -> Result<(), AppError> {
        let (app, hub) = (&self.state.app, &self.state.hub);
        for _ in 0..JOIN_ATTEMPTS {
            // Endings count by `session_id`; a key may be the number.
            let session_id = match key {
                SessionKey::SessionId(session_id) => session_id.clone(),
                SessionKey::Id(_) => sessions::get(app, key).await?.session_id,
            };
            let seen = hub.endings(&session_id).await;
            let session = sessions::may_join(app, &self.peer.identity, &self.peer.peer_id, key).await?;
            if self.enter(&session, seen, answer).await? {
                return Ok(());
            }
        }
        Err(AppError::WrongState(format!(
            "Session {key} changes too fast: try again"
        )))
    }

    async fn create(&self, zone: &str) -> Result<(), AppError> {
        let (app, peer) = (&self.state.app, &self.peer);
        let session = placement::open_for_peer(app, &peer.identity, &peer.peer_id, zone).await?;
        // A session nobody else knows yet is not ended by others: look at it again only when something else ended.
        for _ in 0..JOIN_ATTEMPTS {
            let seen = self.state.hub.endings(&session.session_id).await;
            if self.enter(&session, seen, JoinAnswer::Created).await? {
                return Ok(());
            }
        }
        Err(AppError::WrongState("Too many sessions end: try again".to_owned()))
    }

    /// True when the peer is in the session's room, or not connected any more.
    async fn enter(&self, session: &Session, seen: Seen, answer: JoinAnswer) -> Result<bool, AppError> {
        let app = &self.state.app;
        let host = SessionHost {
            host_id: session.host.clone(),
            player_id: sessions::host_owner(app, &session.host).await?.unwrap_or_default(),
        };
        let hub = &self.state.hub;
        match hub.join(&self.peer, &session.session_id, &host, seen, answer).await {
            Joined::Done { left } => {
                after_leaving(&self.state, left.as_ref(), "host_left").await;
                Ok(true)
            }
            Joined::Gone => Ok(true),
            Joined::Again { left } => {
                after_leaving(&self.state, left.as_ref(), "host_left").await;
                Ok(false)
            }
        }
    }
}

/// Finds another host when the session lost its own.
pub(super) async fn after_leaving(state: &HttpState, left: Option<&Left>, reason: &str) {
    let Some(Left {
        session_id,
        lost_host: Some(host),
    }) = left
    else {
        return;
    };
    tracing::info!(%session_id, host_id = %host.host_id, reason, "host left its session");
    if let Err(error) = losses::host_left(&state.app, session_id, &host.host_id, reason).await {
        tracing::warn!(%error, %session_id, host_id = %host.host_id, "no other host could be found");
    }
}

/// The `error` of a use case. What is our fault goes to the log; the client learns only that it is.
fn error_frame(error: &AppError) -> String {
    match error {
        AppError::Fallback(reason) => {
            let further = format!(",\"mode\":\"server\",\"reason\":\"{}\"", reason.as_str());
            wire::error(reason.detail(), &further)
        }
        AppError::Invalid(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|field| format!("{}: {}", field.field, field.message))
                .collect();
            wire::error(&fields.join("; "), "")
        }
        AppError::Unavailable(cause) => {
            tracing::warn!(error = %cause, "signaling: a part of the service is away");
            wire::error(&error.to_string(), "")
        }
        AppError::Internal(cause) => {
            tracing::error!(error = %cause, "signaling: internal error");
            wire::error(&error.to_string(), "")
        }
        AppError::NotFound(text)
        | AppError::WrongState(text)
        | AppError::Unauthorized(text)
        | AppError::Forbidden(text) => wire::error(text, ""),
        AppError::Refused(refused) => wire::error(&refused.to_string(), ""),
    }
}
