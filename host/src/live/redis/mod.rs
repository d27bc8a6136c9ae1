//! Live state that several nodes share, in Redis or DragonflyDB. Nothing here is needed for a restart of either side: every
//! key has an end, an empty server fills again by itself, and while it is away each node goes on alone.

mod connection;
mod fleet;
mod keys;
mod link;
mod server;
mod status;
mod subscription;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Ordered};
pub use keys::Keys;
pub use link::Script;
pub use status::State;
pub use subscription::{Event, Subscription};
