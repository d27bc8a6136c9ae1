//! Where NPC state comes from: the AI service. We call it; it never calls us.

use async_trait::async_trait;

/// One NPC as the AI service sends it: position, dialogue state, quest status, and any further members.
pub type NpcRecord = serde_json::Map<String, serde_json::Value>;

/// Why there are no NPCs this time.
#[derive(Debug, thiserror::Error)]
pub enum NpcError {
    /// Not reachable, too slow, or it answered with an error status.
    #[error("the AI service is unavailable: {0}")]
    Unavailable(String),
    /// The answer is no list of objects, or too large.
    #[error("the AI service sent something unusable: {0}")]
    Unusable(String),
}

/// The AI service.
#[async_trait]
pub trait NpcSource: Send + Sync {
    /// All NPCs of a zone. Ends within the source's own timeout.
    async fn zone_npcs(&self, zone_id: &str) -> Result<Vec<NpcRecord>, NpcError>;

    /// Whether the service says it is healthy.
    async fn healthy(&self) -> bool;
}
