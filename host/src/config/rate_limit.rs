//! The numbers that the bundled rate-limit policy works with.

use super::reader::Reader;

/// Requests per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub requests: u32,
    pub window_seconds: u32,
}

/// `RATE_LIMIT_*`.
#[derive(Clone, Debug)]
pub struct RateLimitConfig {
    pub enabled: bool,
    pub api: Limit,
    pub websocket: Limit,
    pub auth: Limit,
}

impl RateLimitConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut limit = |requests, window| Limit {
            requests: reader.number(requests, 1..=1_000_000),
            window_seconds: reader.number(window, 1..=86_400),
        };
        let api = limit("RATE_LIMIT_API_REQUESTS", "RATE_LIMIT_API_WINDOW");
        let websocket = limit("RATE_LIMIT_WS_REQUESTS", "RATE_LIMIT_WS_WINDOW");
        let auth = limit("RATE_LIMIT_AUTH_REQUESTS", "RATE_LIMIT_AUTH_WINDOW");
        Self {
            enabled: reader.flag("RATE_LIMIT_ENABLED"),
            api,
            websocket,
            auth,
        }
    }
}
