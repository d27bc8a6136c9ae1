//! The slots without the types of their worlds: the one place where the watcher, the delivery of releases and the reports meet
//! the typed slots.

use std::path::Path;

use super::counts::Counts;
use super::decisions::{DecisionId, Filter, LogCounts, LoggedDecision};
use super::delivery::differences::Difference;
use super::failure::{Refusal, Step};
use super::instance::Source;
use super::loader::{self, Loader, Terms};
use super::metrics::ReleaseFigures;
use super::report::SlotReport;
use super::slot::Slot;
use super::slot_name::SlotName;
use super::worlds::World;
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::release::{ReleaseContent, ReleaseRecord};
use crate::domain::rollout::{DesiredSlot, RolloutCounts};
use crate::ports::delivery::{Health, Running};

/// Who stored a release that came from the policy folder.
const BY_FILE: &str = "file";

/// A slot without the type of its world.
pub trait AnySlot: Send + Sync {
    /// Its name.
    fn name(&self) -> SlotName;

    /// Loads the bundled policy, which serves when nothing else does.
    fn offer_bundled(&self, loader: &Loader);

    /// Loads a file, which then serves whatever is desired, unless the same bytes do. False when it was refused: what served goes
    /// on serving. With `signed_only` every file is refused.
    fn offer_file(&self, loader: &Loader, path: &Path, signed_only: bool) -> bool;

    /// Does without a file.
    fn without_file(&self);

    /// The file that serves, as a release with its component. Once.
    fn take_file(&self) -> Option<(ReleaseRecord, Vec<u8>)>;

    /// Loads a release and keeps it ready, unless it is.
    ///
    /// # Errors
    ///
    /// The step that failed and why.
    fn prepare(&self, loader: &Loader, record: &ReleaseRecord, component: &[u8]) -> Result<(), Refusal>;

    /// Whether a release is loaded.
    fn is_ready(&self, id: &str) -> bool;

    /// Has what is ready serve as desired.
    fn arrange(&self, desired: &DesiredSlot);

    /// What serves.
    fn running(&self) -> Running;

    /// What was seen of the candidate.
    fn trial(&self) -> Option<RolloutCounts>;

    /// How the active release fares.
    fn health(&self) -> Health;

    /// Whether a failing policy is not called at the moment.
    fn is_held_back(&self) -> bool;

    /// Notes that a policy did not get the slot.
    fn note_refusal(&self, source: Source, refusal: Refusal);

    /// What was counted.
    fn counts(&self) -> Counts;

    /// What was counted of each release in the ladder and in the shadow.
    fn figures(&self) -> Vec<ReleaseFigures>;

    /// What operators see.
    fn report(&self) -> SlotReport;

    /// Keeps decisions from now on; see `DecisionLog::open`.
    fn open_log(&self, origin: u32, size: usize, share: f64, written: bool);

    /// The decisions that pass the filter, newest first.
    fn decisions(&self, filter: &Filter) -> Vec<LoggedDecision>;

    /// One decision.
    fn decision(&self, id: DecisionId) -> Option<LoggedDecision>;

    /// The latest calls that the shadow answered otherwise, newest first.
    fn differences(&self) -> Vec<Difference>;

    /// What became of sampled decisions.
    fn log_counts(&self) -> LogCounts;

    /// Appends the decisions that were not written yet, a line for each. Answers how many.
    fn write_decisions(&self, lines: &mut Vec<u8>) -> u64;

    /// Counts decisions that could not be written.
    fn lost_decisions(&self, count: u64);
}

impl<W: World> AnySlot for Slot<W> {
    fn name(&self) -> SlotName {
        W::SLOT
    }

    fn offer_bundled(&self, loader: &Loader) {
        match loader.load::<W>(Source::Bundled, W::SLOT.bundled(), &mut |_| {}) {
            Ok((release, tried)) => self.stand_bundled(release, Some(tried)),
            Err(refusal) => self.refuse(Source::Bundled, refusal),
        }
    }

