//! The lease of a task that one node runs at a time.
//!
//! The holder keeps it from run to run, so that other nodes do not repeat its work. When it falls silent, another node takes
//! over after the lease has ended; when it stops, at once.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::live::{Fence, Leases};

/// What a lease lasts beyond the next run.
const SLACK: Duration = Duration::from_secs(5);

/// The lease, held or not.
pub(super) struct TaskLease {
    leases: Arc<dyn Leases>,
    name: String,
    holder: String,
    ttl: Duration,
    fence: Option<Fence>,
}

impl TaskLease {
    pub(super) fn new(leases: Arc<dyn Leases>, node: &str, task: &str, interval: Duration) -> Self {
        Self {
            leases,
            name: format!("task:{task}"),
            holder: node.to_owned(),
            ttl: interval.mul_f64(1.1) + SLACK,
            fence: None,
        }
    }

    /// Whether this node runs the task now: it holds the lease, or nobody can tell.
    pub(super) async fn take(&mut self) -> bool {
        match self.leases.acquire(&self.name, &self.holder, self.ttl).await {
            Ok(fence) => {
                self.fence = fence;
                fence.is_some()
            }
            Err(error) => {
                tracing::debug!(lease = self.name, %error, "no answer about a lease; running all the same");
                self.fence = None;
                true
            }
        }
    }

    /// Takes the lease on while a run is under way, and once more after it.
    pub(super) async fn keep_while<T>(&self, run: impl Future<Output = T>) -> T {
        let mut run = std::pin::pin!(run);
        let answer = loop {
            tokio::select! {
                answer = &mut run => break answer,
                () = tokio::time::sleep(self.ttl / 3) => self.renew().await,
            }
        };
        self.renew().await;
        answer
    }

    /// Lets another node go on.
    pub(super) async fn give_up(self) {
        if let Some(fence) = self.fence {
            // One that does not get through ends by itself.
            let _ = self.leases.release(&self.name, fence).await;
        }
    }

    async fn renew(&self) {
        if let Some(fence) = self.fence {
            // A run that has lost its lease goes on to its end: see `Driver::every_on_one_node`.
            let _ = self.leases.renew(&self.name, fence, self.ttl).await;
        }
    }
}
