//! Servers under load: starts them on core 0 with everything on, waits until they answer, and ends them.

use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Wire, request};
use crate::matchbox::MATCHBOX;
use crate::{PINNED, Plan};

/// Secrets of servers that live for seconds on the loopback address.
const JWT_SECRET: &str = "load-program-jwt-secret-of-sufficient-length-0001";
pub const API_KEY: &str = "load-program-api-key-of-sufficient-length-000002";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Coordinator,
    /// The coordinator with the native policies instead of the components.
    Native,
    Axum4,
    Axum128,
    FastWebSockets,
    /// `matchbox_server`, where its binary was given.
    Matchbox,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Native => "coordinator, native policies",
            Self::Axum4 => "bare axum, 4 KiB",
            Self::Axum128 => "bare axum, 128 KiB",
            Self::FastWebSockets => "bare fastwebsockets",
            Self::Matchbox => MATCHBOX,
        }
    }

    pub fn is_coordinator(self) -> bool {
        matches!(self, Self::Coordinator | Self::Native)
    }
}

/// A running server; it ends when this is dropped.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    child: Child,
    _data: Rc<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server with an empty data folder and waits until it answers.
    pub async fn start(kind: Kind, plan: &Plan) -> anyhow::Result<Self> {
        Self::start_with(kind, plan, Rc::new(tempfile::tempdir()?), &[]).await
    }

    /// The same with a data folder that outlives it, and further settings.
    pub async fn start_with(
        kind: Kind,
        plan: &Plan,
        data: Rc<TempDir>,
        further: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let mut server = Self::spawn(kind, plan, data, further)?;
        server.wait_until_it_answers().await?;
        Ok(server)
    }

    /// Starts a server; whether it answers is not known yet.
    pub fn spawn(kind: Kind, plan: &Plan, data: Rc<TempDir>, further: &[(&str, String)]) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let pinned = std::env::var(PINNED).is_ok_and(|cores| cores != "1");
        let program = match kind {
            Kind::Coordinator | Kind::Native => plan.server.clone(),
            Kind::Matchbox => plan.matchbox.clone().context("--matchbox is needed")?,
            Kind::Axum4 | Kind::Axum128 | Kind::FastWebSockets => std::env::current_exe()?.display().to_string(),
        };
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", "0", &program]);
            command
        } else {
            Command::new(&program)
        };
        match kind {
            Kind::Coordinator | Kind::Native => settings(&mut command, kind, port, data.path()),
            Kind::Axum4 => _ = command.args(["bare-axum", "--port", &port.to_string(), "--buffer", "4096"]),
            Kind::Axum128 => _ = command.args(["bare-axum", "--port", &port.to_string(), "--buffer", "131072"]),
            Kind::FastWebSockets => _ = command.args(["bare-fastwebsockets", "--port", &port.to_string()]),
            Kind::Matchbox => _ = command.env("RUST_LOG", "warn").arg(format!("127.0.0.1:{port}")),
        }
        let child = command
            .envs(further.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{program} does not start; build it with `cargo build --release`"))?;
        Ok(Self {
            kind,
            port,
            child,
            _data: data,
        })
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let health = match self.kind {
            Kind::Matchbox => "/health",
            _ => "/api/v1/health",
        };
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it answered", self.kind.name());
            }
            if let Ok((200, _)) = self.call("GET", health, "").await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} does not answer on port {}", self.kind.name(), self.port);
    }

    /// One request on a connection of its own, as an operator.
    pub async fn call(&self, method: &str, target: &str, body: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let mut wire = Wire::connect(self.port).await?;
        wire.send(&request(method, target, API_KEY, body)).await?;
        wire.http_answer().await
    }

    /// One request that has to pass; the answer as JSON.
    pub async fn must(&self, target: &str, body: serde_json::Value) -> anyhow::Result<serde_json::Value> {
        let (status, answer) = self.call("POST", target, &body.to_string()).await?;
        if !(200..300).contains(&status) {
            bail!("POST {target} answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    /// A session of these players; a bare server needs none.
    pub async fn session(&self, players: &[String]) -> anyhow::Result<String> {
        if !self.kind.is_coordinator() {
            return Ok(String::new());
        }
        let zone = json!({"zone_id": "load", "zone_name": "load", "zone_display_name": "Load", "map_name": "load",
            "max_players": 1000, "recommended_players": 100});
        self.must("/api/v1/zones/", zone).await?;
        self.must("/api/v1/hosts/register", host("load", 1000)).await?;
        let session = json!({"zone_id": "load", "host_id": "load", "player_ids": players});
        let session = self.must("/api/v1/sessions/", session).await?;
        Ok(session["session_id"].as_str().context("no session_id")?.to_owned())
    }

    /// Connects a player and joins the session, when there is one.
    pub async fn peer(&self, player: &str, session: &str) -> anyhow::Result<Wire> {
        let target = if self.kind.is_coordinator() {
            format!("/api/v1/signaling/ws?peer_id={player}&session_id={session}")
        } else {
            format!("/ws?peer_id={player}")
        };
        let mut wire = Wire::upgrade(self.port, &target, &token(player)?).await?;
        if self.kind.is_coordinator() && !session.is_empty() {
            wire.frame_of("session-joined").await?;
        }
        Ok(wire)
    }

    /// Resident memory in bytes. `taskset` becomes the server, so the child is the server.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes * 1024.0)
    }
}

/// Everything on; limits are worked out for every request and message and never reached.
fn settings(command: &mut Command, kind: Kind, port: u16, data: &std::path::Path) {
    let mode = if kind == Kind::Native { "native" } else { "component" };
    command
        .current_dir(data)
        .env("ENVIRONMENT", "testing")
        .env("HOST", "127.0.0.1")
        .env("PORT", port.to_string())
        .env("DATA_DIR", data)
        .env("JWT_SECRET_KEY", JWT_SECRET)
        .env("COORDINATOR_API_KEY", API_KEY)
        .env("AI_SERVICE_ENABLED", "false")
        .env("LOG_LEVEL", "warn")
        .env("POLICY_MODE", mode)
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL");
    for surface in ["API", "WS", "AUTH"] {
        command.env(format!("RATE_LIMIT_{surface}_REQUESTS"), "1000000");
        command.env(format!("RATE_LIMIT_{surface}_WINDOW"), "1");
    }
}

/// A host's registration.
pub fn host(host_id: &str, max_players: u32) -> serde_json::Value {
    json!({"host_id": host_id, "player_id": format!("owner-{host_id}"), "player_name": "Load", "ip_address": "10.0.0.1",
        "port": 7777, "cpu_cores": 8, "cpu_frequency_mhz": 3600, "memory_mb": 16384, "network_speed_mbps": 1000,
        "max_players": max_players, "max_zones": 50})
}

/// An access token as the coordinator issues them.
fn token(player: &str) -> anyhow::Result<String> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let claims = json!({"sub": player, "player_id": player, "type": "access", "iat": now, "exp": now + 3600,
        "jti": format!("load-{player}")});
    Ok(jsonwebtoken::encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(JWT_SECRET.as_bytes()),
    )?)
}
