//! Connections with TLS under the loop that accepts them: their bound, their end, and the client that keeps one waiting.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use p2p_coordinator_tests::Certificates;
use p2p_coordinator_tests::wait::within;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::{Cut, run};
use super::*;
use crate::config::{self, Mode, Source};

/// The settings of a server with these files.
pub(in crate::serve) fn settings(certificates: &Certificates) -> TlsConfig {
    let file = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (cert, key) = (file(certificates.certificate()), file(certificates.key()));
    let source = Source::of(&[("TLS_CERT_FILE", &cert), ("TLS_KEY_FILE", &key)], &[]);
    let (config, report) = config::load(&source, Mode::Check);
    let config = config.unwrap_or_else(|| panic!("{:?}", report.problems));
    config.server.tls.unwrap()
}

struct Running {
    certificates: Certificates,
    address: String,
    connections: TaskTracker,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Running {
    async fn start(router: Router, most: usize) -> Self {
        let certificates = Certificates::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let tls = Some(Tls::new(&settings(&certificates)));
        let accepting = tokio::spawn(run(listener, tls, router, most, connections.clone(), stop.clone()));
        Self {
            certificates,
            address,
            connections,
            stop,
            accepting,
        }
    }

    /// Takes no more connections, and waits for those that are there.
    async fn end(self) {
        self.stop.cancel();
        self.accepting.await.unwrap();
        self.connections.close();
        within("the end of all connections", self.connections.wait()).await;
    }
}

#[tokio::test]
async fn requests_have_the_client_s_own_address() {
    let router = Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
    );
    let server = Running::start(router, 1).await;
    let mut client = server.certificates.connect(&server.address).await.unwrap();
    let own = client.get_ref().0.local_addr().unwrap().to_string();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within("the answer", client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&own), "{answer}");
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn an_unfinished_handshake_has_a_place_and_is_given_up_at_the_stop() {
    let server = Running::start(Router::new(), 1).await;
    let mut first = TcpStream::connect(&server.address).await.unwrap();
    first.write_all(&[HANDSHAKE_RECORD, 3, 1]).await.unwrap();
    let mut second = TcpStream::connect(&server.address).await.unwrap();
    let read = within("the end of the second", second.read(&mut [0])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let begin = std::time::Instant::now();
    server.end().await;
    assert!(begin.elapsed() < HANDSHAKE / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_answer_without_an_end_that_nobody_reads_is_cut() {
    let (tell, mut cuts) = tokio::sync::watch::channel(None);
    let router = Router::new().route(
        "/",
        get(move |axum::Extension(cut): axum::Extension<Cut>| async move {
            tell.send_replace(Some(cut));
            let block = || Ok::<_, Infallible>(vec![0_u8; 64 * 1024]);
            Body::from_stream(futures_util::stream::iter(std::iter::repeat_with(block)))
        }),
    );
    let server = Running::start(router, 1).await;
    let mut client = server.certificates.connect(&server.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
        .await
        .unwrap();
    let cut: Cut = cuts.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    cut.now();
    server.end().await;
    drop(client);
}

#[test]
fn the_task_of_an_idle_connection_is_small() {
    fn size<F: Future, A, B, C, D, E>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        std::mem::size_of::<F>()
    }
    assert!(size(connection::<Router>) < 2048, "{}", size(connection::<Router>));
}
