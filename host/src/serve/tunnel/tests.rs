//! The tunnel between real sockets: what a slow client does to the service's end, and what becomes of words said last.

use std::sync::Arc;

use p2p_coordinator_tests::Certificates;
use p2p_coordinator_tests::wait::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client;

use super::super::tls::tests::settings;
use super::*;

/// A client, the service's end, and the tunnel between the two.
async fn tunnel() -> (client::TlsStream<TcpStream>, TcpStream, JoinHandle<bool>) {
    let certificates = Certificates::new();
    let acceptor = TlsAcceptor::from(Arc::clone(&settings(&certificates).server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepting = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let (client, accepted) = tokio::join!(certificates.connect(&address), accepting);
    let (near, far) = pair().unwrap();
    let moving = tokio::spawn(async move { run(Box::new(accepted), far).await.is_some() });
    (client.unwrap(), near, moving)
}

/// Writes until nothing has been taken for a second; answers how many bytes were.
async fn fill(near: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(wrote) = tokio::time::timeout(Duration::from_secs(1), near.write(bytes)).await {
        taken += wrote.unwrap();
    }
    taken
}

#[tokio::test]
async fn a_client_that_does_not_read_is_slow_at_the_other_end_and_loses_nothing() {
    let (mut client, mut near, moving) = tunnel().await;
    let taken = fill(&mut near, &[7; 10_000]).await;
    assert!(
        taken < 16 * 1024 * 1024,
        "{taken} bytes for a client that reads nothing"
    );
    // What it says arrives all the same.
    client.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    within("the client's word", near.read_exact(&mut heard)).await.unwrap();
    drop(near);
    let mut all = Vec::new();
    within("all of it", client.read_to_end(&mut all)).await.unwrap();
    assert_eq!((all.len(), all.iter().all(|byte| *byte == 7)), (taken, true));
    drop(client);
    assert!(moving.await.unwrap(), "an end in good order");
}

#[tokio::test]
async fn last_words_arrive_though_the_service_did_not_hear_the_client_out() {
    let (mut client, mut near, moving) = tunnel().await;
    client.write_all(&[1; 5000]).await.unwrap();
    within("some of it", near.read_exact(&mut [0; 10])).await.unwrap();
    near.write_all(&[2; 50_000]).await.unwrap();
    drop(near);
    let mut all = Vec::new();
    within("the end", client.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 50_000);
    drop(client);
    assert!(moving.await.unwrap());
}

#[tokio::test]
async fn a_client_that_says_its_last_is_still_answered() {
    let (mut client, mut near, moving) = tunnel().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    within("the question", near.read_to_string(&mut question))
        .await
        .unwrap();
    assert_eq!(question, "question");
    near.write_all(b"answer").await.unwrap();
    drop(near);
    let mut answer = String::new();
    within("the answer", client.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(answer, "answer");
    assert!(moving.await.unwrap());
}

#[tokio::test]
async fn a_client_that_is_gone_ends_the_service_s_end() {
    let (client, mut near, moving) = tunnel().await;
    socket2::SockRef::from(client.get_ref().0)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let read = within("the end", near.read(&mut [0; 10])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(near);
    within("the end of the tunnel", moving).await.unwrap();
}

#[tokio::test]
async fn a_tunnel_does_not_wait_long_for_a_client_that_never_reads() {
    let (client, mut near, moving) = tunnel().await;
    fill(&mut near, &[7; 10_000]).await;
    drop(near);
    assert!(
        !within("the end of the tunnel", moving).await.unwrap(),
        "not all was said"
    );
    drop(client);
}
