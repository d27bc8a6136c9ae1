//! The nouns of the service and their rules: host, zone, session, identity, time.
//!
//! No I/O here: nothing in this module may import a database, network or WebAssembly crate.

pub mod bucket;
pub mod buckets;
pub mod clock;
pub mod host;
pub mod identity;
pub mod release;
pub mod rollout;
pub mod session;
pub mod slot;
pub mod zone;
