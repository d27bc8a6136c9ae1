//! Rate limiting: asks the policy what a request draws on, and draws on the buckets.
//!
//! Requests draw on the shared buckets of live state; when that does not answer, this node counts alone and says so in
//! a metric. Messages of a WebSocket never wait: their `connection` buckets live in the connection, and what a policy
//! counts per address, player or for everyone is counted on this node. Nothing here knows HTTP or WebSocket types.

use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::domain::bucket::Bucket;
use crate::domain::buckets::{Buckets, MOST};
use crate::domain::clock::{SharedClock, Timestamp};
use crate::ports::live::{BucketAnswer, BucketDraw, TokenBuckets};
use crate::ports::policies::{Draw, LimitDecision, LimitRequest, RateLimiting, Scope, Surface};
use crate::telemetry::metrics::Metrics;

/// Different buckets one connection keeps at most; the one unused for longest is forgotten for a new one.
const BUCKETS_PER_CONNECTION: usize = 16;

/// What became of a request or message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitOutcome {
    /// Passes, and nothing is said of limits.
    Unlimited,
    /// Passes; the tightest bucket's state.
    Allowed(BucketAnswer),
    /// Refused for now.
    Limited(BucketAnswer),
    /// Refused by the policy, with its reason for the client.
    Denied(String),
}

impl LimitOutcome {
    /// Whether the request or message is not to pass.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        matches!(self, Self::Limited(_) | Self::Denied(_))
    }
}

/// Draws on buckets as the rate-limit policy decides.
pub struct Limiter {
    policy: Arc<dyn RateLimiting>,
    buckets: Arc<dyn TokenBuckets>,
    clock: SharedClock,
    enabled: bool,
    local: Buckets,
    counters: Counters,
}

impl Limiter {
    /// `enabled` is false when `RATE_LIMIT_ENABLED=false`: then everything is `Unlimited`. An error when the metric names are
    /// taken.
    pub fn new(
        policy: Arc<dyn RateLimiting>,
        buckets: Arc<dyn TokenBuckets>,
        clock: SharedClock,
        enabled: bool,
        metrics: &Metrics,
    ) -> prometheus::Result<Self> {
        Ok(Self {
            policy,
            buckets,
            clock,
            enabled,
            local: Buckets::new(MOST),
            counters: Counters::register(&metrics.registry)?,
        })
    }

    /// Limits one HTTP request.
    pub async fn check_http(&self, request: &LimitRequest<'_>) -> LimitOutcome {
        if !self.enabled {
            return LimitOutcome::Unlimited;
        }
        let draws = match self.policy.decide(request) {
            LimitDecision::Unlimited => return self.counters.count(request.surface, LimitOutcome::Unlimited),
            LimitDecision::Deny(reason) => return self.counters.count(request.surface, LimitOutcome::Denied(reason)),
            LimitDecision::One(draw) => vec![draw.keyed(request, None)],
            LimitDecision::All(draws) => draws.iter().map(|draw| draw.keyed(request, None)).collect(),
        };
        if draws.is_empty() {
            return self.counters.count(request.surface, LimitOutcome::Unlimited);
        }
        let now = self.clock.now();
        let answer = match self.buckets.draw(&draws, now).await {
            Ok(answer) => answer,
            Err(error) => {
                self.counters.on_this_node_alone.inc();
                tracing::debug!(%error, "shared buckets did not answer; counting on this node");
                match self.local.draw(&draws, now) {
                    Some(answer) => answer,
                    None => return LimitOutcome::Unlimited,
                }
            }
        };
        self.counters.count(request.surface, verdict(answer))
    }

    /// Limits one message of a connection. Never waits; takes no lock and makes no allocation as long as the policy draws
    /// on the connection's own buckets.
    pub fn check_message(&self, request: &LimitRequest<'_>, connection: &mut ConnectionBuckets) -> LimitOutcome {
        if !self.enabled {
            return LimitOutcome::Unlimited;
        }
        let outcome = match self.policy.decide(request) {
            LimitDecision::Unlimited => LimitOutcome::Unlimited,
            LimitDecision::Deny(reason) => LimitOutcome::Denied(reason),
            LimitDecision::One(draw) => self.draw_for_message(request, std::slice::from_ref(&draw), connection),
            LimitDecision::All(draws) => self.draw_for_message(request, &draws, connection),
        };
        self.counters.count(request.surface, outcome)
    }

    fn draw_for_message(
        &self,
        request: &LimitRequest<'_>,
        draws: &[Draw],
        connection: &mut ConnectionBuckets,
    ) -> LimitOutcome {
        let own = connection.peek(draws, request.now);
        if let Some(answer) = own
            && !answer.allowed
        {
            return LimitOutcome::Limited(answer);
        }
        let mut shared = None;
        if draws.iter().any(|draw| draw.scope != Scope::Connection) {
            let keyed: Vec<BucketDraw> = draws
                .iter()
                .filter(|draw| draw.scope != Scope::Connection)
                .map(|draw| draw.keyed(request, None))
                .collect();
            shared = self.local.draw(&keyed, request.now);
            if let Some(answer) = shared
                && !answer.allowed
            {
                return LimitOutcome::Limited(answer);
            }
        }
        connection.take(draws, request.now);
        match (own, shared) {
            (Some(a), Some(b)) => LimitOutcome::Allowed(if b.is_tighter_than(&a) { b } else { a }),
            (Some(answer), None) | (None, Some(answer)) => LimitOutcome::Allowed(answer),
            (None, None) => LimitOutcome::Unlimited,
        }
    }
}

