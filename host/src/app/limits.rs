//! Rate limiting: asks the policy what a request draws on, and draws on the buckets.
//!
//! Requests draw on the shared buckets of live state; when that does not answer, this node counts alone and says so in
//! a metric. Messages of a WebSocket never wait: their `connection` buckets live in the connection, and what a policy
//! counts per address, player or for everyone is counted on this node. Nothing here knows HTTP or WebSocket types.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::domain::clock::{SharedClock, Timestamp};
use crate::ports::live::{BucketAnswer, BucketDraw, TokenBuckets};
use crate::ports::policies::{Draw, LimitDecision, LimitRequest, RateLimiting, Scope, Surface};
use crate::telemetry::metrics::Metrics;

/// Different buckets one connection keeps at most; the fullest is forgotten for a new one.
const BUCKETS_PER_CONNECTION: usize = 16;
/// Buckets this node keeps for itself at most.
const LOCAL_BUCKETS: usize = 100_000;

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

/// Draws on buckets as the rate-limit policy decides.
pub struct Limiter {
    policy: Arc<dyn RateLimiting>,
    buckets: Arc<dyn TokenBuckets>,
    clock: SharedClock,
    enabled: bool,
    local: LocalBuckets,
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
            local: LocalBuckets::default(),
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
                self.local.draw(&draws, now)
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
            let answer = self.local.draw(&keyed, request.now);
            if !answer.allowed {
                return LimitOutcome::Limited(answer);
            }
            shared = Some(answer);
        }
        connection.take(draws);
        match (own, shared) {
            (Some(a), Some(b)) => LimitOutcome::Allowed(if a.remaining <= b.remaining { a } else { b }),
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

/// One token bucket. Starts full; `capacity` tokens come back within `window_seconds`.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    capacity: u32,
    window_seconds: u32,
    at: Timestamp,
}

impl Bucket {
    fn full(capacity: u32, window_seconds: u32, now: Timestamp) -> Self {
        Self {
            tokens: f64::from(capacity),
            capacity,
            window_seconds,
            at: now,
        }
    }

    /// Tokens that come back in a millisecond.
    fn per_millisecond(&self) -> f64 {
        f64::from(self.capacity) / (f64::from(self.window_seconds.max(1)) * 1000.0)
    }

    /// Adds what came back since the last look. A policy may change the bucket's size between two draws.
    fn refill(&mut self, capacity: u32, window_seconds: u32, now: Timestamp) {
        self.capacity = capacity;
        self.window_seconds = window_seconds;
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds between two draws are far below 2^52"
        )]
        let elapsed = now.millis_since(self.at) as f64;
        self.tokens = (self.tokens + elapsed * self.per_millisecond()).min(f64::from(capacity));
        self.at = self.at.max(now);
    }

    /// What a draw of `cost` says; `self` is refilled and nothing is taken.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tokens lie between 0 and a u32, and the milliseconds until full below a u32's window"
    )]
    fn answer(&self, cost: u32) -> BucketAnswer {
        let cost = f64::from(cost);
        let allowed = self.tokens >= cost;
        let left = if allowed { self.tokens - cost } else { self.tokens };
        let until_full = (f64::from(self.capacity) - left) / self.per_millisecond().max(f64::MIN_POSITIVE);
        let retry = if allowed {
            0.0
        } else {
            (cost - left) / self.per_millisecond().max(f64::MIN_POSITIVE) / 1000.0
        };
        BucketAnswer {
            allowed,
            limit: self.capacity,
            remaining: left.max(0.0) as u32,
            window_seconds: self.window_seconds,
            reset_at: self.at.plus_millis(until_full.ceil() as i64),
            retry_after_seconds: (retry.ceil() as u32).max(u32::from(!allowed)),
        }
    }
}

/// The buckets of one connection. Empty until the first message.
#[derive(Debug, Default)]
pub struct ConnectionBuckets {
    slots: Vec<(u32, Bucket)>,
}

