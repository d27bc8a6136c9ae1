//! A release (compiled policy with its settings and limits) and the instances made of it. An instance serves one call at a time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Engine, Store};

use super::breaker::Breaker;
use super::failure::{Failure, FailureKind};
use super::limits;
use super::slot_name::SlotName;
use super::state::GuestState;
use super::tally::{Alive, Tally};
use super::worlds::{Description, World};
use crate::domain::clock::Timestamp;
use crate::domain::release::ReleaseLimits;

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built into the coordinator.
    Bundled,
    /// A file of the policy folder.
    File(PathBuf),
    /// A stored release.
    Stored,
}

impl Source {
    /// `bundled`, `release`, or the file's path.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Bundled => "bundled".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Stored => "release".to_owned(),
        }
    }
}

/// The first digits of a release's id, as metrics and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag([u8; Self::DIGITS]);

impl Tag {
    const DIGITS: usize = 12;

    /// Of an id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let mut digits = [b'0'; Self::DIGITS];
        for (digit, byte) in digits.iter_mut().zip(id.bytes().filter(u8::is_ascii_alphanumeric)) {
            *digit = byte;
        }
        Self(digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What is known of a release.
#[derive(Clone, Debug)]
pub struct About {
    /// The id of its record. What is bundled or a file has one as if it were stored.
    pub release_id: String,
    pub source: Source,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Version of the contract it was built for.
    pub wit_version: String,
    pub description: Description,
    pub loaded_at: Timestamp,
}

/// What a component imports, as far as calls depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imports {
    /// The interface of its slot: only then the details of a call are laid out for it.
    pub details: bool,
    /// WASI.
    pub wasi: bool,
}

/// A policy that can be called.
pub struct Release<W: World> {
    pub about: About,
    pub tag: Tag,
    pub breaker: Breaker,
    pub tally: Tally,
    limits: ReleaseLimits,
    histogram: Option<prometheus::Histogram>,
    imports: Imports,
    engine: Engine,
    pre: W::Pre,
    settings: Arc<[(String, String)]>,
}

impl<W: World> Release<W> {
    /// A release whose instances were not tried yet.
    pub(super) fn new(
        about: About,
        imports: Imports,
        engine: Engine,
        pre: W::Pre,
        settings: Arc<[(String, String)]>,
        limits: ReleaseLimits,
    ) -> Self {
        let tag = Tag::of(&about.release_id);
        Self {
            histogram: call_times(W::SLOT, tag).ok(),
            about,
            tag,
            breaker: Breaker::new(),
            tally: Tally::default(),
            limits,
            imports,
            engine,
            pre,
            settings,
        }
    }

    /// Makes an instance without asking it anything.
    pub(super) fn bare_instance(&self) -> Result<Instance<W>, Failure> {
        let mut store = Store::new(&self.engine, GuestState::new(W::SLOT));
        if let Some(most) = self.limits.memory_bytes {
            store.data_mut().cap_memory(usize::try_from(most).unwrap_or(usize::MAX));
        }
        store.limiter(|state| state.limiter());
        store.set_hostcall_fuel(limits::SMALL_ANSWER_BYTES);
        store.set_epoch_deadline(limits::LIFECYCLE_TICKS);
        let guest = W::instantiate(&self.pre, &mut store)?;
        Ok(Instance {
            store,
            guest,
            imports: self.imports,
            calls: 0,
            longest: u64::MAX,
            release_longest: self.longest(),
            _alive: self.tally.alive(),
        })
    }

    /// Makes an instance and hands it the settings.
    ///
    /// # Errors
    ///
    /// When a limit is reached or the guest fails.
    pub fn instance(&self) -> Result<Instance<W>, Failure> {
        self.instance_with(&self.settings)
    }

