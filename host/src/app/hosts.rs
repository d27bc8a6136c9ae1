//! Hosts: registration, heartbeats, and what is on offer.
//!
//! A registration is in storage before it is acknowledged. A heartbeat is on the board before it is acknowledged, so
//! that selection sees it at once; a task writes the board's news to storage about once a second.

use std::sync::Arc;

use serde_json::Value;

use super::App;
use super::error::AppError;
use super::losses;
use super::members::{MAX_INTEGER, MAX_NUMBER, Members, Request};
use super::sessions::Page;
use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Measurements, Registration};
use crate::domain::identity::Identity;
use crate::ports::storage::Registered;

impl Request for Registration {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let registration = Self {
            host_id: members.id("host_id"),
            player_id: members.player("player_id"),
            player_name: members.text("player_name"),
            ip_address: members.address("ip_address"),
            port: u16::try_from(members.integer("port", 1, 65535)).unwrap_or_default(),
            public_ip: members.optional_address("public_ip"),
            ice_servers: members.ice_servers("ice_servers"),
            cpu_cores: members.integer("cpu_cores", 1, MAX_INTEGER),
            cpu_frequency_mhz: members.integer("cpu_frequency_mhz", 1, MAX_INTEGER),
            memory_mb: members.integer("memory_mb", 1, MAX_INTEGER),
            network_speed_mbps: members.integer("network_speed_mbps", 1, MAX_INTEGER),
            max_players: members.optional_integer("max_players", 1, MAX_INTEGER).unwrap_or(50),
            max_zones: members.optional_integer("max_zones", 1, MAX_INTEGER).unwrap_or(5),
            region: members.optional_text("region", super::members::MAX_TEXT),
            labels: members.labels("labels"),
        };
        if registration.host_id == "register" {
            members.refuse("host_id", "must not be 'register': that is a route");
        }
        members.finish(registration)
    }
}

impl Request for Measurements {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let measured = Self {
            latency_ms: members.number("latency_ms", 0.0, MAX_NUMBER),
            packet_loss_percent: members.number("packet_loss_percent", 0.0, 100.0),
            bandwidth_usage_mbps: members.number("bandwidth_usage_mbps", 0.0, MAX_NUMBER),
            current_players: members.integer("current_players", 0, MAX_INTEGER),
            current_zones: members.integer("current_zones", 0, MAX_INTEGER),
        };
        members.finish(measured)
    }
}

/// Registers a host, or takes over new facts of a known one, and puts it online.
///
/// # Errors
/// `Forbidden` when the host is or would be another player's.
pub async fn register(app: &App, caller: &Identity, registration: Registration) -> Result<Host, AppError> {
    if !caller.may_act_for(&registration.player_id) {
        return Err(AppError::Forbidden(
            "A player may register its own hosts only".to_owned(),
        ));
    }
    let now = app.clock.now();
    let known = find(app, &registration.host_id).await?;
    let score = app
        .policies
        .host_selection
        .score(&preview(&registration, known.as_deref(), now));
    let only_owner = caller.player_id();
    match app
        .storage
        .hosts
        .register(&registration, score, only_owner, now)
        .await?
    {
        Registered::Done(host) => {
            show(app, host.clone()).await?;
            tracing::info!(host_id = %host.host_id, player_id = %host.player_id, score, "host registered");
            Ok(host)
        }
        Registered::OwnedByAnother => Err(AppError::Forbidden("The host belongs to another player".to_owned())),
    }
}

/// The host as it will be, for its score: the new facts with the last measurements.
fn preview(new: &Registration, known: Option<&Host>, now: Timestamp) -> Host {
    let new = new.clone();
    Host {
        id: known.map_or(0, |host| host.id),
        host_id: new.host_id,
        player_id: new.player_id,
        player_name: new.player_name,
        ip_address: new.ip_address,
        port: new.port,
        public_ip: new.public_ip,
        ice_servers: new.ice_servers,
        cpu_cores: new.cpu_cores,
        cpu_frequency_mhz: new.cpu_frequency_mhz,
        memory_mb: new.memory_mb,
        network_speed_mbps: new.network_speed_mbps,
        max_players: new.max_players,
        max_zones: new.max_zones,
        region: new.region,
        labels: new.labels,
        latency_ms: known.map_or(0.0, |host| host.latency_ms),
        packet_loss_percent: known.map_or(0.0, |host| host.packet_loss_percent),
        bandwidth_usage_mbps: known.map_or(0.0, |host| host.bandwidth_usage_mbps),
        status: HostStatus::Online,
        current_players: known.map_or(0, |host| host.current_players),
        current_zones: known.map_or(0, |host| host.current_zones),
        quality_score: known.map_or(0.0, |host| host.quality_score),
        created_at: known.map_or(now, |host| host.created_at),
        updated_at: now,
        last_heartbeat: Some(now),
        revision: known.map_or(0, |host| host.revision),
    }
}

