//! One decision: as it is kept, and as it is read. The JSON is the same in the file and over HTTP, and it is masked.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::kept::Kept as _;
use super::masking;
use crate::domain::clock::Timestamp;
use crate::plugins::ladder::Answered;
use crate::plugins::slot_name::SlotName;
use crate::plugins::worlds::World;
use crate::telemetry::request::RequestId;

/// Names a decision: the process that made it, the slot, and a number that counts up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionId {
    /// Different for every process.
    pub origin: u32,
    pub slot: SlotName,
    pub number: u64,
}

impl DecisionId {
    const LETTERS: [(SlotName, char); 3] = [
        (SlotName::HostSelection, 'h'),
        (SlotName::RateLimit, 'r'),
        (SlotName::NpcTransform, 'n'),
    ];

    /// Reads an id; none when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (origin, rest) = text.split_once('-').filter(|(origin, _)| origin.len() == 8)?;
        let (slot, letter) = Self::LETTERS
            .into_iter()
            .find(|(_, letter)| rest.starts_with(*letter))?;
        Some(Self {
            origin: u32::from_str_radix(origin, 16).ok()?,
            slot,
            number: rest.strip_prefix(letter)?.parse().ok()?,
        })
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = Self::LETTERS.into_iter().find(|(slot, _)| *slot == self.slot);
        let letter = letter.map_or('?', |(_, letter)| letter);
        write!(f, "{:08x}-{letter}{}", self.origin, self.number)
    }
}

/// A decision as it is kept.
pub struct Record<W: World> {
    pub id: DecisionId,
    pub at: Timestamp,
    /// As long as the caller waited.
    pub took: Duration,
    pub request: Option<RequestId>,
    pub by: Answered<()>,
    pub kept: W::Kept,
    pub answer: W::Answer,
}

/// A decision as it is read. Addresses and tokens in it are masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoggedDecision {
    pub id: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub slot: SlotName,
    /// The first digits of the release that answered; none when the native default or the static decision did.
    pub release: Option<String>,
    /// Who answered: `candidate`, `component`, `previous`, `native` or `static`.
    pub rung: String,
    /// Why a release further up did not answer: a kind of failure, or `held_back`.
    pub reason: Option<String>,
    pub duration_us: f64,
    /// The same for all decisions of one HTTP request.
    pub request_id: Option<String>,
    /// The session it was about. A session that got no host was never opened.
    pub session_id: Option<String>,
    /// In the slot's JSON, as `plugin run` takes it.
    pub question: Value,
    /// In the slot's JSON.
    pub answer: Value,
}

/// The same without a detour, member by member.
#[derive(Serialize)]
struct Line<'a, Q, A> {
    id: String,
    at: Timestamp,
    slot: SlotName,
    release: Option<&'a str>,
    rung: &'static str,
    reason: Option<&'static str>,
    duration_us: f64,
    request_id: Option<String>,
    session_id: Option<&'a str>,
    question: Q,
    answer: &'a A,
}

impl<W: World> Record<W> {
    /// The session that the decision was about.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.kept.session()
    }

    /// Bytes that it holds on to, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.kept.weight()
    }

    /// The masked JSON, on one line without its end.
    ///
    /// # Errors
    ///
    /// When it is no JSON, as a number that is none.
    pub fn line(&self) -> serde_json::Result<String> {
        let tag = self.by.release;
        let line = Line {
            id: self.id.to_string(),
            at: self.at,
            slot: W::SLOT,
            release: tag.as_ref().map(|tag| tag.as_str()),
            rung: self.by.rung.as_str(),
            reason: self.by.skipped.map(|skipped| skipped.as_str()),
            duration_us: f64::from(u32::try_from(self.took.as_nanos() / 100).unwrap_or(u32::MAX)) / 10.0,
            request_id: self.request.map(|request| request.to_string()),
            session_id: self.session(),
            question: self.kept.question(),
            answer: &self.answer,
        };
        let text = serde_json::to_string(&line)?;
        Ok(match masking::masked(&text) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(masked) => masked,
        })
    }

    /// As operators read it.
    ///
    /// # Errors
    ///
    /// As `line`.
    pub fn logged(&self) -> serde_json::Result<LoggedDecision> {
        serde_json::from_str(&self.line()?)
    }
}
