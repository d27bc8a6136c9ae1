//! Puts hosts offline whose heartbeats stopped, and finds other hosts for their sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Task, heartbeats};
use crate::app::{App, hosts, losses};
use crate::domain::clock::Timestamp;
use crate::domain::host::HostStatus;
use crate::domain::session::SessionStatus;
use crate::ports::storage::SessionFilter;

/// Sessions of one page of the search for stranded ones.
const PAGE: u32 = 500;
/// Pages of one search.
const MAX_PAGES: u32 = 200;
/// Until heartbeats that other nodes accepted are in storage.
const OTHERS_LAG: Duration = Duration::from_secs(3);
const REASON: &str = "host_timeout";

/// Looks after hosts.
pub struct HostTimeout {
    app: Arc<App>,
    /// Sessions may be on hosts that are offline already: at the start, and after a run that failed half-way.
    stranded: AtomicBool,
}

impl HostTimeout {
    /// The task, which first looks for sessions that an earlier run of the service left behind.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            stranded: AtomicBool::new(true),
        }
    }

    /// Hosts that were silent since then are lost.
    fn cutoff(&self) -> Timestamp {
        let timeout = self.app.config.p2p.host_heartbeat_timeout;
        let lag = if self.app.live.is_shared() {
            OTHERS_LAG
        } else {
            Duration::ZERO
        };
        self.app.clock.now().minus(timeout.saturating_add(lag))
    }
}

#[async_trait]
impl Task for HostTimeout {
    fn name(&self) -> &'static str {
        "host-timeout"
    }

    /// After a start, hosts get one whole timeout to report again. A node that runs for longer may look after them meanwhile.
    fn is_due(&self) -> bool {
        self.cutoff() >= self.app.started_at
    }

    async fn run(&self) -> anyhow::Result<()> {
        let app = &*self.app;
        if !self.is_due() {
            return Ok(());
        }
        let (now, cutoff) = (app.clock.now(), self.cutoff());
        // Storage decides, so it must know the latest.
        heartbeats::flush(app).await?;
        let lost = app.storage.hosts.expire(cutoff, now).await?;
        if !lost.is_empty() {
            self.stranded.store(true, Ordering::Relaxed);
        }
        for host in lost {
            tracing::info!(host_id = %host.host_id, last_heartbeat = ?host.last_heartbeat.map(|t| t.rfc3339()), "host went offline: no heartbeat");
            hosts::show(app, host).await?;
        }
        if self.stranded.load(Ordering::Relaxed) {
            for host_id in stranded_hosts(app).await? {
                losses::host_lost(app, &host_id, REASON).await?;
            }
            self.stranded.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Hosts that are offline or gone and still have live sessions.
async fn stranded_hosts(app: &App) -> anyhow::Result<BTreeSet<String>> {
    let mut hosts = BTreeSet::new();
    for page in 0..MAX_PAGES {
        let filter = SessionFilter {
            statuses: SessionStatus::ALL
                .into_iter()
                .filter(|status| status.is_live())
                .collect(),
            limit: PAGE,
            offset: page * PAGE,
            ..SessionFilter::default()
        };
        let sessions = app.storage.sessions.list(&filter).await?;
        let last = sessions.len() < PAGE as usize;
        hosts.extend(sessions.into_iter().map(|session| session.host));
        if last {
            break;
        }
    }
    let mut stranded = BTreeSet::new();
    for host_id in hosts {
        if app
            .live
            .hosts
            .get(&host_id)
            .is_some_and(|host| host.status != HostStatus::Offline)
        {
            continue;
        }
        // Another node may have registered it this moment: storage knows it first.
        let stored = app.storage.hosts.get(&host_id).await?;
        if stored.is_none_or(|host| host.status == HostStatus::Offline) {
            stranded.insert(host_id);
        }
    }
    Ok(stranded)
}
