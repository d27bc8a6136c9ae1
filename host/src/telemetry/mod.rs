//! What the service tells about itself: logs and metrics.

pub mod log_file;
pub mod logs;
pub mod metrics;
pub mod trace;
