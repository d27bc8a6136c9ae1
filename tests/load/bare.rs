//! The bare servers: the least that relays a message, acknowledges a heartbeat or answers with a host. No rooms, no limits, no
//! rights, no bounds: what the libraries alone can do.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Json, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, WebSocketError, upgrade};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, server::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Peers by name.
struct Directory<T>(RwLock<HashMap<String, UnboundedSender<T>>>);

impl<T> Directory<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(RwLock::default()))
    }

    fn add(&self, peer: &str, sender: UnboundedSender<T>) {
        if let Ok(mut peers) = self.0.write() {
            peers.insert(peer.to_owned(), sender);
        }
    }

    fn remove(&self, peer: &str) {
        if let Ok(mut peers) = self.0.write() {
            peers.remove(peer);
        }
    }

    fn send(&self, to: &str, message: T) {
        if let Ok(peers) = self.0.read()
            && let Some(sender) = peers.get(to)
        {
            let _ = sender.send(message);
        }
    }
}

/// All that a bare relay reads of a message.
#[derive(Deserialize)]
struct Routed<'a> {
    to: &'a str,
}

/// Starts the bare server that the arguments name.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let number = |name: &str| -> Option<usize> {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let port = u16::try_from(number("--port").context("--port is needed")?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        match arguments.first().map(String::as_str) {
            Some("bare-axum") => serve_axum(listener, number("--buffer").unwrap_or(4096)).await,
            Some("bare-fastwebsockets") => serve_fastwebsockets(listener).await,
            _ => bail!("bare-axum or bare-fastwebsockets"),
        }
    })
}

#[derive(Clone)]
struct AxumState {
    directory: Arc<Directory<Utf8Bytes>>,
    buffer: usize,
}

