//! The Prometheus registry of this process. Names and labels are fixed here; no label ever carries a raw path or an id.
//!
//! Each part of the service registers its own families, in a file of its own, on the registry it is given.

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

#[cfg(test)]
mod tests {
    use super::*;

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
