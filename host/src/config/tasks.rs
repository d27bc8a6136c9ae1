//! How often background tasks run, and how long history is kept.

use std::time::Duration;

use super::reader::Reader;

/// `NPC_BROADCAST_INTERVAL`, `SESSION_HEALTH_CHECK_INTERVAL`.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    pub npc_broadcast_interval: Duration,
    pub session_health_check_interval: Duration,
    /// `SESSION_RETENTION_DAYS`: how long sessions that are over stay in storage.
    pub session_retention: Duration,
}

impl TasksConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            npc_broadcast_interval: reader.span("NPC_BROADCAST_INTERVAL", second, 0.05..=3600.0),
            session_health_check_interval: reader.span("SESSION_HEALTH_CHECK_INTERVAL", second, 0.05..=3600.0),
            session_retention: reader.span("SESSION_RETENTION_DAYS", second * 86_400, 0.01..=3650.0),
        }
    }
}
