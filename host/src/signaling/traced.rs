//! The connection of a sampled handshake as spans: one for its life, and one for each of its first messages, with what they ask
//! of policies and storage. Other connections have none of this.

use super::close::CloseReason;
use super::room::Peer;
use super::wire::{Incoming, Kind};
use crate::telemetry::span::{Span, SpanKind};
use crate::telemetry::trace::Trace;

/// Messages of one connection that are told of. A client may send as many as it likes; spans of others need room too.
const MESSAGES: u32 = 256;

/// A connection that somebody is told of.
pub(super) struct Traced {
    span: Span,
    messages: i64,
    spans: u32,
}

impl Traced {
    /// The connection of `peer`, opened within this trace.
    pub(super) fn open(opened: Trace, peer: &Peer) -> Option<Self> {
        let mut span = opened.during(|| Span::part(SpanKind::Internal, || "signaling connection".to_owned()))?;
        span.text("peer_id", &*peer.peer_id);
        Some(Self {
            span,
            messages: 0,
            spans: 0,
        })
    }

    /// The trace, for what is a part of the connection.
    pub(super) fn trace(&self) -> &Trace {
        self.span.trace()
    }

    /// A message that came, none for binary ones; none also when there were enough.
    pub(super) fn message(&mut self, text: Option<&str>) -> Option<Span> {
        self.messages += 1;
        if self.spans == MESSAGES {
            return None;
        }
        self.spans += 1;
        let read = text.map(Incoming::read);
        let kind = read.and_then(Result::ok).map_or(Kind::Other, |message| message.kind());
        let name = || format!("message {}", kind.as_str());
        let mut span = self.trace().clone().during(|| Span::part(SpanKind::Internal, name))?;
        span.text("signaling.message.type", kind.as_str());
        let bytes = text.map_or(0, str::len);
        span.number("signaling.message.bytes", i64::try_from(bytes).unwrap_or(i64::MAX));
        Some(span)
    }

    /// Ends the connection.
    pub(super) fn close(mut self, reason: CloseReason) {
        self.span.text("signaling.close.reason", reason.as_str());
        self.span.number("signaling.messages", self.messages);
    }
}
