//! What the service tells about itself: logs, metrics and traces, and the request that each is about.

mod collector;
pub mod export;
mod http;
pub mod log_file;
pub mod logs;
pub mod metrics;
mod queue;
pub mod request;
pub mod sampling;
pub mod span;
#[cfg(test)]
mod tests;
pub mod trace;
