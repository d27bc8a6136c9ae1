//! Moves bytes between a TLS connection and a pair of sockets, whose other end is served as if it were the client.
//!
//! Nothing is kept here but what one side has not taken yet, and nothing more is read before it has: a slow client looks slow at
//! the other end. An idle tunnel has no buffer. Knows nothing of what the bytes mean.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufRead as _, AsyncWrite as _, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// Bytes moved at once: what fits into one record of TLS.
const CHUNK: usize = 16 * 1024;
/// Chunks moved in one direction before the other one has its turn.
const CHUNKS_IN_A_ROW: u32 = 16;
/// Bytes on their way from one end of the pair to the other, for each direction; the system doubles it for its own needs.
const SEND_BUFFER: usize = 64 * 1024;
/// For the client to take some of what was said last, once the service has closed its end.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Times that it gets it, as long as it takes some.
const LAST_TIMES: u32 = 12;

/// Two connected sockets: the end to serve, which works as any TCP stream does, and the end of the tunnel.
pub(super) fn pair() -> io::Result<(TcpStream, UnixStream)> {
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    for end in [&near, &far] {
        end.set_nonblocking(true)?;
        SockRef::from(end).set_send_buffer_size(SEND_BUFFER)?;
    }
    let near = std::net::TcpStream::from(OwnedFd::from(near));
    Ok((TcpStream::from_std(near)?, UnixStream::from_std(far)?))
}

/// Moves bytes until both sides are done, the client is gone, or it does not take the last of them. Gives the stream back after
/// an end in good order, with its own half closed.
pub(super) async fn run(mut tls: Box<TlsStream<TcpStream>>, plain: UnixStream) -> Option<TcpStream> {
    let moved = AtomicBool::new(false);
    let mut tunnel = Tunnel {
        tls: &mut tls,
        plain: &plain,
        moved: &moved,
        heard: false,
        rest: Vec::new(),
    };
    let last_words = async {
        closed(&plain).await;
        for _ in 0..LAST_TIMES {
            moved.store(false, Ordering::Relaxed);
            tokio::time::sleep(LAST_WORDS).await;
            if !moved.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let ended = tokio::select! {
        ended = poll_fn(|cx| tunnel.poll(cx)) => ended.is_ok(),
        () = last_words => false,
    };
    ended.then(|| tls.into_inner().0)
}

/// Waits until the service has closed its end, be there something left to read or not.
async fn closed(plain: &UnixStream) {
    // No such socket has urgent data, so this is ready with the end alone.
    let _ = plain.ready(Interest::PRIORITY).await;
}

struct Tunnel<'a> {
    tls: &'a mut TlsStream<TcpStream>,
    plain: &'a UnixStream,
    /// The client has taken something, so that more could be read for it.
    moved: &'a AtomicBool,
    /// The client has said its last, or nobody listens to it.
    heard: bool,
    /// What the client has not taken yet.
    rest: Vec<u8>,
}

impl Tunnel<'_> {
    /// Ready when the service has closed its end and all is said, or with an error when the client is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.heard && self.poll_inward(cx)?.is_ready() {
            self.heard = true;
            // The service may have closed its end already.
            let _ = SockRef::from(self.plain).shutdown(Shutdown::Write);
        }
        self.poll_outward(cx)
    }

    /// From the client to the service. Ready when nothing more comes, or nobody takes it.
    fn poll_inward(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..CHUNKS_IN_A_ROW {
            let said = match ready!(Pin::new(&mut *self.tls).poll_fill_buf(cx)) {
                Ok(said) => said,
                // Many clients close the connection without a word.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            };
            if said.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.plain.try_write(said) {
                Ok(taken) => Pin::new(&mut *self.tls).consume(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(self.plain.poll_write_ready(cx)).is_err() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(_) => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// From the service to the client. Ready when all is said and the end of it too.
    fn poll_outward(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        thread_local! {
            static BYTES: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
        }
        for _ in 0..CHUNKS_IN_A_ROW {
            while !self.rest.is_empty() {
                let taken = ready!(Pin::new(&mut *self.tls).poll_write(cx, &self.rest))?;
                self.rest.drain(..taken);
            }
            self.rest = Vec::new();
            // Only what is with the system is off our hands.
            ready!(Pin::new(&mut *self.tls).poll_flush(cx))?;
            ready!(self.plain.poll_read_ready(cx))?;
            let read = BYTES.with_borrow_mut(|bytes| match self.plain.try_read(bytes) {
                Ok(read) => {
                    let mut left = &bytes[..read];
                    while !left.is_empty() {
                        match Pin::new(&mut *self.tls).poll_write(cx, left) {
                            Poll::Ready(taken) => left = &left[taken?..],
                            Poll::Pending => break,
                        }
                    }
                    self.rest.extend_from_slice(left);
                    Ok(Some(read))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                // The service closed its end before it had heard all that the client said.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(Some(0)),
                Err(error) => Err(error),
            })?;
            self.moved.store(true, Ordering::Relaxed);
            if read == Some(0) {
                return Pin::new(&mut *self.tls).poll_shutdown(cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
