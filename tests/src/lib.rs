//! What the black-box tests share: the real process, an HTTP client, a WebSocket client, a browser.
//!
//! Knows the service only from outside: nothing here links against it. A step that fails panics and thereby fails the test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test that asked for it"
)]

pub mod axe;
pub mod browser;
pub mod certificates;
pub mod client;
pub mod fleet;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod releases;
pub mod server;
pub mod shapes;
pub mod swarm;
pub mod wait;
pub mod ws;

pub use certificates::Certificates;
pub use client::{Answer, Client};
pub use fleet::Fleet;
pub use redis::Redis;
pub use server::{Options, Server};
pub use wait::eventually;
pub use ws::Ws;
