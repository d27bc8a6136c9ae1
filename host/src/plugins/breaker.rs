//! Stops calling a policy that keeps failing, and tries it again after a pause that doubles. Closed, it costs one load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::limits;

/// The breaker of one release. Times are milliseconds since the breaker was made; 0 means closed.
pub struct Breaker {
    born: Instant,
    in_a_row: AtomicU32,
    open_until: AtomicU64,
    pause_ms: AtomicU64,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new() -> Self {
        Self {
            born: Instant::now(),
            in_a_row: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            pause_ms: AtomicU64::new(0),
        }
    }

    /// Whether the policy may be called now. When the pause is over, exactly one caller is let through to try it.
    #[must_use]
    pub fn admits(&self) -> bool {
        let until = self.open_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.now_ms();
        if now < until {
            return false;
        }
        // Whoever moves the end of the pause makes the try; should it never report back, the next one comes a pause later.
        let next = now + self.pause_ms.load(Ordering::Relaxed).max(1);
        self.open_until
            .compare_exchange(until, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether calls are being held back.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) != 0
    }

    /// A call gave an answer. True when this closed the breaker.
    pub fn succeeded(&self) -> bool {
        if self.in_a_row.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.in_a_row.store(0, Ordering::Relaxed);
        self.pause_ms.store(0, Ordering::Relaxed);
        self.open_until.swap(0, Ordering::AcqRel) != 0
    }

    /// A call failed. The pause, when this opened the breaker or kept it open.
    pub fn failed(&self) -> Option<Duration> {
        let failures = self.in_a_row.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if failures < limits::BREAKER_FAILURES {
            return None;
        }
        let (first, longest) = (millis(limits::BREAKER_FIRST), millis(limits::BREAKER_LONGEST));
        let pause = self
            .pause_ms
            .load(Ordering::Relaxed)
            .saturating_mul(2)
            .clamp(first, longest);
        self.pause_ms.store(pause, Ordering::Relaxed);
        // Up to a tenth more, so that nodes that failed together do not try together.
        let jitter = u64::from(self.born.elapsed().subsec_nanos()) % (pause / 10 + 1);
        self.open_until.store(self.now_ms() + pause + jitter, Ordering::Release);
        Some(Duration::from_millis(pause))
    }

    fn now_ms(&self) -> u64 {
        millis(self.born.elapsed()).saturating_add(1)
    }

    /// Ends the pause, as if its time had passed.
    #[cfg(test)]
    pub fn end_pause(&self) {
        let _ = self
            .open_until
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |until| (until != 0).then_some(1));
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_one_good_try() {
        let breaker = Breaker::new();
        for _ in 1..limits::BREAKER_FAILURES {
            assert!(breaker.failed().is_none());
        }
        assert!(breaker.admits());
        assert_eq!(breaker.failed(), Some(limits::BREAKER_FIRST));
        assert!(!breaker.admits());
        breaker.end_pause();
        assert!(breaker.admits(), "one try is let through");
        assert!(!breaker.admits(), "and only one");
        assert!(breaker.succeeded());
        assert!(breaker.admits() && !breaker.is_open());
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let breaker = Breaker::new();
        let mut pauses = Vec::new();
        for _ in 0..limits::BREAKER_FAILURES + 10 {
            pauses.extend(breaker.failed());
        }
        assert_eq!(pauses[..3], [1, 2, 4].map(Duration::from_secs));
        assert_eq!(pauses.last(), Some(&limits::BREAKER_LONGEST));
    }

    #[test]
    fn a_good_call_between_failures_keeps_it_closed() {
        let breaker = Breaker::new();
        for _ in 0..20 {
            breaker.failed();
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
    }
}
