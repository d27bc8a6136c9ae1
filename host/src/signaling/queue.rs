//! What waits in an outbox, bounded by count and by bytes, and how it is sent. No lock, no task and no socket call here.
//!
//! Policy for slow readers. `npc-state` is only worth something while it is fresh: a newer one of the same session
//! replaces the one that waits, and all that wait are dropped before anything else suffers. When the bound is still
//! exceeded the connection is closed ([`CloseReason::SlowReader`]); nobody else waits for it or loses a message.

use std::collections::VecDeque;
use std::io;
use std::task::Waker;

use tokio::net::tcp::OwnedWriteHalf;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::close::CloseReason;
use super::frame::{Entry, Frame};

/// Bytes handed to the system at a time, or one frame when that is larger.
pub(super) const AT_ONCE: usize = 32 * 1024;
/// Room for waiting frames that is kept while none waits.
const KEPT: usize = 64;

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

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) entries: VecDeque<Entry>,
    pub(super) bytes: usize,
    /// What the socket did not take of the last bytes. Goes first, whatever happens: a frame is written whole.
    pub(super) rest: Vec<u8>,
    pub(super) close: Option<CloseReason>,
    /// Frames that are still written after a close that keeps the others for the peer's next connection.
    pub(super) last: usize,
    /// Wakes the connection's task.
    pub(super) waker: Option<Waker>,
    /// Where to write: there while a connection is attached and nobody writes.
    pub(super) half: Option<OwnedWriteHalf>,
    pub(super) attached: bool,
    /// The socket took something since this was asked last.
    pub(super) progress: bool,
}

impl Queue {
    pub(super) fn push(&mut self, frame: Utf8Bytes, worth: Worth, limits: &OutboxLimits) -> Queued {
        if self.close.is_some_and(|reason| !reason.keeps()) {
            return Queued::Closing;
        }
        let mut dropped = 0;
        if worth == Worth::Fresh {
            dropped += self.drop_fresh();
        }
        if !self.fits(frame.len(), limits) {
            dropped += self.drop_fresh();
        }
        if self.fits(frame.len(), limits) {
            self.add(Entry {
                frame: Frame::Text(frame),
                worth,
            });
            Queued::Done { dropped }
        } else if worth == Worth::Fresh {
            Queued::Done { dropped: dropped + 1 }
        } else {
            dropped += u32::try_from(self.entries.len()).unwrap_or(u32::MAX).saturating_add(1);
            self.discard();
            self.close = Some(CloseReason::SlowReader);
            Queued::Overflow { dropped }
        }
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.bytes += entry.frame.len();
        self.entries.push_back(entry);
    }

    pub(super) fn discard(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

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

    /// Frames that are to be written.
    pub(super) fn due(&self) -> usize {
        match self.close {
            Some(reason) if reason.keeps() => self.last.min(self.entries.len()),
            _ => self.entries.len(),
        }
    }

    /// Nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.due() == 0 && self.rest.is_empty()
    }

    /// Nothing waits and nobody writes.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && (self.half.is_some() || !self.attached)
    }

    /// Moves what goes first to `bytes`, as it is sent.
    pub(super) fn gather(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.rest);
        while bytes.len() < AT_ONCE
            && self.due() > 0
            && let Some(entry) = self.entries.pop_front()
        {
            self.last = self.last.saturating_sub(1);
            self.bytes -= entry.frame.len();
            entry.frame.write(bytes);
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = VecDeque::new();
        }
    }

    /// Keeps what the socket did not take.
    pub(super) fn written(&mut self, written: io::Result<usize>, bytes: &[u8]) {
        let taken = match written {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // What has not been tried yet is kept for the peer's next connection.
                self.close.get_or_insert(CloseReason::ByClient);
                self.last = 0;
                self.rest = Vec::new();
                return;
            }
        };
        // What the protocol itself added meanwhile comes after it.
        let mut rest = bytes.get(taken..).unwrap_or_default().to_vec();
        rest.append(&mut self.rest);
        self.rest = rest;
        // Whoever just began to wait has a whole period for it.
        self.progress = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { frames: 4, bytes: 100 };

    fn push(queue: &mut Queue, text: &str, worth: Worth) -> Queued {
        queue.push(text.into(), worth, &LIMITS)
    }

    /// What waits, as it is sent; short frames have a head of two bytes.
    fn sent(queue: &mut Queue) -> Vec<u8> {
        let mut bytes = Vec::new();
        queue.gather(&mut bytes);
        assert_eq!(queue.bytes, 0);
        bytes
    }

    #[test]
    fn frames_leave_in_order() {
        let mut queue = Queue::default();
        for text in ["a", "b"] {
            assert_eq!(push(&mut queue, text, Worth::Keep), Queued::Done { dropped: 0 });
        }
        queue.close = Some(CloseReason::Restart);
        queue.last = 2;
        assert_eq!(push(&mut queue, "c", Worth::Keep), Queued::Done { dropped: 0 });
        let mut bytes = Vec::new();
        queue.gather(&mut bytes);
        assert_eq!(bytes, b"\x81\x01a\x81\x01b");
        assert!(queue.is_empty(), "the rest is for the next connection");
        assert_eq!(queue.entries.len(), 1);
        queue.close = Some(CloseReason::Replaced);
        assert_eq!(push(&mut queue, "d", Worth::Keep), Queued::Closing);
    }

    #[test]
    fn what_the_socket_did_not_take_goes_first() {
        let mut queue = Queue::default();
        push(&mut queue, "first", Worth::Keep);
        let bytes = sent(&mut queue);
        queue.written(Ok(4), &bytes);
        push(&mut queue, "second", Worth::Keep);
        assert_eq!(sent(&mut queue), b"rst\x81\x06second");
        queue.written(Err(io::ErrorKind::BrokenPipe.into()), b"");
        assert_eq!(queue.close, Some(CloseReason::ByClient));
    }

    #[test]
    fn fresh_frames_are_replaced_and_dropped_first() {
        let mut queue = Queue::default();
        push(&mut queue, "old", Worth::Fresh);
        assert_eq!(push(&mut queue, "new", Worth::Fresh), Queued::Done { dropped: 1 });
        for _ in 0..3 {
            push(&mut queue, "k", Worth::Keep);
        }
        assert_eq!(push(&mut queue, "l", Worth::Keep), Queued::Done { dropped: 1 });
        assert_eq!(push(&mut queue, "npc", Worth::Fresh), Queued::Done { dropped: 1 });
        assert_eq!(sent(&mut queue), b"\x81\x01k\x81\x01k\x81\x01k\x81\x01l");
    }

    #[test]
    fn a_slow_reader_is_closed_by_count_and_by_bytes() {
        let mut queue = Queue::default();
        for _ in 0..4 {
            push(&mut queue, "kept", Worth::Keep);
        }
        assert_eq!(push(&mut queue, "x", Worth::Keep), Queued::Overflow { dropped: 5 });
        assert_eq!(queue.close, Some(CloseReason::SlowReader));
        assert_eq!(sent(&mut queue), b"");
        let mut queue = Queue::default();
        let large = "y".repeat(101);
        assert_eq!(push(&mut queue, &large, Worth::Keep), Queued::Overflow { dropped: 1 });
    }
}
