//! Black-box tests: everything a client, an operator or a policy author can see, over the real process.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step fails the test that asked for it"
)]

mod authorization;
mod clients;
mod commands;
mod console;
mod console_images;
mod decisions;
mod designer;
mod drain;
mod durability;
mod fleet;
mod fleet_failures;
mod fleet_load;
mod http_auth;
mod http_hosts;
mod http_monitoring;
mod http_sessions;
mod http_surface;
mod http_zones;
mod lifecycle;
mod logging;
mod metrics;
mod nginx;
mod npcs;
mod odd_input;
mod plugin_tools;
mod policies;
mod policy_build;
mod postgres;
mod progress;
mod prometheus;
mod rate_limits;
mod redis;
mod releases;
mod releases_fleet;
mod releases_load;
mod reload;
mod signaling;
mod start_mistakes;
mod timeouts;
mod tls;
mod traces;
mod webrtc;
