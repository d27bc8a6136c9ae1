//! Leases of one node. Nobody competes for them but the node with itself, so they are always had.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::ports::live::{Fence, Leases, Result};

/// Names that are kept after their lease has ended, so that their fences go on growing.
const KEPT: usize = 10_000;

/// The leases.
#[derive(Default)]
pub struct Held(Mutex<Table>);

#[derive(Default)]
struct Table {
    leases: HashMap<String, Lease>,
    /// Above every fence of a name that was forgotten.
    floor: u64,
}

struct Lease {
    holder: String,
    fence: u64,
    until: Instant,
}

impl Table {
    fn make_room(&mut self, now: Instant) {
        if self.leases.len() < KEPT {
            return;
        }
        let ended = self.leases.values().filter(|lease| lease.until <= now);
        self.floor = ended.map(|lease| lease.fence + 1).fold(self.floor, u64::max);
        self.leases.retain(|_, lease| lease.until > now);
    }

    /// The lease when it is held with this fence.
    fn held(&mut self, name: &str, fence: Fence) -> Option<&mut Lease> {
        let now = Instant::now();
        let lease = self.leases.get_mut(name)?;
        (lease.fence == fence.0 && lease.until > now).then_some(lease)
    }
}

#[async_trait]
impl Leases for Held {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Fence>> {
        let mut table = self.0.lock();
        let now = Instant::now();
        let until = now + ttl;
        let floor = table.floor;
        if let Some(lease) = table.leases.get_mut(name) {
            let held = lease.until > now;
            if held && lease.holder != holder {
                return Ok(None);
            }
            lease.until = until;
            if !held {
                lease.fence = (lease.fence + 1).max(floor);
                holder.clone_into(&mut lease.holder);
            }
            return Ok(Some(Fence(lease.fence)));
        }
        table.make_room(now);
        let lease = Lease {
            holder: holder.to_owned(),
            fence: table.floor,
            until,
        };
        let fence = Fence(lease.fence);
        table.leases.insert(name.to_owned(), lease);
        Ok(Some(fence))
    }

    async fn renew(&self, name: &str, fence: Fence, ttl: Duration) -> Result<bool> {
        let mut table = self.0.lock();
        let Some(lease) = table.held(name, fence) else {
            return Ok(false);
        };
        lease.until = Instant::now() + ttl;
        Ok(true)
    }

    async fn release(&self, name: &str, fence: Fence) -> Result<bool> {
        let mut table = self.0.lock();
        let Some(lease) = table.held(name, fence) else {
            return Ok(false);
        };
        lease.until = Instant::now();
        Ok(true)
    }
}
