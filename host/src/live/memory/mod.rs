//! Live state in the memory of one node: the board of hosts, token buckets, leases, the fleet. Gone with the process.

pub(super) mod board;
mod buckets;
mod fleet;
mod leases;
mod wakeups;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::buckets::{Buckets, MOST};
use crate::ports::live::{Live, LiveHealth, Result};

/// Live state of one node, empty.
#[must_use]
pub fn open() -> Live {
    Live {
        hosts: Arc::new(board::Board::default()),
        buckets: Arc::new(Buckets::new(MOST)),
        leases: Arc::new(leases::Held::default()),
        fleet: Arc::new(fleet::MemoryFleet::default()),
        wakeups: Arc::new(wakeups::Counters::default()),
        health: Arc::new(Memory),
    }
}

struct Memory;

#[async_trait]
impl LiveHealth for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
