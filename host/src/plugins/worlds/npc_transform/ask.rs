//! One question to one instance. The NPCs themselves never leave the coordinator.

use std::sync::Arc;

use super::Bound;
use super::changes::Changes;
use super::layout::lay_out;
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::ports::policies::NpcFrame;

/// Asks what becomes of a frame.
pub(super) fn transform(instance: &mut Instance<Bound>, frame: &Arc<NpcFrame>) -> Result<Changes, Failure> {
    let question = lay_out(frame);
    if instance.reads_details() {
        instance.store.data_mut().call = Some(Arc::clone(frame));
    }
    let answer = instance
        .guest
        .p2p_coordinator_policy_transformation()
        .call_transform(&mut instance.store, &question);
    instance.store.data_mut().call = None;
    Changes::check(answer?, frame, question.strings)
}