    /// Makes an instance with these settings alone.
    ///
    /// # Errors
    ///
    /// When a limit is reached or the guest fails.
    pub fn instance_with(&self, settings: &[(String, String)]) -> Result<Instance<W>, Failure> {
        let failed = |failure: Failure| Failure {
            kind: FailureKind::Instantiate,
            detail: failure.to_string(),
        };
        let mut instance = self.bare_instance().map_err(failed)?;
        match instance.run(limits::LIFECYCLE_TICKS, |instance| {
            Ok(W::configure(instance, settings)?)
        }) {
            Ok(Ok(())) => {
                instance.admit_answers();
                Ok(instance)
            }
            Ok(Err(reason)) => Err(failed(Failure::invalid(reason))),
            Err(failure) => Err(failed(failure)),
        }
    }

    /// Counts the time of a call.
    pub fn observe(&self, took: Duration) {
        if let Some(histogram) = &self.histogram {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// Its longest decision, in ticks.
    pub(super) fn longest(&self) -> u64 {
        self.limits.deadline_ms.map_or(u64::MAX, u64::from)
    }

    /// The times of its calls.
    pub(super) const fn histogram(&self) -> Option<&prometheus::Histogram> {
        self.histogram.as_ref()
    }

    /// The settings that its instances get.
    pub(super) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }
}

/// One instance of a release.
pub struct Instance<W: World> {
    pub store: Store<GuestState<W::Call>>,
    pub guest: W::Guest,
    imports: Imports,
    calls: u32,
    /// Longest call, in ticks. Who it is and its settings it may always say in the host's own time.
    longest: u64,
    release_longest: u64,
    _alive: Alive,
}

impl<W: World> Instance<W> {
    /// Runs one call with a deadline. After an error the instance must not be used again.
    ///
    /// # Errors
    ///
    /// Whatever `call` answers.
    pub fn run<R>(&mut self, ticks: u64, call: impl FnOnce(&mut Self) -> Result<R, Failure>) -> Result<R, Failure> {
        self.calls += 1;
        self.store.data_mut().refill();
        self.store.set_epoch_deadline(ticks.min(self.longest));
        if self.imports.wasi {
            off_the_worker(|| call(self))
        } else {
            call(self)
        }
    }

    /// Asks one question within its deadline. After an error the instance must not be used again.
    ///
    /// # Errors
    ///
    /// When the call fails or the answer makes no sense.
    pub fn ask(&mut self, question: &W::Question) -> Result<W::Answer, Failure> {
        self.run(W::ticks(question), |instance| W::answer(instance, question))
    }

    /// From here on it decides: it may hand over as much as an answer of its slot may hold, and has the time of its release.
    /// Before, it may say who it is.
    pub(super) fn admit_answers(&mut self) {
        self.store.set_hostcall_fuel(W::ANSWER_BYTES);
        self.longest = self.release_longest;
    }

    /// Linear memory that it has, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.store.data().memory()
    }

    /// Whether the details of a call have to be laid out.
    #[must_use]
    pub const fn reads_details(&self) -> bool {
        self.imports.details
    }

    /// Whether it served so many calls that it is to be replaced.
    #[must_use]
    pub const fn is_worn(&self) -> bool {
        self.calls >= limits::CALLS_PER_INSTANCE
    }
}

/// A histogram that is in no registry: whoever collects metrics asks the releases that serve for theirs.
fn call_times(slot: SlotName, tag: Tag) -> prometheus::Result<prometheus::Histogram> {
    let options = prometheus::HistogramOpts::new(
        "p2p_policy_release_call_duration_seconds",
        "Time of answered policy calls, by release. One call in 64 is timed on the slot rate-limit.",
    )
    .buckets(limits::CALL_SECONDS.to_vec())
    .const_label("slot", slot.as_str())
    .const_label("release", tag.as_str());
    prometheus::Histogram::with_opts(options)
}

/// Runs `work` where it may block: WASI's synchronous functions enter a tokio runtime of their own.
pub fn off_the_worker<R>(work: impl FnOnce() -> R) -> R {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
