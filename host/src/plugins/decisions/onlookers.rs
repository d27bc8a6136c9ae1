//! Who looks on at a call: the shadow, the decision log. What they see is made once for both, after the answer.

use std::sync::Arc;
use std::time::Instant;

use super::record::Record;
use crate::domain::clock::Timestamp;
use crate::plugins::ladder::Answered;
use crate::plugins::slot::Slot;
use crate::plugins::worlds::World;
use crate::ports::policies::Rung;
use crate::telemetry::request::RequestId;

/// Who looks on at one call.
#[derive(Clone, Copy, Debug)]
pub struct Onlookers {
    shadow: bool,
    log: bool,
    started: Instant,
}

impl<W: World> Slot<W> {
    /// Who looks on at the call that begins now. None for most calls.
    #[must_use]
    pub fn onlookers(&self) -> Option<Onlookers> {
        let (shadow, log) = (self.shadow.samples(), self.log.samples());
        (shadow || log).then(|| Onlookers {
            shadow,
            log,
            started: Instant::now(),
        })
    }

    /// Shows them what was asked and answered. Never waits.
    pub fn show(&self, onlookers: Onlookers, by: Answered<()>, at: Timestamp, kept: W::Kept, answer: W::Answer) {
        let record = Arc::new(Record {
            id: self.log.next_id(),
            at,
            took: onlookers.started.elapsed(),
            request: RequestId::current(),
            by,
            kept,
            answer,
        });
        // What a candidate answers itself is no news to it.
        if onlookers.shadow && by.rung != Rung::Candidate {
            self.shadow.show(Arc::clone(&record));
        }
        if onlookers.log {
            self.log.keep(record);
        }
    }
}
