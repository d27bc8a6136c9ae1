//! Messages that came from other nodes or go to them: each taken once, and its sender told what became of it.

use std::sync::Arc;
use std::time::Instant;

use super::close::CloseReason;
use super::courier::Entry;
use super::hub::{Hub, MOST_RECEIPTS, RECEIPT_WAIT};
use super::queue::Worth;
use super::room::Peer;
use super::wire;
use crate::ports::fleet::{Dispatch, Outcome, Parcel, Sent};

impl Hub {
    /// A parcel has come for a peer of this node.
    pub(super) fn signal(&self, to: &str, parcel: Parcel) {
        let own = *parcel.origin == *self.node;
        self.take_in(to, parcel);
        // Not before: what is sent to the peer without the fleet must not overtake it.
        if own {
            self.courier.arrived(to);
        }
    }

    fn take_in(&self, to: &str, parcel: Parcel) {
        let Some(peer) = self.directory.lock().peers.get(to).cloned() else {
            // It ended while the parcel was on its way.
            self.report(parcel, Outcome::Expired);
            return;
        };
        if !peer.takes(&parcel) {
            return;
        }
        let mut handover = peer.handover.lock();
        let Some(waiting) = handover.as_mut() else {
            drop(handover);
            self.deliver(&peer, parcel);
            return;
        };
        let bytes = waiting.bytes + parcel.frame.len();
        if waiting.held.len() < self.limits.outbox.frames && bytes <= self.limits.outbox.bytes {
            waiting.bytes = bytes;
            waiting.held.push(parcel);
            return;
        }
        drop(handover);
        self.metrics.outbox_dropped.inc();
        peer.outbox.close(CloseReason::SlowReader);
        self.report(parcel, Outcome::Refused);
    }

    /// Puts a parcel into the outbox, and tells its sender.
    pub(super) fn deliver(&self, peer: &Peer, parcel: Parcel) {
        let frame = match peer.dialect.respell(&parcel.frame) {
            Some(respelled) => respelled,
            None => parcel.frame.clone(),
        };
        let outcome = if self.send(peer, frame.into(), Worth::Keep) {
            Outcome::Delivered
        } else {
            Outcome::Refused
        };
        self.report(parcel, outcome);
    }

    /// Tells the sender what became of its message, if it asked.
    pub(super) fn report(&self, parcel: Parcel, outcome: Outcome) {
        let Some(receipt) = parcel.receipt else { return };
        if *receipt.node == *self.node {
            self.tell_outcome(&receipt.peer_id, &receipt.id, outcome, None);
        } else {
            self.courier.order(Dispatch::Outcome {
                node: receipt.node,
                to: receipt.peer_id,
                id: receipt.id,
                outcome,
            });
        }
    }

    /// Remembers that a sender waits to hear what becomes of a message.
    pub(super) fn await_outcome(&self, sender: &Peer, id: &str) {
        let mut receipts = self.receipts.lock();
        if receipts.len() < MOST_RECEIPTS {
            receipts.insert((Arc::clone(&sender.peer_id), id.to_owned()), Instant::now());
        }
    }

    /// Tells senders whose messages went to a node that never answered.
    pub(super) fn expire_receipts(&self) {
        let mut old = Vec::new();
        self.receipts.lock().retain(|key, since| {
            let keep = since.elapsed() < RECEIPT_WAIT;
            if !keep {
                old.push(key.clone());
            }
            keep
        });
        for (peer_id, id) in old {
            self.tell_outcome(&peer_id, &id, crate::ports::fleet::Outcome::Expired, None);
        }
    }

    /// Answers a message that asked for an outcome.
    pub(super) fn tell_outcome(&self, to: &str, id: &str, outcome: Outcome, why: Option<&str>) {
        self.receipts.lock().remove(&(Arc::from(to), id.to_owned()));
        if let Some(peer) = self.directory.lock().peers.get(to).cloned() {
            self.send(&peer, wire::outcome(id, outcome, why).into(), Worth::Keep);
        }
    }

    /// What became of something that the courier took.
    pub(super) fn dispatched(&self, entry: Entry, sent: Option<Sent>) {
        let Dispatch::Signal { to, parcel, .. } = &entry.item else {
            return;
        };
        let (outcome, why) = match sent {
            Some(Sent::Done | Sent::Here) => {
                self.metrics.remote("sent");
                return;
            }
            Some(Sent::Queued) => (Outcome::Queued, None),
            Some(Sent::NotThere) => (Outcome::Refused, Some(wire::not_in_session(to))),
            Some(Sent::Full) => (
                Outcome::Refused,
                Some(format!("Peer {} is away and takes no more", wire::shorten(to))),
            ),
            None => (
                Outcome::Expired,
                Some(format!("The message did not reach {} in time", wire::shorten(to))),
            ),
        };
        self.metrics.remote(outcome.as_str());
        let Some(sender) = entry.sender else { return };
        match (&parcel.receipt, why) {
            (Some(receipt), why) => self.tell_outcome(&sender.peer_id, &receipt.id, outcome, why.as_deref()),
            (None, Some(why)) => {
                self.send(&sender, wire::error(&why, "").into(), Worth::Keep);
            }
            (None, None) => {}
        }
    }
}
