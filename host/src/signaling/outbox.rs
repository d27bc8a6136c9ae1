//! The outbox of one connection: what waits to be written to its socket, bounded by count and by bytes, and the writing.
//!
//! Policy for slow readers. `npc-state` is only worth something while it is fresh: a newer one of the same session
//! replaces the one that waits, and all that wait are dropped before anything else suffers. When the bound is still
//! exceeded the connection is closed ([`CloseReason::SlowReader`]); nobody else waits for it or loses a message.
//!
//! Who relays a message writes it to the receiver's socket at once ([`Outbox::relay`]), without a turn of the receiver's
//! task; what the socket does not take waits for that task. One writes at a time: the one that took the half of the
//! socket out of the queue. The queue is not locked while the system is called.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::close::CloseReason;
use super::frame::{Entry, Frame};

/// Bytes handed to the system at a time, or one frame when that is larger.
const AT_ONCE: usize = 32 * 1024;
/// Times in a row that one caller writes before the connection's own task has to go on.
const WRITES_IN_A_ROW: u32 = 8;
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

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// What the socket did not take of the last bytes. Goes first, whatever happens: a frame is written whole.
    rest: Vec<u8>,
    close: Option<CloseReason>,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// Where to write: there while a connection is attached and nobody writes.
    half: Option<OwnedWriteHalf>,
    attached: bool,
    /// The socket took something since this was asked last.
    progress: bool,
}

/// See the module. Allocates nothing until a frame has to wait.
#[derive(Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// The connection's task has something to do here.
    attention: AtomicBool,
}

impl Outbox {
    /// Queues a frame for the connection's task to write; never waits and calls no system.
    pub fn push(&self, frame: Utf8Bytes, worth: Worth, limits: &OutboxLimits) -> Queued {
        let mut queue = self.queue.lock();
        let queued = queue.push(frame, worth, limits);
        self.call_task(queue);
        queued
    }

    /// As `push`, but writes at once when the socket takes it. Not to be called under a lock.
    pub fn relay(&self, frame: Utf8Bytes, worth: Worth, limits: &OutboxLimits) -> Queued {
        let mut queue = self.queue.lock();
        let queued = queue.push(frame, worth, limits);
        let open = queue.close.is_none();
        if open && !queue.rest.is_empty() {
            // The connection's task waits for the socket.
            return queued;
        }
        match queue.half.take() {
            Some(half) if open => self.write(queue, half),
            // Whoever writes now goes on with this frame, or calls the task.
            None if queue.attached => {}
            half => {
                queue.half = half;
                self.call_task(queue);
            }
        }
        queued
    }

