//! Sends NPC state to peers: each tick, every zone with an active session is fetched, transformed and pushed on its own.
//!
//! A tick only starts work and never waits for the AI service, so a slow zone delays neither others nor the next tick.

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
use super::metrics::NpcMetrics;
use crate::app::App;
use crate::domain::clock::Timestamp;
use crate::domain::session::SessionStatus;
use crate::ports::npc_source::NpcSource;
use crate::ports::peers::Push;
use crate::ports::policies::NpcFrame;
use crate::ports::storage::SessionFilter;

/// Fetches at one time.
const CONCURRENT_FETCHES: usize = 32;
/// Longest pause of a zone whose fetches fail.
const MAX_PAUSE: Duration = Duration::from_secs(60);
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
}

/// How one zone fares.
#[derive(Default)]
struct Zone {
    under_way: bool,
    tick: u64,
    failures: u32,
    not_before: Timestamp,
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
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> prometheus::Result<Self> {
        let metrics = NpcMetrics::register(&app.metrics.registry)?;
        let fetches = Semaphore::new(CONCURRENT_FETCHES);
        let shared = Shared {
            app,
            source,
            fetches,
            zones: Mutex::default(),
            metrics,
        };
        Ok(Self {
            shared: Arc::new(shared),
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

    async fn run(&self) -> anyhow::Result<()> {
        let zones = active_zones(&self.shared.app).await?;
        for (zone_id, sessions, tick) in self.shared.due(zones) {
            let (shared, shutdown) = (self.shared.clone(), self.shutdown.clone());
            self.tracker.spawn(async move {
                let work = AttemptGuard {
                    shared: &shared,
                    zone_id: &zone_id,
                    result: None,
                };
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = broadcast(work, &sessions, tick) => {}
                }
            });
        }
        Ok(())
    }
}

/// Sessions with a connected peer, by zone.
async fn active_zones(app: &App) -> anyhow::Result<HashMap<String, Vec<String>>> {
    let mut zones: HashMap<String, Vec<String>> = HashMap::new();
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
        for session in sessions
            .into_iter()
            .filter(|session| connected.contains(&session.session_id))
        {
            zones.entry(session.zone).or_default().push(session.session_id);
        }
        if last {
            break;
        }
    }
    Ok(zones)
}

impl Shared {
    /// The zones to fetch now, marked as under way, with their sessions and tick. Forgets zones without a session.
    fn due(&self, sessions: HashMap<String, Vec<String>>) -> Vec<(String, Vec<String>, u64)> {
        let now = self.app.clock.now();
        let mut zones = self.zones.lock();
        zones.retain(|zone_id, zone| zone.under_way || sessions.contains_key(zone_id));
        let mut due = Vec::new();
        for (zone_id, sessions) in sessions {
            let zone = match zones.entry(zone_id.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Zone::default()),
            };
            if !zone.under_way && zone.not_before <= now {
                zone.under_way = true;
                zone.tick += 1;
                due.push((zone_id, sessions, zone.tick));
            }
        }
        due
    }

    /// Takes over how an attempt ended. Logs the first zone that fails and the last one that works again.
    fn finish(&self, zone_id: &str, result: Option<Result<(), String>>) {
        let mut zones = self.zones.lock();
        let others_fail = zones.iter().any(|(name, zone)| name != zone_id && zone.failures > 0);
        let Some(zone) = zones.get_mut(zone_id) else { return };
        zone.under_way = false;
        match result {
            None => {}
            Some(Ok(())) => {
                self.metrics.fetched(true);
                if zone.failures > 0 && !others_fail {
                    tracing::info!(zone_id, "NPC state is available again");
                }
                zone.failures = 0;
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
                zone.not_before = self
                    .app
                    .clock
                    .now()
                    .plus_millis(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
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

async fn broadcast(mut attempt: AttemptGuard<'_>, sessions: &[String], tick: u64) {
    let Shared {
        app,
        source,
        fetches,
        metrics,
        ..
    } = attempt.shared;
    let Ok(_permit) = fetches.acquire().await else { return };
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
    for session_id in sessions {
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
