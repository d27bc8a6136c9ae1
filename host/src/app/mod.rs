//! Use cases, one file per noun. Handlers, sockets and tasks call these; these call ports. No HTTP, SQL or wasmtime type here.

pub mod auth;
pub mod error;
pub mod hosts;
pub mod limits;
pub mod losses;
pub mod members;
pub mod monitoring;
pub mod placement;
pub mod releases;
pub mod sessions;
pub mod zones;

use std::sync::Arc;

use crate::config::Config;
use crate::domain::clock::{SharedClock, Timestamp};
use crate::ports::live::Live;
use crate::ports::npc_source::NpcSource;
use crate::ports::peers::PeerNotifier;
use crate::ports::policies::Policies;
use crate::ports::storage::Storage;
use crate::telemetry::export::Traces;
use crate::telemetry::metrics::Metrics;

/// All that a use case needs. Made once, in `boot`; cheap to clone behind its `Arc`.
pub struct App {
    pub config: Arc<Config>,
    pub clock: SharedClock,
    pub started_at: Timestamp,
    pub storage: Storage,
    pub live: Live,
    pub policies: Policies,
    pub releases: releases::Releases,
    pub peers: Arc<dyn PeerNotifier>,
    pub npcs: Option<Arc<dyn NpcSource>>,
    pub metrics: Arc<Metrics>,
    /// Which requests and runs are exported.
    pub traces: Traces,
    /// The latest readings of the stores; starts as its default.
    pub readings: monitoring::Readings,
}
