//! The outbox of one connection: what waits to be written to its socket, bounded by count and by bytes.
//!
//! Policy for slow readers. `npc-state` is only worth something while it is fresh: a newer one of the same session
//! replaces the one that waits, and all that wait are dropped before anything else suffers. When the bound is still
//! exceeded the connection is closed ([`CloseReason::SlowReader`]); nobody else waits for it or loses a message.
//! Nothing here writes to a socket.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use axum::extract::ws::Utf8Bytes;
use parking_lot::Mutex;

use super::close::CloseReason;

/// Frames handed to the socket at a time, so that little is out of the bound's sight.
const BATCH: usize = 64;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    pub frames: usize,
    pub bytes: usize,
}

/// Whether a frame may be dropped for a slow reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Never dropped.
    Keep,
    /// Replaced by a newer one, and dropped first.
    Fresh,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits; so many other frames were dropped for it.
    Done { dropped: u32 },
    /// The bound is exceeded: the connection closes, and this many frames are lost.
    Overflow { dropped: u32 },
    /// The connection is closing already.
    Closing,
}

struct Entry {
    frame: Utf8Bytes,
    worth: Worth,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    close: Option<CloseReason>,
    /// While the node restarts: what is still written before the connection closes. The rest is kept for the next one.
    last: usize,
    waker: Option<Waker>,
}

/// See the module. Allocates nothing until the first frame.
#[derive(Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
}

/// What the connection has to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Write these.
    Frames,
    /// Everything is written: close for this reason.
    Close(CloseReason),
}

impl Outbox {
    /// Queues a frame; never waits.
    pub fn push(&self, frame: Utf8Bytes, worth: Worth, limits: &OutboxLimits) -> Queued {
        let mut queue = self.queue.lock();
        if queue.close.is_some_and(|reason| !reason.keeps()) {
            return Queued::Closing;
        }
        let mut dropped = 0;
        if worth == Worth::Fresh {
            dropped += queue.drop_fresh();
        }
        if !queue.fits(frame.len(), limits) {
            dropped += queue.drop_fresh();
        }
        let outcome = if queue.fits(frame.len(), limits) {
            queue.bytes += frame.len();
            queue.entries.push_back(Entry { frame, worth });
            Queued::Done { dropped }
        } else if worth == Worth::Fresh {
            return Queued::Done { dropped: dropped + 1 };
        } else {
            dropped += u32::try_from(queue.entries.len()).unwrap_or(u32::MAX).saturating_add(1);
            queue.entries = VecDeque::new();
            queue.bytes = 0;
            queue.close = Some(CloseReason::SlowReader);
            Queued::Overflow { dropped }
        };
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        outcome
    }

    /// Asks the connection to close. What waits is still written, unless the reason says that it is pointless. The first reason
    /// counts.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.queue.lock();
        if queue.close.is_none() {
            queue.close = Some(reason);
            queue.last = queue.entries.len();
            if reason.discards() {
                queue.entries = VecDeque::new();
                queue.bytes = 0;
            }
        }
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Closes, and takes out what waits and is worth keeping, for the connection that comes after this one.
    pub fn close_and_take(&self, reason: CloseReason) -> Vec<String> {
        let mut queue = self.queue.lock();
        let entries = std::mem::take(&mut queue.entries);
        queue.bytes = 0;
        queue.last = 0;
        queue.close = Some(reason);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        let kept = entries.into_iter().filter(|entry| entry.worth == Worth::Keep);
        kept.map(|entry| entry.frame.as_str().to_owned()).collect()
    }

    /// Puts frames back that were taken and not written.
    pub fn put_back(&self, batch: VecDeque<Utf8Bytes>) {
        let mut queue = self.queue.lock();
        for frame in batch.into_iter().rev() {
            queue.bytes += frame.len();
            queue.entries.push_front(Entry {
                frame,
                worth: Worth::Keep,
            });
        }
    }

    /// Whether a frame waits.
    pub fn has_frames(&self) -> bool {
        !self.queue.lock().entries.is_empty()
    }

