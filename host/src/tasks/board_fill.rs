//! Fills the board from storage again and again, for what other nodes changed and this one was not told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Task;
use crate::app::App;

/// How often storage is read although nothing is known to be missed.
const ANYWAY: Duration = Duration::from_secs(30);

/// Mends the board.
pub struct BoardFill {
    app: Arc<App>,
    filled: Mutex<Instant>,
}

impl BoardFill {
    /// The task, for a board that was filled just now.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            filled: Mutex::new(Instant::now()),
        }
    }
}

#[async_trait]
impl Task for BoardFill {
    fn name(&self) -> &'static str {
        "board-fill"
    }

    async fn run(&self) -> anyhow::Result<()> {
        let board = &self.app.live.hosts;
        let started = Instant::now();
        // A run that fails is tried again, although the board says only once that it missed something.
        if !board.take_missed() && started.duration_since(*self.filled.lock()) < ANYWAY {
            return Ok(());
        }
        let mut filled = Filled {
            task: self,
            at: started.checked_sub(ANYWAY),
        };
        let known = board.all();
        let stored = self.app.storage.hosts.all().await?;
        board.fill(stored, &known);
        filled.at = Some(started);
        Ok(())
    }
}

/// Notes when the board was filled, also when a run is dropped half-way.
struct Filled<'a> {
    task: &'a BoardFill,
    at: Option<Instant>,
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            *self.task.filled.lock() = at;
        }
    }
}
