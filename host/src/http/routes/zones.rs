//! Zones. Everyone with a credential reads them; operators define them.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use crate::app::error::AppError;
use crate::app::{members, zones};
use crate::domain::zone::{Zone, ZoneDefinition, ZoneStatus};
use crate::http::answer;
use crate::http::extract::{Body, Operator, PlayerOrOperator, Query};
use crate::ports::storage::ZoneFilter;

/// What a zone's status may be.
const STATUSES: &str = "enabled, disabled or maintenance";

/// Defines a zone, or redefines a known one.
#[utoipa::path(post, path = "/api/v1/zones", tag = "zones", request_body = ZoneDefinition,
    security(("api_key" = [])), responses((status = 201, body = Zone)))]
pub async fn define(
    State(state): Shared,
    _: Operator,
    Body(definition): Body<ZoneDefinition>,
) -> Result<Response, AppError> {
    let zone = zones::define(&state.app, &definition).await?;
    Ok(answer::json(StatusCode::CREATED, &zone))
}

/// The zone.
#[utoipa::path(get, path = "/api/v1/zones/{zone_id}", tag = "zones", params(("zone_id" = String, Path)),
    security(("token" = []), ("api_key" = [])), responses((status = 200, body = Zone)))]
pub async fn get(State(state): Shared, _: PlayerOrOperator, Path(zone_id): Path<String>) -> Result<Response, AppError> {
    Ok(answer::ok(&zones::get(&state.app, &zone_id).await?))
}

/// Zones, highest priority first, then by name.
#[utoipa::path(get, path = "/api/v1/zones", tag = "zones", params(
        ("p2p_enabled" = Option<bool>, Query),
        ("status_filter" = Option<String>, Query, description = "`enabled`, `disabled` or `maintenance`, in any case"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000), ("offset" = Option<u32>, Query)),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Vec<Zone>, headers(("X-Total-Count" = i64, description = "All that match")))))]
pub async fn list(State(state): Shared, _: PlayerOrOperator, mut query: Query) -> Result<Response, AppError> {
    let filter = ZoneFilter {
        p2p_enabled: query.flag("p2p_enabled"),
        status: query.parsed("status_filter", STATUSES, ZoneStatus::parse),
    };
    answer_list(&state, filter, query).await
}

/// Enabled zones with peer-to-peer on, highest priority first, then by name.
#[utoipa::path(get, path = "/api/v1/zones/p2p/enabled", tag = "zones", params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000), ("offset" = Option<u32>, Query)),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Vec<Zone>, headers(("X-Total-Count" = i64, description = "All that match")))))]
pub async fn p2p_enabled(State(state): Shared, _: PlayerOrOperator, query: Query) -> Result<Response, AppError> {
    let filter = ZoneFilter {
        p2p_enabled: Some(true),
        status: Some(ZoneStatus::Enabled),
    };
    answer_list(&state, filter, query).await
}

async fn answer_list(
    state: &crate::http::state::HttpState,
    filter: ZoneFilter,
    mut query: Query,
) -> Result<Response, AppError> {
    let page = query.page();
    query.finish()?;
    let (zones, total) = zones::list(&state.app, filter, page).await?;
    Ok(answer::page(&zones, total))
}

/// Switches peer-to-peer on for a zone.
#[utoipa::path(post, path = "/api/v1/zones/{zone_id}/enable-p2p", tag = "zones", params(("zone_id" = String, Path)),
    security(("api_key" = [])), responses((status = 200, body = Zone)))]
pub async fn enable_p2p(State(state): Shared, _: Operator, Path(zone_id): Path<String>) -> Result<Response, AppError> {
    Ok(answer::ok(&zones::set_p2p(&state.app, &zone_id, true).await?))
}

/// Switches peer-to-peer off for a zone. Sessions that run go on.
#[utoipa::path(post, path = "/api/v1/zones/{zone_id}/disable-p2p", tag = "zones", params(("zone_id" = String, Path)),
    security(("api_key" = [])), responses((status = 200, body = Zone)))]
pub async fn disable_p2p(State(state): Shared, _: Operator, Path(zone_id): Path<String>) -> Result<Response, AppError> {
    Ok(answer::ok(&zones::set_p2p(&state.app, &zone_id, false).await?))
}

/// Sets the status of a zone.
#[utoipa::path(patch, path = "/api/v1/zones/{zone_id}/status", tag = "zones", params(("zone_id" = String, Path),
        ("new_status" = String, Query, description = "`enabled`, `disabled` or `maintenance`, in any case")),
    security(("api_key" = [])), responses((status = 200, body = Zone)))]
pub async fn set_status(
    State(state): Shared,
    _: Operator,
    Path(zone_id): Path<String>,
    query: Query,
) -> Result<Response, AppError> {
    let status = query.text("new_status").and_then(ZoneStatus::parse);
    let status = status.ok_or_else(|| members::invalid("new_status", format!("must be {STATUSES}")))?;
    Ok(answer::ok(&zones::set_status(&state.app, &zone_id, status).await?))
}
