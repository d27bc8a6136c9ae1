//! The socket of one connection with its outbox and its pings: reads while there is something to read, and writes what its
//! outbox could not write at once. Knows nothing of what messages mean.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, error::ProtocolError};

use super::close::CloseReason;
use super::room::Peer;
use super::stream::WebSocket;

/// Messages read before others get their turn.
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
    peer: Arc<Peer>,
    timer: Pin<Box<Sleep>>,
    ping_interval: Duration,
    reads: u32,
    /// What waits is written at the next turn, after everybody whose message is there has been heard.
    deferred: bool,
    /// The socket takes nothing now.
    stalled: bool,
    /// The client was heard since the last tick.
    heard: bool,
    /// A ping is out since the last tick.
    pinged: bool,
}

impl Link {
    /// From now on the peer's outbox writes to the socket.
    pub(super) fn new(mut socket: WebSocket, peer: Arc<Peer>, ping_interval: Duration) -> Self {
        socket.hand_over(&peer);
        // Spreads the first pings of connections that open together.
        let salt = u32::try_from(peer.generation() % 64).unwrap_or(0);
        let first = ping_interval.mul_f64(0.8 + 0.2 * f64::from(salt) / 64.0);
        Self {
            socket,
            peer,
            timer: Box::pin(tokio::time::sleep(first)),
            ping_interval,
            reads: 0,
            deferred: false,
            stalled: false,
            heard: true,
            pinged: false,
        }
    }

    /// The next thing to deal with; writes the outbox meanwhile.
    pub(super) async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether the message that `next` returned last is one of several that were there together.
    pub(super) fn in_burst(&self) -> bool {
        self.reads > 1
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.peer.outbox.wants_task() {
            // Writing at once would wake the receiver's machine for each message alone. One turn later several wait, here
            // and at other connections, and go out together.
            if !self.stalled && !self.deferred {
                self.deferred = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.deferred = false;
            match self.peer.outbox.poll(cx, self.socket.stream()) {
                Poll::Ready(Some(reason)) => return Poll::Ready(Event::End(reason)),
                written => self.stalled = written.is_pending(),
            }
        }
        // Who does not read what it is sent is not read either.
        while !self.stalled && self.reads < READS_IN_A_ROW {
            match self.poll_read(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(event),
                Poll::Ready(None) => {}
                Poll::Pending => break,
            }
        }
        if self.reads >= READS_IN_A_ROW {
            cx.waker().wake_by_ref();
        }
        self.reads = 0;
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Err(reason) = self.tick(cx) {
                return Poll::Ready(Event::End(reason));
            }
        }
        Poll::Pending
    }

    /// One message; `None` for one that needs no answer of ours.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let message = ready!(self.socket.poll_next(cx));
        self.reads += 1;
        self.heard = true;
        Poll::Ready(match message {
            Some(Ok(Message::Text(text))) => Some(Event::Text(text)),
            Some(Ok(Message::Binary(_))) => Some(Event::Binary),
            Some(Ok(Message::Ping(_))) => {
                // The pong is queued, and goes out now or with what waits.
                self.stalled = self.socket.poll_flush(cx).is_pending();
                None
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => None,
            Some(Ok(Message::Close(_))) | None => Some(Event::End(CloseReason::ByClient)),
            Some(Err(error)) => Some(Event::End(reason_of(&error))),
        })
    }

    /// A ping period is over.
    fn tick(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if self.peer.outbox.is_stuck() {
            return Err(CloseReason::SlowReader);
        }
        if self.pinged && !self.heard && !self.stalled {
            return Err(CloseReason::Silent);
        }
        (self.heard, self.pinged) = (false, false);
        if !self.stalled && self.socket.start_send(cx, Message::Ping(Bytes::new())).is_ok() {
            self.pinged = true;
            self.stalled = self.socket.poll_flush(cx).is_pending();
        }
        self.timer.as_mut().reset(Instant::now() + self.ping_interval);
        Ok(())
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
            let _ = socket.flush().await;
            return;
        }
        let frame = CloseFrame {
            code: reason.code().into(),
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
pub(super) fn reason_of(error: &Error) -> CloseReason {
    match error {
        Error::Capacity(_) => CloseReason::TooLong,
        Error::Utf8(_) => CloseReason::NotText,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseReason::ByClient,
        Error::Protocol(_) => CloseReason::Protocol,
        _ => CloseReason::ByClient,
    }
}
