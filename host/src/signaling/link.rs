//! The socket of one connection with its outbox and its pings: reads while there is something to read, then writes all that
//! waits and flushes once. Knows nothing of what messages mean.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{Sink as _, SinkExt as _, Stream as _};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite;

use super::close::CloseReason;
use super::outbox::{Outbox, Taken};

/// Messages read before what waits is written and others get their turn.
const READS_IN_A_ROW: u32 = 32;
/// For the client's half of a closing handshake.
const CLOSING: Duration = Duration::from_secs(2);
/// For a close frame to arrive before a socket with unread bytes is dropped.
const LINGER: Duration = Duration::from_millis(500);

/// What the connection has to deal with.
#[derive(Debug)]
pub(super) enum Event {
    Text(Utf8Bytes),
    Binary,
    /// The connection ends.
    End(CloseReason),
}

/// See the module.
pub(super) struct Link {
    socket: WebSocket,
    batch: VecDeque<Utf8Bytes>,
    timer: Pin<Box<Sleep>>,
    ping_interval: Duration,
    reads: u32,
    /// What waits is written at the next turn, after everybody whose message is there has been heard.
    deferred: bool,
    /// Something is written and not flushed.
    unflushed: bool,
    /// The socket takes nothing now.
    stalled: bool,
    /// The socket took something since the last tick.
    progress: bool,
    /// The client was heard since the last tick.
    heard: bool,
    /// A ping is out since the last tick.
    pinged: bool,
}

impl Link {
    /// `salt` spreads the first pings of connections that open together.
    pub(super) fn new(socket: WebSocket, ping_interval: Duration, salt: u64) -> Self {
        let first = ping_interval.mul_f64(0.8 + 0.2 * f64::from(u32::try_from(salt % 64).unwrap_or(0)) / 64.0);
        Self {
            socket,
            batch: VecDeque::new(),
            timer: Box::pin(tokio::time::sleep(first)),
            ping_interval,
            reads: 0,
            deferred: false,
            unflushed: false,
            stalled: false,
            progress: true,
            heard: true,
            pinged: false,
        }
    }