/// Takes over measurements. They count for selection when this returns, and are durable about a second later.
///
/// # Errors
/// `NotFound`, or `Forbidden` for another player's host.
pub async fn heartbeat(
    app: &App,
    caller: &Identity,
    host_id: &str,
    measured: &Measurements,
) -> Result<Arc<Host>, AppError> {
    let host = get(app, host_id).await?;
    if !caller.may_act_for(&host.player_id) {
        return Err(AppError::Forbidden("The host belongs to another player".to_owned()));
    }
    let score = |host: &Host| app.policies.host_selection.score(host);
    let now = app.clock.now();
    if let Some(host) = app.live.hosts.beat(host_id, measured, now, &score) {
        return Ok(host);
    }
    // Another node registered it.
    show(app, Arc::unwrap_or_clone(host)).await?;
    app.live
        .hosts
        .beat(host_id, measured, now, &score)
        .ok_or_else(|| not_found(host_id))
}

/// Puts a host on the board, unless storage has it no more: whoever removes it does so in storage first.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn show(app: &App, host: Host) -> Result<(), AppError> {
    let host_id = host.host_id.clone();
    app.live.hosts.put(host);
    if app.storage.hosts.get(&host_id).await?.is_none() {
        app.live.hosts.remove(&host_id);
    }
    Ok(())
}

/// The host.
///
/// # Errors
/// `NotFound`.
pub async fn get(app: &App, host_id: &str) -> Result<Arc<Host>, AppError> {
    find(app, host_id).await?.ok_or_else(|| not_found(host_id))
}

async fn find(app: &App, host_id: &str) -> Result<Option<Arc<Host>>, AppError> {
    match app.live.hosts.get(host_id) {
        Some(host) => Ok(Some(host)),
        None => Ok(app.storage.hosts.get(host_id).await?.map(Arc::new)),
    }
}

/// One page of the hosts that match, best score first, and how many match.
#[must_use]
pub fn list(app: &App, status: Option<HostStatus>, min_score: f64, page: Page) -> (Vec<Arc<Host>>, usize) {
    let matching = |host: &Arc<Host>| status.is_none_or(|s| host.status == s) && host.quality_score >= min_score;
    let mut hosts = app.live.hosts.all();
    hosts.retain(matching);
    paged(hosts, page)
}

/// One page of the available hosts, best score first, and how many there are.
#[must_use]
pub fn available(app: &App, min_score: f64, page: Page) -> (Vec<Arc<Host>>, usize) {
    paged(app.live.hosts.available(min_score, usize::MAX), page)
}

/// The available host with the best score.
///
/// # Errors
/// `NotFound` when there is none.
pub fn best(app: &App, min_score: f64) -> Result<Arc<Host>, AppError> {
    let best = app.live.hosts.available(min_score, 1).pop();
    best.ok_or_else(|| AppError::NotFound("No available hosts found".to_owned()))
}

/// Signs a host off. Its sessions go on elsewhere, or end.
///
/// # Errors
/// `NotFound`, or `Forbidden` for another player's host.
pub async fn delete(app: &App, caller: &Identity, host_id: &str) -> Result<(), AppError> {
    let host = get(app, host_id).await?;
    if !caller.may_act_for(&host.player_id) {
        return Err(AppError::Forbidden("The host belongs to another player".to_owned()));
    }
    // Offline first: from here on no session opens on it, and a repeated call goes on where this one failed.
    let now = app.clock.now();
    if app
        .storage
        .hosts
        .set_status(host_id, HostStatus::Offline, now)
        .await?
        .is_none()
    {
        app.live.hosts.remove(host_id);
        return Err(not_found(host_id));
    }
    app.live.hosts.remove(host_id);
    losses::host_lost(app, host_id, "host_removed").await?;
    app.storage.hosts.delete(host_id).await?;
    // A heartbeat may have brought it back meanwhile, and sessions with it.
    app.live.hosts.remove(host_id);
    losses::host_lost(app, host_id, "host_removed").await?;
    tracing::info!(host_id, "host removed");
    Ok(())
}

fn paged(hosts: Vec<Arc<Host>>, page: Page) -> (Vec<Arc<Host>>, usize) {
    let total = hosts.len();
    let (skip, take) = (page.offset as usize, page.limit as usize);
    (hosts.into_iter().skip(skip).take(take).collect(), total)
}

fn not_found(host_id: &str) -> AppError {
    AppError::NotFound(format!("Host not found: {host_id}"))
}
