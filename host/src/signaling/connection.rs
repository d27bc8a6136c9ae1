//! The one task of a connection: limits, reads and serves its messages, and leaves the session however it ends.
//!
//! Relaying takes the fast path: no wait, and no lock but the short ones of the sender's place, the room's members and the
//! receiver's outbox. What asks storage (joining, opening) is served apart.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::ws::WebSocket;

use super::close::CloseReason;
use super::dialect::Dialect;
use super::hub::{Hub, Joined, Left};
use super::link::{Event, Link};
use super::metrics::Outcome;
use super::outbox::Worth;
use super::room::{JoinAnswer, Peer, Room, SessionHost};
use super::wire::{self, Incoming, Kind};
use crate::app::error::AppError;
use crate::app::limits::{ConnectionBuckets, LimitOutcome, Limiter};
use crate::app::sessions;
use crate::domain::clock::Timestamp;
use crate::domain::identity::{Identity, MAX_ID};
use crate::domain::session::{Session, SessionKey};
use crate::http::state::HttpState;
use crate::ports::fleet::{self, Arrived};
use crate::ports::policies::{Caller, LimitRequest, Surface};

/// Times a join is checked again because sessions ended meanwhile.
const JOIN_ATTEMPTS: u32 = 8;

/// What needs more than memory.
pub(super) enum Errand {
    Join(String),
    Leave,
    Create { zone: String },
}

/// What a connection knows of its own messages' limit.
pub(super) struct Meter {
    pub(super) ip: IpAddr,
    buckets: ConnectionBuckets,
    refused_in_a_row: u32,
}

/// What the limit says of one message.
pub(super) enum Passage {
    Open,
    /// Refused: the frame to answer with.
    Refused(String),
    /// Refused once too often.
    Abuse,
}

impl Meter {
    pub(super) fn new(ip: IpAddr) -> Self {
        Self {
            ip,
            buckets: ConnectionBuckets::default(),
            refused_in_a_row: 0,
        }
    }

    pub(super) fn check(
        &mut self,
        limiter: &Limiter,
        hub: &Hub,
        identity: &Identity,
        session_id: Option<&str>,
        now: Timestamp,
        (kind, size): (Kind, usize),
    ) -> Passage {
        let request = LimitRequest {
            surface: Surface::Websocket,
            caller: Caller::from(identity),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            now,
            ip: self.ip,
            player_id: identity.player_id(),
            user_id: identity.user_id(),
            method: None,
            route: None,
            message_type: Some(kind.as_str()),
            session_id,
        };
        let frame = match limiter.check_message(&request, &mut self.buckets) {
            LimitOutcome::Unlimited | LimitOutcome::Allowed(_) => {
                self.refused_in_a_row = 0;
                return Passage::Open;
            }
            LimitOutcome::Limited(answer) => {
                let retry_after = answer.retry_after_seconds;
                wire::error("Rate limit exceeded", &format!(",\"retry_after\":{retry_after}"))
            }
            LimitOutcome::Denied(reason) => wire::error(&reason, ""),
        };
        hub.metrics.message(kind, Outcome::Limited);
        self.refused_in_a_row += 1;
        if self.refused_in_a_row >= hub.limits.refused_in_a_row {
            return Passage::Abuse;
        }
        Passage::Refused(frame)
    }
}

/// A connected peer. Dropping it leaves the session and tells everybody, on every way out.
struct Seat {
    state: Arc<HttpState>,
    peer: Arc<Peer>,
    /// The place is kept for a while.
    keep: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (state, peer, keep) = (Arc::clone(&self.state), Arc::clone(&self.peer), self.keep);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.state.tracker.spawn_on(
            async move {
                let left = state.hub.depart(&peer, keep).await;
                if !state.hub.is_draining() {
                    after_leaving(&state, left.as_ref(), "host_disconnected").await;
                }
            },
            &runtime,
        );
    }
}

/// Finds another host when the session lost its own.
async fn after_leaving(state: &HttpState, left: Option<&Left>, reason: &str) {
    let Some(Left {
        session_id,
        lost_host: Some(host),
    }) = left
    else {
        return;
    };
    tracing::info!(%session_id, host_id = %host.host_id, reason, "host left its session");
    if let Err(error) = sessions::host_left(&state.app, session_id, &host.host_id, reason).await {
        tracing::warn!(%error, %session_id, host_id = %host.host_id, "no other host could be found");
    }
}

