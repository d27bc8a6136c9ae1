//! A histogram of call times, small enough to keep per worker: four steps per power of two of nanoseconds.

use std::time::Duration;

/// Steps of the histogram.
pub const STEPS: usize = 4 * 40;

/// Counts by duration.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: [u32; STEPS],
}

impl Default for Latency {
    fn default() -> Self {
        Self { counts: [0; STEPS] }
    }
}

impl Latency {
    /// A histogram of these counts.
    pub(super) fn of(counts: impl Iterator<Item = u32>) -> Self {
        let mut latency = Self::default();
        for (count, given) in latency.counts.iter_mut().zip(counts) {
            *count = given;
        }
        latency
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self::of(
            self.counts
                .iter()
                .zip(&before.counts)
                .map(|(now, then)| now.saturating_sub(*then)),
        )
    }

    /// The step that a time belongs to.
    #[must_use]
    pub fn step(took: Duration) -> usize {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(4);
        let power = nanos.ilog2();
        let quarter = (nanos >> (power - 2)) & 3;
        ((power as usize - 2) * 4 + usize::try_from(quarter).unwrap_or(0)).min(STEPS - 1)
    }

    /// Counts one call.
    pub fn add(&mut self, took: Duration) {
        if let Some(count) = self.counts.get_mut(Self::step(took)) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
    }

    /// The time, in microseconds, that `share` (0 to 1) of the calls did not exceed, to a quarter of a power of two; none when
    /// nothing was counted.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        if total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among few calls"
        )]
        let rank = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        let (power, quarter) = (step / 4, step % 4);
        // The upper edge of the step.
        let nanos = (1u64 << power) * (5 + quarter as u64);
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let micros = nanos as f64 / 1000.0;
        Some(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter_of_a_power_of_two() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_us(0.5), None);
        for nanos in 1..=1000u64 {
            latency.add(Duration::from_nanos(nanos));
        }
        let median = latency.quantile_us(0.5).unwrap();
        assert!((0.5..=0.64).contains(&median), "{median}");
        let high = latency.quantile_us(0.99).unwrap();
        assert!((0.99..=1.28).contains(&high), "{high}");
        latency.add(Duration::MAX);
        latency.add(Duration::ZERO);
    }
}
