//! A release (compiled policy with its settings) and the instances made of it. An instance serves one call at a time.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::{Engine, Store};

use super::breaker::Breaker;
use super::failure::{Failure, FailureKind};
use super::limits;
use super::state::GuestState;
use super::worlds::{Description, World};
use crate::domain::clock::Timestamp;

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built into the coordinator.
    Bundled,
    /// A file of the policy folder.
    File(PathBuf),
}

impl Source {
    /// `bundled`, or the file's path.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Bundled => "bundled".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// What is known of a release.
#[derive(Clone, Debug)]
pub struct About {
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
    pub breaker: Breaker,
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
    ) -> Self {
        Self {
            about,
            breaker: Breaker::new(),
            imports,
            engine,
            pre,
            settings,
        }
    }

    /// Makes an instance without asking it anything.
    pub(super) fn bare_instance(&self) -> Result<Instance<W>, Failure> {
        let mut store = Store::new(&self.engine, GuestState::new(W::SLOT));
        store.limiter(|state| state.limiter());
        store.set_hostcall_fuel(limits::SMALL_ANSWER_BYTES);
        store.set_epoch_deadline(limits::LIFECYCLE_TICKS);
        let guest = W::instantiate(&self.pre, &mut store)?;
        Ok(Instance {
            store,
            guest,
            imports: self.imports,
            calls: 0,
        })
    }

    /// Makes an instance and hands it the settings.
    ///
    /// # Errors
    ///
    /// When a limit is reached or the guest fails.
    pub fn instance(&self) -> Result<Instance<W>, Failure> {
        let failed = |failure: Failure| Failure {
            kind: FailureKind::Instantiate,
            detail: failure.to_string(),
        };
        let mut instance = self.bare_instance().map_err(failed)?;
        match instance.run(limits::LIFECYCLE_TICKS, |instance| {
            Ok(W::configure(instance, &self.settings)?)
        }) {
            Ok(Ok(())) => {
                instance.admit_answers();
                Ok(instance)
            }
            Ok(Err(reason)) => Err(failed(Failure::invalid(reason))),
            Err(failure) => Err(failed(failure)),
        }
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
        self.store.set_epoch_deadline(ticks);
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

    /// Lets the instance hand over as much as an answer of its slot may hold. Before, it may say who it is.
    pub(super) fn admit_answers(&mut self) {
        self.store.set_hostcall_fuel(W::ANSWER_BYTES);
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

/// Runs `work` where it may block: WASI's synchronous functions enter a tokio runtime of their own.
pub fn off_the_worker<R>(work: impl FnOnce() -> R) -> R {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
