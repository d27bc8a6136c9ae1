//! What is kept of a question until somebody reads it: the numbers of a host, or the request with the candidates that the
//! call had anyway.

use std::sync::Arc;

use super::{Candidates, HostFacts, Question};
use crate::plugins::decisions;
use crate::ports::policies::{HostCandidate, HostRequest};

/// Bytes of one candidate: hosts are shared with the board until their next heartbeat.
const CANDIDATE_BYTES: usize = 1024;

/// A question of this slot.
pub enum Kept {
    Score(HostFacts),
    Rank(Arc<HostRequest>, Candidates),
}

impl decisions::Kept for Kept {
    type Question = Question;

    fn question(&self) -> Question {
        match self {
            Self::Score(facts) => Question::Score(facts.clone()),
            Self::Rank(request, candidates) => Question::rank(request, candidates),
        }
    }

    /// Every heartbeat has a score; choices of hosts are rare and what people ask about.
    fn ring(&self) -> usize {
        match self {
            Self::Rank(..) => 0,
            Self::Score(_) => 1,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Score(_) => 0,
            Self::Rank(_, candidates) => {
                size_of::<HostRequest>() + candidates.len() * (size_of::<HostCandidate>() + CANDIDATE_BYTES)
            }
        }
    }

    fn session(&self) -> Option<&str> {
        match self {
            Self::Score(_) => None,
            Self::Rank(request, _) => request.session_id.as_deref(),
        }
    }
}
