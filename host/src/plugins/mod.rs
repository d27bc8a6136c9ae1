//! The policy runtime: components in slots, swapped while the service runs.

pub mod build;
pub mod source;
mod toolchain;