    /// The next thing to deal with; writes the outbox meanwhile.
    pub(super) async fn next(&mut self, outbox: &Outbox) -> Event {
        std::future::poll_fn(|cx| self.poll_next(cx, outbox)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<Event> {
        // Writing at once would wake the receiver's machine for each message alone. One turn later several wait, here
        // and at other connections, and go out together.
        if !self.deferred && !self.stalled && outbox.has_frames() {
            self.deferred = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if std::mem::take(&mut self.deferred)
            && let Poll::Ready(reason) = self.poll_write(cx, outbox)
        {
            return Poll::Ready(Event::End(reason));
        }
        let mut more_to_read = true;
        while !self.stalled && self.reads < READS_IN_A_ROW {
            match self.poll_read(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(event),
                Poll::Ready(None) => {}
                Poll::Pending => {
                    more_to_read = false;
                    break;
                }
            }
        }
        self.reads = 0;
        match self.poll_write(cx, outbox) {
            Poll::Ready(reason) => return Poll::Ready(Event::End(reason)),
            Poll::Pending if self.stalled => {
                if let Poll::Ready(reason) = outbox.poll_abandon(cx) {
                    return Poll::Ready(Event::End(reason));
                }
            }
            Poll::Pending if more_to_read => cx.waker().wake_by_ref(),
            Poll::Pending => {}
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Err(reason) = self.tick(cx) {
                return Poll::Ready(Event::End(reason));
            }
        }
        Poll::Pending
    }

    /// One message; `None` for one that needs no answer of ours.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let message = ready!(Pin::new(&mut self.socket).poll_next(cx));
        self.reads += 1;
        self.heard = true;
        Poll::Ready(match message {
            Some(Ok(Message::Text(text))) => Some(Event::Text(text)),
            Some(Ok(Message::Binary(_))) => Some(Event::Binary),
            Some(Ok(Message::Ping(_))) => {
                self.unflushed = true;
                None
            }
            Some(Ok(Message::Pong(_))) => None,
            Some(Ok(Message::Close(_))) | None => Some(Event::End(CloseReason::ByClient)),
            Some(Err(error)) => Some(Event::End(reason_of(error))),
        })
    }

    /// Writes all that waits. Ready when the connection has to end, pending otherwise.
    fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<CloseReason> {
        self.stalled = true;
        let asked_to_close = loop {
            while !self.batch.is_empty() {
                if ready!(Pin::new(&mut self.socket).poll_ready(cx)).is_err() {
                    return Poll::Ready(CloseReason::ByClient);
                }
                let Some(frame) = self.batch.pop_front() else { break };
                if Pin::new(&mut self.socket).start_send(Message::Text(frame)).is_err() {
                    return Poll::Ready(CloseReason::ByClient);
                }
                self.unflushed = true;
                self.progress = true;
            }
            match outbox.poll_take(cx, &mut self.batch) {
                Poll::Ready(Taken::Frames) => {}
                Poll::Ready(Taken::Close(reason)) => break Some(reason),
                Poll::Pending => break None,
            }
        };
        if self.batch.capacity() > 8 {
            self.batch = VecDeque::new();
        }
        if self.unflushed {
            if ready!(Pin::new(&mut self.socket).poll_flush(cx)).is_err() {
                return Poll::Ready(CloseReason::ByClient);
            }
            self.unflushed = false;
            self.progress = true;
        }
        self.stalled = false;
        asked_to_close.map_or(Poll::Pending, Poll::Ready)
    }

    /// A ping period is over.
    fn tick(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if self.stalled && !self.progress {
            return Err(CloseReason::SlowReader);
        }
        if self.pinged && !self.heard && !self.stalled {
            return Err(CloseReason::Silent);
        }
        (self.progress, self.heard, self.pinged) = (false, false, false);
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.socket).poll_ready(cx)
            && Pin::new(&mut self.socket)
                .start_send(Message::Ping(Bytes::new()))
                .is_ok()
        {
            self.pinged = true;
            self.unflushed = true;
            cx.waker().wake_by_ref();
        }
        self.timer.as_mut().reset(Instant::now() + self.ping_interval);
        Ok(())
    }

    /// Frames that were taken from the outbox and not written.
    pub(super) fn take_unwritten(&mut self) -> VecDeque<Utf8Bytes> {
        std::mem::take(&mut self.batch)
    }

    /// Ends the connection with the reason's code, within a bounded time.
    pub(super) async fn close(mut self, reason: CloseReason) {
        close(&mut self.socket, reason, |_| {}).await;
    }

    /// The same, and serves what the client sent before it heard of the end.
    pub(super) async fn close_serving(mut self, reason: CloseReason, serve: impl FnMut(&str)) {
        close(&mut self.socket, reason, serve).await;
    }
}

/// Sends the reason's close frame and waits for the client's, within a bounded time.
pub(super) async fn close(socket: &mut WebSocket, reason: CloseReason, mut serve: impl FnMut(&str)) {
    let closing = async {
        if reason == CloseReason::ByClient {
            // The answer to the client's close frame is queued already.
            let _ = socket.close().await;
            return;
        }
        let frame = CloseFrame {
            code: reason.code(),
            reason: Utf8Bytes::from_static(reason.as_str()),
        };
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        loop {
            match socket.recv().await {
                Some(Ok(Message::Close(_))) | None => return,
                Some(Ok(Message::Text(text))) => serve(&text),
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    if matches!(
                        reason,
                        CloseReason::TooLong | CloseReason::Protocol | CloseReason::NotText
                    ) {
                        tokio::time::sleep(LINGER).await;
                    }
                    return;
                }
            }
        }
    };
    let _ = tokio::time::timeout(CLOSING, closing).await;
}

/// What a broken socket is closed with.
pub(super) fn reason_of(error: axum::Error) -> CloseReason {
    match error.into_inner().downcast::<tungstenite::Error>().map(|error| *error) {
        Ok(tungstenite::Error::Capacity(_)) => CloseReason::TooLong,
        Ok(tungstenite::Error::Utf8(_)) => CloseReason::NotText,
        Ok(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
            CloseReason::ByClient
        }
        Ok(tungstenite::Error::Protocol(_)) => CloseReason::Protocol,
        _ => CloseReason::ByClient,
    }
}
