//! Golden vectors: questions that a policy carries with it, with the answers it promises. They are built into the component,
//! and every coordinator asks them before the policy gets its slot. How answers are compared stands in `expect`.

pub mod expect;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::expect::Mismatch;
use super::failure::{Failure, FailureKind, Refusal, Step, shortened};
use super::instance::{Instance, Release};
use super::limits;
use super::slot_name::SlotName;
use super::source;
use super::worlds::{World, host_selection, npc_transform, rate_limit};

/// The file beside a policy's sources.
pub const FILE: &str = "vectors.json";

/// What is asked and promised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vectors {
    pub vectors: Vec<Vector>,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// For people.
    pub name: String,
    /// The only settings that the policy gets for this vector: a vector says the same wherever it is asked. Values that are no
    /// text are handed over as their JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
    /// In the slot's JSON.
    pub question: Value,
    /// In the slot's JSON, but it may leave out members.
    pub answer: Value,
}

/// Why vectors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", path.display())]
    Project { path: PathBuf, error: Box<VectorsError> },
    #[error("the golden vectors are not {{\"vectors\":[{{\"name\",\"question\",\"answer\"}}]}}: {0}")]
    Shape(serde_json::Error),
    #[error(
        "{vectors} golden vectors of {bytes} bytes; {} of {} bytes are allowed",
        limits::VECTORS,
        limits::VECTORS_BYTES
    )]
    TooMany { vectors: usize, bytes: usize },
    #[error("vector \"{name}\": its question is none of the slot {}: {error}", slot.as_str())]
    Question {
        name: String,
        slot: SlotName,
        error: serde_json::Error,
    },
}

impl From<VectorsError> for Refusal {
    fn from(error: VectorsError) -> Self {
        Self::new(Step::Vectors, shortened(&error.to_string(), limits::SUMMARY_BYTES))
    }
}

impl Vectors {
    /// Reads vectors from JSON text.
    ///
    /// # Errors
    ///
    /// When the text is of another shape, or too much.
    pub fn parse(json: &[u8]) -> Result<Self, VectorsError> {
        let too_many = |vectors| VectorsError::TooMany {
            vectors,
            bytes: json.len(),
        };
        if json.len() > limits::VECTORS_BYTES {
            return Err(too_many(0));
        }
        let read: Self = serde_json::from_slice(json).map_err(VectorsError::Shape)?;
        if read.vectors.len() > limits::VECTORS {
            return Err(too_many(read.vectors.len()));
        }
        Ok(read)
    }

    /// Checks that every question is one of the slot.
    ///
    /// # Errors
    ///
    /// The first vector that is not.
    pub fn check(&self, slot: SlotName) -> Result<(), VectorsError> {
        let fits = match slot {
            SlotName::HostSelection => reads::<host_selection::Bound>,
            SlotName::RateLimit => reads::<rate_limit::Bound>,
            SlotName::NpcTransform => reads::<npc_transform::Bound>,
        };
        for vector in &self.vectors {
            fits(&vector.question).map_err(|error| VectorsError::Question {
                name: vector.name.clone(),
                slot,
                error,
            })?;
        }
        Ok(())
    }
}

fn reads<W: World>(question: &Value) -> Result<(), serde_json::Error> {
    W::Question::deserialize(question).map(drop)
}

/// The vectors that a component carries, none when it carries none.
///
/// # Errors
///
/// When they cannot be read.
pub fn embedded(component: &[u8]) -> Result<Option<Vectors>, VectorsError> {
    source::section(component, source::VECTORS)
        .map(Vectors::parse)
        .transpose()
}

