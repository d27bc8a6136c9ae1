//! Carries heartbeats from the board to storage, in batches. What storage does not take goes back to the board.

use std::sync::Arc;

use async_trait::async_trait;

use super::Task;
use crate::app::App;
use crate::ports::live::HostBoard;
use crate::ports::storage::HeartbeatRecord;

/// Heartbeats of one transaction.
const BATCH: usize = 1000;
/// Batches of one run. What is left waits for the next one.
const MAX_BATCHES: usize = 100;

/// Writes unsaved heartbeats.
pub struct HeartbeatFlush {
    pub app: Arc<App>,
}

#[async_trait]
impl Task for HeartbeatFlush {
    fn name(&self) -> &'static str {
        "heartbeat-flush"
    }

    async fn run(&self) -> anyhow::Result<()> {
        flush(&self.app).await
    }
}

/// Writes all heartbeats that storage has not seen.
///
/// # Errors
///
/// When storage does not take them; they are on the board again.
pub async fn flush(app: &App) -> anyhow::Result<()> {
    for _ in 0..MAX_BATCHES {
        let mut batch = Batch {
            board: &*app.live.hosts,
            records: app.live.hosts.take_unsaved(BATCH),
        };
        if batch.records.is_empty() {
            break;
        }
        app.storage.hosts.save_heartbeats(&batch.records).await?;
        let last = batch.records.len() < BATCH;
        batch.records.clear();
        if last {
            break;
        }
    }
    Ok(())
}

/// Heartbeats on their way. They go back to the board when the write fails or is given up.
struct Batch<'a> {
    board: &'a dyn HostBoard,
    records: Vec<HeartbeatRecord>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.records.is_empty() {
            self.board.put_back(std::mem::take(&mut self.records));
        }
    }
}
