//! Shared live state, behind `ports::live`.

pub mod memory;
pub mod redis;
