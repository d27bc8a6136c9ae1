//! Sends NPC state to peers: each tick, every zone with an active session is fetched, transformed and pushed on its own.
//!
//! A tick only starts work and never waits for the AI service, so a slow zone delays neither others nor the next tick. Of the
//! nodes with a peer in a zone, the one that holds the zone's lease serves all of its sessions. While live state is away, each
//! node serves the sessions of its own peers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Task;
use super::metrics::{NpcMetrics, register_npc_age};
use crate::app::App;
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionStatus;
use crate::ports::live::{self, Fence};
use crate::ports::npc_source::NpcSource;
use crate::ports::peers::Push;
use crate::ports::policies::NpcFrame;
use crate::ports::storage::SessionFilter;
use crate::telemetry::trace::Trace;

/// Fetches at one time.
const CONCURRENT_FETCHES: usize = 32;
/// Longest pause of a zone whose fetches fail.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// What a zone's lease lasts beyond the next tick. A zone whose fetches fail pauses for longer, so another node tries.
const LEASE_SLACK: Duration = Duration::from_secs(5);
/// Ticks that one fence has room for.
const FENCE_BITS: u32 = 20;
const PAGE: u32 = 500;
const MAX_PAGES: u32 = 200;

/// Broadcasts NPC state.
pub struct NpcBroadcast {
    shared: Arc<Shared>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

struct Shared {
    app: Arc<App>,
    source: Arc<dyn NpcSource>,
    fetches: Semaphore,
    zones: Mutex<HashMap<String, Zone>>,
    metrics: NpcMetrics,
    /// This node, as a holder of leases.
    node: String,
}

/// The sessions of one zone.
#[derive(Default)]
struct Sessions {
    all: Vec<String>,
    /// Those with a peer on this node.
    here: Vec<String>,
}

/// How one zone fares.
#[derive(Default)]
struct Zone {
    under_way: bool,
    /// The lease, when this node had it at its last attempt.
    fence: Option<Fence>,
    tick: u64,
    failures: u32,
    not_before: Timestamp,
    /// When its state was last sent, or this node began to serve it; none while another node does.
    fresh: Option<Timestamp>,
}

impl NpcBroadcast {
    /// The task.
    ///
    /// # Errors
    ///
    /// When metric names are taken.
    pub fn new(
        app: Arc<App>,
        source: Arc<dyn NpcSource>,
        node: &str,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> prometheus::Result<Self> {
        let metrics = NpcMetrics::register(&app.metrics.registry)?;
        let fetches = Semaphore::new(CONCURRENT_FETCHES);
        let shared = Arc::new(Shared {
            app,
            source,
            fetches,
            zones: Mutex::default(),
            metrics,
            node: node.to_owned(),
        });
        let known = Arc::downgrade(&shared);
        let age = move || known.upgrade().map(|shared| shared.oldest());
        register_npc_age(&shared.app.metrics.registry, age)?;
        Ok(Self {
            shared,
            tracker,
            shutdown,
        })
    }
}

#[async_trait]
impl Task for NpcBroadcast {
    fn name(&self) -> &'static str {
        "npc-broadcast"
    }

    async fn stop(&self) {
        self.shared.leave(|_| true).await;
    }

    async fn run(&self) -> anyhow::Result<()> {
        let zones = active_zones(&self.shared.app).await?;
        self.shared.leave(|zone_id| !zones.contains_key(zone_id)).await;
        for (zone_id, sessions) in self.shared.due(zones) {
            let (shared, shutdown) = (self.shared.clone(), self.shutdown.clone());
            let trace = Trace::current();
            let attempt = async move {
                let work = AttemptGuard {
                    shared: &shared,
                    zone_id: &zone_id,
                    result: None,
                };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = broadcast(work, &sessions) => {}
                }
            };
            self.tracker.spawn(trace.run(tracing::Span::current(), attempt));
        }
        Ok(())
    }
}

/// Active sessions of the zones that have one with a peer on this node.
async fn active_zones(app: &App) -> anyhow::Result<HashMap<String, Sessions>> {
    let mut zones: HashMap<String, Sessions> = HashMap::new();
    let connected: std::collections::HashSet<String> = app.peers.sessions().into_iter().collect();
    if connected.is_empty() {
        return Ok(zones);
    }
    for page in 0..MAX_PAGES {
        let filter = SessionFilter {
            statuses: vec![SessionStatus::Active],
            limit: PAGE,
            offset: page * PAGE,
            ..SessionFilter::default()
        };
        let sessions = app.storage.sessions.list(&filter).await?;
        let last = sessions.len() < PAGE as usize;
        for session in sessions {
            let zone = zones.entry(session.zone).or_default();
            if connected.contains(&session.session_id) {
                zone.here.push(session.session_id.clone());
            }
            zone.all.push(session.session_id);
        }
        if last {
            break;
        }
    }
    zones.retain(|_, sessions| !sessions.here.is_empty());
    Ok(zones)
}

impl Shared {
    /// Forgets zones, and lets another node go on with them.
    async fn leave(&self, left: impl Fn(&str) -> bool) {
        let mut leases = Vec::new();
        self.zones.lock().retain(|zone_id, zone| {
            let leave = !zone.under_way && left(zone_id);
            if leave {
                leases.extend(zone.fence.map(|fence| (lease_name(zone_id), fence)));
            }
            !leave
        });
        let leases = leases
            .iter()
            .map(|(name, fence)| self.app.live.leases.release(name, *fence));
        // Those that do not get through end by themselves.
        futures_util::future::join_all(leases).await;
    }

