//! State that is shared and may be lost: the board of live hosts, token buckets, the fleet of nodes and their peers.
//!
//! Losing it costs no acknowledged write: the board is filled again from storage and heartbeats, buckets fill up,
//! peers connect again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::fleet::Fleet;
pub use crate::domain::bucket::{BucketAnswer, BucketDraw};
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Measurements};

/// Why live state did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The server cannot be reached or is too slow.
    #[error("live state is unavailable: {0}")]
    Unavailable(#[source] anyhow::Error),
}

/// What a live-state method returns.
pub type Result<T> = std::result::Result<T, LiveError>;

/// The hosts as they are this moment: registrations plus the heartbeats that have not reached storage yet.
///
/// Reads are local memory and never wait. A node keeps the whole board.
pub trait HostBoard: Send + Sync {
    /// Takes over a host from storage, unless the board's copy has a newer `revision`. Heartbeats newer than the given copy survive.
    fn put(&self, host: Host);

    /// Takes over measurements; `score` is called with the host as measured and answers its new quality score. None when the
    /// host is unknown. The heartbeat is queued for storage.
    fn beat(
        &self,
        host_id: &str,
        measured: &Measurements,
        now: Timestamp,
        score: &dyn Fn(&Host) -> f64,
    ) -> Option<Arc<Host>>;

    /// Sets the status on the board; none when the host is unknown.
    fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Option<Arc<Host>>;

    /// The host, none when it is unknown.
    fn get(&self, host_id: &str) -> Option<Arc<Host>>;

    /// All hosts, best score first, then by `host_id`.
    fn all(&self) -> Vec<Arc<Host>>;

    /// Available hosts with at least this score, best first, at most `limit`.
    fn available(&self, min_quality_score: f64, limit: usize) -> Vec<Arc<Host>>;

    /// Forgets a host.
    fn remove(&self, host_id: &str);

    /// Takes out the heartbeats that storage has not seen, the latest of each host, at most `limit`.
    fn take_unsaved(&self, limit: usize) -> Vec<crate::ports::storage::HeartbeatRecord>;

    /// Puts heartbeats back that storage did not take. Newer ones stay.
    fn put_back(&self, records: Vec<crate::ports::storage::HeartbeatRecord>);

    /// Takes over what storage has, as `put` does, and forgets those of `known` that it has no more: `known` is from before
    /// storage was read. Other nodes are told nothing.
    fn fill(&self, stored: Vec<Host>, known: &[Arc<Host>]);

    /// Whether changes of other nodes may have been missed since the last call: the board is to be filled from storage again.
    fn take_missed(&self) -> bool;
}

/// Token buckets, drawn on atomically.
#[async_trait]
pub trait TokenBuckets: Send + Sync {
    /// Draws on all of them or on none. `draws` is not empty.
    async fn draw(&self, draws: &[BucketDraw], now: Timestamp) -> Result<BucketAnswer>;

    /// Forgets buckets that are full again, so that memory stays bounded; returns how many.
    async fn sweep(&self, now: Timestamp) -> Result<u64>;
}

/// Grows with every change of a lease's holder, so that what an earlier holder does late can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// Work that one node does at a time. A lease that is not renewed ends by itself.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease for `ttl`, or takes it on when `holder` has it already, with the same fence. None while another has it.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Fence>>;

    /// Takes a lease on for another `ttl`; false when it is no longer held with this fence.
    async fn renew(&self, name: &str, fence: Fence, ttl: Duration) -> Result<bool>;

    /// Gives a lease up, so that another may have it at once; false when it was no longer held with this fence.
    async fn release(&self, name: &str, fence: Fence) -> Result<bool>;
}

/// Wakes nodes up that wait for news. Nobody may rely on it: a lost wake-up costs time only.
#[async_trait]
pub trait Wakeups: Send + Sync {
    /// Wakes whoever listens to `topic`, on this node and on others.
    async fn wake(&self, topic: &str) -> Result<()>;

    /// Listens to a topic. The number changes with each wake-up, and when one may have been missed.
    fn listen(&self, topic: &str) -> watch::Receiver<u64>;
}

/// Whether live state answers.
#[async_trait]
pub trait LiveHealth: Send + Sync {
    /// What it calls itself in `/health`: `memory` or `redis`.
    fn kind(&self) -> &'static str;

    /// One cheap round trip.
    async fn ping(&self) -> Result<()>;
}

/// All of live state, as the application holds it.
#[derive(Clone)]
pub struct Live {
    pub hosts: Arc<dyn HostBoard>,
    pub buckets: Arc<dyn TokenBuckets>,
    pub leases: Arc<dyn Leases>,
    pub fleet: Arc<dyn Fleet>,
    pub wakeups: Arc<dyn Wakeups>,
    pub health: Arc<dyn LiveHealth>,
}

impl Live {
    /// Whether other nodes share this state.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.health.kind() != "memory"
    }
}
