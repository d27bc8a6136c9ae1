//! The one task of a connection: limits, reads and serves its messages, and leaves the session however it ends.
//!
//! Relaying takes the fast path: no wait, and no lock but the short ones of the sender's place, the room's members and the
//! receiver's outbox, to whose socket it writes. What asks storage (`errands`) is served apart.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::close::CloseReason;
use super::dialect::Dialect;
use super::errands::{Errand, after_leaving};
use super::hub::Hub;
use super::link::{Event, Link};
use super::metrics::{self, Outcome, Way};
use super::queue::Worth;
use super::room::{Peer, Room};
use super::stream::WebSocket;
use super::traced::Traced;
use super::wire::{self, Incoming, Kind};
use crate::app::limits::{ConnectionBuckets, LimitOutcome, Limiter};
use crate::domain::clock::Timestamp;
use crate::domain::identity::{Identity, MAX_ID};
use crate::http::state::HttpState;
use crate::ports::fleet::{self, Arrived};
use crate::ports::policies::{Caller, LimitRequest, Surface};
use crate::telemetry::trace::Trace;

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

/// Serves a peer until its connection ends.
pub(super) async fn serve(
    state: Arc<HttpState>,
    socket: WebSocket,
    (peer, place): (Arc<Peer>, Arrived),
    meter: Meter,
    first: Option<Errand>,
    exported: Option<Box<Trace>>,
) {
    let traced = exported.and_then(|trace| Traced::open(*trace, &peer).map(Box::new));
    let link = Link::new(socket, Arc::clone(&peer), state.hub.limits.ping_interval);
    let mut seat = Seat {
        state: Arc::clone(&state),
        peer: Arc::clone(&peer),
        keep: false,
    };
    let mut connection = Connection {
        state,
        peer,
        meter,
        traced,
    };
    let trace = connection.traced.as_ref().map(|traced| traced.trace().clone());
    let first = within(trace, connection.take_place(place, first)).await;
    let (link, reason) = connection.run(link, first).await;
    let hub = Arc::clone(&connection.state.hub);
    seat.keep = hub.is_draining() || (connection.peer.resumable && reason.may_resume());
    hub.metrics.closed(reason);
    if let Some(traced) = connection.traced.take() {
        traced.close(reason);
    }
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

pub(super) struct Connection {
    pub(super) state: Arc<HttpState>,
    pub(super) peer: Arc<Peer>,
    meter: Meter,
    traced: Option<Box<Traced>>,
}

/// What serving a message comes to.
enum Served {
    Done,
    Errand(Errand),
    /// The sentence for the client.
    Refused(String),
    Close(CloseReason),
}

/// The work as a part of the trace, if there is one. Boxed: idle connections have no room for it.
fn within<'a, T>(
    trace: Option<Trace>,
    work: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    match trace {
        Some(trace) => Box::pin(trace.run(tracing::Span::current(), work)),
        None => Box::pin(work),
    }
}

impl Connection {
    async fn run(&mut self, mut link: Link, first: Option<Errand>) -> (Link, CloseReason) {
        if let Some(errand) = first {
            let trace = self.traced.as_ref().map(|traced| traced.trace().clone());
            within(trace, self.run_errand(errand)).await;
        }
        loop {
            let event = link.next().await;
            let served = match event {
                Event::End(reason) => return (link, reason),
                event if self.traced.is_some() => Box::pin(self.serve_traced(event, link.in_burst())).await,
                Event::Text(text) => self.serve_message(&text, link.in_burst()),
                Event::Binary => self.serve_binary(),
            };
            match served {
                Served::Done => {}
                Served::Errand(errand) => Box::pin(self.run_errand(errand)).await,
                Served::Refused(message) => self.answer(wire::error(&message, "")),
                Served::Close(reason) => return (link, reason),
            }
        }
    }

    pub(super) fn answer(&self, frame: String) {
        self.state.hub.send(&self.peer, frame.into(), Worth::Keep);
    }

    /// Serves a message of a connection that somebody is told of, with what it asks of storage.
    async fn serve_traced(&mut self, event: Event, in_burst: bool) -> Served {
        let text = match &event {
            Event::Text(text) => Some(text.as_str()),
            Event::Binary => None,
            Event::End(reason) => return Served::Close(*reason),
        };
        let mut span = self.traced.as_mut().and_then(|traced| traced.message(text));
        let trace = span.as_ref().map(|span| span.trace().clone());
        let mut serve = || match text {
            Some(text) => self.serve_message(text, in_burst),
            None => self.serve_binary(),
        };
        let served = match &trace {
            Some(trace) => trace.clone().during(&mut serve),
            None => serve(),
        };
        let outcome = match &served {
            Served::Done | Served::Errand(_) => "done",
            Served::Refused(_) => "refused",
            Served::Close(_) => "closed",
        };
        if let Some(span) = &mut span {
            span.text("signaling.outcome", outcome);
        }
        let Served::Errand(errand) = served else { return served };
        within(trace, self.run_errand(errand)).await;
        Served::Done
    }

    /// Serves a message that came after the node said that it goes away: it is passed on, and nothing else.
    fn serve_last(&mut self, text: &str) {
        if let Served::Refused(message) = self.serve_message(text, true) {
            tracing::debug!(peer_id = %self.peer.peer_id, message, "refused while the node goes away");
        }
    }

    fn limited(&mut self, session_id: Option<&str>, now: Timestamp, kind: Kind, size: usize) -> Option<Served> {
        let Self { state, peer, meter, .. } = self;
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

    fn serve_message(&mut self, text: &str, in_burst: bool) -> Served {
        let read = metrics::timed();
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
                let (way, taken) = if in_burst {
                    // The receiver's task writes what several senders have for it at once.
                    (Way::Outbox, hub.send(&receiver, frame.into(), Worth::Keep))
                } else {
                    (Way::Socket, hub.relay(&receiver, frame.into()))
                };
                if taken {
                    hub.metrics.relayed(way, read);
                }
                // It has moved just now.
                if !taken && room.member(to).is_none_or(|newer| !Arc::ptr_eq(&newer, &receiver)) {
                    let frame = wire::relayed(Dialect::Hyphen, kind, &self.peer.json, member, value, now);
                    return self.relay_elsewhere(room, to, frame, id, now);
                }
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
}
