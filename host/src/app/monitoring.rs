//! What operators look at: health, the dashboard, the distribution of scores, and the sums behind the metrics.
//!
//! Everything here is aggregate numbers, read at most once a second however often it is asked for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::App;
use super::error::AppError;
use crate::domain::clock::Timestamp;
use crate::domain::host::HostStatus;
use crate::domain::session::SessionStatus;
use crate::domain::zone::ZoneStatus;
use crate::ports::storage::{SchemaVersions, SessionSums, ZoneFilter};

/// Longest wait for a sign of life from storage or live state.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a reading is good, in milliseconds.
const FRESH_MILLIS: u64 = 1000;
/// How long it is known how far the schema is.
const SCHEMA_FRESH_MILLIS: u64 = 60_000;

/// Sums over storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    pub sessions: SessionSums,
    pub zones_total: usize,
    pub zones_enabled: usize,
    pub zones_with_p2p: usize,
    /// `zone_id` of every zone that serves peer-to-peer, highest priority first.
    pub p2p_zones: Vec<String>,
}

/// The latest readings. One caller at a time asks the stores, the others wait for its answer.
#[derive(Default)]
pub struct Readings {
    sums: Mutex<Option<(Timestamp, Arc<Sums>)>>,
    vitals: Mutex<Option<(Timestamp, Vitals)>>,
    schema: Mutex<Option<(Timestamp, SchemaVersions)>>,
}

/// Sums over storage, at most a second old.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn sums(app: &App) -> Result<Arc<Sums>, AppError> {
    let mut latest = app.readings.sums.lock().await;
    let now = app.clock.now();
    if let Some((at, sums)) = &*latest
        && now.millis_since(*at) < FRESH_MILLIS
    {
        return Ok(sums.clone());
    }
    let zones = app.storage.zones.list(ZoneFilter::default()).await?;
    let sums = Arc::new(Sums {
        sessions: app.storage.sessions.sums().await?,
        zones_total: zones.len(),
        zones_enabled: zones.iter().filter(|zone| zone.status == ZoneStatus::Enabled).count(),
        zones_with_p2p: zones.iter().filter(|zone| zone.p2p_enabled).count(),
        p2p_zones: zones
            .into_iter()
            .filter(|zone| zone.serves_p2p())
            .map(|zone| zone.zone_id)
            .collect(),
    });
    *latest = Some((now, sums.clone()));
    Ok(sums)
}

/// How far the schema is, at most a minute old.
async fn schema(app: &App) -> Result<SchemaVersions, AppError> {
    let mut latest = app.readings.schema.lock().await;
    let now = app.clock.now();
    if let Some((at, versions)) = *latest
        && now.millis_since(at) < SCHEMA_FRESH_MILLIS
    {
        return Ok(versions);
    }
    let versions = app.storage.health.schema().await?;
    *latest = Some((now, versions));
    Ok(versions)
}

/// Whether the two stores answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    pub storage: bool,
    pub live: bool,
}

impl Vitals {
    /// Both answer.
    #[must_use]
    pub const fn healthy(self) -> bool {
        self.storage && self.live
    }
}

/// Asks both stores for a sign of life, at most once a second. Takes at most two seconds.
pub async fn vitals(app: &App) -> Vitals {
    let mut latest = app.readings.vitals.lock().await;
    let now = app.clock.now();
    if let Some((at, vitals)) = *latest
        && now.millis_since(at) < FRESH_MILLIS
    {
        return vitals;
    }
    let (storage, live) = tokio::join!(
        answers("storage", app.storage.health.ping()),
        answers("live state", app.live.health.ping())
    );
    let vitals = Vitals { storage, live };
    *latest = Some((now, vitals));
    vitals
}

async fn answers<E: std::fmt::Display>(store: &'static str, ping: impl Future<Output = Result<(), E>>) -> bool {
    match tokio::time::timeout(PING_TIMEOUT, ping).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(store, %error, "no sign of life");
            false
        }
        Err(_) => {
            tracing::warn!(store, "no sign of life in time");
            false
        }
    }
}

/// Numbers of hosts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostNumbers {
    pub total: usize,
    pub online: usize,
    /// All that are not online.
    pub offline: usize,
    /// Over online hosts, 0 to 100.
    pub average_quality_score: f64,
}

/// Numbers of zones.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ZoneNumbers {
    pub total: usize,
    pub enabled: usize,
    /// All that are not enabled.
    pub disabled: usize,
}

/// Numbers of sessions.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SessionNumbers {
    pub total: i64,
    pub active: i64,
    /// All that are not active.
    pub inactive: i64,
    /// Players in active sessions.
    pub total_players: i64,
    /// Over active sessions that reported one.
    pub average_latency_ms: f64,
}

/// `healthy` or `unhealthy` for each store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SystemState {
    /// The durable store, whatever its kind.
    pub postgres: &'static str,
    /// The live store, whatever its kind.
    pub redis: &'static str,
    /// Kind of the durable store.
    pub storage: &'static str,
    /// Kind of the live store.
    pub live: &'static str,
}

/// The dashboard.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dashboard {
    pub hosts: HostNumbers,
    pub zones: ZoneNumbers,
    pub sessions: SessionNumbers,
    pub system: SystemState,
}

/// How the scores of online hosts are spread.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct QualityDistribution {
    /// 90 and above.
    pub excellent: usize,
    /// 70 and above.
    pub good: usize,
    /// 50 and above.
    pub fair: usize,
    /// Below 50.
    pub poor: usize,
}

/// Online hosts and their scores.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HostStats {
    pub total_online: usize,
    pub quality_distribution: QualityDistribution,
}

