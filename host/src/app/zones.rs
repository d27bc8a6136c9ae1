//! Zones: what operators define, and what may run peer-to-peer.
//!
//! Switching peer-to-peer off, or a zone, refuses new sessions; those that run go on.

use serde_json::Value;

use super::App;
use super::error::AppError;
use super::members::{MAX_INTEGER, MAX_NUMBER, Members, Request};
use super::sessions::Page;
use crate::domain::zone::{Zone, ZoneDefinition, ZoneStatus};
use crate::ports::storage::ZoneFilter;

/// Longest description in bytes.
const MAX_DESCRIPTION: usize = 4096;

impl Request for ZoneDefinition {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let definition = Self {
            zone_id: members.id("zone_id"),
            zone_name: members.text("zone_name"),
            zone_display_name: members.text("zone_display_name"),
            map_name: members.text("map_name"),
            description: members.optional_text("description", MAX_DESCRIPTION),
            max_players: members.optional_integer("max_players", 1, MAX_INTEGER).unwrap_or(100),
            recommended_players: members
                .optional_integer("recommended_players", 1, MAX_INTEGER)
                .unwrap_or(50),
            p2p_enabled: members.flag("p2p_enabled", true),
            p2p_priority: members.optional_integer("p2p_priority", 1, 10).unwrap_or(1),
            fallback_enabled: members.flag("fallback_enabled", true),
            min_host_quality_score: members
                .optional_number("min_host_quality_score", 0.0, 100.0)
                .unwrap_or(7.0),
            min_bandwidth_mbps: members
                .optional_number("min_bandwidth_mbps", 0.0, MAX_NUMBER)
                .unwrap_or(100.0),
            max_latency_ms: members
                .optional_number("max_latency_ms", 0.0, MAX_NUMBER)
                .unwrap_or(100.0),
        };
        members.finish(definition)
    }
}

/// Defines a zone, or redefines a known one.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn define(app: &App, definition: &ZoneDefinition) -> Result<Zone, AppError> {
    let zone = app.storage.zones.define(definition, app.clock.now()).await?;
    tracing::info!(zone_id = %zone.zone_id, p2p_enabled = zone.p2p_enabled, "zone defined");
    Ok(zone)
}

/// The zone.
///
/// # Errors
/// `NotFound`.
pub async fn get(app: &App, zone_id: &str) -> Result<Zone, AppError> {
    app.storage.zones.get(zone_id).await?.ok_or_else(|| not_found(zone_id))
}

/// One page of the zones that match, highest priority first, then by name; and how many match.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn list(app: &App, filter: ZoneFilter, page: Page) -> Result<(Vec<Zone>, usize), AppError> {
    let zones = app.storage.zones.list(filter).await?;
    let total = zones.len();
    let (skip, take) = (page.offset as usize, page.limit as usize);
    Ok((zones.into_iter().skip(skip).take(take).collect(), total))
}

/// Switches peer-to-peer for a zone.
///
/// # Errors
/// `NotFound`.
pub async fn set_p2p(app: &App, zone_id: &str, enabled: bool) -> Result<Zone, AppError> {
    let zone = app.storage.zones.set_p2p(zone_id, enabled, app.clock.now()).await?;
    let zone = zone.ok_or_else(|| not_found(zone_id))?;
    tracing::info!(zone_id, p2p_enabled = enabled, "peer-to-peer switched for a zone");
    Ok(zone)
}

/// Sets the status of a zone.
///
/// # Errors
/// `NotFound`.
pub async fn set_status(app: &App, zone_id: &str, status: ZoneStatus) -> Result<Zone, AppError> {
    let zone = app.storage.zones.set_status(zone_id, status, app.clock.now()).await?;
    let zone = zone.ok_or_else(|| not_found(zone_id))?;
    tracing::info!(zone_id, status = status.as_str(), "status of a zone set");
    Ok(zone)
}

fn not_found(zone_id: &str) -> AppError {
    AppError::NotFound(format!("Zone not found: {zone_id}"))
}
