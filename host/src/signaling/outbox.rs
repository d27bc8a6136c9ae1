//! The outbox of one connection: its queue, and the writing to its socket.
//!
//! Who relays a message writes it to the receiver's socket at once ([`Outbox::relay`]), without a turn of the receiver's
//! task; what the socket does not take waits for that task. One writes at a time: the one that took the half of the
//! socket out of the queue. The queue is not locked while the system is called. Nothing here decides what is dropped.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::close::CloseReason;
use super::frame::{Entry, Frame};
use super::queue::{AT_ONCE, OutboxLimits, Queue, Queued, Worth};
use super::syscall::send;

/// Times in a row that one caller writes before the connection's own task has to go on.
const WRITES_IN_A_ROW: u32 = 8;

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
            queue.last = queue.entries.len();
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

    /// Closes, and takes out what waits and is worth keeping, for the connection that comes after this one.
    pub fn close_and_take(&self, reason: CloseReason) -> Vec<String> {
        let mut queue = self.queue.lock();
        let entries = std::mem::take(&mut queue.entries);
        queue.bytes = 0;
        queue.last = 0;
        queue.close = Some(reason);
        self.call_task(queue);
        let kept = entries.into_iter().filter(|entry| entry.worth == Worth::Keep);
        kept.filter_map(|entry| match entry.frame {
            Frame::Text(text) => Some(text.as_str().to_owned()),
            Frame::Raw(_) => None,
        })
        .collect()
    }

    /// From now on frames are written to this half.
    pub(super) fn attach(&self, half: OwnedWriteHalf) {
        let mut queue = self.queue.lock();
        queue.half = Some(half);
        queue.attached = true;
        self.call_task(queue);
    }

    /// Lets the socket go. What waits is kept for the peer's next connection, or goes with the peer.
    pub(super) fn detach(&self) {
        let mut queue = self.queue.lock();
        queue.attached = false;
        queue.rest = Vec::new();
        let half = queue.half.take();
        drop(queue);
        drop(half);
    }

    /// Queues the bytes of a frame that the protocol itself sends; the connection's task does, and writes.
    pub(super) fn push_raw(&self, bytes: &[u8]) {
        let mut queue = self.queue.lock();
        if queue.close.is_some_and(CloseReason::keeps) {
            // What waits is not written any more.
            queue.rest.extend_from_slice(bytes);
        } else {
            queue.add(Entry {
                frame: Frame::Raw(bytes.to_vec()),
                worth: Worth::Keep,
            });
        }
        drop(queue);
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
                let written = MutexGuard::unlocked(&mut queue, || send(half.as_ref(), bytes));
                queue.written(written, bytes);
                if !queue.rest.is_empty() || queue.due() == 0 {
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

    /// Frames that wait, and their bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.entries.len(), queue.bytes)
    }

    /// Whether something waits and the socket took nothing since this was asked last.
    pub(super) fn is_stuck(&self) -> bool {
        let mut queue = self.queue.lock();
        !std::mem::take(&mut queue.progress) && !queue.is_empty()
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