/// All numbers on one page.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn dashboard(app: &App) -> Result<Dashboard, AppError> {
    let sums = sums(app).await?;
    let vitals = vitals(app).await;
    let hosts = app.live.hosts.all();
    let scores: Vec<f64> = hosts
        .iter()
        .filter(|host| host.status == HostStatus::Online)
        .map(|host| host.quality_score)
        .collect();
    let (total, online) = (hosts.len(), scores.len());
    let total_sessions: i64 = sums.sessions.by_status.iter().sum();
    let active = by_status(&sums.sessions, SessionStatus::Active);
    let word = |well: bool| if well { "healthy" } else { "unhealthy" };
    Ok(Dashboard {
        hosts: HostNumbers {
            total,
            online,
            offline: total - online,
            average_quality_score: rounded(scores.iter().sum::<f64>() / online.max(1) as f64),
        },
        zones: ZoneNumbers {
            total: sums.zones_total,
            enabled: sums.zones_enabled,
            disabled: sums.zones_total - sums.zones_enabled,
        },
        sessions: SessionNumbers {
            total: total_sessions,
            active,
            inactive: total_sessions - active,
            total_players: sums.sessions.players,
            average_latency_ms: rounded(sums.sessions.average_latency_ms),
        },
        system: SystemState {
            postgres: word(vitals.storage),
            redis: word(vitals.live),
            storage: app.storage.health.kind(),
            live: app.live.health.kind(),
        },
    })
}

/// The distribution of scores.
#[must_use]
pub fn host_stats(app: &App) -> HostStats {
    let mut spread = QualityDistribution::default();
    let mut total_online = 0;
    for host in app.live.hosts.all() {
        if host.status != HostStatus::Online {
            continue;
        }
        total_online += 1;
        match host.quality_score {
            score if score >= 90.0 => spread.excellent += 1,
            score if score >= 70.0 => spread.good += 1,
            score if score >= 50.0 => spread.fair += 1,
            _ => spread.poor += 1,
        }
    }
    HostStats {
        total_online,
        quality_distribution: spread,
    }
}

/// All metrics in the Prometheus text format. Without storage, the families that need it are left out.
///
/// # Errors
/// `Internal` when the registry cannot be written out.
pub async fn metrics_text(app: &App) -> Result<String, AppError> {
    let mut text = prometheus::TextEncoder::new()
        .encode_to_string(&app.metrics.registry.gather())
        .map_err(|error| AppError::Internal(anyhow::Error::new(error).context("writing out the metrics")))?;
    let mut hosts = [0_usize; 4];
    for host in app.live.hosts.all() {
        hosts[host.status as usize] += 1;
    }
    family(
        &mut text,
        "p2p_hosts_total",
        "gauge",
        "Total number of registered hosts",
    );
    for status in HostStatus::ALL {
        // Dashboards in the field ask for `active`, which is a host that is online.
        let label = if status == HostStatus::Online {
            "active"
        } else {
            status.as_str()
        };
        sample(
            &mut text,
            "p2p_hosts_total",
            Some(("status", label)),
            hosts[status as usize],
        );
    }
    let read = async { Ok::<_, AppError>((sums(app).await?, schema(app).await?)) };
    match read.await {
        Ok((sums, schema)) => {
            storage_families(&mut text, &sums);
            schema_families(&mut text, schema);
        }
        Err(error) => tracing::warn!(%error, "metrics without the sums of storage"),
    }
    family(&mut text, "p2p_uptime_seconds", "counter", "Service uptime in seconds");
    let uptime = app.clock.now().millis_since(app.started_at) / 1000;
    sample(&mut text, "p2p_uptime_seconds", None, uptime);
    Ok(text)
}

fn storage_families(text: &mut String, sums: &Sums) {
    family(text, "p2p_zones_total", "gauge", "Total number of zones");
    let without = sums.zones_total - sums.zones_with_p2p;
    sample(
        text,
        "p2p_zones_total",
        Some(("p2p_enabled", "true")),
        sums.zones_with_p2p,
    );
    sample(text, "p2p_zones_total", Some(("p2p_enabled", "false")), without);
    family(text, "p2p_sessions_total", "gauge", "Total number of sessions");
    for status in SessionStatus::ALL {
        let count = by_status(&sums.sessions, status);
        sample(text, "p2p_sessions_total", Some(("status", status.as_str())), count);
    }
    family(
        text,
        "p2p_players_total",
        "gauge",
        "Total number of players in P2P sessions",
    );
    sample(text, "p2p_players_total", None, sums.sessions.players);
    family(
        text,
        "p2p_average_latency_ms",
        "gauge",
        "Average latency in milliseconds",
    );
    sample(
        text,
        "p2p_average_latency_ms",
        None,
        rounded(sums.sessions.average_latency_ms),
    );
}

fn schema_families(text: &mut String, schema: SchemaVersions) {
    let applied = ("p2p_storage_schema_applied", "Newest migration of the database");
    let known = ("p2p_storage_schema_known", "Newest migration that this program knows");
    for ((name, help), version) in [(applied, schema.applied), (known, schema.known)] {
        family(text, name, "gauge", help);
        sample(text, name, None, version);
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, label: Option<(&str, &str)>, value: impl std::fmt::Display) {
    let _ = match label {
        Some((key, word)) => writeln!(text, "{name}{{{key}=\"{word}\"}} {value}"),
        None => writeln!(text, "{name} {value}"),
    };
}

fn by_status(sums: &SessionSums, status: SessionStatus) -> i64 {
    sums.by_status.get(status as usize).copied().unwrap_or_default()
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
