//! From bytes to a release: digest, parse, world, imports, compile, instantiate, describe, configure, trial, golden
//! vectors, latency probe. The first step that fails refuses the policy, with the step and a reason for the operator. Changes no slot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::{Component, Linker};

use super::cache::{Cache, Origin};
use super::contract::{self, Generation};
use super::engine::PolicyEngine;
use super::failure::{Failure, FailureKind, Refusal, Step, shortened};
use super::instance::{About, Imports, Instance, Release, Source};
use super::limits;
use super::slot_name::SlotName;
use super::state::GuestState;
use super::vectors;
use super::wasi;
use super::worlds::{Description, World};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::release::{ReleaseContent, ReleaseLimits, ReleaseRecord};

/// The contract this coordinator speaks.
pub const WIT_PACKAGE: &str = "p2p-coordinator:policy/";
/// The version of the contract this coordinator speaks. A policy may be built for any version with the same major number.
pub const WIT_VERSION: &str = "1.0.0";

/// What loading needs beside the bytes.
pub struct Loader {
    pub engine: PolicyEngine,
    /// None: compiled anew each time.
    pub cache: Option<Cache>,
    pub settings: Arc<[(String, String)]>,
    /// Whether the sample questions are asked.
    pub trial: bool,
}

/// A step that passed, as it is told to whoever watches.
#[derive(Clone, Debug)]
pub struct Passed {
    pub step: Step,
    pub detail: String,
    pub took: Duration,
}

/// What a release is run with.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Over those of the service.
    pub settings: BTreeMap<String, String>,
    pub limits: ReleaseLimits,
    pub note: String,
}

impl Terms {
    /// The terms of a record.
    #[must_use]
    pub fn of(record: &ReleaseRecord) -> Self {
        Self {
            settings: record.settings.clone(),
            limits: record.limits,
            note: record.note.clone(),
        }
    }
}

/// A release and the instance that passed the trial.
pub type Loaded<W> = (Arc<Release<W>>, Instance<W>);

