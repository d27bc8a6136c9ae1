//! Reading and writing a socket that does not block, with a system call and nothing around it: those of the C library are
//! points where a thread may be cancelled, and each pays for that. Readiness stays tokio's.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads what is there; 0 at the end of the stream. The task is woken when there is something.
pub(super) fn poll_receive(stream: &TcpStream, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match receive(stream, buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return Poll::Ready(received),
        }
    }
}

fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut received = None;
    let outcome = stream.try_io(Interest::READABLE, || {
        let (bytes, _) = retry_on_intr(|| rustix::net::recv(stream, &mut *buffer, RecvFlags::empty()))?;
        received = Some(bytes);
        // Less than asked for: the socket is empty, and tokio need not ask it again before it says so.
        if bytes > 0 && bytes < buffer.len() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            Ok(())
        }
    });
    match received {
        Some(bytes) => Ok(bytes),
        None => outcome.map(|()| 0),
    }
}

/// Writes what the socket takes at once.
///
/// # Errors
/// `WouldBlock` when that is nothing.
pub(super) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_io(Interest::WRITABLE, || {
        Ok(retry_on_intr(|| rustix::net::send(stream, bytes, SendFlags::NOSIGNAL))?)
    })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (one, two) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.unwrap(), two.unwrap().0)
    }

    #[tokio::test]
    async fn everything_arrives_in_pieces_of_any_size() {
        let (mut far, near) = pair().await;
        let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let sender = tokio::spawn(async move {
            for piece in sent.chunks(7_919) {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (mut received, mut buffer) = (Vec::new(), [0; 2048]);
        loop {
            match poll_fn(|cx| poll_receive(&near, cx, &mut buffer)).await.unwrap() {
                0 => break,
                bytes => received.extend_from_slice(&buffer[..bytes]),
            }
        }
        sender.await.unwrap();
        assert!(received == expected);
    }

    #[tokio::test]
    async fn a_full_socket_would_block_and_takes_more_later() {
        let (mut far, near) = pair().await;
        let mut sent = 0;
        let error = loop {
            near.writable().await.unwrap();
            match send(&near, &[7; 64 * 1024]) {
                Ok(bytes) => sent += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let mut read = vec![0; sent];
        far.read_exact(&mut read).await.unwrap();
        near.writable().await.unwrap();
        assert_eq!(send(&near, b"more").unwrap(), 4);
        drop(near);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"more");
    }

    #[tokio::test]
    async fn a_broken_connection_is_an_error_and_no_signal() {
        let (far, near) = pair().await;
        far.set_zero_linger().unwrap();
        drop(far);
        let received = poll_fn(|cx| poll_receive(&near, cx, &mut [0; 8])).await;
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(send(&near, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
