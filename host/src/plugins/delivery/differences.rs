//! The latest calls that a shadow answered otherwise than they were answered: what operators look at before they promote. The
//! JSON is made when somebody reads it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::plugins::decisions::{LoggedDecision, Record, masking};
use crate::plugins::limits;
use crate::plugins::worlds::World;

/// A call that the candidate would have answered otherwise. Addresses and tokens in it are masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// As it was answered.
    #[serde(flatten)]
    pub decision: LoggedDecision,
    /// What the candidate would have answered, in the slot's JSON.
    pub candidate: Value,
}

/// A decision, with what the candidate would have answered.
type Compared<W> = (Arc<Record<W>>, <W as World>::Answer);

/// The latest differences of one shadow.
pub(super) struct Differences<W: World>(Mutex<VecDeque<Compared<W>>>);

impl<W: World> Default for Differences<W> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<W: World> Differences<W> {
    pub(super) fn keep(&self, record: Arc<Record<W>>, answer: W::Answer) {
        let mut latest = self.0.lock();
        latest.truncate(limits::DIFFERENCES - 1);
        latest.push_front((record, answer));
    }

    /// The newest first.
    pub(super) fn read(&self) -> Vec<Difference> {
        let latest: Vec<_> = self
            .0
            .lock()
            .iter()
            .map(|(record, answer)| (Arc::clone(record), answer.clone()))
            .collect();
        latest
            .iter()
            .filter_map(|(record, answer)| difference(record, answer).ok())
            .collect()
    }
}

fn difference<W: World>(record: &Record<W>, answer: &W::Answer) -> serde_json::Result<Difference> {
    let text = serde_json::to_string(answer)?;
    let candidate = match masking::masked(&text) {
        Cow::Borrowed(text) => serde_json::from_str(text),
        Cow::Owned(text) => serde_json::from_str(&text),
    };
    Ok(Difference {
        decision: record.logged()?,
        candidate: candidate?,
    })
}