/// Reads a component whole.
///
/// # Errors
///
/// A refusal at step `read`.
pub fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refused = |error: std::io::Error| Refusal::new(Step::Read, format!("cannot read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refused)?;
    file.take(limits::COMPONENT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    if bytes.len() as u64 > limits::COMPONENT_BYTES {
        let reason = format!("{} is larger than {} bytes", path.display(), limits::COMPONENT_BYTES);
        return Err(Refusal::new(Step::Read, reason));
    }
    Ok(bytes)
}

/// SHA-256 in hex.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What a component imports and exports, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Outline {
    /// Reads the outline without compiling anything.
    ///
    /// # Errors
    ///
    /// A refusal at step `parse`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let refused = |reason: String| Refusal::new(Step::Parse, reason);
        if bytes.is_empty() {
            return Err(refused("the file is empty".to_owned()));
        }
        let mut outline = Self::default();
        let mut depth = 0u32;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| refused(format!("not a whole WebAssembly component: {error}")))?;
            match payload {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => {
                    return Err(refused(
                        "a core module, not a component; build it with `plugin build`".to_owned(),
                    ));
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let import = import.map_err(|error| refused(error.to_string()))?;
                        outline.imports.push(import.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export.map_err(|error| refused(error.to_string()))?;
                        outline.exports.push(export.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    /// The slot whose world it implements, none when it implements none.
    #[must_use]
    pub fn slot(&self) -> Option<SlotName> {
        SlotName::ALL
            .into_iter()
            .find(|slot| self.version_of(slot.export()).is_some())
    }

    /// The version of an exported interface of the contract.
    fn version_of(&self, interface: &str) -> Option<&str> {
        self.exports.iter().find_map(|name| version(name, interface))
    }

    /// Checks the exports against a slot's world; answers the version of the contract and who speaks it.
    fn check_world(&self, slot: SlotName) -> Result<(String, Generation), Refusal> {
        let mut found = None;
        for interface in ["lifecycle", slot.export()] {
            let Some(version) = self.version_of(interface) else {
                let name = format!("{WIT_PACKAGE}{interface}@{WIT_VERSION}");
                let other = match self.slot() {
                    Some(other) if other != slot => format!(" (it is a policy for the slot {})", other.as_str()),
                    _ => String::new(),
                };
                let reason = format!(
                    "it does not export `{name}`, which the world {} needs{other}",
                    slot.as_str()
                );
                return Err(Refusal::new(Step::World, reason));
            };
            let Some(generation) = Generation::of(version) else {
                return Err(Refusal::new(Step::World, contract::refusal(version)));
            };
            found = Some((version.to_owned(), generation));
        }
        found.ok_or_else(|| Refusal::new(Step::World, "it exports nothing"))
    }

    /// Checks exports and imports against a slot's world; answers the version of the contract.
    ///
    /// # Errors
    ///
    /// A refusal at step `world` or `imports`.
    pub fn admit(&self, slot: SlotName) -> Result<String, Refusal> {
        let (version, _) = self.check_world(slot)?;
        self.check_imports(slot)?;
        Ok(version)
    }

    fn check_imports(&self, slot: SlotName) -> Result<Imports, Refusal> {
        let mut imports = Imports {
            details: false,
            wasi: false,
        };
        for name in &self.imports {
            if version(name, slot.import()).is_some() {
                imports.details = true;
            } else if wasi::is_known(name) {
                imports.wasi = true;
            } else if version(name, "logging").is_none() && !is_type_only(name, slot) {
                let reason = format!("it imports `{name}`, which no policy of this slot gets");
                return Err(Refusal::new(Step::Imports, reason));
            }
        }
        Ok(imports)
    }
}

/// The version in `name`, when it names this interface of the contract.
fn version<'a>(name: &'a str, interface: &str) -> Option<&'a str> {
    name.strip_prefix(WIT_PACKAGE)?
        .strip_prefix(interface)?
        .strip_prefix('@')
}

/// A component may import the types of an interface it exports.
fn is_type_only(name: &str, slot: SlotName) -> bool {
    ["lifecycle", slot.export()]
        .iter()
        .any(|interface| version(name, interface).is_some())
}

impl Loader {
    /// Takes every step, with the settings of the service alone. `watch` is told of each step that passed.
    ///
    /// # Errors
    ///
    /// The step that failed and why.
    pub fn load<W: World>(
        &self,
        source: Source,
        bytes: &[u8],
        watch: &mut dyn FnMut(Passed),
    ) -> Result<Loaded<W>, Refusal> {
        self.load_on::<W>(source, &Terms::default(), bytes, watch)
    }

    /// Takes every step, on these terms. `watch` is told of each step that passed.
    ///
    /// # Errors
    ///
    /// The step that failed and why.
    pub fn load_on<W: World>(
        &self,
        source: Source,
        terms: &Terms,
        bytes: &[u8],
        watch: &mut dyn FnMut(Passed),
    ) -> Result<Loaded<W>, Refusal> {
        let mut started = Instant::now();
        let mut passed = |step, detail: String| {
            let took = started.elapsed();
            started = Instant::now();
            watch(Passed { step, detail, took });
        };

        let digest = digest(bytes);
        let outline = Outline::parse(bytes)?;
        passed(
            Step::Parse,
            format!("a component of {} bytes, sha256 {digest}", bytes.len()),
        );
        let (wit_version, generation) = outline.check_world(W::SLOT)?;
        passed(Step::World, format!("{} {wit_version}", W::SLOT.as_str()));
        let imports = outline.check_imports(W::SLOT)?;
        passed(Step::Imports, outline.imports.join(", "));

        let (component, origin) = self.compile(W::SLOT, &digest, bytes)?;
        passed(
            Step::Compile,
            match origin {
                Origin::Cached => "compiled code found".to_owned(),
                Origin::Compiled => "compiled".to_owned(),
            },
        );
        let pre = self.prepare::<W>(&component, imports, generation)?;
        let content = ReleaseContent {
            slot: W::SLOT,
            digest: digest.clone(),
            wit_version: wit_version.clone(),
            settings: terms.settings.clone(),
            limits: terms.limits,
            note: terms.note.clone(),
        };
        let about = About {
            release_id: content.id(),
            source,
            digest,
            wit_version,
            description: Description::default(),
            loaded_at: SystemClock.now(),
        };
        let mut release = Release::new(
            about,
            imports,
            self.engine.get().clone(),
            pre,
            self.settings_with(&terms.settings),
            terms.limits,
        );
        let (instance, description) = patiently(|| self.question(&release, &mut passed))?;
        release.about.description = description;
        if self.trial {
            if let Some(vectors) = vectors::embedded(bytes)? {
                let held = vectors::run::<W>(&release, &vectors)?;
                passed(Step::Vectors, format!("{held} golden vectors"));
            }
            let took = patiently(|| probe(&release).map_err(|failure| (Step::Probe, failure)))?;
            passed(Step::Probe, took);
        }
        Ok((Arc::new(release), instance))
    }

    /// The settings of the service, with those of a release over them.
    fn settings_with(&self, own: &BTreeMap<String, String>) -> Arc<[(String, String)]> {
        if own.is_empty() {
            return Arc::clone(&self.settings);
        }
        let service = self
            .settings
            .iter()
            .filter(|(name, _)| !own.contains_key(name))
            .cloned();
        service.chain(own.clone()).collect()
    }

    /// The steps that run the policy.
    fn question<W: World>(
        &self,
        release: &Release<W>,
        passed: &mut dyn FnMut(Step, String),
    ) -> Result<(Instance<W>, Description), (Step, Failure)> {
        let mut instance = release
            .bare_instance()
            .map_err(|failure| (Step::Instantiate, failure))?;
        passed(Step::Instantiate, String::new());

        let said = instance
            .run(limits::LIFECYCLE_TICKS, |instance| Ok(W::describe(instance)?))
            .map_err(|failure| (Step::Describe, failure))?;
        if said.name.is_empty() {
            return Err((Step::Describe, Failure::invalid("its name is empty")));
        }
        let description = Description {
            name: shortened(&said.name, limits::NAME_BYTES),
            version: shortened(&said.version, limits::NAME_BYTES),
            summary: shortened(&said.summary, limits::SUMMARY_BYTES),
        };
        passed(Step::Describe, format!("{} {}", description.name, description.version));

        instance
            .run(limits::LIFECYCLE_TICKS, |instance| {
                Ok(W::configure(instance, release.settings())?)
            })
            .and_then(|answer| answer.map_err(|reason| Failure::invalid(shortened(&reason, limits::SUMMARY_BYTES))))
            .map_err(|failure| (Step::Configure, failure))?;
        passed(Step::Configure, format!("{} settings", release.settings().len()));

        instance.admit_answers();
        if self.trial {
            W::trial(&mut instance).map_err(|failure| (Step::Trial, failure))?;
            passed(Step::Trial, String::new());
        }
        Ok((instance, description))
    }

    fn compile(&self, slot: SlotName, digest: &str, bytes: &[u8]) -> Result<(Component, Origin), Refusal> {
        let compiled = match &self.cache {
            Some(cache) => cache.component(&self.engine, slot, digest, bytes),
            None => self
                .engine
                .compile(bytes)
                .map(|component| (component, Origin::Compiled)),
        };
        compiled.map_err(|error| Refusal::new(Step::Compile, shortened(&format!("{error:#}"), limits::SUMMARY_BYTES)))
    }

    fn prepare<W: World>(
        &self,
        component: &Component,
        imports: Imports,
        generation: Generation,
    ) -> Result<W::Pre, Refusal> {
        let refused =
            |step, error: &wasmtime::Error| Refusal::new(step, shortened(&format!("{error:#}"), limits::SUMMARY_BYTES));
        let mut linker: Linker<GuestState<W::Call>> = Linker::new(self.engine.get());
        W::link(&mut linker).map_err(|error| refused(Step::Imports, &error))?;
        if imports.wasi {
            wasi::link(&mut linker).map_err(|error| refused(Step::Imports, &error))?;
        }
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| refused(Step::Imports, &error))?;
        generation.adapt::<W>(pre).map_err(|error| refused(Step::World, &error))
    }
}

/// Takes a step, again when it missed a deadline: that can also be because the machine is busy, and nobody offers the policy a
/// second time.
fn patiently<T>(mut step: impl FnMut() -> Result<T, (Step, Failure)>) -> Result<T, Refusal> {
    let mut attempts = limits::LOAD_ATTEMPTS;
    loop {
        attempts -= 1;
        match step() {
            Ok(taken) => return Ok(taken),
            Err((_, failure)) if failure.kind == FailureKind::Deadline && attempts > 0 => {}
            Err((step, failure)) => return Err(Refusal::new(step, failure.to_string())),
        }
    }
}

/// Asks one of the sample questions again and again: half of the calls must take no more than `PROBE_SHARE` of the deadline.
fn probe<W: World>(release: &Release<W>) -> Result<String, Failure> {
    let Some(question) = W::samples().pop() else {
        return Ok(String::new());
    };
    let mut instance = release.instance()?;
    let mut times = Vec::with_capacity(limits::PROBE_CALLS);
    for _ in 0..limits::PROBE_CALLS {
        let started = Instant::now();
        instance.ask(&question)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let ticks = u32::try_from(W::ticks(&question).min(release.longest())).unwrap_or(u32::MAX);
    let budget = (limits::TICK * ticks).mul_f64(limits::PROBE_SHARE);
    if median > budget {
        return Err(Failure {
            kind: FailureKind::Deadline,
            detail: format!(
                "half of {} calls took more than {median:?}, {budget:?} are allowed",
                limits::PROBE_CALLS
            ),
        });
    }
    Ok(format!("median {median:?}, {budget:?} are allowed"))
}
