//! `TokenBuckets` on the table of this node.

use async_trait::async_trait;

use crate::domain::buckets::Buckets;
use crate::domain::clock::Timestamp;
use crate::ports::live::{BucketAnswer, BucketDraw, LiveError, Result, TokenBuckets};

#[async_trait]
impl TokenBuckets for Buckets {
    async fn draw(&self, draws: &[BucketDraw], now: Timestamp) -> Result<BucketAnswer> {
        Self::draw(self, draws, now).ok_or_else(|| LiveError::Unavailable(anyhow::anyhow!("a draw names no bucket")))
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64> {
        Ok(Self::sweep(self, now))
    }
}