/// Serves a peer until its connection ends.
pub(super) async fn serve(
    state: Arc<HttpState>,
    socket: WebSocket,
    (peer, place): (Arc<Peer>, Arrived),
    meter: Meter,
    first: Option<Errand>,
) {
    let link = Link::new(socket, state.hub.limits.ping_interval, peer.generation());
    let mut seat = Seat {
        state: Arc::clone(&state),
        peer: Arc::clone(&peer),
        keep: false,
    };
    let mut connection = Connection { state, peer, meter };
    let first = Box::pin(connection.take_place(place, first)).await;
    let (mut link, reason) = connection.run(link, first).await;
    let hub = Arc::clone(&connection.state.hub);
    seat.keep = hub.is_draining() || (connection.peer.resumable && reason.may_resume());
    connection.peer.outbox.put_back(link.take_unwritten());
    hub.metrics.closed(reason);
    tracing::debug!(peer_id = %connection.peer.peer_id, reason = reason.as_str(), "connection closed");
    if reason == CloseReason::Restart {
        // The client speaks until it hears of the end; what it says until then counts.
        link.close_serving(reason, |text| connection.serve_last(text)).await;
        drop(seat);
    } else {
        drop(seat);
        link.close(reason).await;
    }
}

struct Connection {
    state: Arc<HttpState>,
    peer: Arc<Peer>,
    meter: Meter,
}

/// What serving a message comes to.
enum Served {
    Done,
    Errand(Errand),
    /// The sentence for the client.
    Refused(String),
    Close(CloseReason),
}

impl Connection {
    async fn run(&mut self, mut link: Link, first: Option<Errand>) -> (Link, CloseReason) {
        if let Some(errand) = first {
            Box::pin(self.run_errand(errand)).await;
        }
        loop {
            let served = match link.next(&self.peer.outbox).await {
                Event::Text(text) => self.serve_message(&text),
                Event::Binary => self.serve_binary(),
                Event::End(reason) => return (link, reason),
            };
            match served {
                Served::Done => {}
                Served::Errand(errand) => Box::pin(self.run_errand(errand)).await,
                Served::Refused(message) => self.answer(wire::error(&message, "")),
                Served::Close(reason) => return (link, reason),
            }
        }
    }

    fn answer(&self, frame: String) {
        self.state.hub.send(&self.peer, frame.into(), Worth::Keep);
    }

