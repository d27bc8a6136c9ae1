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

/// How a call was answered, and what the candidate would have answered.
struct Pair<W: World> {
    record: Arc<Record<W>>,
    candidate: W::Answer,
}

/// The latest differences of one shadow.
pub(super) struct Differences<W: World>(Mutex<VecDeque<Arc<Pair<W>>>>);

impl<W: World> Default for Differences<W> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<W: World> Differences<W> {
    pub(super) fn keep(&self, record: Arc<Record<W>>, candidate: W::Answer) {
        let mut latest = self.0.lock();
        latest.truncate(limits::DIFFERENCES - 1);
        latest.push_front(Arc::new(Pair { record, candidate }));
    }

    /// The newest first.
    pub(super) fn read(&self) -> Vec<Difference> {
        let latest: Vec<_> = self.0.lock().iter().cloned().collect();
        latest.iter().filter_map(|pair| difference(pair).ok()).collect()
    }
}

fn difference<W: World>(pair: &Pair<W>) -> serde_json::Result<Difference> {
    let text = serde_json::to_string(&pair.candidate)?;
    let candidate = match masking::masked(&text) {
        Cow::Borrowed(text) => serde_json::from_str(text),
        Cow::Owned(text) => serde_json::from_str(&text),
    };
    Ok(Difference {
        decision: pair.record.logged()?,
        candidate: candidate?,
    })
}