    /// The zones to fetch now, marked as under way, with their sessions.
    fn due(&self, sessions: HashMap<String, Sessions>) -> Vec<(String, Sessions)> {
        let now = self.app.clock.now();
        let mut zones = self.zones.lock();
        let mut due = Vec::new();
        for (zone_id, sessions) in sessions {
            let zone = match zones.entry(zone_id.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Zone::default()),
            };
            if !zone.under_way && zone.not_before <= now {
                zone.under_way = true;
                zone.fresh.get_or_insert(now);
                due.push((zone_id, sessions));
            }
        }
        due
    }

    /// Seconds since the last state of the zone that waits longest for one; 0 when this node serves none.
    fn oldest(&self) -> f64 {
        let now = self.app.clock.now();
        let zones = self.zones.lock();
        let ages = zones.values().filter_map(|zone| Some(now.millis_since(zone.fresh?)));
        Duration::from_millis(ages.max().unwrap_or_default()).as_secs_f64()
    }

    /// Another node serves the zone.
    fn yields(&self, zone_id: &str) {
        if let Some(zone) = self.zones.lock().get_mut(zone_id) {
            zone.fresh = None;
        }
    }

    /// The zone's lease: none when another node has it, an error when nobody can tell.
    async fn lease(&self, zone_id: &str) -> live::Result<Option<Fence>> {
        self.app
            .live
            .leases
            .acquire(&lease_name(zone_id), &self.node, self.ttl())
            .await
    }

    fn ttl(&self) -> Duration {
        self.app.config.tasks.npc_broadcast_interval.mul_f64(1.1) + LEASE_SLACK
    }

    /// The number of this tick, above all earlier ones of the zone, whichever node sent them. A fence is above the seconds
    /// since 1970, or counts from 0 on a node that is alone; without one the clock stands in.
    fn tick(&self, zone_id: &str, fence: Option<Fence>) -> u64 {
        let clock = || u64::try_from(self.app.clock.now().unix_seconds()).unwrap_or_default();
        let floor = fence.map_or_else(clock, |fence| fence.0) << FENCE_BITS;
        let mut zones = self.zones.lock();
        let Some(zone) = zones.get_mut(zone_id) else {
            return floor;
        };
        zone.fence = fence;
        zone.tick = (zone.tick + 1).max(floor);
        zone.tick
    }

    /// Takes over how an attempt ended. Logs the first zone that fails and the last one that works again.
    fn finish(&self, zone_id: &str, result: Option<Result<(), String>>) {
        let mut zones = self.zones.lock();
        let others_fail = zones.iter().any(|(name, zone)| name != zone_id && zone.failures > 0);
        let Some(zone) = zones.get_mut(zone_id) else { return };
        zone.under_way = false;
        let now = self.app.clock.now();
        match result {
            None => {}
            Some(Ok(())) => {
                self.metrics.fetched(true);
                if zone.failures > 0 && !others_fail {
                    tracing::info!(zone_id, "NPC state is available again");
                }
                zone.failures = 0;
                zone.fresh = Some(now);
            }
            Some(Err(error)) => {
                self.metrics.fetched(false);
                if zone.failures == 0 && !others_fail {
                    tracing::warn!(zone_id, error, "no NPC state; trying again, more and more rarely");
                }
                zone.failures = zone.failures.saturating_add(1);
                let interval = self.app.config.tasks.npc_broadcast_interval;
                let pause = interval
                    .saturating_mul(1 << (zone.failures - 1).min(6))
                    .min(MAX_PAUSE.max(interval));
                zone.not_before = now.plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            }
        }
    }
}

/// One attempt on one zone. Reports how it ended, also when it is dropped half-way.
struct AttemptGuard<'a> {
    shared: &'a Shared,
    zone_id: &'a str,
    result: Option<Result<(), String>>,
}

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        self.shared.finish(self.zone_id, self.result.take());
    }
}

fn lease_name(zone_id: &str) -> String {
    format!("npc:{zone_id}")
}

async fn broadcast(mut attempt: AttemptGuard<'_>, sessions: &Sessions) {
    let Shared {
        app,
        source,
        fetches,
        metrics,
        ..
    } = attempt.shared;
    let Ok(_permit) = fetches.acquire().await else { return };
    let lease = attempt.shared.lease(attempt.zone_id).await;
    if matches!(lease, Ok(None)) {
        attempt.shared.yields(attempt.zone_id);
        return;
    }
    let fence = lease.ok().flatten();
    let tick = attempt.shared.tick(attempt.zone_id, fence);
    let npcs = match source.zone_npcs(attempt.zone_id).await {
        Ok(npcs) => npcs,
        Err(error) => {
            attempt.result = Some(Err(error.to_string()));
            return;
        }
    };
    let now = app.clock.now();
    let frame = NpcFrame {
        zone_id: attempt.zone_id.to_owned(),
        tick,
        now,
        npcs,
    };
    let seen = app.policies.npc_transform.transform(frame).await;
    let npcs = match serde_json::value::to_raw_value(&seen) {
        Ok(npcs) => npcs,
        Err(error) => {
            attempt.result = Some(Err(error.to_string()));
            return;
        }
    };
    let mut served = &sessions.here;
    if let Some(fence) = fence {
        match app
            .live
            .leases
            .renew(&lease_name(attempt.zone_id), fence, attempt.shared.ttl())
            .await
        {
            Ok(true) => served = &sessions.all,
            // It took so long that another node has sent newer ones.
            Ok(false) => {
                attempt.shared.yields(attempt.zone_id);
                return;
            }
            Err(_) => {}
        }
    }
    for session_id in served {
        let push = Push::NpcState {
            zone_id: attempt.zone_id.to_owned(),
            session_id: session_id.clone(),
            tick,
            timestamp: now.rfc3339(),
            npcs: npcs.clone(),
        };
        metrics.pushed(app.peers.notify_session(session_id, &push));
    }
    attempt.result = Some(Ok(()));
}