    /// Goes on in the place that the peer has, and returns the errand that is left to do.
    async fn take_place(&mut self, place: Arrived, first: Option<Errand>) -> Option<Errand> {
        let Some(session_id) = place.session_id else {
            self.state.hub.hand_over(&self.peer, Vec::new(), false).await;
            return first;
        };
        let answer = if place.resumed {
            JoinAnswer::Resumed
        } else {
            JoinAnswer::Silent
        };
        let key = SessionKey::SessionId(session_id.clone());
        let restored = self.join(&key, answer).await;
        if restored.is_err() {
            self.state.hub.leave(&self.peer).await;
        }
        let mailbox = if restored.is_ok() { place.mailbox } else { Vec::new() };
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

    /// Serves a message that came after the node said that it goes away: it is passed on, and nothing else.
    fn serve_last(&mut self, text: &str) {
        if let Served::Refused(message) = self.serve_message(text) {
            tracing::debug!(peer_id = %self.peer.peer_id, message, "refused while the node goes away");
        }
    }

    fn limited(&mut self, session_id: Option<&str>, now: Timestamp, kind: Kind, size: usize) -> Option<Served> {
        let Self { state, peer, meter } = self;
        match meter.check(
            &state.limiter,
            &state.hub,
            &peer.identity,
            session_id,
            now,
            (kind, size),
        ) {
            Passage::Open => None,
            Passage::Refused(frame) => {
                self.answer(frame);
                Some(Served::Done)
            }
            Passage::Abuse => Some(Served::Close(CloseReason::Abuse)),
        }
    }

    fn serve_binary(&mut self) -> Served {
        let room = self.peer.room();
        let now = self.state.hub.now();
        if let Some(served) = self.limited(room.as_ref().map(|room| &*room.session_id), now, Kind::Other, 0) {
            return served;
        }
        self.state.hub.metrics.message(Kind::Other, Outcome::Refused);
        Served::Refused("Binary messages are not understood: send JSON as text".to_owned())
    }

    fn serve_message(&mut self, text: &str) -> Served {
        let room = self.peer.room();
        let message = Incoming::read(text);
        let kind = message.as_ref().map_or(Kind::Other, Incoming::kind);
        let now = self.state.hub.now();
        if let Some(served) = self.limited(room.as_ref().map(|room| &*room.session_id), now, kind, text.len()) {
            return served;
        }
        let hub = &self.state.hub;
        let served = message.and_then(|message| match kind {
            Kind::Offer | Kind::Answer | Kind::IceCandidate => {
                let (member, value) = message.payload(kind)?;
                let to = message
                    .to
                    .as_deref()
                    .ok_or("to is required: the peer_id of the receiver")?;
                let Some(room) = &room else {
                    return Err("You are in no session: join one first".to_owned());
                };
                let id = message.id()?;
                let receiver = room.member(to).filter(|receiver| hub.may_reach(receiver));
                let Some(receiver) = receiver else {
                    let frame = wire::relayed(Dialect::Hyphen, kind, &self.peer.json, member, value, now);
                    return self.relay_elsewhere(room, to, frame, id, now);
                };
                let frame = wire::relayed(receiver.dialect, kind, &self.peer.json, member, value, now);
                let taken = hub.send(&receiver, frame.into(), Worth::Keep);
                if let Some(id) = id {
                    let outcome = if taken {
                        fleet::Outcome::Delivered
                    } else {
                        fleet::Outcome::Refused
                    };
                    self.answer(wire::outcome(id, outcome, None));
                }
                Ok(Served::Done)
            }
            Kind::Join => {
                let session_id = message.session_id.as_deref().ok_or("session_id is required")?;
                wire::check_name("session_id", session_id, MAX_ID)?;
                Ok(Served::Errand(Errand::Join(session_id.to_owned())))
            }
            Kind::Leave => Ok(Served::Errand(Errand::Leave)),
            Kind::CreateSession if self.peer.dialect == Dialect::Underscore => {
                let zone = message.zone.as_deref().ok_or("zone is required")?;
                wire::check_name("zone", zone, MAX_ID)?;
                Ok(Served::Errand(Errand::Create { zone: zone.to_owned() }))
            }
            Kind::CreateSession | Kind::Other => Err(format!("Unknown message type: {}", message.kind_text())),
        });
        match served {
            Ok(served) => {
                hub.metrics.message(kind, Outcome::Done);
                served
            }
            Err(message) => {
                hub.metrics.message(kind, Outcome::Refused);
                Served::Refused(message)
            }
        }
    }

    /// Passes a message on to a peer on another node, or to one that is away.
    fn relay_elsewhere(
        &self,
        room: &Room,
        to: &str,
        frame: String,
        id: Option<&str>,
        now: Timestamp,
    ) -> Result<Served, String> {
        let hub = &self.state.hub;
        let there = room.has_elsewhere(to) || room.member(to).is_some();
        if there && let Some(id) = id {
            hub.await_outcome(&self.peer, id);
        }
        if there && hub.courier.signal(&self.peer, to, &room.session_id, frame, now.0, id) {
            return Ok(Served::Done);
        }
        let why = if there {
            "Too much waits for the other nodes: try again".to_owned()
        } else {
            wire::not_in_session(to)
        };
        let Some(id) = id else { return Err(why) };
        hub.tell_outcome(&self.peer.peer_id, id, fleet::Outcome::Refused, Some(&why));
        Ok(Served::Done)
    }

    async fn run_errand(&mut self, errand: Errand) {
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
        let session = sessions::open_for_peer(app, &peer.identity, &peer.peer_id, zone).await?;
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
    async fn enter(&self, session: &Session, seen: super::hub::Seen, answer: JoinAnswer) -> Result<bool, AppError> {
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
            Joined::Again => Ok(false),
        }
    }
}

/// The `error` of a use case. What is our fault goes to the log; the client learns only that it is.
pub(super) fn error_frame(error: &AppError) -> String {
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