    fn offer_file(&self, loader: &Loader, path: &Path, signed_only: bool) -> bool {
        let source = Source::File(path.to_owned());
        let offered = if signed_only {
            let reason = "PLUGIN_REQUIRE_SIGNATURE is true, and files in PLUGIN_DIR are not signed";
            Err(Refusal {
                mend: "push it as a signed release: `plugin sign`, `plugin push`",
                ..Refusal::new(Step::Signature, reason)
            })
        } else {
            loader::read(path).and_then(|bytes| offer(self, loader, source.clone(), bytes))
        };
        match offered {
            Ok(()) => true,
            Err(refusal) => {
                self.refuse(source, refusal);
                false
            }
        }
    }

    fn without_file(&self) {
        if self.file().is_some() {
            self.stand_file(None, None);
        }
    }

    fn take_file(&self) -> Option<(ReleaseRecord, Vec<u8>)> {
        self.take_file()
    }

    fn prepare(&self, loader: &Loader, record: &ReleaseRecord, component: &[u8]) -> Result<(), Refusal> {
        if self.has_ready(&record.id) {
            return Ok(());
        }
        if loader::digest(component) != record.digest {
            let reason = format!(
                "the component's digest is {}, the record names {}",
                loader::digest(component),
                record.digest
            );
            return Err(Refusal::new(Step::Digest, reason));
        }
        let (release, tried) = loader.load_on::<W>(Source::Stored, &Terms::of(record), component, &mut |_| {})?;
        if release.about.release_id != record.id {
            let reason = format!(
                "it is built for version {} of the contract, the record names {}",
                release.about.wit_version, record.wit_version
            );
            return Err(Refusal::new(Step::Digest, reason));
        }
        self.keep_ready(release, Some(tried));
        Ok(())
    }

    fn is_ready(&self, id: &str) -> bool {
        self.has_ready(id)
    }

    fn arrange(&self, desired: &DesiredSlot) {
        self.stand_as(desired);
    }

    fn running(&self) -> Running {
        self.running()
    }

    fn trial(&self) -> Option<RolloutCounts> {
        self.trial()
    }

    fn health(&self) -> Health {
        self.health()
    }

    fn is_held_back(&self) -> bool {
        self.current().is_some_and(|release| release.breaker.is_open())
    }

    fn note_refusal(&self, source: Source, refusal: Refusal) {
        self.refuse(source, refusal);
    }

    fn counts(&self) -> Counts {
        self.counts()
    }

    fn figures(&self) -> Vec<ReleaseFigures> {
        ReleaseFigures::of(self)
    }

    fn report(&self) -> SlotReport {
        SlotReport::of(self)
    }

    fn open_log(&self, origin: u32, size: usize, share: f64, written: bool) {
        self.log.open(origin, size, share, written);
    }

    fn decisions(&self, filter: &Filter) -> Vec<LoggedDecision> {
        self.log.find(filter)
    }

    fn decision(&self, id: DecisionId) -> Option<LoggedDecision> {
        self.log.get(id)
    }

    fn differences(&self) -> Vec<Difference> {
        self.shadow.differences()
    }

    fn log_counts(&self) -> LogCounts {
        self.log.counts()
    }

    fn write_decisions(&self, lines: &mut Vec<u8>) -> u64 {
        self.log.write_to(lines)
    }

    fn lost_decisions(&self, count: u64) {
        self.log.lost(count);
    }
}

fn offer<W: World>(slot: &Slot<W>, loader: &Loader, source: Source, bytes: Vec<u8>) -> Result<(), Refusal> {
    let digest = loader::digest(&bytes);
    if slot.file().is_some_and(|release| release.about.digest == digest) {
        return Ok(());
    }
    let (release, instance) = loader.load::<W>(source, &bytes, &mut |_| {})?;
    let content = ReleaseContent {
        slot: W::SLOT,
        digest,
        wit_version: release.about.wit_version.clone(),
        settings: Default::default(),
        limits: Default::default(),
        note: String::new(),
    };
    let record = ReleaseRecord::new(content, BY_FILE, SystemClock.now(), None);
    slot.stand_file(Some((release, instance)), Some((record, bytes)));
    Ok(())
}
