//! This node does what is desired: it loads what it lacks, has it serve, and says so. What storage says counts; wake-ups only
//! say when to look.

use std::time::Duration;

use tokio::time::Instant;

use super::{Trouble, gates};
use crate::app::App;
use crate::app::error::AppError;
use crate::domain::rollout::{DesiredSlot, NodeReport};
use crate::domain::slot::SlotName;
use crate::ports::delivery::Refused;

/// How often a node says what it runs when nothing changes.
const REPORT: Duration = Duration::from_secs(15);
/// How often it says what it saw of a candidate.
const ROLLOUT_REPORT: Duration = Duration::from_secs(1);
/// When a release that this node refused is tried again.
const RETRY: Duration = Duration::from_secs(60);
/// How long a start waits for storage to say what to run.
const START: Duration = Duration::from_secs(3);

/// What this node did last.
#[derive(Default)]
pub struct Followed {
    generation: Option<u64>,
    desired: Vec<DesiredSlot>,
    /// When what did not work is tried again.
    again: Option<Instant>,
    /// What was said last, without the times.
    said: Vec<NodeReport>,
    said_at: Option<Instant>,
}

impl Followed {
    /// What storage did not answer is tried again at the next look, what this node refused after a while: its machine may have
    /// been too busy for the trial.
    fn retry(&mut self, app: &App) {
        let errors = app.releases.errors.lock();
        let pause = errors
            .values()
            .map(|trouble| if trouble.refused { RETRY } else { Duration::ZERO });
        self.again = pause.min().map(|pause| Instant::now() + pause);
    }

    /// Whether a candidate or a fresh release is being watched: the next look is then due soon.
    #[must_use]
    pub fn watches(&self, app: &App) -> bool {
        let now = app.clock.now();
        self.desired
            .iter()
            .any(|state| state.rollout.is_some() || state.watched_until.is_some_and(|until| now < until))
    }
}

/// Has the desired releases serve before the service does; when storage does not say which, the last good ones of this node.
pub async fn start(app: &App) {
    let desired = tokio::time::timeout(START, app.storage.releases.desired()).await;
    match desired {
        Ok(Ok(desired)) => {
            for state in &desired {
                apply(app, state).await;
            }
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "storage does not say which releases to run");
            app.releases.host.restore().await;
        }
        Err(_) => {
            tracing::error!("storage does not say in time which releases to run");
            app.releases.host.restore().await;
        }
    }
}

/// One look: at what is desired, at files of the policy folder, at the gates; then this node says how it stands.
///
/// # Errors
/// When storage does not answer.
pub async fn look(app: &App, followed: &mut Followed) -> Result<(), AppError> {
    let generation = app.storage.releases.generation().await?;
    let again = followed.again.is_some_and(|at| Instant::now() >= at);
    if followed.generation != Some(generation) || again {
        followed.desired = app.storage.releases.desired().await?;
        for state in &followed.desired {
            apply(app, state).await;
            complete(app, state).await;
        }
        followed.generation = Some(followed.desired.iter().map(|state| state.generation).sum());
        followed.retry(app);
    }
    for (record, component) in app.releases.host.take_files() {
        app.storage.releases.add(&record, &component).await?;
    }
    say(app, followed).await?;
    for state in &followed.desired {
        gates::judge(app, state).await?;
    }
    Ok(())
}

/// Forgets what this node said, when it stops.
pub async fn leave(app: &App) {
    if let Err(error) = app.storage.releases.withdraw(&app.releases.node).await {
        tracing::warn!(%error, "the report of this node stays until it is old");
    }
}

/// Has the active release serve, and the candidate and the previous one take their places as far as they are ready.
pub(super) async fn apply(app: &App, desired: &DesiredSlot) {
    let slot = desired.slot;
    let ensured = match &desired.active {
        Some(id) => ensure(app, slot, id).await,
        None => Ok(()),
    };
    app.releases.host.arrange(desired);
    note(app, desired, ensured);
}