async fn serve_axum(listener: TcpListener, buffer: usize) -> anyhow::Result<()> {
    let state = AxumState {
        directory: Directory::new(),
        buffer,
    };
    let router = Router::new()
        .route("/api/v1/health", get(|| async { "ok" }))
        .route("/api/v1/hosts/{host_id}/heartbeat", post(heartbeat))
        .route("/api/v1/hosts/available/best", get(best))
        .route("/ws", any(open_axum))
        .with_state(state);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream: &mut TcpStream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn open_axum(
    State(state): State<AxumState>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let peer = query.get("peer_id").cloned().unwrap_or_default();
    upgrade
        .read_buffer_size(state.buffer)
        .write_buffer_size(state.buffer)
        .on_upgrade(move |socket| relay_axum(state.directory, peer, socket))
}

async fn relay_axum(directory: Arc<Directory<Utf8Bytes>>, peer: String, socket: WebSocket) {
    let (sender, mut outbox) = unbounded_channel();
    directory.add(&peer, sender);
    let (mut sink, mut stream) = socket.split();
    let writer = tokio::spawn(async move {
        while let Some(text) = outbox.recv().await {
            if sink.send(Message::Text(text)).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        if let Message::Text(text) = message
            && let Ok(routed) = serde_json::from_str::<Routed<'_>>(&text)
        {
            directory.send(routed.to, text.clone());
        }
    }
    directory.remove(&peer);
    writer.abort();
}

async fn serve_fastwebsockets(listener: TcpListener) -> anyhow::Result<()> {
    let directory = Directory::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let directory = Arc::clone(&directory);
        tokio::spawn(async move {
            let service = service_fn(move |request| open_fastwebsockets(Arc::clone(&directory), request));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn open_fastwebsockets(
    directory: Arc<Directory<Bytes>>,
    mut request: Request<Incoming>,
) -> Result<hyper::Response<Empty<Bytes>>, WebSocketError> {
    if !upgrade::is_upgrade_request(&request) {
        return Ok(hyper::Response::new(Empty::new()));
    }
    let query = request.uri().query().unwrap_or_default();
    let peer = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("peer_id="))
        .unwrap_or_default()
        .to_owned();
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        let _ = relay_fastwebsockets(directory, peer, upgraded).await;
    });
    Ok(response)
}

async fn relay_fastwebsockets(
    directory: Arc<Directory<Bytes>>,
    peer: String,
    upgraded: upgrade::UpgradeFut,
) -> Result<(), WebSocketError> {
    let (mut reader, mut writer) = upgraded.await?.split(tokio::io::split);
    let (sender, mut outbox) = unbounded_channel::<Bytes>();
    directory.add(&peer, sender);
    let writing = tokio::spawn(async move {
        while let Some(text) = outbox.recv().await {
            if writer.write_frame(Frame::text(Payload::Borrowed(&text))).await.is_err() {
                break;
            }
        }
    });
    let mut no_answers = |_: Frame<'_>| std::future::ready(Ok::<(), WebSocketError>(()));
    while let Ok(frame) = reader.read_frame(&mut no_answers).await {
        match frame.opcode {
            OpCode::Close => break,
            OpCode::Text => {
                if let Ok(routed) = serde_json::from_slice::<Routed<'_>>(&frame.payload) {
                    directory.send(routed.to, Bytes::copy_from_slice(&frame.payload));
                }
            }
            _ => {}
        }
    }
    directory.remove(&peer);
    writing.abort();
    Ok(())
}

#[derive(Deserialize)]
struct Beat {
    latency_ms: f64,
    packet_loss_percent: f64,
    bandwidth_usage_mbps: f64,
    current_players: u32,
    current_zones: u32,
}

/// A host as the coordinator answers it, without looking one up.
#[derive(Serialize)]
struct Host {
    id: i64,
    host_id: &'static str,
    player_id: &'static str,
    player_name: &'static str,
    ip_address: &'static str,
    port: u16,
    cpu_cores: u32,
    cpu_frequency_mhz: u32,
    memory_mb: u32,
    network_speed_mbps: u32,
    max_players: u32,
    max_zones: u32,
    latency_ms: f64,
    packet_loss_percent: f64,
    bandwidth_usage_mbps: f64,
    status: &'static str,
    current_players: u32,
    current_zones: u32,
    quality_score: f64,
    created_at: &'static str,
    updated_at: &'static str,
    last_heartbeat: &'static str,
}

async fn heartbeat(Json(beat): Json<Beat>) -> Json<Host> {
    Json(Host {
        id: 1,
        host_id: "host-1",
        player_id: "owner-host-1",
        player_name: "Load",
        ip_address: "10.0.0.1",
        port: 7777,
        cpu_cores: 8,
        cpu_frequency_mhz: 3600,
        memory_mb: 16384,
        network_speed_mbps: 1000,
        max_players: 50,
        max_zones: 5,
        latency_ms: beat.latency_ms,
        packet_loss_percent: beat.packet_loss_percent,
        bandwidth_usage_mbps: beat.bandwidth_usage_mbps,
        status: "online",
        current_players: beat.current_players,
        current_zones: beat.current_zones,
        quality_score: 93.85,
        created_at: "2025-11-09T12:00:00.000Z",
        updated_at: "2025-11-09T12:00:00.000Z",
        last_heartbeat: "2025-11-09T12:00:00.000Z",
    })
}

async fn best() -> impl IntoResponse {
    const HOST: &str = r#"{"id":1,"host_id":"host-1","player_id":"owner-host-1","player_name":"Load","ip_address":"10.0.0.1","port":7777,"public_ip":null,"ice_servers":null,"cpu_cores":8,"cpu_frequency_mhz":3600,"memory_mb":16384,"network_speed_mbps":1000,"max_players":50,"max_zones":5,"region":null,"labels":{},"latency_ms":21.5,"packet_loss_percent":0.25,"bandwidth_usage_mbps":12.5,"status":"online","current_players":7,"current_zones":1,"quality_score":93.85,"created_at":"2025-11-09T12:00:00.000Z","updated_at":"2025-11-09T12:00:00.000Z","last_heartbeat":"2025-11-09T12:00:00.000Z"}"#;
    ([(CONTENT_TYPE, "application/json")], HOST)
}
