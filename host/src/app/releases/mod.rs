//! Releases of policies: what operators store, and what they have serve. Every decision is one change of a slot in storage,
//! with its entry in the audit; `follow` has this node do what is desired, and `gates` decides by numbers.

pub mod follow;
pub mod gates;
#[cfg(test)]
pub(crate) mod idle;
pub mod input;
pub mod report;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use self::input::{Activation, RolloutRequest, Upload};
use super::App;
use super::error::AppError;
use crate::domain::release::{ReleaseContent, ReleaseRecord, short};
use crate::domain::rollout::{AuditAction, AuditEntry, DesiredSlot, Rollout};
use crate::domain::slot::SlotName;
use crate::ports::delivery::ReleaseHost;
use crate::ports::releases::Decided;

/// Records of a slot that are kept, beside those that are needed.
const KEPT_RELEASES: u32 = 200;
/// Most records and entries in one answer.
pub const MAX_LISTED: u32 = 200;
/// How often a decision is made anew when another one came between.
const ATTEMPTS: u32 = 5;
/// Who decides over HTTP.
const OPERATOR: &str = "operator";
/// What nodes listen to.
pub const TOPIC: &str = "releases";

/// What a node knows of releases beside storage. Made once.
pub struct Releases {
    pub host: Arc<dyn ReleaseHost>,
    /// This node's name.
    pub node: String,
    /// Wakes the follower of this node.
    pub changed: Notify,
    errors: Mutex<HashMap<SlotName, Trouble>>,
}

/// Why a slot does not run what it is to run.
struct Trouble {
    /// Of what is desired.
    generation: u64,
    reason: String,
    /// Whether this node refused it: trying again soon is of little use.
    refused: bool,
}

impl Releases {
    /// For this node.
    #[must_use]
    pub fn new(host: Arc<dyn ReleaseHost>, node: String) -> Self {
        Self {
            host,
            node,
            changed: Notify::new(),
            errors: Mutex::new(HashMap::new()),
        }
    }
}

/// Stores a release. True when it was not there.
///
/// # Errors
/// `Refused` when the component does not fit the slot, or the signature does not hold.
pub async fn upload(app: &App, slot: SlotName, upload: Upload) -> Result<(ReleaseRecord, bool), AppError> {
    let component = Arc::new(upload.component);
    let inspected = app.releases.host.inspect(slot, component.clone()).await?;
    let content = ReleaseContent {
        slot,
        digest: inspected.digest,
        wit_version: inspected.wit_version,
        settings: upload.settings,
        limits: upload.limits,
        note: upload.note,
    };
    let now = app.clock.now();
    let by = upload
        .signature
        .as_ref()
        .map(|signature| format!("key:{}", signature.key_id));
    let by = by.unwrap_or_else(|| OPERATOR.to_owned());
    let record = ReleaseRecord::new(content, &by, now, upload.signature);
    app.releases.host.verify(&record, Some(now))?;
    let added = app.storage.releases.add(&record, &component).await?;
    if added.is_new {
        let note = added.record.note.clone();
        let entry = entry(app, slot, &by, AuditAction::Upload, Some(&record.id), note);
        app.storage.releases.note(&entry).await?;
        app.storage.releases.prune(slot, KEPT_RELEASES).await?;
        tracing::info!(slot = slot.as_str(), release_id = %record.id, by, "release stored");
    }
    Ok((added.record, added.is_new))
}

/// The release.
///
/// # Errors
/// `NotFound`.
pub async fn get(app: &App, id: &str) -> Result<ReleaseRecord, AppError> {
    let record = app.storage.releases.get(id).await?;
    record.ok_or_else(|| AppError::NotFound(format!("Release not found: {id}")))
}

/// The latest releases of a slot, newest first.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn list(app: &App, slot: SlotName, limit: u32) -> Result<Vec<ReleaseRecord>, AppError> {
    Ok(app.storage.releases.list(slot, limit).await?)
}

/// The latest entries of a slot's audit, newest first.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn audit(app: &App, slot: SlotName, limit: u32) -> Result<Vec<AuditEntry>, AppError> {
    Ok(app.storage.releases.audit(slot, limit).await?)
}

/// Has a release serve on every node. This node tries it first.
///
/// # Errors
/// `NotFound`; `Refused` with the step that failed.
pub async fn activate(app: &App, slot: SlotName, wanted: Activation) -> Result<DesiredSlot, AppError> {
    let id = admit(app, slot, &wanted.release_id).await?;
    let change = |state: &DesiredSlot| Ok(state.activated(&id, app.clock.now()));
    decide(app, slot, OPERATOR, AuditAction::Activate, &wanted.note, change).await
}

/// Tries a release on live calls, on every node.
///
/// # Errors
/// As `activate`; `WrongState` when it serves already.
pub async fn roll_out(app: &App, slot: SlotName, wanted: RolloutRequest) -> Result<DesiredSlot, AppError> {
    let id = admit(app, slot, &wanted.release_id).await?;
    let change = |state: &DesiredSlot| {
        if state.active.as_deref() == Some(id.as_str()) {
            return Err(AppError::WrongState(format!(
                "Release {} is active already",
                short(&id)
            )));
        }
        Ok(state.rolling_out(Rollout {
            release_id: id.clone(),
            mode: wanted.mode,
            percent: wanted.percent,
            sample_percent: wanted.sample_percent,
            gates: wanted.gates.clone(),
            started_at: app.clock.now(),
        }))
    };
    decide(app, slot, OPERATOR, AuditAction::Rollout, &wanted.note, change).await
}