/// The vectors of the project in `dir`, as they go into its component: the same JSON without white space. None when there is no
/// `vectors.json`.
///
/// # Errors
///
/// When they cannot be read, or hold a question that is none of the slot.
pub fn of_project(dir: &Path, slot: SlotName) -> Result<Option<Vec<u8>>, VectorsError> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VectorsError::File { path, error }),
    };
    let compact = || {
        Vectors::parse(&text)?.check(slot)?;
        let value: Value = serde_json::from_slice(&text).map_err(VectorsError::Shape)?;
        serde_json::to_vec(&value).map_err(VectorsError::Shape)
    };
    compact().map(Some).map_err(|error| VectorsError::Project {
        path,
        error: Box::new(error),
    })
}

/// How one vector went.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub name: String,
    pub passed: bool,
    /// What was promised.
    pub expected: Value,
    /// What was answered; none when there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<Value>,
    /// Where the two differ, or why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks every vector, in service's limits, and goes on when one does not hold.
pub fn verdicts<W: World>(release: &Release<W>, vectors: &Vectors) -> Vec<Verdict> {
    let mut asker = Asker::new(release);
    vectors.vectors.iter().map(|vector| asker.verdict(vector)).collect()
}

/// Asks every vector, in service's limits. Answers how many there were.
///
/// # Errors
///
/// A refusal at step `vectors` that names the first vector that does not hold, with what it promised and what was answered.
pub fn run<W: World>(release: &Release<W>, vectors: &Vectors) -> Result<usize, Refusal> {
    let mut asker = Asker::new(release);
    for vector in &vectors.vectors {
        let verdict = asker.verdict(vector);
        if let Some(reason) = verdict.reason {
            let given = verdict.given.map_or(String::new(), |given| format!(", given {given}"));
            let reason = format!(
                "vector \"{}\": {reason}; expected {}{given}",
                verdict.name, verdict.expected
            );
            return Err(Refusal::new(Step::Vectors, shortened(&reason, limits::SUMMARY_BYTES)));
        }
    }
    Ok(vectors.vectors.len())
}

/// An instance with the settings it has.
type Configured<W> = (Vec<(String, String)>, Instance<W>);

/// Keeps one instance, as long as vectors have the same settings.
struct Asker<'a, W: World> {
    release: &'a Release<W>,
    kept: Option<Configured<W>>,
}

impl<'a, W: World> Asker<'a, W> {
    const fn new(release: &'a Release<W>) -> Self {
        Self { release, kept: None }
    }

    fn verdict(&mut self, vector: &Vector) -> Verdict {
        let (given, reason) = match W::Question::deserialize(&vector.question) {
            Err(error) => (
                None,
                Some(format!(
                    "its question is none of the slot {}: {error}",
                    W::SLOT.as_str()
                )),
            ),
            Ok(question) => match self.ask(&settings(vector), &question) {
                Err(failure) => (None, Some(format!("no answer: {failure}"))),
                Ok(answer) => {
                    let given = serde_json::to_value(answer).unwrap_or_default();
                    let reason = expect::compare(&vector.answer, &given).err().map(|Mismatch(text)| text);
                    (Some(given), reason)
                }
            },
        };
        Verdict {
            name: vector.name.clone(),
            passed: reason.is_none(),
            expected: vector.answer.clone(),
            given,
            reason,
        }
    }

    fn ask(&mut self, settings: &[(String, String)], question: &W::Question) -> Result<W::Answer, Failure> {
        // A deadline can also be missed because the machine is busy.
        let mut attempts = limits::LOAD_ATTEMPTS;
        loop {
            attempts -= 1;
            let fresh = || self.release.instance_with(settings);
            let mut instance = match self.kept.take().filter(|(kept, _)| kept == settings) {
                Some((_, instance)) => instance,
                None => fresh()?,
            };
            match instance.ask(question) {
                Ok(answer) => {
                    self.kept = Some((settings.to_vec(), instance));
                    return Ok(answer);
                }
                Err(failure) if failure.kind == FailureKind::Deadline && attempts > 0 => {}
                Err(failure) => return Err(failure),
            }
        }
    }
}

fn settings(vector: &Vector) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    vector
        .settings
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}
