//! Token buckets that all nodes draw on. One script draws on all buckets of a request or on none, in one round trip, by the
//! server's clock. A bucket that is full again is forgotten by its TTL.

use std::sync::LazyLock;

use async_trait::async_trait;

use super::connection::Connection;
use super::link::Script;
use crate::domain::bucket::{BucketAnswer, BucketDraw};
use crate::domain::clock::Timestamp;
use crate::ports::live::{LiveError, Result, TokenBuckets};

/// The arithmetic of `domain::bucket`. A bucket is kept as `<tokens> <milliseconds of the last draw that passed>`.
///
/// ARGV: the time in milliseconds, or nothing for the server's; then capacity, window in milliseconds and cost of each key.
/// Answers for each key whether its draw passes, and its tokens after or, when it does not pass, before the draw.
static DRAW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local now = tonumber(ARGV[1])
        if not now then
            local time = redis.call('TIME')
            now = time[1] * 1000 + math.floor(time[2] / 1000)
        end
        local all, answer, drawn = true, {}, {}
        for i, key in ipairs(KEYS) do
            local capacity, window, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
            local bucket = drawn[key]
            if not bucket then
                bucket = {tokens = capacity, at = now}
                local kept = redis.call('GET', key)
                if kept then
                    local tokens, at = kept:match('^(%S+) (%S+)$')
                    bucket.tokens, bucket.at = tonumber(tokens), tonumber(at)
                end
                if bucket.at - now > 1000 then bucket.at = now end
                drawn[key] = bucket
            end
            local level = math.min(bucket.tokens + math.max(now - bucket.at, 0) * capacity / window, capacity)
            local left = level - cost
            local passes = left >= -0.000001
            if passes then
                left = math.max(left, 0)
                bucket.tokens, bucket.at = left, math.max(bucket.at, now)
            else
                left, all = level, false
            end
            bucket.full = (capacity - bucket.tokens) * window / math.max(capacity, 1)
            answer[2 * i - 1], answer[2 * i] = passes and 1 or 0, string.format('%.17g', left)
        end
        if all then
            for key, bucket in pairs(drawn) do
                local kept = string.format('%.17g %.0f', bucket.tokens, bucket.at)
                redis.call('SET', key, kept, 'PX', string.format('%.0f', math.max(math.ceil(bucket.full), 1)))
            end
        end
        return answer
        ",
    )
});

/// The buckets.
pub(super) struct SharedBuckets {
    connection: Connection,
    /// Draws take the time that they are given and not the server's.
    given_time: bool,
}

impl SharedBuckets {
    pub(super) fn new(connection: Connection, given_time: bool) -> Self {
        Self { connection, given_time }
    }
}

#[async_trait]
impl TokenBuckets for SharedBuckets {
    async fn draw(&self, draws: &[BucketDraw], now: Timestamp) -> Result<BucketAnswer> {
        let names = self.connection.keys();
        let keys: Vec<String> = draws.iter().map(|draw| names.rate_limit(&draw.key)).collect();
        let mut args = Vec::with_capacity(1 + 3 * draws.len());
        args.push(if self.given_time {
            now.0.to_string()
        } else {
            String::new()
        });
        for draw in draws {
            let window = u64::from(draw.window_seconds.max(1)) * 1000;
            args.extend([draw.capacity.to_string(), window.to_string(), draw.cost.to_string()]);
        }
        let answers: Vec<(bool, f64)> = self.connection.eval(&DRAW, &keys, &args).await?;
        let answers = draws.iter().zip(answers).map(|(draw, (passes, left))| {
            BucketAnswer::of(draw.capacity, draw.window_seconds, draw.cost, passes, left, now)
        });
        let tightest = answers.reduce(|a, b| if b.is_tighter_than(&a) { b } else { a });
        tightest.ok_or_else(|| LiveError::Unavailable(anyhow::anyhow!("a draw names no bucket")))
    }

    async fn sweep(&self, _: Timestamp) -> Result<u64> {
        // Their TTL does it.
        Ok(0)
    }
}
