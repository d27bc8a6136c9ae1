//! The Prometheus registry of this process. Names and labels are fixed here; no label ever carries a raw path or an id.
//!
//! Each part of the service registers its own families, in a file of its own, on the registry it is given.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts, Registry};

/// Every metric of the process.
pub struct Metrics {
    pub registry: Registry,
}

impl Metrics {
    /// A registry of its own, with the constant `p2p_build_info`.
    ///
    /// # Errors
    ///
    /// When the version is no valid label value.
    pub fn new(version: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let opts = Opts::new("p2p_build_info", "Version of the running service").const_label("version", version);
        let info = IntGauge::with_opts(opts)?;
        info.set(1);
        registry.register(Box::new(info))?;
        Ok(Self { registry })
    }
}

/// Gauges whose values are looked up when somebody asks for them.
pub struct Looked<L> {
    gauges: Vec<Box<dyn Collector>>,
    look: L,
    /// Shortest time between two looks.
    rest: Duration,
    last: Mutex<Option<Instant>>,
}

impl<L: Fn() + Send + Sync + 'static> Looked<L> {
    /// Registers the gauges. `look` sets them, not more often than once in `rest`.
    ///
    /// # Errors
    ///
    /// When a name is taken.
    pub fn register(
        registry: &Registry,
        gauges: Vec<Box<dyn Collector>>,
        rest: Duration,
        look: L,
    ) -> prometheus::Result<()> {
        registry.register(Box::new(Self {
            gauges,
            look,
            rest,
            last: Mutex::new(None),
        }))
    }
}

impl<L: Fn() + Send + Sync> Collector for Looked<L> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(|gauge| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut last = self.last.lock();
        if last.is_none_or(|at| at.elapsed() >= self.rest) {
            (self.look)();
            *last = Some(Instant::now());
        }
        drop(last);
        self.gauges.iter().flat_map(|gauge| gauge.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_looked_up_when_asked_for_but_not_too_often() {
        for (rest, expected) in [(Duration::ZERO, 2.0), (Duration::from_secs(3600), 1.0)] {
            let registry = Registry::new();
            let gauge = IntGauge::new("looks", "How often somebody looked").unwrap();
            let counted = gauge.clone();
            Looked::register(&registry, vec![Box::new(gauge)], rest, move || counted.inc()).unwrap();
            registry.gather();
            let value = registry.gather()[0].get_metric()[0].get_gauge().get_value();
            assert!((value - expected).abs() < f64::EPSILON, "{value}");
        }
    }

    #[test]
    fn the_build_is_named() {
        let metrics = Metrics::new("2.0.0").unwrap();
        let families = metrics.registry.gather();
        assert_eq!(families[0].name(), "p2p_build_info");
        assert!(
            families[0].get_metric()[0]
                .get_label()
                .iter()
                .any(|label| label.value() == "2.0.0")
        );
    }
}
