//! One reading of all that the console shows live, in parts. A part that cannot be read keeps what it was, and the overview
//! says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::numbers::Totals;
use crate::app::error::AppError;
use crate::app::monitoring::{self, Dashboard};
use crate::app::sessions::Page;
use crate::app::{hosts, zones};
use crate::domain::clock::Timestamp;
use crate::domain::host::Host;
use crate::domain::session::{Session, SessionStatus};
use crate::domain::zone::Zone;
use crate::http::routes::plugins;
use crate::http::state::HttpState;
use crate::ports::storage::{SessionFilter, ZoneFilter};

/// The parts, by the names of their events.
pub const PARTS: [&str; 5] = ["overview", "hosts", "zones", "sessions", "policies"];
/// The place of the overview among them.
pub const OVERVIEW: usize = 0;
/// Most entries of a list in a snapshot.
const MOST: u32 = 200;
/// Sessions that are over, in a snapshot.
const OVER: u32 = 20;
/// Players named per session.
const NAMED: usize = 20;
/// Longest wait for one part.
const PATIENCE: Duration = Duration::from_secs(3);

/// One part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub json: Arc<str>,
    /// Grows whenever the part changes; 0 is a part that was never read.
    pub version: u64,
}

/// All parts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// None before the first one.
    pub made: Option<Instant>,
    pub parts: [Part; PARTS.len()],
}

/// Reads every part.
pub async fn take(state: &HttpState, before: &Snapshot) -> Snapshot {
    let (zones, sessions, policies, dashboard, signaling) = tokio::join!(
        read(zone_list(state)),
        read(session_list(state)),
        read(async { Ok(plugins::gathered(state).await) }),
        read(monitoring::dashboard(&state.app)),
        read(async { Ok(state.hub.counts().await) }),
    );
    let hosts = Some(host_list(state));
    let missing = [
        ("zones", zones.is_none()),
        ("sessions", sessions.is_none()),
        ("policies", policies.is_none()),
        ("sums", dashboard.is_none()),
    ];
    let overview = Overview {
        at: state.app.clock.now(),
        node: &state.app.releases.node,
        uptime_seconds: state.app.clock.now().millis_since(state.app.started_at) / 1000,
        dashboard,
        signaling: signaling.map(|(connections, sessions)| Signaling { connections, sessions }),
        totals: Totals::read(&state.app.metrics.registry),
        npcs: state.app.npcs.is_some(),
        missing: missing.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect(),
    };
    let texts = [
        Some(json(&overview)),
        hosts.as_ref().map(json),
        zones.as_ref().map(json),
        sessions.as_ref().map(json),
        policies.as_ref().map(json),
    ];
    let mut snapshot = before.clone();
    snapshot.made = Some(Instant::now());
    for (part, text) in snapshot.parts.iter_mut().zip(texts) {
        if let Some(text) = text
            && *text != *part.json
        {
            part.json = text.into();
            part.version += 1;
        }
    }
    snapshot
}

async fn read<T>(reading: impl Future<Output = Result<T, AppError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a part of the console could not be read");
            None
        }
        Err(_) => {
            tracing::debug!("a part of the console could not be read in time");
            None
        }
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // Texts and numbers only: this cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize)]
struct Signaling {
    /// In the fleet.
    connections: u64,
    /// In the fleet.
    sessions: u64,
}

#[derive(Serialize)]
struct Overview<'a> {
    at: Timestamp,
    node: &'a str,
    uptime_seconds: u64,
    dashboard: Option<Dashboard>,
    signaling: Option<Signaling>,
    totals: Totals,
    /// Whether there is a source of NPC states.
    npcs: bool,
    /// Parts that could not be read: what is shown of them is older.
    missing: Vec<&'static str>,
}

/// A list, cut.
#[derive(Serialize)]
struct Listed<T> {
    total: usize,
    entries: Vec<T>,
}

#[derive(Serialize)]
struct HostRow {
    host_id: String,
    player_id: String,
    player_name: String,
    region: Option<String>,
    status: &'static str,
    quality_score: f64,
    latency_ms: f64,
    packet_loss_percent: f64,
    current_players: u32,
    max_players: u32,
    current_zones: u32,
    max_zones: u32,
    last_heartbeat: Option<Timestamp>,
}

impl From<&Host> for HostRow {
    fn from(host: &Host) -> Self {
        Self {
            host_id: host.host_id.clone(),
            player_id: host.player_id.clone(),
            player_name: host.player_name.clone(),
            region: host.region.clone(),
            status: host.status.as_str(),
            quality_score: host.quality_score,
            latency_ms: host.latency_ms,
            packet_loss_percent: host.packet_loss_percent,
            current_players: host.current_players,
            max_players: host.max_players,
            current_zones: host.current_zones,
            max_zones: host.max_zones,
            last_heartbeat: host.last_heartbeat,
        }
    }
}

/// The best hosts.
fn host_list(state: &HttpState) -> Listed<HostRow> {
    let page = Page { limit: MOST, offset: 0 };
    let (hosts, total) = hosts::list(&state.app, None, 0.0, page);
    let entries = hosts.iter().map(|host| HostRow::from(&**host)).collect();
    Listed { total, entries }
}

async fn zone_list(state: &HttpState) -> Result<Listed<Zone>, AppError> {
    let page = Page { limit: MOST, offset: 0 };
    let (entries, total) = zones::list(&state.app, ZoneFilter::default(), page).await?;
    Ok(Listed { total, entries })
}

#[derive(Serialize)]
struct SessionRow {
    session_id: String,
    host: String,
    zone: String,
    status: &'static str,
    current_players: u32,
    max_players: u32,
    /// The first of them.
    players: Vec<String>,
    average_latency_ms: f64,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl From<Session> for SessionRow {
    fn from(mut session: Session) -> Self {
        session.connected_players.truncate(NAMED);
        Self {
            session_id: session.session_id,
            host: session.host,
            zone: session.zone,
            status: session.status.as_str(),
            current_players: session.current_players,
            max_players: session.max_players,
            players: session.connected_players,
            average_latency_ms: session.average_latency_ms,
            created_at: session.created_at,
            started_at: session.started_at,
            ended_at: session.ended_at,
        }
    }
}

#[derive(Serialize)]
struct SessionList {
    /// The latest that are not over.
    live: Vec<SessionRow>,
    /// The latest that are.
    over: Vec<SessionRow>,
}

async fn session_list(state: &HttpState) -> Result<SessionList, AppError> {
    let (live, over) = SessionStatus::ALL.into_iter().partition(|status| status.is_live());
    Ok(SessionList {
        live: session_rows(state, live, MOST).await?,
        over: session_rows(state, over, OVER).await?,
    })
}

async fn session_rows(
    state: &HttpState,
    statuses: Vec<SessionStatus>,
    limit: u32,
) -> Result<Vec<SessionRow>, AppError> {
    let filter = SessionFilter {
        statuses,
        limit,
        ..SessionFilter::default()
    };
    let sessions = state.app.storage.sessions.list(&filter).await?;
    Ok(sessions.into_iter().map(SessionRow::from).collect())
}
