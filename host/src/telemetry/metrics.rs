//! The Prometheus registry of this process. Names and labels are fixed here; no label ever carries a raw path or an id.

use prometheus::Registry;

/// Every metric of the process.
pub struct Metrics {
    pub registry: Registry,
}