/// Makes the candidate of a rollout the active release.
///
/// # Errors
/// `WrongState` when there is no rollout.
pub async fn promote(app: &App, slot: SlotName, note: &str) -> Result<DesiredSlot, AppError> {
    let change = |state: &DesiredSlot| state.promoted(app.clock.now()).ok_or_else(|| no_rollout(slot));
    decide(app, slot, OPERATOR, AuditAction::Promote, note, change).await
}

/// Ends a rollout; the active release goes on.
///
/// # Errors
/// `WrongState` when there is no rollout.
pub async fn halt(app: &App, slot: SlotName, note: &str) -> Result<DesiredSlot, AppError> {
    let change = |state: &DesiredSlot| state.halted().ok_or_else(|| no_rollout(slot));
    decide(app, slot, OPERATOR, AuditAction::Halt, note, change).await
}

/// Goes back by one release, or to one that served before.
///
/// # Errors
/// `WrongState` when there is nothing to go back to.
pub async fn roll_back(app: &App, slot: SlotName, to: Option<&str>, note: &str) -> Result<DesiredSlot, AppError> {
    let change = |state: &DesiredSlot| {
        state
            .rolled_back(to, app.clock.now())
            .ok_or_else(|| AppError::WrongState(nothing_before(slot, to)))
    };
    decide(app, slot, OPERATOR, AuditAction::Rollback, note, change).await
}

/// The release's id, when it is one of this slot, is vouched for now, and passes every step on this node.
async fn admit(app: &App, slot: SlotName, id: &str) -> Result<String, AppError> {
    let record = get(app, id).await?;
    if record.slot != slot {
        return Err(AppError::WrongState(format!(
            "Release {} is for the slot {}",
            short(id),
            record.slot.as_str()
        )));
    }
    app.releases.host.verify(&record, Some(app.clock.now()))?;
    follow::ensure(app, slot, &record.id).await?;
    Ok(record.id)
}

/// Stores what `change` makes of a slot's state and has this node do it. When another change came between, it is made anew.
async fn decide(
    app: &App,
    slot: SlotName,
    who: &str,
    action: AuditAction,
    why: &str,
    change: impl Fn(&DesiredSlot) -> Result<DesiredSlot, AppError>,
) -> Result<DesiredSlot, AppError> {
    let mut state = state(app, slot).await?;
    for _ in 0..ATTEMPTS {
        let next = change(&state)?;
        match store(app, &state, &next, who, action, why).await? {
            Decided::Done(done) => return Ok(done),
            Decided::Moved(now) => state = now,
        }
    }
    Err(AppError::WrongState(format!(
        "The slot {} is being changed by others; try again",
        slot.as_str()
    )))
}

/// Stores one change with its entry. When it is stored this node does it at once, and others are woken up.
async fn store(
    app: &App,
    before: &DesiredSlot,
    next: &DesiredSlot,
    who: &str,
    action: AuditAction,
    why: &str,
) -> Result<Decided, AppError> {
    let candidate = match action {
        AuditAction::Rollout => next.rollout.as_ref(),
        AuditAction::Halt => before.rollout.as_ref(),
        _ => None,
    };
    let about = candidate.map(|rollout| rollout.release_id.as_str());
    let about = about.or(next.active.as_deref());
    let entry = entry(app, next.slot, who, action, about, why.to_owned());
    let decided = app.storage.releases.decide(next, &entry).await?;
    if let Decided::Done(done) = &decided {
        tracing::info!(
            slot = done.slot.as_str(),
            action = action.as_str(),
            who,
            why,
            release_id = about.unwrap_or("bundled"),
            generation = done.generation,
            "release decided"
        );
        follow::apply(app, done).await;
        app.releases.changed.notify_one();
        if let Err(error) = app.live.wakeups.wake(TOPIC).await {
            tracing::warn!(%error, "other nodes were not woken up; they look by themselves");
        }
    }
    Ok(decided)
}

fn entry(
    app: &App,
    slot: SlotName,
    who: &str,
    action: AuditAction,
    release_id: Option<&str>,
    why: String,
) -> AuditEntry {
    AuditEntry {
        at: app.clock.now(),
        slot,
        who: who.to_owned(),
        action,
        release_id: release_id.map(str::to_owned),
        generation: None,
        why,
    }
}

/// What the slot is to run.
async fn state(app: &App, slot: SlotName) -> Result<DesiredSlot, AppError> {
    let states = app.storage.releases.desired().await?;
    let found = states.into_iter().find(|state| state.slot == slot);
    Ok(found.unwrap_or_else(|| DesiredSlot::untouched(slot)))
}

fn no_rollout(slot: SlotName) -> AppError {
    AppError::WrongState(format!("The slot {} has no rollout", slot.as_str()))
}

fn nothing_before(slot: SlotName, to: Option<&str>) -> String {
    match to {
        Some(id) => format!(
            "Release {} did not serve in the slot {} before",
            short(id),
            slot.as_str()
        ),
        None => format!("The slot {} has nothing to go back to", slot.as_str()),
    }
}
