//! Removes history that nobody needs any more: sessions long over, refresh-token families that expired.

use std::sync::Arc;

use async_trait::async_trait;

use super::Task;
use crate::app::App;

/// Sessions removed in one transaction.
const BATCH: u32 = 500;
/// Transactions of one run. What is left waits for the next one.
const MAX_BATCHES: usize = 200;

/// Keeps storage small.
pub struct Cleanup {
    pub app: Arc<App>,
}

#[async_trait]
impl Task for Cleanup {
    fn name(&self) -> &'static str {
        "cleanup"
    }

    async fn run(&self) -> anyhow::Result<()> {
        let (storage, now) = (&self.app.storage, self.app.clock.now());
        let cutoff = now.minus(self.app.config.tasks.session_retention);
        let mut sessions = 0;
        for _ in 0..MAX_BATCHES {
            let removed = storage.sessions.purge(cutoff, BATCH).await?;
            sessions += removed;
            if removed < u64::from(BATCH) {
                break;
            }
        }
        let families = storage.refresh.purge(now).await?;
        if sessions + families > 0 {
            tracing::info!(sessions, families, "old sessions and expired refresh tokens removed");
        }
        Ok(())
    }
}