    /// Moves frames into `batch`; wakes the task when there is something.
    pub fn poll_take(&self, cx: &mut Context<'_>, batch: &mut VecDeque<Utf8Bytes>) -> Poll<Taken> {
        let mut queue = self.queue.lock();
        let ready = match queue.close {
            Some(reason) if reason.keeps() => queue.last.min(queue.entries.len()),
            _ => queue.entries.len(),
        };
        if ready == 0 {
            if let Some(reason) = queue.close {
                return Poll::Ready(Taken::Close(reason));
            }
            match &mut queue.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let count = ready.min(BATCH);
        queue.last = queue.last.saturating_sub(count);
        for Entry { frame, .. } in queue.entries.drain(..count) {
            batch.push_back(frame);
        }
        queue.bytes = queue.entries.iter().map(|entry| entry.frame.len()).sum();
        if queue.entries.is_empty() && queue.entries.capacity() > BATCH {
            queue.entries = VecDeque::new();
        }
        Poll::Ready(Taken::Frames)
    }

    /// The reason to close at once, without writing what waits; asked while the socket takes nothing.
    pub fn poll_abandon(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut queue = self.queue.lock();
        match queue.close {
            Some(reason) if reason.discards() => Poll::Ready(reason),
            _ => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Queue {
    fn fits(&self, more: usize, limits: &OutboxLimits) -> bool {
        self.entries.len() < limits.frames && self.bytes + more <= limits.bytes
    }

    fn drop_fresh(&mut self) -> u32 {
        let (before, bytes) = (self.entries.len(), &mut self.bytes);
        self.entries.retain(|entry| {
            let keep = entry.worth == Worth::Keep;
            if !keep {
                *bytes -= entry.frame.len();
            }
            keep
        });
        u32::try_from(before - self.entries.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { frames: 4, bytes: 100 };

    fn take(outbox: &Outbox) -> (Poll<Taken>, Vec<String>) {
        let mut batch = VecDeque::new();
        let polled = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut batch);
        (polled, batch.iter().map(|frame| frame.as_str().to_owned()).collect())
    }

    #[test]
    fn frames_leave_in_order() {
        let outbox = Outbox::default();
        assert_eq!(take(&outbox).0, Poll::Pending);
        for text in ["a", "b"] {
            assert_eq!(
                outbox.push(text.into(), Worth::Keep, &LIMITS),
                Queued::Done { dropped: 0 }
            );
        }
        outbox.close(CloseReason::Restart);
        assert_eq!(
            take(&outbox),
            (Poll::Ready(Taken::Frames), vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(take(&outbox).0, Poll::Ready(Taken::Close(CloseReason::Restart)));
        assert_eq!(
            outbox.push("c".into(), Worth::Keep, &LIMITS),
            Queued::Done { dropped: 0 },
            "kept for the next connection"
        );
        assert_eq!(take(&outbox).0, Poll::Ready(Taken::Close(CloseReason::Restart)));
        outbox.put_back(["b".into()].into());
        assert_eq!(outbox.close_and_take(CloseReason::Replaced), ["b", "c"]);
        assert_eq!(outbox.push("d".into(), Worth::Keep, &LIMITS), Queued::Closing);
    }

    #[test]
    fn fresh_frames_are_replaced_and_dropped_first() {
        let outbox = Outbox::default();
        outbox.push("old".into(), Worth::Fresh, &LIMITS);
        assert_eq!(
            outbox.push("new".into(), Worth::Fresh, &LIMITS),
            Queued::Done { dropped: 1 }
        );
        for _ in 0..3 {
            outbox.push("kept".into(), Worth::Keep, &LIMITS);
        }
        assert_eq!(
            outbox.push("last".into(), Worth::Keep, &LIMITS),
            Queued::Done { dropped: 1 }
        );
        assert_eq!(
            outbox.push("npc".into(), Worth::Fresh, &LIMITS),
            Queued::Done { dropped: 1 }
        );
        assert_eq!(take(&outbox).1, ["kept", "kept", "kept", "last"]);
    }

    #[test]
    fn a_slow_reader_is_closed_by_count_and_by_bytes() {
        let outbox = Outbox::default();
        for _ in 0..4 {
            outbox.push("kept".into(), Worth::Keep, &LIMITS);
        }
        assert_eq!(
            outbox.push("x".into(), Worth::Keep, &LIMITS),
            Queued::Overflow { dropped: 5 }
        );
        assert_eq!(
            take(&outbox),
            (Poll::Ready(Taken::Close(CloseReason::SlowReader)), vec![])
        );
        let outbox = Outbox::default();
        let large = "y".repeat(101);
        assert_eq!(
            outbox.push(large.into(), Worth::Keep, &LIMITS),
            Queued::Overflow { dropped: 1 }
        );
    }
}
