//! Background tasks: the driver and one file per task. A task takes no input, may run again at any time, and is never run
//! twice at once. Nothing here is spawned outside the tracker.

mod board_fill;
mod buckets;
mod cleanup;
mod driver;
pub mod heartbeats;
mod host_timeout;
mod lease;
mod metrics;
mod npcs;
mod releases;
mod session_health;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;

pub use driver::{Driver, Task};

const HEARTBEAT_FLUSH: Duration = Duration::from_secs(1);
const CLEANUP: Duration = Duration::from_secs(600);
const BUCKET_SWEEP: Duration = Duration::from_secs(30);
const BOARD_FILL: Duration = Duration::from_secs(1);
const HOST_CHECK_MAX: Duration = Duration::from_secs(15);
const HOST_CHECK_MIN: Duration = Duration::from_millis(100);

/// Starts every task of the service; they end when `shutdown` is cancelled, and `tracker` then comes to rest.
///
/// # Errors
///
/// When metric names are taken.
pub fn start(app: &Arc<App>, node: &str, tracker: &TaskTracker, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let leases = app.live.leases.clone();
    let driver = Driver::new(
        tracker.clone(),
        shutdown.clone(),
        &app.metrics.registry,
        leases,
        node.to_owned(),
    )?
    .exporting(app.traces.clone());
    releases::start(app, tracker, shutdown);
    let tasks = &app.config.tasks;
    let host_timeout = app.config.p2p.host_heartbeat_timeout;
    driver.every(HEARTBEAT_FLUSH, heartbeats::HeartbeatFlush { app: app.clone() });
    driver.every_on_one_node(
        tasks.session_health_check_interval,
        session_health::SessionHealth { app: app.clone() },
    );
    driver.every(
        tasks.session_health_check_interval,
        session_health::SessionPeers { app: app.clone() },
    );
    driver.every_on_one_node(
        (host_timeout / 10).clamp(HOST_CHECK_MIN, HOST_CHECK_MAX),
        host_timeout::HostTimeout::new(app.clone()),
    );
    driver.every_on_one_node(CLEANUP, cleanup::Cleanup { app: app.clone() });
    driver.every(BUCKET_SWEEP, buckets::BucketSweep { app: app.clone() });
    if app.live.is_shared() {
        driver.every(BOARD_FILL, board_fill::BoardFill::new(app.clone()));
    }
    if let Some(source) = &app.npcs {
        let broadcast = npcs::NpcBroadcast::new(app.clone(), source.clone(), node, tracker.clone(), shutdown.clone())?;
        driver.every(tasks.npc_broadcast_interval, broadcast);
    }
    Ok(())
}
