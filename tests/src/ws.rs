//! A signaling client: one WebSocket, JSON messages, every wait with an end.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Client;
use crate::server::{API_KEY, Server, Stream};
use crate::wait::within;

/// An open signaling socket.
pub struct Ws {
    stream: WebSocketStream<Box<dyn Stream>>,
    protocol: Option<String>,
}

impl std::fmt::Debug for Ws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ws")
    }
}

impl Ws {
    /// Opens a socket with this query (without the `?`) and these headers. `Err` is the status that refused the upgrade.
    pub async fn try_open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mark = if query.is_empty() { "" } else { "?" };
        Self::try_open_path(server, &format!("/api/v1/signaling/ws{mark}{query}"), headers).await
    }

    /// Opens a socket with this path.
    pub async fn try_open_path(server: &Server, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let url = format!("ws://{}{path}", server.address());
        Self::upgrade(server.connect().await, &url, headers).await
    }

    /// Opens a socket at any address, without TLS.
    pub async fn try_open_url(url: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let uri: http::Uri = url.parse().expect("a URL");
        let address = uri.authority().expect("an address").as_str();
        let stream = within("a connection", TcpStream::connect(address)).await;
        Self::upgrade(Box::new(stream.expect("a connection")), url, headers).await
    }

    async fn upgrade(stream: Box<dyn Stream>, url: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a header name");
            request
                .headers_mut()
                .insert(name, value.parse().expect("a header value"));
        }
        match within("the upgrade", client_async(request, stream)).await {
            Ok((stream, response)) => {
                let protocol = response.headers().get("sec-websocket-protocol");
                Ok(Self {
                    protocol: protocol.and_then(|v| v.to_str().ok()).map(ToOwned::to_owned),
                    stream,
                })
            }
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{url}: {error}"),
        }
    }

    /// Opens a socket and panics when it is refused.
    pub async fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_open(server, query, headers)
            .await
            .unwrap_or_else(|s| panic!("{query}: refused with {s}"))
    }

    /// A peer's socket, opened with the API key.
    pub async fn peer(server: &Server, peer_id: &str) -> Self {
        Self::open(server, &format!("peer_id={peer_id}"), &[("x-api-key", API_KEY)]).await
    }

    /// A player's socket, opened with its token in the query.
    pub async fn player(server: &Server, player: &Client, peer_id: &str) -> Self {
        Self::open(server, &format!("peer_id={peer_id}&token={}", player.bearer()), &[]).await
    }

    /// A peer's socket that has joined a session; the answer to the join is read.
    pub async fn joined(server: &Server, peer_id: &str, session_id: &str) -> Self {
        let mut ws = Self::peer(server, peer_id).await;
        ws.join(session_id).await;
        ws
    }

    /// The subprotocol that the server chose.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Sends a JSON message.
    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: &str) {
        within("sending", self.stream.send(Message::text(text)))
            .await
            .expect("the socket takes a message");
    }

    /// Sends any text, and says whether the socket took it.
    pub async fn try_send_text(&mut self, text: &str) -> bool {
        within("sending", self.stream.send(Message::text(text))).await.is_ok()
    }

    /// Sends a binary message.
    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        within("sending", self.stream.send(Message::binary(bytes)))
            .await
            .expect("the socket takes a message");
    }

    /// Sends a ping and waits for its pong; other messages in between are an error.
    pub async fn ping(&mut self) {
        within("sending", self.stream.send(Message::Ping(b"?".to_vec().into())))
            .await
            .expect("the socket takes a ping");
        match within("a pong", self.stream.next()).await {
            Some(Ok(Message::Pong(_))) => {}
            other => panic!("wanted a pong, got {other:?}"),
        }
    }

    /// Joins a session and returns the answer.
    pub async fn join(&mut self, session_id: &str) -> Value {
        self.send(&json!({ "type": "join", "session_id": session_id })).await;
        self.expect("session-joined").await
    }

    /// The next message, none when the socket closed. Control frames are passed over.
    pub async fn next(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match within("a message", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON: {e}: {text}")));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(Message::Binary(_))) => panic!("the server sent binary"),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next message, which must have this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        match self.next().await {
            Ok(message) if message["type"] == kind => message,
            other => panic!("wanted `{kind}`, got {other:?}"),
        }
    }

    /// The next `error`, which must have a readable text.
    pub async fn expect_error(&mut self) -> String {
        let error = self.expect("error").await;
        let text = error["message"]
            .as_str()
            .unwrap_or_else(|| panic!("`message`: {error}"));
        assert!(!text.is_empty());
        text.to_owned()
    }

    /// Reads until a message of this type comes.
    pub async fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Ok(message) if message["type"] == kind => return message,
                Ok(_) => {}
                Err(frame) => panic!("closed while waiting for `{kind}`: {frame:?}"),
            }
        }
    }

    /// Reads until the socket closes; returns the close code (1006 when there was none).
    pub async fn wait_for_close(&mut self) -> u16 {
        loop {
            if let Err(frame) = self.next().await {
                return frame.map_or(1006, |f| f.code.into());
            }
        }
    }

    /// Closes the socket in good order.
    pub async fn close(mut self) {
        self.stream.close(None).await.ok();
    }
}
