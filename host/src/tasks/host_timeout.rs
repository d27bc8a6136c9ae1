//! Puts hosts offline whose heartbeats stopped, and finds other hosts for their sessions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::{Task, heartbeats};
use crate::app::{App, hosts, sessions};
use crate::domain::host::HostStatus;
use crate::domain::session::SessionStatus;
use crate::ports::storage::SessionFilter;

/// Sessions of one page of the search for stranded ones.
const PAGE: u32 = 500;
/// Pages of one search.
const MAX_PAGES: u32 = 200;
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
}

#[async_trait]
impl Task for HostTimeout {
    fn name(&self) -> &'static str {
        "host-timeout"
    }

    async fn run(&self) -> anyhow::Result<()> {
        let app = &*self.app;
        let now = app.clock.now();
        let cutoff = now.minus(app.config.p2p.host_heartbeat_timeout);
        // After a start, hosts get one whole timeout to report again.
        if cutoff < app.started_at {
            return Ok(());
        }
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
                sessions::host_lost(app, &host_id, REASON).await?;
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
    hosts.retain(|host_id| {
        app.live
            .hosts
            .get(host_id)
            .is_none_or(|host| host.status == HostStatus::Offline)
    });
    Ok(hosts)
}
