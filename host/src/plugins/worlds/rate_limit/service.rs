//! The slot as the application calls it, with the native default behind it.

use std::net::IpAddr;
use std::sync::Arc;

use rate_limit_policy::Limits;

use super::kept::Kept;
use super::{Answer, Bound, ask, native};
use crate::plugins::ladder;
use crate::plugins::limits;
use crate::plugins::slot::Slot;
use crate::ports::policies::{LimitDecision, LimitRequest, RateLimiting};

/// The slot as the application calls it.
pub struct RateLimit {
    slot: Arc<Slot<Bound>>,
    limits: Limits,
}

impl RateLimit {
    /// The policy in `slot`, with the native default behind it. Bad settings leave the default its own numbers.
    #[must_use]
    pub fn new(slot: Arc<Slot<Bound>>, settings: &[(String, String)]) -> Self {
        let limits = native::limits(settings).unwrap_or_else(|error| {
            tracing::warn!(%error, "the native rate limit keeps its own numbers");
            Limits::DEFAULT
        });
        Self { slot, limits }
    }
}

impl RateLimiting for RateLimit {
    fn decide(&self, request: &LimitRequest<'_>) -> LimitDecision {
        let (onlookers, span) = (self.slot.onlookers(), self.slot.span());
        let who = || Some(who(request));
        let answered = self
            .slot
            .call(who, limits::DECISION_TICKS, |instance| ask::decide(instance, request))
            .unwrap_or_else(|skipped| {
                let native = || native::decide(&self.limits, request.surface);
                self.slot.natively(skipped, native, || native::fixed(request.surface))
            });
        if let Some(span) = span {
            span.answered(&answered.by());
        }
        if let Some(onlookers) = onlookers {
            let (kept, answer) = (Kept::of(request), Answer::from(&answered.answer));
            self.slot.show(onlookers, answered.by(), request.now, kept, answer);
        }
        answered.answer
    }
}

/// The player, or the address of whoever is none.
fn who(request: &LimitRequest<'_>) -> u64 {
    match (request.player_id, request.ip) {
        (Some(player), _) => ladder::key(&[player.as_bytes()]),
        (None, IpAddr::V4(ip)) => ladder::key(&[&ip.octets()]),
        (None, IpAddr::V6(ip)) => ladder::key(&[&ip.octets()]),
    }
}
