//! The slot as the application calls it, with the native default behind it.

use std::sync::Arc;

use rate_limit_policy::Limits;

use super::{Bound, ask, native};
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
        self.slot
            .call(limits::DECISION_TICKS, |instance| ask::decide(instance, request))
            .unwrap_or_else(|| native::decide(&self.limits, request.surface))
    }
}
