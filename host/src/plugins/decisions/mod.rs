//! The decision log: what was asked, what was answered, by whom and how fast, for some of the calls of each slot.
//!
//! A call that is not sampled costs one look at a number. A sampled one is put into a ring (`ring`) as it is; its JSON is made
//! (`record`) and masked (`masking`) when somebody reads it: an operator, or the thread that writes the file (`file`). Nothing
//! here ever makes a call wait: what cannot be kept is dropped and counted.

pub mod explain;
pub mod file;
pub mod kept;
pub mod log;
pub mod masking;
pub mod metrics;
pub mod onlookers;
pub mod record;
mod ring;
pub mod runtime;
#[cfg(test)]
mod tests;

pub use self::kept::Kept;
pub use self::log::{DecisionLog, Filter, LogCounts};
pub use self::onlookers::Onlookers;
pub use self::record::{DecisionId, LoggedDecision, Record};
