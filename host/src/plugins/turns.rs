//! Turns for the calls that may take long. A guest that loops until its deadline holds a thread, never the event loop:
//! the worker hands its other tasks over first, and only as many calls run at once as there are processors.

use tokio::sync::Semaphore;

use super::failure::FailureKind;
use super::instance::off_the_worker;
use super::ladder::Skipped;
use super::limits;
use super::slot::Slot;
use super::worlds::World;

/// The turns of one slot.
pub struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(processors()))
    }
}

impl Turns {
    /// Runs `call` when it has its turn.
    ///
    /// # Errors
    ///
    /// `busy` when that takes too long, which is counted; or what the call says.
    pub async fn take<W: World, R>(
        &self,
        slot: &Slot<W>,
        call: impl FnOnce() -> Result<R, Option<Skipped>>,
    ) -> Result<R, Option<Skipped>> {
        if let Ok(_turn) = self.0.try_acquire() {
            return off_the_worker(call);
        }
        if let Ok(Ok(_turn)) = tokio::time::timeout(limits::TURN, self.0.acquire()).await {
            return off_the_worker(call);
        }
        slot.no_turn();
        Err(Some(Skipped::Failed(FailureKind::Busy)))
    }
}

/// Processors this process may use.
#[must_use]
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}
