//! TLS in front of a connection: the handshake within limits, and then a tunnel to a socket that is served as any other. The
//! certificate can be exchanged while connections go on. Knows nothing of HTTP but how to tell a client of it where it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::{Answers, Serving, tunnel};
use crate::config::TlsConfig;

/// From the accepted connection to the end of its handshake, waiting for a turn included.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at one time, of clients that have begun theirs. Others wait for their turn.
const HANDSHAKES: usize = 1024;
/// For the client to end its half, so that what was said last is not lost to a reset.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of it that are taken meanwhile.
const LINGER_BYTES: u64 = 256 * 1024;
/// What every TLS connection begins with: a record of the handshake.
const HANDSHAKE_RECORD: u8 = 22;
/// For clients that speak plain HTTP here.
const WRONG_SCHEME: &str = r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"This port speaks HTTPS: use https:// or wss://"}"#;

/// The certificate of new connections, and the bound of their handshakes.
pub struct Tls {
    config: ArcSwap<TlsConfig>,
    handshakes: Semaphore,
    /// There was no pair of sockets for the last connection.
    short: AtomicBool,
}

impl Tls {
    /// With the certificate of the settings.
    #[must_use]
    pub fn new(config: &TlsConfig) -> Arc<Self> {
        Arc::new(Self {
            config: ArcSwap::from_pointee(config.clone()),
            handshakes: Semaphore::new(HANDSHAKES),
            short: AtomicBool::new(false),
        })
    }

    /// Takes another certificate for new connections; answers whether it is another one.
    pub fn replace(&self, config: &TlsConfig) -> bool {
        // The keys of tickets stay when nothing else changes.
        let differs = !self.config.load().is_same(config);
        if differs {
            self.config.store(Arc::new(config.clone()));
        }
        differs
    }

    /// The handshake of a client that has begun one.
    async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let _turn = self.handshakes.acquire().await.map_err(io::Error::other)?;
        let config = self.config.load().server.clone();
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// Serves one connection from its handshake to its last byte. The place is taken until then, by a WebSocket too.
pub(super) async fn connection<S: Answers>(
    tls: Arc<Tls>,
    mut stream: TcpStream,
    serving: Serving<S>,
    connections: TaskTracker,
    _place: OwnedSemaphorePermit,
) {
    let (peer, stop) = (serving.peer, serving.stop.clone());
    let handshake = async {
        match first_byte(&stream).await? {
            Some(HANDSHAKE_RECORD) => tls.accept(stream).await.map(|stream| Some(Box::new(stream))),
            Some(b'A'..=b'Z') => {
                send_to_https(&mut stream).await?;
                linger(stream).await;
                Ok(None)
            }
            _ => Ok(None),
        }
    };
    // In boxes, so that what lives long is small.
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(HANDSHAKE, Box::pin(handshake)) => shaken,
        () = stop.cancelled() => return,
    };
    let stream = match shaken {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => return tracing::debug!(%peer, "no TLS in time"),
    };
    let pair = tunnel::pair();
    let short = tls.short.swap(pair.is_err(), Ordering::Relaxed);
    let (near, far) = match pair {
        Ok(pair) => pair,
        Err(_) if short => return,
        Err(error) => return tracing::error!(%error, "cannot serve connections with TLS"),
    };
    let cut = serving.cut.clone();
    // The only one to set it.
    let _ = cut.0.serving.set(connections.spawn(serving.run(near)).abort_handle());
    if let Some(stream) = tunnel::run(stream, far).await {
        linger(stream).await;
    }
}

/// The first byte that the client says, left for others to read; none when it says nothing.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut first = [0];
    Ok((stream.peek(&mut first).await? > 0).then_some(first[0]))
}

/// Tells a client that speaks plain HTTP.
async fn send_to_https(stream: &mut TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{WRONG_SCHEME}",
        WRONG_SCHEME.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Waits for the client's end, for a moment. The own half is closed already.
async fn linger(stream: TcpStream) {
    let mut stream = stream.take(LINGER_BYTES);
    let ending = async {
        let mut unheard = [0; 1024];
        while stream.read(&mut unheard).await.is_ok_and(|read| read > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, ending).await;
}

#[cfg(test)]
pub(super) mod tests;
