//! What can go wrong with a policy: a refused release, with its step, and a failed call, with its kind.

use serde::Serialize;
use utoipa::ToSchema;
use wasmtime::Trap;

use super::state::MemoryCapReached;
use crate::domain::release::signing::SignatureError;

/// A step of loading a policy, in the order they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The file is read whole.
    Read,
    /// The component is the one that the record names.
    Digest,
    /// A trusted key vouches for the record.
    Signature,
    /// The bytes are a component.
    Parse,
    /// It exports what the slot needs, in a version this coordinator speaks.
    World,
    /// It imports nothing but what a policy may.
    Imports,
    /// It is compiled, or its compiled code is found.
    Compile,
    /// An instance is made within the limits.
    Instantiate,
    /// It says who it is.
    Describe,
    /// It takes the operator's settings.
    Configure,
    /// It answers the sample questions of its slot with sense.
    Trial,
    /// It answers its own golden vectors as it promised.
    Vectors,
    /// It answers well within the time of its slot.
    Probe,
}

impl Step {
    /// The name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Parse => "parse",
            Self::World => "world",
            Self::Imports => "imports",
            Self::Compile => "compile",
            Self::Instantiate => "instantiate",
            Self::Describe => "describe",
            Self::Configure => "configure",
            Self::Trial => "trial",
            Self::Vectors => "vectors",
            Self::Probe => "probe",
        }
    }

    /// What to do when a policy is refused here.
    #[must_use]
    pub const fn mend(self) -> &'static str {
        match self {
            Self::Read => "make the file readable for the service, and smaller than 64 MiB",
            Self::Digest => "push the component again: what is stored is not what the record names",
            Self::Signature => "sign the release with a trusted key: `plugin sign`",
            Self::Parse => "build it with `plugin build`, and push the whole file",
            Self::World => {
                "implement the world of this slot as wit/ has it, and build it again; `plugin doctor` compares"
            }
            Self::Imports => {
                "leave out what imports it: a policy gets logging and the interface of its slot, nothing else"
            }
            Self::Compile => "build it again with `plugin build`; `plugin check` shows the same error",
            Self::Instantiate => "let it start with less memory and without work in its start function",
            Self::Describe => "let `describe` give a name, a version and a summary, at once",
            Self::Configure => "correct the settings of the release, or what `configure` makes of them",
            Self::Trial => "let it answer every sample question with sense: `plugin run` asks them one by one",
            Self::Probe => {
                "make it faster, `plugin bench` measures it; or allow a longer deadline within that of the slot"
            }
            Self::Vectors => {
                "let it answer as its vectors.json promises, or correct the vectors; `plugin test` asks them one by one"
            }
        }
    }
}

/// Why a policy does not get its slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused at step {}: {reason}", .step.as_str())]
pub struct Refusal {
    pub step: Step,
    /// For the operator.
    pub reason: String,
    /// What to do about it.
    pub mend: &'static str,
}

impl From<SignatureError> for Refusal {
    fn from(error: SignatureError) -> Self {
        Self {
            mend: error.mend(),
            ..Self::new(Step::Signature, error.to_string())
        }
    }
}

impl Refusal {
    /// A refusal at `step`.
    pub fn new(step: Step, reason: impl Into<String>) -> Self {
        Self {
            step,
            reason: reason.into(),
            mend: step.mend(),
        }
    }
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// It trapped: unreachable code, a panic, an access out of bounds.
    Trap,
    /// It did not answer in time.
    Deadline,
    /// It wanted more memory than it may have.
    Memory,
    /// Its calls nested too deep.
    Stack,
    /// It handed over more than a call may.
    Oversized,
    /// Its answer makes no sense.
    Invalid,
    /// No instance could be made.
    Instantiate,
    /// Every instance was busy.
    Busy,
}

impl FailureKind {
    /// Every kind, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Stack,
        Self::Oversized,
        Self::Invalid,
        Self::Instantiate,
        Self::Busy,
    ];

    /// The name in metrics and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Oversized => "oversized",
            Self::Invalid => "invalid",
            Self::Instantiate => "instantiate",
            Self::Busy => "busy",
        }
    }
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", .kind.as_str())]
pub struct Failure {
    pub kind: FailureKind,
    /// For the operator.
    pub detail: String,
}

impl Failure {
    /// An answer that makes no sense.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Invalid,
            detail: detail.into(),
        }
    }
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        let kind = if error.is::<MemoryCapReached>() {
            FailureKind::Memory
        } else {
            match error.downcast_ref::<Trap>() {
                Some(Trap::Interrupt) => FailureKind::Deadline,
                Some(Trap::StackOverflow) => FailureKind::Stack,
                Some(_) => FailureKind::Trap,
                // The engine's own type for this is private.
                None if format!("{error:#}").contains("fuel allocated for hostcalls") => FailureKind::Oversized,
                None => FailureKind::Trap,
            }
        };
        Self {
            kind,
            detail: shortened(&format!("{error:#}"), super::limits::SUMMARY_BYTES),
        }
    }
}

/// `text`, cut at a character's edge to at most `most` bytes, on one line.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\n', '\r'], " ")
}