    /// Asks the connection to close. What waits is still written, unless the reason says that it is pointless. The first reason
    /// counts.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.queue.lock();
        if queue.close.is_none() {
            queue.close = Some(reason);
            if reason.discards() {
                queue.discard();
            }
        }
        self.call_task(queue);
    }

    fn call_task(&self, mut queue: MutexGuard<'_, Queue>) {
        self.attention.store(true, Ordering::Release);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on frames are written to this half.
    pub(super) fn attach(&self, half: OwnedWriteHalf) {
        let mut queue = self.queue.lock();
        queue.half = Some(half);
        queue.attached = true;
        self.call_task(queue);
    }

    /// Lets the socket go, and what waits for it.
    pub(super) fn detach(&self) {
        let mut queue = self.queue.lock();
        queue.attached = false;
        queue.discard();
        let half = queue.half.take();
        drop(queue);
        drop(half);
    }

    /// Queues the bytes of a frame that the protocol itself sends; the connection's task does, and writes.
    pub(super) fn push_raw(&self, bytes: &[u8]) {
        self.queue.lock().add(Entry {
            frame: Frame::Raw(bytes.to_vec()),
            worth: Worth::Keep,
        });
        self.attention.store(true, Ordering::Release);
    }

    /// Whether `poll` has to be asked.
    pub(super) fn wants_task(&self) -> bool {
        self.attention.load(Ordering::Acquire)
    }

    /// Writes what waits. Pending while the socket takes nothing; ready with the reason to close, if there is one.
    pub(super) fn poll(&self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<Option<CloseReason>> {
        let close = self.queue.lock().close;
        if close.is_some_and(CloseReason::discards) {
            return Poll::Ready(close);
        }
        ready!(self.poll_write(cx, stream));
        let queue = self.queue.lock();
        if queue.close.is_none() && queue.is_idle() {
            self.attention.store(false, Ordering::Release);
        }
        Poll::Ready(queue.close)
    }

    /// Writes what waits, even while the connection closes. Pending while the socket takes nothing.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, stream: &TcpStream) -> Poll<()> {
        for _ in 0..WRITES_IN_A_ROW {
            let mut queue = self.queue.lock();
            match &mut queue.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            if queue.is_idle() {
                return Poll::Ready(());
            }
            self.attention.store(true, Ordering::Release);
            // Whoever has the half calls this task when something is left.
            if queue.half.is_none() || stream.poll_write_ready(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(half) = queue.half.take() {
                self.write(queue, half);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits as long as the socket takes it. The caller took `half` out of the queue.
    fn write(&self, mut queue: MutexGuard<'_, Queue>, half: OwnedWriteHalf) {
        thread_local! {
            static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        BYTES.with_borrow_mut(|bytes| {
            for _ in 0..WRITES_IN_A_ROW {
                bytes.clear();
                queue.gather(bytes);
                let written = MutexGuard::unlocked(&mut queue, || half.try_write(bytes));
                queue.written(written, bytes);
                if !queue.rest.is_empty() || queue.entries.is_empty() {
                    break;
                }
            }
            if bytes.capacity() > 2 * AT_ONCE {
                *bytes = Vec::new();
            }
        });
        let over = if queue.attached {
            queue.half = Some(half);
            None
        } else {
            Some(half)
        };
        if queue.close.is_some() || !queue.is_idle() || self.wants_task() {
            self.call_task(queue);
        } else {
            drop(queue);
        }
        drop(over);
    }

    /// Whether something waits and the socket took nothing since this was asked last.
    pub(super) fn is_stuck(&self) -> bool {
        let mut queue = self.queue.lock();
        !std::mem::take(&mut queue.progress) && !queue.is_empty()
    }
}

impl Queue {
    fn push(&mut self, frame: Utf8Bytes, worth: Worth, limits: &OutboxLimits) -> Queued {
        if self.close.is_some() {
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

    fn add(&mut self, entry: Entry) {
        self.bytes += entry.frame.len();
        self.entries.push_back(entry);
    }

    fn discard(&mut self) {
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

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rest.is_empty()
    }

    /// Nothing waits and nobody writes.
    fn is_idle(&self) -> bool {
        self.is_empty() && (self.half.is_some() || !self.attached)
    }

    /// Moves what goes first to `bytes`, as it is sent.
    fn gather(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.rest);
        while bytes.len() < AT_ONCE
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.frame.len();
            entry.frame.write(bytes);
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = VecDeque::new();
        }
    }

    /// Keeps what the socket did not take.
    fn written(&mut self, written: io::Result<usize>, bytes: &[u8]) {
        let taken = match written {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.close.get_or_insert(CloseReason::ByClient);
                self.discard();
                self.rest = Vec::new();
                return;
            }
        };
        self.rest = bytes.get(taken..).unwrap_or_default().to_vec();
        // Whoever just began to wait has a whole period for it.
        self.progress = true;
    }
}

#[cfg(test)]
impl Outbox {
    /// What waits, and the reason to close; as if it were written.
    pub(super) fn take(&self) -> (Vec<String>, Option<CloseReason>) {
        let mut queue = self.queue.lock();
        queue.bytes = 0;
        let text = |entry: Entry| match entry.frame {
            Frame::Text(text) => text.as_str().to_owned(),
            Frame::Raw(_) => String::new(),
        };
        (queue.entries.drain(..).map(text).collect(), queue.close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { frames: 4, bytes: 100 };

    #[test]
    fn frames_leave_in_order() {
        let outbox = Outbox::default();
        assert_eq!(outbox.take(), (vec![], None));
        for text in ["a", "b"] {
            assert_eq!(
                outbox.relay(text.into(), Worth::Keep, &LIMITS),
                Queued::Done { dropped: 0 }
            );
        }
        outbox.close(CloseReason::Restart);
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(outbox.take(), (both, Some(CloseReason::Restart)));
        assert_eq!(outbox.push("c".into(), Worth::Keep, &LIMITS), Queued::Closing);
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
        assert_eq!(outbox.take().0, ["kept", "kept", "kept", "last"]);
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
        assert_eq!(outbox.take(), (vec![], Some(CloseReason::SlowReader)));
        let outbox = Outbox::default();
        let large = "y".repeat(101);
        assert_eq!(
            outbox.push(large.into(), Worth::Keep, &LIMITS),
            Queued::Overflow { dropped: 1 }
        );
    }

    #[tokio::test]
    async fn a_socket_that_takes_nothing_gets_every_frame_whole_and_in_order_later() {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, (read, half)) = (client.unwrap(), accepted.unwrap().0.into_split());
        let outbox = Outbox::default();
        let limits = OutboxLimits {
            frames: 10_000,
            bytes: usize::MAX,
        };
        outbox.push("before".into(), Worth::Keep, &limits);
        outbox.attach(half);
        read.as_ref().writable().await.unwrap();
        let mut sent = "before".to_owned();
        for number in 0..2000 {
            let text = format!("{number}:{}", "x".repeat(10_000));
            sent.push_str(&text);
            outbox.relay(text.into(), Worth::Keep, &limits);
        }
        assert!(outbox.wants_task(), "20 MB fit into no socket");
        assert!(!outbox.is_stuck() && outbox.is_stuck(), "a whole period, then no more");
        let reading = async {
            let mut received = String::new();
            while received.len() < sent.len() {
                let (_, short) = (client.read_u8().await.unwrap(), client.read_u8().await.unwrap());
                let length = match short {
                    126 => usize::from(client.read_u16().await.unwrap()),
                    short => usize::from(short),
                };
                let mut payload = vec![0; length];
                client.read_exact(&mut payload).await.unwrap();
                received.push_str(std::str::from_utf8(&payload).unwrap());
            }
            received
        };
        let writing = std::future::poll_fn(|cx| outbox.poll(cx, read.as_ref()));
        let (received, close) = tokio::join!(reading, writing);
        assert!(received == sent);
        assert_eq!(close, None);
        assert!(!outbox.wants_task() && !outbox.is_stuck());
    }
}