/// Loads what `apply` left out, and remembers the active release on disk.
async fn complete(app: &App, desired: &DesiredSlot) {
    let (slot, host) = (desired.slot, &app.releases.host);
    let candidate = desired.rollout.as_ref().map(|rollout| rollout.release_id.as_str());
    for id in candidate.into_iter().chain(desired.previous()) {
        if host.is_ready(slot, id) {
            continue;
        }
        let ensured = ensure(app, slot, id).await;
        if ensured.is_ok() {
            host.arrange(desired);
        } else if candidate == Some(id) {
            note(app, desired, ensured);
        }
    }
    if host.running(slot).active != desired.active {
        return;
    }
    let record = match &desired.active {
        Some(id) => match app.storage.releases.get(id).await {
            Ok(Some(record)) => Some(record),
            _ => return,
        },
        None => None,
    };
    host.remember(slot, record.as_ref()).await;
}

/// Notes why a slot does not run what it is to run, or that it does.
fn note(app: &App, desired: &DesiredSlot, ensured: Result<(), AppError>) {
    let mut errors = app.releases.errors.lock();
    if errors
        .get(&desired.slot)
        .is_some_and(|known| known.generation > desired.generation)
    {
        return;
    }
    match ensured {
        Ok(()) => {
            errors.remove(&desired.slot);
        }
        Err(error) => {
            let reason = match &error {
                AppError::Refused(refused) => format!("{}: {}", refused.step, refused.reason),
                other => other.to_string(),
            };
            tracing::error!(
                slot = desired.slot.as_str(),
                generation = desired.generation,
                reason,
                "this node does not run what it is to run"
            );
            let trouble = Trouble {
                generation: desired.generation,
                reason,
                refused: matches!(error, AppError::Refused(_)),
            };
            errors.insert(desired.slot, trouble);
        }
    }
}

/// Loads a release unless it is ready: from this node's disk, else from storage.
pub(super) async fn ensure(app: &App, slot: SlotName, id: &str) -> Result<(), AppError> {
    let host = &app.releases.host;
    if host.is_ready(slot, id) {
        return Ok(());
    }
    let record = super::get(app, id).await?;
    let component = match host.kept_component(slot, &record.digest).await {
        Some(kept) => kept,
        None => app.storage.releases.component(&record.digest).await?.ok_or(Refused {
            step: "read",
            reason: "the component of the release is not stored any more".to_owned(),
            mend: "push the release again",
        })?,
    };
    Ok(host.prepare(&record, component).await?)
}

/// How this node stands.
pub(super) fn reports(app: &App, desired: &[DesiredSlot]) -> Vec<NodeReport> {
    let errors = app.releases.errors.lock();
    let report = |state: &DesiredSlot| {
        let running = app.releases.host.running(state.slot);
        NodeReport {
            node: app.releases.node.clone(),
            slot: state.slot,
            generation: running.generation,
            desired: state.active.clone(),
            active: running.active,
            previous: running.previous,
            error: errors.get(&state.slot).map(|known| known.reason.clone()),
            changed_at: running.changed_at,
            seen_at: app.clock.now(),
            rollout: app.releases.host.rollout(state.slot),
        }
    };
    desired.iter().map(report).collect()
}

/// Says how this node stands: at once when that changed, else now and then.
async fn say(app: &App, followed: &mut Followed) -> Result<(), AppError> {
    let reports = reports(app, &followed.desired);
    let bare = |reports: &[NodeReport]| {
        let mut bare = reports.to_vec();
        for report in &mut bare {
            report.seen_at = report.changed_at;
            report.rollout = None;
        }
        bare
    };
    let rolls_out = reports.iter().any(|report| report.rollout.is_some());
    let pause = if rolls_out { ROLLOUT_REPORT } else { REPORT };
    let is_due = followed.said_at.is_none_or(|at| at.elapsed() >= pause);
    if is_due || followed.said != bare(&reports) {
        app.storage.releases.report(&reports).await?;
        followed.said = bare(&reports);
        followed.said_at = Some(Instant::now());
    }
    Ok(())
}
