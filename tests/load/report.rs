//! Figures of one workload: the median of each server's rounds, and the first server's ratio to the best of the others.

/// Rounds by server, in the order they came.
pub struct Table {
    title: String,
    second: String,
    rows: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Table {
    pub fn new(title: &str, second: &str) -> Self {
        Self {
            title: title.to_owned(),
            second: second.to_owned(),
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, server: &'static str, figures: (f64, f64)) {
        match self.rows.iter_mut().find(|(name, _)| *name == server) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.rows.push((server, vec![figures])),
        }
    }

    /// Prints the table; `rate` is the least share of the best other's rate, `delay` the most of its 99th percentile.
    pub fn print(&self, rate: f64, delay: Option<f64>) {
        println!("\n{}", self.title);
        println!("  {:<28} {:>12} {:>10}", "server", "rate", self.second);
        let medians: Vec<_> = self.rows.iter().map(|(name, rounds)| (*name, median(rounds))).collect();
        for (name, (per_second, p99)) in &medians {
            println!("  {name:<28} {per_second:>12.0} {p99:>10.3}");
        }
        let Some((ours, others)) = medians.split_first() else {
            return;
        };
        let best = others.iter().map(|(_, figures)| figures.0).fold(0.0, f64::max);
        let quickest = others
            .iter()
            .map(|(_, figures)| figures.1)
            .fold(f64::INFINITY, f64::min);
        if best > 0.0 {
            let share = ours.1.0 / best;
            println!(
                "  rate: {share:.2} of the best other (at least {rate:.2}: {})",
                word(share >= rate)
            );
        }
        if let Some(most) = delay {
            let share = ours.1.1 / quickest;
            println!(
                "  p99: {share:.2} of the best other (at most {most:.2}: {})",
                word(share <= most)
            );
        }
    }
}

pub fn word(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn median(rounds: &[(f64, f64)]) -> (f64, f64) {
    (
        middle(rounds.iter().map(|round| round.0).collect()),
        middle(rounds.iter().map(|round| round.1).collect()),
    )
}

/// The one in the middle.
pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Delays of one workload in microseconds, as a histogram of bounded size.
pub struct Delays {
    buckets: Vec<u32>,
}

impl Delays {
    pub fn new() -> Self {
        // 4 µs each, up to 400 ms.
        Self {
            buckets: vec![0; 100_000],
        }
    }

    pub fn record(&mut self, delay: std::time::Duration) {
        let bucket = usize::try_from(delay.as_micros() / 4)
            .unwrap_or(usize::MAX)
            .min(self.buckets.len() - 1);
        self.buckets[bucket] += 1;
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|count| u64::from(*count)).sum()
    }

    /// The delay in milliseconds that this share of all does not exceed; 1 is the slowest.
    pub fn quantile(&self, share: f64) -> f64 {
        let least = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if *count > 0 && seen >= least {
                return (index as f64 + 1.0) * 0.004;
            }
        }
        0.0
    }
}
