//! A component on its author's machine: loaded with the engine and the limits of the service, then asked in JSON, whatever
//! its slot. Serves nobody.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize as _;
use serde_json::Value;

use super::failure::{Failure, Refusal, Step};
use super::instance::{Instance, Release, Source};
use super::loader::{self, Loader, Outline};
use super::slot_name::SlotName;
use super::vectors::{self, Vectors, Verdict};
use super::worlds::{World, host_selection, npc_transform, rate_limit};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("this is no question for the slot {}: {error}", slot.as_str())]
    Question { slot: SlotName, error: serde_json::Error },
    #[error("the policy gave no answer: {0}")]
    Failure(Failure),
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answered {
    pub answer: Value,
    pub took: Duration,
}

/// A loaded component without the type of its world.
pub trait Tried: Send {
    /// Its slot.
    fn slot(&self) -> SlotName;

    /// Name and version, as the policy says them.
    fn name(&self) -> String;

    /// Asks one question, within the deadline of the service.
    ///
    /// # Errors
    ///
    /// When it is no question of the slot, or the policy fails.
    fn ask(&mut self, question: &Value) -> Result<Answered, AskError>;

    /// Asks every vector.
    fn test(&self, vectors: &Vectors) -> Vec<Verdict>;
}

/// Reads a component and finds the slot it is for: the one given, else the one whose world it exports.
///
/// # Errors
///
/// A refusal at step `read`, `parse` or `world`.
pub fn read(path: &Path, slot: Option<SlotName>) -> Result<(Vec<u8>, SlotName), Refusal> {
    let bytes = loader::read(path)?;
    let outline = Outline::parse(&bytes)?;
    let slot = slot.or_else(|| outline.slot()).ok_or_else(|| {
        let reason = format!(
            "it exports the interface of no slot; its exports: {}",
            outline.exports.join(", ")
        );
        Refusal::new(Step::World, reason)
    })?;
    Ok((bytes, slot))
}

/// Loads a component up to the point where it can be asked. What it answers is not judged here, unless the loader says so.
///
/// # Errors
///
/// The step that failed and why.
pub fn open(loader: &Loader, path: &Path, slot: Option<SlotName>) -> Result<Box<dyn Tried>, Refusal> {
    let (bytes, slot) = read(path, slot)?;
    let source = Source::File(path.to_owned());
    Ok(match slot {
        SlotName::HostSelection => Box::new(Loaded::<host_selection::Bound>::new(loader, source, &bytes)?),
        SlotName::RateLimit => Box::new(Loaded::<rate_limit::Bound>::new(loader, source, &bytes)?),
        SlotName::NpcTransform => Box::new(Loaded::<npc_transform::Bound>::new(loader, source, &bytes)?),
    })
}

struct Loaded<W: World> {
    release: Arc<Release<W>>,
    /// None after a failure.
    instance: Option<Instance<W>>,
}

impl<W: World> Loaded<W> {
    fn new(loader: &Loader, source: Source, bytes: &[u8]) -> Result<Self, Refusal> {
        let (release, instance) = loader.load::<W>(source, bytes, &mut |_| {})?;
        Ok(Self {
            release,
            instance: Some(instance),
        })
    }
}

impl<W: World> Tried for Loaded<W> {
    fn slot(&self) -> SlotName {
        W::SLOT
    }

    fn name(&self) -> String {
        let said = &self.release.about.description;
        format!("{} {}", said.name, said.version)
    }

    fn ask(&mut self, question: &Value) -> Result<Answered, AskError> {
        let no_question = |error| AskError::Question { slot: W::SLOT, error };
        let question = W::Question::deserialize(question).map_err(no_question)?;
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.release.instance().map_err(AskError::Failure)?,
        };
        let started = Instant::now();
        let answer = instance.ask(&question).map_err(AskError::Failure)?;
        let took = started.elapsed();
        self.instance = Some(instance);
        Ok(Answered {
            answer: serde_json::to_value(answer).map_err(no_question)?,
            took,
        })
    }

    fn test(&self, vectors: &Vectors) -> Vec<Verdict> {
        vectors::verdicts(&self.release, vectors)
    }
}
