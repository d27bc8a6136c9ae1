//! Whether peer-to-peer is on, and when silence counts as an end.

use std::time::Duration;

use super::reader::Reader;

/// `P2P_ENABLED`, `SESSION_TIMEOUT_MINUTES`, `HOST_HEARTBEAT_TIMEOUT_MINUTES`.
#[derive(Clone, Debug)]
pub struct P2pConfig {
    pub enabled: bool,
    pub session_timeout: Duration,
    pub host_heartbeat_timeout: Duration,
}

impl P2pConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            enabled: reader.flag("P2P_ENABLED"),
            session_timeout: reader.span("SESSION_TIMEOUT_MINUTES", minute, 0.01..=10_080.0),
            host_heartbeat_timeout: reader.span("HOST_HEARTBEAT_TIMEOUT_MINUTES", minute, 0.01..=1440.0),
        }
    }
}
