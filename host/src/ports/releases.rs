//! What storage keeps of releases: records and components, what each slot is to run, what nodes say, and who decided what.

use async_trait::async_trait;

use super::storage::Result;
use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{AuditEntry, DesiredSlot, NodeReport};
use crate::domain::slot::SlotName;

/// Nodes that were silent for so long are forgotten, in seconds.
pub const FORGET_NODES: i64 = 3600;
/// Entries of the audit that are kept for each slot.
pub const AUDIT_ENTRIES: u32 = 10_000;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// As it is stored.
    pub record: ReleaseRecord,
    /// False when the same content was there.
    pub is_new: bool,
}

/// What became of a change to a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Decided {
    /// Stored; with its new generation.
    Done(DesiredSlot),
    /// The slot was changed meanwhile; as it is now.
    Moved(DesiredSlot),
}

/// Releases.
#[async_trait]
pub trait ReleaseRepository: Send + Sync {
    /// Stores a record with its component, both or none. The same content again changes nothing, but a signature that is given
    /// takes the place of the stored one.
    async fn add(&self, record: &ReleaseRecord, component: &[u8]) -> Result<Added>;

    /// The record, none when there is none.
    async fn get(&self, id: &str) -> Result<Option<ReleaseRecord>>;

    /// At most `limit` records of a slot, newest first.
    async fn list(&self, slot: SlotName, limit: u32) -> Result<Vec<ReleaseRecord>>;

    /// The component with this digest, none when there is none.
    async fn component(&self, digest: &str) -> Result<Option<Vec<u8>>>;

    /// Removes all but the `keep` newest records of a slot and those that its state needs, components that no record has any
    /// more, and entries of the audit beyond `AUDIT_ENTRIES`; returns how many records.
    async fn prune(&self, slot: SlotName, keep: u32) -> Result<u64>;

    /// A number that grows with every change to any slot.
    async fn generation(&self) -> Result<u64>;

    /// What every slot is to run, in the order of `SlotName::ALL`; a slot that nobody touched too.
    async fn desired(&self) -> Result<Vec<DesiredSlot>>;

    /// Stores what a slot is to run, if its generation is that of `next`, with one generation more; and the entry, with the new
    /// generation. Both or none.
    async fn decide(&self, next: &DesiredSlot, entry: &AuditEntry) -> Result<Decided>;

    /// Stores an entry of the audit alone.
    async fn note(&self, entry: &AuditEntry) -> Result<()>;

    /// At most `limit` entries of a slot, newest first.
    async fn audit(&self, slot: SlotName, limit: u32) -> Result<Vec<AuditEntry>>;

    /// Stores what a node says, in place of what it said of the same slots before, and forgets nodes that were silent for
    /// `FORGET_NODES`.
    async fn report(&self, reports: &[NodeReport]) -> Result<()>;

    /// What nodes said since, by node and slot.
    async fn reports(&self, since: Timestamp) -> Result<Vec<NodeReport>>;

    /// Forgets what a node said.
    async fn withdraw(&self, node: &str) -> Result<()>;
}
