//! Follows what the slots are to run: at once when somebody says so, and every two seconds in case nobody did. While a
//! candidate or a fresh release is watched, twice a second.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::releases::TOPIC;
use crate::app::releases::follow::{self, Followed};
use crate::telemetry::span::{Span, SpanKind};

const POLL: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_millis(500);
/// Longest time of one look: loading a release may compile it.
const LIMIT: Duration = Duration::from_secs(120);

/// Starts the follower on the tracker.
pub fn start(app: &Arc<App>, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (app, shutdown) = (app.clone(), shutdown.clone());
    tracker.spawn(async move {
        let mut wakeups = app.live.wakeups.listen(TOPIC);
        let mut followed = Followed::default();
        let mut failures = 0_u32;
        loop {
            let trace = app.traces.fresh();
            let mut exported = Span::of(&trace, SpanKind::Internal, || "task releases".to_owned());
            let look = trace.run(tracing::Span::none(), follow::look(&app, &mut followed));
            let failed = match tokio::time::timeout(LIMIT, look).await {
                Ok(Ok(())) => false,
                Ok(Err(error)) => {
                    if failures == 0 {
                        tracing::warn!(%error, "cannot see which releases to run; what serves goes on");
                    }
                    true
                }
                Err(_) => {
                    tracing::error!("following the releases takes too long");
                    true
                }
            };
            if let Some(exported) = exported.as_mut().filter(|_| failed) {
                exported.fail("the releases to run are not known");
            }
            drop(exported);
            failures = if failed { failures.saturating_add(1) } else { 0 };
            let pause = if followed.watches(&app) && !failed { WATCH } else { POLL };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                () = app.releases.changed.notified() => {}
                Ok(()) = wakeups.changed() => {}
            }
        }
        follow::leave(&app).await;
    });
}