impl ConnectionBuckets {
    /// What the draws on this connection would say: the first refusal, else the one with the least left. None when there is
    /// no draw on the connection.
    fn peek(&mut self, draws: &[Draw], now: Timestamp) -> Option<BucketAnswer> {
        let mut tightest: Option<BucketAnswer> = None;
        for draw in draws.iter().filter(|draw| draw.scope == Scope::Connection) {
            let bucket = self.slot(draw, now);
            bucket.refill(draw.capacity, draw.window_seconds, now);
            let answer = bucket.answer(draw.cost);
            if !answer.allowed {
                return Some(answer);
            }
            if tightest.is_none_or(|seen| answer.remaining < seen.remaining) {
                tightest = Some(answer);
            }
        }
        tightest
    }

    /// Takes what `peek` allowed.
    fn take(&mut self, draws: &[Draw]) {
        for draw in draws.iter().filter(|draw| draw.scope == Scope::Connection) {
            if let Some((_, bucket)) = self.slots.iter_mut().find(|(number, _)| *number == draw.bucket) {
                bucket.tokens = (bucket.tokens - f64::from(draw.cost)).max(0.0);
            }
        }
    }

    fn slot(&mut self, draw: &Draw, now: Timestamp) -> &mut Bucket {
        let known = self.slots.iter().position(|(number, _)| *number == draw.bucket);
        let index = known.unwrap_or_else(|| {
            if self.slots.len() >= BUCKETS_PER_CONNECTION {
                let share = |bucket: &Bucket| bucket.tokens / f64::from(bucket.capacity.max(1));
                let fullest = (0..self.slots.len())
                    .max_by(|a, b| share(&self.slots[*a].1).total_cmp(&share(&self.slots[*b].1)))
                    .unwrap_or_default();
                self.slots.swap_remove(fullest);
            }
            self.slots.reserve_exact(1);
            self.slots
                .push((draw.bucket, Bucket::full(draw.capacity, draw.window_seconds, now)));
            self.slots.len() - 1
        });
        &mut self.slots[index].1
    }
}

/// Buckets that this node keeps for itself.
#[derive(Default)]
struct LocalBuckets {
    table: Mutex<HashMap<String, Bucket>>,
}

impl LocalBuckets {
    /// Draws on all or on none.
    fn draw(&self, draws: &[BucketDraw], now: Timestamp) -> BucketAnswer {
        let mut table = self.table.lock();
        if table.len() + draws.len() > LOCAL_BUCKETS {
            table.retain(|_, bucket| {
                bucket.refill(bucket.capacity, bucket.window_seconds, now);
                bucket.tokens < f64::from(bucket.capacity)
            });
            if table.len() + draws.len() > LOCAL_BUCKETS {
                table.clear();
            }
        }
        let mut tightest: Option<BucketAnswer> = None;
        for draw in draws {
            let bucket = table
                .entry(draw.key.clone())
                .or_insert_with(|| Bucket::full(draw.capacity, draw.window_seconds, now));
            bucket.refill(draw.capacity, draw.window_seconds, now);
            let answer = bucket.answer(draw.cost);
            if !answer.allowed {
                return answer;
            }
            if tightest.is_none_or(|seen| answer.remaining < seen.remaining) {
                tightest = Some(answer);
            }
        }
        for draw in draws {
            if let Some(bucket) = table.get_mut(&draw.key) {
                bucket.tokens = (bucket.tokens - f64::from(draw.cost)).max(0.0);
            }
        }
        tightest.unwrap_or(BucketAnswer {
            allowed: true,
            limit: 0,
            remaining: 0,
            window_seconds: 0,
            reset_at: now,
            retry_after_seconds: 0,
        })
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
            buckets.take(&draws);
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
            buckets.take(&draws);
        }
        assert_eq!(buckets.slots.len(), BUCKETS_PER_CONNECTION);
    }

    #[test]
    fn this_nodes_buckets_are_drawn_on_all_or_none() {
        let local = LocalBuckets::default();
        let keyed = |key: &str, capacity| BucketDraw {
            key: key.to_owned(),
            capacity,
            window_seconds: 60,
            cost: 1,
        };
        let both = [keyed("a", 5), keyed("b", 1)];
        assert!(local.draw(&both, Timestamp(0)).allowed);
        assert!(!local.draw(&both, Timestamp(0)).allowed);
        assert_eq!(local.draw(&[keyed("a", 5)], Timestamp(0)).remaining, 3);
    }
}
