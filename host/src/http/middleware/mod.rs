//! What happens around every request, in one place: path, limit, timeout, panic, headers, metrics.

pub mod cors;
pub mod guard;
pub mod path;
