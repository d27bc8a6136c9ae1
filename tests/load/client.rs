//! The cheapest client that is correct: prepared bytes out, lengths parsed in. So that the load is never the bottleneck.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// For one answer of a server.
const PATIENCE: Duration = Duration::from_secs(20);

/// A socket with a buffer of what was read and not used.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Wire {
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            start: 0,
        })
    }

    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
        self.buffer.reserve(2048);
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        ensure!(
            read.context("no answer in time")?? > 0,
            "the server closed the connection"
        );
        Ok(())
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads an HTTP answer whole, and returns its status and body.
    pub async fn http_answer(&mut self) -> anyhow::Result<(u16, Vec<u8>)> {
        loop {
            if let Some(end) = self.unread().windows(4).position(|window| window == b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.unread()[..end])?.to_owned();
                let status = head.get(9..12).context("no status")?.parse()?;
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
                self.start += end + 4;
                while self.unread().len() < length {
                    self.fill().await?;
                }
                let body = self.unread()[..length].to_vec();
                self.start += length;
                return Ok((status, body));
            }
            self.fill().await?;
        }
    }

    /// Opens a WebSocket.
    pub async fn upgrade(port: u16, target: &str, token: &str) -> anyhow::Result<Self> {
        let mut wire = Self::connect(port).await?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        wire.send(request.as_bytes()).await?;
        let (status, body) = wire.http_answer().await?;
        ensure!(
            status == 101,
            "upgrade answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(wire)
    }

    /// Reads one text frame; pings pass by unanswered, a load takes less than a ping period.
    pub async fn frame(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            let Some((opcode, header, length)) = frame_head(self.unread()) else {
                self.fill().await?;
                continue;
            };
            while self.unread().len() < header + length {
                self.fill().await?;
            }
            let (from, to) = (self.start + header, self.start + header + length);
            self.start = to;
            match opcode {
                1 => return Ok(&self.buffer[from..to]),
                9 | 10 => {}
                _ => bail!("the server closed: {}", String::from_utf8_lossy(&self.buffer[from..to])),
            }
        }
    }

    /// Reads frames until one is of this type.
    pub async fn frame_of(&mut self, kind: &str) -> anyhow::Result<()> {
        self.frame_with(&format!("{{\"type\":\"{kind}\"")).await
    }

    /// Reads frames until one begins like this.
    pub async fn frame_with(&mut self, head: &str) -> anyhow::Result<()> {
        for _ in 0..10_000 {
            let frame = self.frame().await?;
            if frame.starts_with(head.as_bytes()) {
                return Ok(());
            }
            ensure!(
                !frame.starts_with(b"{\"type\":\"error\""),
                "{}",
                String::from_utf8_lossy(frame)
            );
        }
        bail!("no {head} among 10,000 messages");
    }
}

/// Opcode, length of the header and of the payload of an unmasked frame; none while the header is incomplete.
fn frame_head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let [first, second, ..] = *bytes else { return None };
    Some(match second & 0x7f {
        126 => (
            first & 0xf,
            4,
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
        ),
        127 => {
            let length = u64::from_be_bytes(*bytes.get(2..10)?.first_chunk()?);
            (first & 0xf, 10, usize::try_from(length).ok()?)
        }
        short => (first & 0xf, 2, usize::from(short)),
    })
}

/// A text frame as a client sends it. The mask is zero: correct, and costs the load nothing.
pub fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length.min(65_535) as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// An HTTP request that keeps its connection.
pub fn request(method: &str, target: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
