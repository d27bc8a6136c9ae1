//! Finished spans on their way to the collector, and what became of them. Bounded: whoever ends a span never waits for room.

use opentelemetry_proto::tonic::trace::v1::Span;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;

/// Spans that wait at most, about 1 KiB each. More are dropped.
pub(super) const ROOM: usize = 4096;

/// The way in.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Span>,
    counts: Counts,
}

impl Queue {
    /// A queue with this much room, and its other end.
    pub(super) fn new(room: usize, counts: Counts) -> (Self, mpsc::Receiver<Span>) {
        let (sender, receiver) = mpsc::channel(room);
        (Self { sender, counts }, receiver)
    }

    /// Takes a finished span, or drops it when there is no room.
    pub(super) fn push(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.counts.no_room.inc();
        }
    }
}

/// What became of spans.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// The collector has them.
    pub(super) exported: IntCounter,
    /// Dropped: too many waited.
    pub(super) no_room: IntCounter,
    /// Dropped: the collector could not be told.
    pub(super) failed: IntCounter,
    /// Dropped by the collector.
    pub(super) rejected: IntCounter,
}

impl Counts {
    /// Registers the family.
    ///
    /// # Errors
    ///
    /// When its name is taken.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let spans = IntCounterVec::new(
            Opts::new(
                "p2p_trace_spans_total",
                "Spans of exported traces by what became of them",
            ),
            &["result"],
        )?;
        registry.register(Box::new(spans.clone()))?;
        let of = |result| spans.with_label_values(&[result]);
        Ok(Self {
            exported: of("exported"),
            no_room: of("no_room"),
            failed: of("failed"),
            rejected: of("rejected"),
        })
    }

    /// Spans that nobody will see.
    pub(super) fn dropped(&self) -> u64 {
        self.no_room.get() + self.failed.get() + self.rejected.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_dropped_and_counted() {
        let counts = Counts::register(&Registry::new()).unwrap();
        let (queue, mut waiting) = Queue::new(2, counts.clone());
        for _ in 0..5 {
            queue.push(Span::default());
        }
        assert_eq!((counts.no_room.get(), counts.dropped()), (3, 3));
        assert!(waiting.try_recv().is_ok());
        queue.push(Span::default());
        assert_eq!(counts.dropped(), 3, "there is room again");
        drop(waiting);
        queue.push(Span::default());
        assert_eq!(counts.dropped(), 4, "nobody takes them any more");
    }
}
