//! The arithmetic of one token bucket, without a lock, a key or a clock. The table of buckets and the buckets inside a
//! WebSocket connection both count with it.

use super::clock::Timestamp;

/// One draw on one bucket, with its full key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketDraw {
    pub key: String,
    pub capacity: u32,
    pub window_seconds: u32,
    pub cost: u32,
}

/// What the buckets said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketAnswer {
    pub allowed: bool,
    /// Capacity of the bucket that has the least left (or that refused).
    pub limit: u32,
    /// Whole tokens left in it.
    pub remaining: u32,
    pub window_seconds: u32,
    /// When that bucket is full again.
    pub reset_at: Timestamp,
    /// Seconds until the same draw would pass, 0 when it passed.
    pub retry_after_seconds: u32,
}

impl BucketAnswer {
    /// What is said of a bucket that has `left` tokens at `now`, after a draw that passed or before one that did not.
    #[must_use]
    pub fn of(capacity: u32, window_seconds: u32, cost: u32, allowed: bool, left: f64, now: Timestamp) -> Self {
        let per_token = window_ms(window_seconds) / f64::from(capacity.max(1));
        Self {
            allowed,
            limit: capacity,
            remaining: whole(left + ROUNDING),
            window_seconds,
            reset_at: now.plus_millis(i64::from(whole(((f64::from(capacity) - left) * per_token).ceil()))),
            retry_after_seconds: match allowed {
                true => 0,
                false if cost > capacity => window_seconds.max(1),
                false => whole(((f64::from(cost) - left) * per_token / 1000.0 - ROUNDING).ceil()).max(1),
            },
        }
    }

    /// Whether this says more than `other`: a refusal, then the longer wait, then less left.
    #[must_use]
    pub fn is_tighter_than(&self, other: &Self) -> bool {
        if self.allowed != other.allowed {
            return !self.allowed;
        }
        if self.retry_after_seconds != other.retry_after_seconds {
            return self.retry_after_seconds > other.retry_after_seconds;
        }
        self.remaining < other.remaining
    }
}

/// A clock that is behind by more than this was set back; by less, two threads read it in another order than they came.
const CLOCK_STEP_MS: i64 = 1000;

/// Absorbs rounding, so that a token that is due to the millisecond is there.
const ROUNDING: f64 = 1e-6;

/// One token bucket. It starts full and refills evenly: `capacity` tokens per window.
///
/// Refilling is computed at each draw from the last draw that passed. Draws that are refused leave the bucket as it is,
/// so rounding does not add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Tokens at `updated`.
    pub tokens: f64,
    /// The last draw that passed.
    pub updated: Timestamp,
}

impl Bucket {
    /// A bucket nobody has drawn on.
    #[must_use]
    pub fn full(capacity: u32, now: Timestamp) -> Self {
        Self {
            tokens: f64::from(capacity),
            updated: now,
        }
    }

    /// Tokens at `now`, at most `capacity`.
    #[must_use]
    pub fn level(&self, capacity: u32, window_seconds: u32, now: Timestamp) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a bucket is full long before 2^52 milliseconds"
        )]
        let elapsed = now.millis_since(self.updated) as f64;
        let refilled = elapsed * f64::from(capacity) / window_ms(window_seconds);
        (self.tokens + refilled).min(f64::from(capacity))
    }

    /// Draws `cost` tokens, or none when there are fewer. A cost above the capacity never passes.
    pub fn draw(&mut self, capacity: u32, window_seconds: u32, cost: u32, now: Timestamp) -> BucketAnswer {
        if self.updated.0.saturating_sub(now.0) > CLOCK_STEP_MS {
            self.updated = now;
        }
        let level = self.level(capacity, window_seconds, now);
        let left = level - f64::from(cost);
        let allowed = left >= -ROUNDING;
        if allowed {
            self.tokens = left.max(0.0);
            self.updated = self.updated.max(now);
        }
        let left = if allowed { self.tokens } else { level };
        BucketAnswer::of(capacity, window_seconds, cost, allowed, left, now)
    }
}

fn window_ms(window_seconds: u32) -> f64 {
    f64::from(window_seconds.max(1)) * 1000.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and that is meant"
)]
fn whole(value: f64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_full_and_refills_evenly() {
        let start = Timestamp(1_000_000);
        let mut bucket = Bucket::full(10, start);
        for left in (0..10).rev() {
            let answer = bucket.draw(10, 60, 1, start);
            assert!(answer.allowed);
            assert_eq!(answer.remaining, left);
        }
        let refused = bucket.draw(10, 60, 1, start);
        assert!(!refused.allowed);
        assert_eq!((refused.remaining, refused.retry_after_seconds), (0, 6));
        assert_eq!(refused.reset_at, start.plus_seconds(60));
        assert!(!bucket.draw(10, 60, 1, start.plus_millis(5999)).allowed);
        assert!(bucket.draw(10, 60, 1, start.plus_millis(6000)).allowed);
        assert!(!bucket.draw(10, 60, 1, start.plus_millis(6000)).allowed);
    }

    #[test]
    fn it_does_not_drift() {
        let mut now = Timestamp(0);
        let mut bucket = Bucket::full(7, now);
        let mut passed = 0;
        // Seven tokens a minute, asked for every 3 ms for ten hours.
        while now.0 < 36_000_000 {
            passed += u32::from(bucket.draw(7, 60, 1, now).allowed);
            now = now.plus_millis(3);
        }
        assert!((4206..=4207).contains(&passed), "{passed}");
    }

    #[test]
    fn a_clock_set_back_does_not_freeze_it() {
        let late = Timestamp(10_000_000);
        let early = Timestamp(1_000_000);
        let mut bucket = Bucket::full(1, late);
        assert!(bucket.draw(1, 60, 1, late).allowed);
        assert!(!bucket.draw(1, 60, 1, early).allowed);
        assert!(bucket.draw(1, 60, 1, early.plus_seconds(60)).allowed);
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        let now = Timestamp(0);
        let mut bucket = Bucket::full(0, now);
        assert!(bucket.draw(0, 0, 0, now).allowed);
        assert!(!bucket.draw(0, 0, 1, now).allowed);
        let mut bucket = Bucket::full(u32::MAX, now);
        assert!(bucket.draw(u32::MAX, u32::MAX, u32::MAX, now).allowed);
        let refused = bucket.draw(u32::MAX, u32::MAX, u32::MAX, Timestamp(i64::MIN));
        assert!(!refused.allowed);
        assert_eq!(Bucket::full(5, now).draw(5, 30, 6, now).retry_after_seconds, 30);
    }
}
