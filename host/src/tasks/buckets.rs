//! Forgets token buckets that are full again, so that memory stays bounded.

use std::sync::Arc;

use async_trait::async_trait;

use super::Task;
use crate::app::App;

/// Sweeps the shared buckets.
pub struct BucketSweep {
    pub app: Arc<App>,
}

#[async_trait]
impl Task for BucketSweep {
    fn name(&self) -> &'static str {
        "bucket-sweep"
    }

    async fn run(&self) -> anyhow::Result<()> {
        let forgotten = self.app.live.buckets.sweep(self.app.clock.now()).await?;
        tracing::debug!(forgotten, "full buckets forgotten");
        Ok(())
    }
}
