//! Accepts connections and serves HTTP/1.1 on them, with limits on time and size before any handler runs. Knows no route.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::ServerConfig;

/// Connections the system holds until they are accepted.
const BACKLOG: u32 = 4096;
/// Time for one request's head, and how long a connection may idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// Connections for plain requests, beside one for each upgrade that `WS_MAX_CONNECTIONS` allows.
const HEADROOM: usize = 1024;
/// Pause after the system refused to accept, for example without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Ends the connection that a request came by, whatever is still to be written on it. An extension of requests for a stream of
/// events, whose answers have no end: a client that reads no more would hold their connection for as long as the drain takes.
#[derive(Clone, Debug, Default)]
pub struct Cut(Arc<OnceLock<AbortHandle>>);

impl Cut {
    /// Ends the connection at once.
    pub fn now(&self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

/// Binds the configured address.
///
/// # Errors
///
/// When the address is in use or not ours; the text names the setting to change.
pub fn bind(config: &ServerConfig) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(config.host, config.port);
    let listen = || -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| anyhow::anyhow!("cannot listen on {address}: {error}; {}", mend(&error, config.port)))
}

fn mend(error: &std::io::Error, port: u16) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "another program has it (ss -ltnp 'sport = :{port}' tells which): end that one, or set PORT (now {port}) to a free port"
        ),
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "ports below 1024 need a right of their own: set PORT (now {port}) to a higher one, with nginx in front"
            )
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "set HOST to an address of this machine, or to 0.0.0.0 for all of them".to_owned()
        }
        _ => format!("set PORT (now {port}) to a free port, and HOST to an address of this machine"),
    }
}

/// Most connections at one time that are no WebSocket, or not yet. Further ones are closed as they come.
#[must_use]
pub const fn bound(max_websockets: usize) -> usize {
    max_websockets.saturating_add(HEADROOM)
}

/// Serves until `stop` is cancelled; then connections finish the request in hand. Runs them on `connections`, at most `most`
/// at one time. `service` has to be ready always.
pub async fn run<S>(listener: TcpListener, service: S, most: usize, connections: TaskTracker, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    let mut turned_away: u64 = 0;
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let Ok(place) = places.clone().try_acquire_owned() else {
                    if turned_away == 0 {
                        tracing::warn!(most, "too many connections: further ones are closed at once");
                    }
                    turned_away += 1;
                    continue;
                };
                if turned_away > 0 {
                    tracing::info!(turned_away, "connections are taken again");
                    turned_away = 0;
                }
                let cut = Cut::default();
                let serving = connection(stream, peer, service.clone(), place, stop.clone(), cut.clone());
                // The first one to set it.
                let _ = cut.0.set(connections.spawn(serving).abort_handle());
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::error!(%error, "cannot accept connections");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Serves one connection. A WebSocket gives the place back with its upgrade: signaling has a bound of its own.
async fn connection<S>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    _place: OwnedSemaphorePermit,
    stop: CancellationToken,
    cut: Cut,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Small messages must not wait for each other.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if wants_events(request.headers()) {
            request.extensions_mut().insert(cut.clone());
        }
        service.clone().call(request.map(Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

/// Whether the answer may be a stream of events, as a browser's `EventSource` asks for.
fn wants_events(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|kind| kind == "text/event-stream")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn local() -> ServerConfig {
        ServerConfig {
            host: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            shutdown_grace: Duration::from_secs(1),
            trusted_proxies: Vec::new(),
            max_connections: 1,
            worker_threads: None,
        }
    }

    #[tokio::test]
    async fn a_request_in_hand_is_answered_after_the_stop() {
        let listener = bind(&local()).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopping = stop.clone();
        let router = Router::new().route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
                stopping.cancel();
                tokio::task::yield_now().await;
                peer.ip().to_string()
            }),
        );
        let server = tokio::spawn(run(listener, router, 2, connections.clone(), stop));
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("127.0.0.1"),
            "{answer}"
        );
        server.await.unwrap();
        connections.close();
        connections.wait().await;
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "idle connections are closed");
    }

    #[tokio::test]
    async fn connections_over_the_bound_are_closed_at_once() {
        let listener = bind(&local()).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "here" }));
        let server = tokio::spawn(run(listener, router, 1, TaskTracker::new(), stop.clone()));
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let read = second.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        first
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_without_an_end_that_nobody_reads_is_cut() {
        let listener = bind(&local()).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let (tell, cuts) = tokio::sync::watch::channel(None);
        let router = Router::new().route(
            "/",
            get(move |axum::Extension(cut): axum::Extension<Cut>| async move {
                tell.send_replace(Some(cut));
                let block = || Ok::<_, Infallible>(vec![0_u8; 64 * 1024]);
                Body::from_stream(futures_util::stream::iter(std::iter::repeat_with(block)))
            }),
        );
        let server = tokio::spawn(run(listener, router, 1, connections.clone(), stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
            .await
            .unwrap();
        let mut cuts = cuts;
        let cut = cuts.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        stop.cancel();
        server.await.unwrap();
        connections.close();
        cut.now();
        connections.wait().await;
        drop(client);
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let taken = bind(&local()).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(&ServerConfig { port, ..local() }).unwrap_err();
        assert!(
            error.to_string().contains(&format!("set PORT (now {port})")),
            "{error:#}"
        );
    }
}
