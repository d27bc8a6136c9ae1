//! What the service tells about itself: logs, metrics, and the request that either is about.

pub mod log_file;
pub mod logs;
pub mod metrics;
pub mod request;
pub mod trace;
