//! Decides by numbers: a rollout that breaks its gates is halted, one that keeps to them may become active by itself, and a
//! release that fails soon after it became active is taken back. Any node may judge; storage lets one decision win.

use super::report::FRESH_SECONDS;
use super::store;
use crate::app::App;
use crate::app::error::AppError;
use crate::domain::release::short;
use crate::domain::rollout::{
    AuditAction, DesiredSlot, Rollout, RolloutCounts, Verdict, WATCH_FAILURE_RATE, WATCH_SAMPLES,
};

/// Judges the candidate of a slot and its fresh release.
///
/// # Errors
/// When storage does not answer.
pub(super) async fn judge(app: &App, state: &DesiredSlot) -> Result<(), AppError> {
    // What stands here may be of another generation still; then it says nothing of this one.
    if app.releases.host.running(state.slot).generation != state.generation {
        return Ok(());
    }
    if let Some(why) = failing(app, state) {
        if let Some(next) = state.rolled_back(None, app.clock.now()) {
            store(app, state, &next, &gate(app), AuditAction::Rollback, &why).await?;
        }
        return Ok(());
    }
    let Some(rollout) = &state.rollout else { return Ok(()) };
    let Some(seen) = seen(app, state).await? else {
        return Ok(());
    };
    match rollout.gates.judge(&seen, rollout.mode) {
        Verdict::Wait => {}
        Verdict::Broken(why) => {
            if let Some(next) = state.halted() {
                let why = format!("{} {}: {why}", rollout.mode.as_str(), short(&rollout.release_id));
                store(app, state, &next, &gate(app), AuditAction::Halt, &why).await?;
            }
        }
        Verdict::Good => {
            if let Some(next) = state
                .promoted(app.clock.now())
                .filter(|_| rollout.gates.promote_automatically)
            {
                store(
                    app,
                    state,
                    &next,
                    &gate(app),
                    AuditAction::Promote,
                    &kept(rollout, &seen),
                )
                .await?;
            }
        }
    }
    Ok(())
}

fn gate(app: &App) -> String {
    format!("gate {}", app.releases.node)
}

fn kept(rollout: &Rollout, seen: &RolloutCounts) -> String {
    format!(
        "{} {} kept to its gates: {} calls, {} failed, {} of {} differed",
        rollout.mode.as_str(),
        short(&rollout.release_id),
        seen.samples,
        seen.failures,
        seen.differences,
        seen.compared
    )
}

/// Why the active release is to be taken back, if it is.
fn failing(app: &App, state: &DesiredSlot) -> Option<String> {
    let is_watched = state.watched_until.is_some_and(|until| app.clock.now() < until);
    let active = state.active.as_ref()?;
    if !is_watched || app.releases.host.running(state.slot).active.as_ref() != Some(active) {
        return None;
    }
    let health = app.releases.host.health(state.slot);
    let calls = health.answered + health.failed;
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    let rate = health.failed as f64 / calls.max(1) as f64;
    let fails = health.held_back || (calls >= WATCH_SAMPLES && rate > WATCH_FAILURE_RATE);
    fails.then(|| {
        format!(
            "{} failed soon after it became active: {} of {calls} calls",
            short(active),
            health.failed
        )
    })
}

/// What all nodes saw of the candidate, this one as of now; none while it does not stand here.
pub(super) async fn seen(app: &App, state: &DesiredSlot) -> Result<Option<RolloutCounts>, AppError> {
    let Some(mut sum) = app.releases.host.rollout(state.slot) else {
        return Ok(None);
    };
    if app.live.is_shared() {
        let since = app.clock.now().plus_seconds(-FRESH_SECONDS);
        let others = app.storage.releases.reports(since).await?;
        others
            .iter()
            .filter(|report| {
                report.slot == state.slot && report.generation == state.generation && report.node != app.releases.node
            })
            .filter_map(|report| report.rollout.as_ref())
            .for_each(|counts| sum.add(counts));
    }
    Ok(Some(sum))
}
