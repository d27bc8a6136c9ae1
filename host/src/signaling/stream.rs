//! A WebSocket on its TCP stream: the protocol is tungstenite's, the readiness tokio's, with nothing between the two, so that a
//! read or a write costs the system call and little else. One task reads and writes. Knows nothing of what messages mean.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::room::Peer;
use super::syscall::poll_receive;
use super::wire::MAX_MESSAGE;

/// Read at once from a socket: most signaling messages fit. Larger buffers are zeroed again and again, and kept by idle
/// connections.
const READ_BUFFER: usize = 2 * 1024;
/// Written frames gathered before the socket is asked to take them.
const WRITE_BUFFER: usize = 16 * 1024;
/// Written frames that wait for the socket at most; beyond it the outbox takes over.
const MAX_WRITE_BUFFER: usize = 4 * MAX_MESSAGE;

/// See the module.
pub(super) struct WebSocket {
    read: OwnedReadHalf,
    write: Side,
    protocol: WebSocketContext,
    /// The stream did not take what was written last.
    blocked: bool,
    ended: bool,
}

/// Where frames go.
enum Side {
    /// To the stream.
    Own(OwnedWriteHalf),
    /// Through the outbox of a peer, which writes for others as well.
    Outbox(Arc<Peer>),
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        if let Side::Outbox(peer) = &self.write {
            peer.outbox.detach();
        }
    }
}

impl WebSocket {
    /// After the handshake; `read` was read beyond it.
    pub(super) fn new(stream: TcpStream, read: Vec<u8>) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let (read_half, write_half) = stream.into_split();
        Self {
            read: read_half,
            write: Side::Own(write_half),
            protocol: WebSocketContext::from_partially_read(read, Role::Server, Some(config)),
            blocked: false,
            ended: false,
        }
    }

    /// Lets the peer's outbox write from now on. What is written here goes through it.
    pub(super) fn hand_over(&mut self, peer: &Arc<Peer>) {
        if let Side::Own(half) = std::mem::replace(&mut self.write, Side::Outbox(Arc::clone(peer))) {
            peer.outbox.attach(half);
        }
    }

    /// The stream, to wait for it.
    pub(super) fn stream(&self) -> &TcpStream {
        self.read.as_ref()
    }

    /// The next message; `None` after the last. Answers to pings and to the client's close frame are queued, and written with
    /// the next flush.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut stream = Ready {
            read: &self.read,
            write: &mut self.write,
            cx,
        };
        match self.protocol.read(&mut stream) {
            Ok(message) => Poll::Ready(Some(Ok(message))),
            Err(error) if would_block(&error) => Poll::Pending,
            Err(error) => {
                self.ended = true;
                match error {
                    Error::AlreadyClosed | Error::ConnectionClosed => Poll::Ready(None),
                    error => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }

    /// Whether another message may be written.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.blocked {
            self.poll_flush(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes a message, after `poll_ready`; it may be gathered with others until the next flush.
    pub(super) fn start_send(&mut self, cx: &mut Context<'_>, message: Message) -> Result<(), Error> {
        let mut stream = Ready {
            read: &self.read,
            write: &mut self.write,
            cx,
        };
        match self.protocol.write(&mut stream, message) {
            // The message is queued all the same.
            Err(error) if would_block(&error) => {
                self.blocked = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Hands all that is written to the system.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut stream = Ready {
            read: &self.read,
            write: &mut self.write,
            cx,
        };
        match self.protocol.flush(&mut stream) {
            Err(error) if would_block(&error) => Poll::Pending,
            outcome => {
                if let Side::Outbox(peer) = &self.write {
                    ready!(peer.outbox.poll_write(cx, self.read.as_ref()));
                }
                self.blocked = false;
                // The closing handshake is over: what there was to write is written.
                Poll::Ready(match outcome {
                    Err(Error::ConnectionClosed) => Ok(()),
                    outcome => outcome,
                })
            }
        }
    }

    /// As `poll_next`.
    pub(super) async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Writes a message and flushes it.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), Error> {
        poll_fn(|cx| self.poll_ready(cx)).await?;
        let mut message = Some(message);
        poll_fn(|cx| Poll::Ready(message.take().map_or(Ok(()), |message| self.start_send(cx, message)))).await?;
        self.flush().await
    }

    /// As `poll_flush`.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The stream as the protocol sees it while the task is polled: what is not ready would block, and wakes the task.
struct Ready<'a, 'w> {
    read: &'a OwnedReadHalf,
    write: &'a mut Side,
    cx: &'a mut Context<'w>,
}

impl Read for Ready<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match poll_receive(self.read.as_ref(), self.cx, buffer) {
            Poll::Ready(received) => received,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Ready<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.write {
            Side::Own(half) => match Pin::new(half).poll_write(self.cx, bytes) {
                Poll::Ready(written) => written,
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            },
            Side::Outbox(peer) => {
                peer.outbox.push_raw(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