fn verdict(answer: BucketAnswer) -> LimitOutcome {
    if answer.allowed {
        LimitOutcome::Allowed(answer)
    } else {
        LimitOutcome::Limited(answer)
    }
}

/// The buckets of one connection. Empty until the first message.
#[derive(Debug, Default)]
pub struct ConnectionBuckets {
    slots: Vec<(u32, Bucket)>,
}

impl ConnectionBuckets {
    /// What the draws on this connection would say; nothing is taken. None when there is no draw on the connection.
    fn peek(&self, draws: &[Draw], now: Timestamp) -> Option<BucketAnswer> {
        let mut tightest: Option<BucketAnswer> = None;
        for draw in draws.iter().filter(|draw| draw.scope == Scope::Connection) {
            let known = self.slots.iter().find(|(number, _)| *number == draw.bucket);
            let mut copy = known.map_or_else(|| Bucket::full(draw.capacity, now), |(_, bucket)| *bucket);
            let answer = copy.draw(draw.capacity, draw.window_seconds, draw.cost, now);
            if tightest.as_ref().is_none_or(|other| answer.is_tighter_than(other)) {
                tightest = Some(answer);
            }
        }
        tightest
    }

    /// Takes what `peek` allowed.
    fn take(&mut self, draws: &[Draw], now: Timestamp) {
        for draw in draws.iter().filter(|draw| draw.scope == Scope::Connection) {
            self.slot(draw, now)
                .draw(draw.capacity, draw.window_seconds, draw.cost, now);
        }
    }

    fn slot(&mut self, draw: &Draw, now: Timestamp) -> &mut Bucket {
        let known = self.slots.iter().position(|(number, _)| *number == draw.bucket);
        let index = known.unwrap_or_else(|| {
            if self.slots.len() >= BUCKETS_PER_CONNECTION {
                let oldest = (0..self.slots.len())
                    .min_by_key(|index| self.slots[*index].1.updated)
                    .unwrap_or_default();
                self.slots.swap_remove(oldest);
            }
            self.slots.reserve_exact(1);
            self.slots.push((draw.bucket, Bucket::full(draw.capacity, now)));
            self.slots.len() - 1
        });
        &mut self.slots[index].1
    }
}

/// Outcomes per surface, resolved once so that counting is one atomic addition.
struct Counters {
    by_surface: [[IntCounter; 4]; 4],
    on_this_node_alone: IntCounter,
}

impl Counters {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        const OUTCOMES: [&str; 4] = ["unlimited", "allowed", "limited", "denied"];
        const SURFACES: [Surface; 4] = [Surface::Api, Surface::Auth, Surface::Exempt, Surface::Websocket];
        let decisions = IntCounterVec::new(
            Opts::new(
                "p2p_rate_limit_decisions_total",
                "Requests and messages by what the rate limit said",
            ),
            &["surface", "outcome"],
        )?;
        let on_this_node_alone = IntCounter::new(
            "p2p_rate_limit_local_total",
            "Requests limited on this node alone because shared state did not answer",
        )?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(on_this_node_alone.clone()))?;
        Ok(Self {
            by_surface: SURFACES
                .map(|surface| OUTCOMES.map(|outcome| decisions.with_label_values(&[surface.as_str(), outcome]))),
            on_this_node_alone,
        })
    }

    fn count(&self, surface: Surface, outcome: LimitOutcome) -> LimitOutcome {
        let row = match surface {
            Surface::Api => 0,
            Surface::Auth => 1,
            Surface::Exempt => 2,
            Surface::Websocket => 3,
        };
        let column = match outcome {
            LimitOutcome::Unlimited => 0,
            LimitOutcome::Allowed(_) => 1,
            LimitOutcome::Limited(_) => 2,
            LimitOutcome::Denied(_) => 3,
        };
        self.by_surface[row][column].inc();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(capacity: u32) -> Draw {
        Draw {
            scope: Scope::Connection,
            bucket: 0,
            capacity,
            window_seconds: 10,
            cost: 1,
        }
    }

    #[test]
    fn a_connection_is_refused_when_its_bucket_is_empty_and_passes_again_later() {
        let mut buckets = ConnectionBuckets::default();
        let draws = [draw(2)];
        let start = Timestamp(1_000_000);
        for left in [1, 0] {
            let answer = buckets.peek(&draws, start).unwrap();
            assert!(answer.allowed);
            assert_eq!(answer.remaining, left);
            buckets.take(&draws, start);
        }
        let refused = buckets.peek(&draws, start).unwrap();
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after_seconds, 5);
        assert!(buckets.peek(&draws, start.plus_seconds(5)).unwrap().allowed);
    }

    #[test]
    fn a_connection_keeps_a_bounded_number_of_buckets() {
        let mut buckets = ConnectionBuckets::default();
        for bucket in 0..1000 {
            let draws = [Draw { bucket, ..draw(5) }];
            assert!(buckets.peek(&draws, Timestamp(0)).unwrap().allowed);
            buckets.take(&draws, Timestamp(0));
        }
        assert_eq!(buckets.slots.len(), BUCKETS_PER_CONNECTION);
    }
}
