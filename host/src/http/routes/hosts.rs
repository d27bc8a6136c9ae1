//! Hosts: registration, heartbeats, and what is on offer.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::app::error::AppError;
use crate::app::hosts;
use crate::domain::host::{Host, HostStatus, Measurements, Registration};
use crate::http::answer;
use crate::http::extract::{Body, PlayerOrOperator, Query};

/// Registers a host, or takes over new facts of a known one, and puts it online.
#[utoipa::path(post, path = "/api/v1/hosts/register", tag = "hosts", request_body = Registration,
    security(("token" = []), ("api_key" = [])), responses((status = 201, body = Host)))]
pub async fn register(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Body(registration): Body<Registration>,
) -> Result<Response, AppError> {
    let host = hosts::register(&state.app, &caller, registration).await?;
    Ok(answer::json(StatusCode::CREATED, &host))
}

/// Takes over measurements, every 30 to 60 seconds. They count for selection at once, and are durable within about a second.
#[utoipa::path(post, path = "/api/v1/hosts/{host_id}/heartbeat", tag = "hosts", request_body = Measurements,
    params(("host_id" = String, Path)), security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Host, description = "The host with its new score")))]
pub async fn heartbeat(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path(host_id): Path<String>,
    Body(measured): Body<Measurements>,
) -> Result<Response, AppError> {
    let host = hosts::heartbeat(&state.app, &caller, &host_id, &measured).await?;
    Ok(answer::ok(&*host))
}

/// The host.
#[utoipa::path(get, path = "/api/v1/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    security(("token" = []), ("api_key" = [])), responses((status = 200, body = Host)))]
pub async fn get(State(state): Shared, _: PlayerOrOperator, Path(host_id): Path<String>) -> Result<Response, AppError> {
    Ok(answer::ok(&*hosts::get(&state.app, &host_id).await?))
}

/// Hosts, best score first.
#[utoipa::path(get, path = "/api/v1/hosts", tag = "hosts", params(
        ("status_filter" = Option<String>, Query, description = "`online`, `offline`, `busy` or `maintenance`, in any case"),
        ("min_quality_score" = Option<f64>, Query, minimum = 0, maximum = 100),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000), ("offset" = Option<u32>, Query)),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Vec<Host>, headers(("X-Total-Count" = i64, description = "All that match")))))]
pub async fn list(State(state): Shared, _: PlayerOrOperator, mut query: Query) -> Result<Response, AppError> {
    let expected = "online, offline, busy or maintenance";
    let status = query.parsed("status_filter", expected, HostStatus::parse);
    let (min_score, page) = (query.min_score(), query.page());
    query.finish()?;
    let (hosts, total) = hosts::list(&state.app, status, min_score, page);
    Ok(answer::page(&hosts, total))
}

/// Hosts that are online and below both of their capacities, best score first.
#[utoipa::path(get, path = "/api/v1/hosts/available/list", tag = "hosts", params(
        ("min_quality_score" = Option<f64>, Query, minimum = 0, maximum = 100),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000), ("offset" = Option<u32>, Query)),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Vec<Host>, headers(("X-Total-Count" = i64, description = "All that match")))))]
pub async fn available(State(state): Shared, _: PlayerOrOperator, mut query: Query) -> Result<Response, AppError> {
    let (min_score, page) = (query.min_score(), query.page());
    query.finish()?;
    let (hosts, total) = hosts::available(&state.app, min_score, page);
    Ok(answer::page(&hosts, total))
}

/// The available host with the best score.
#[utoipa::path(get, path = "/api/v1/hosts/available/best", tag = "hosts", params(
        ("min_quality_score" = Option<f64>, Query, minimum = 0, maximum = 100)),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Host), (status = 404, description = "No host is available")))]
pub async fn best(State(state): Shared, _: PlayerOrOperator, mut query: Query) -> Result<Response, AppError> {
    let min_score = query.min_score();
    query.finish()?;
    Ok(state.best.ok(&hosts::best(&state.app, min_score)?))
}

/// Signs a host off. Its sessions go on with another host, or end.
#[utoipa::path(delete, path = "/api/v1/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    security(("token" = []), ("api_key" = [])), responses((status = 204, description = "Gone")))]
pub async fn delete(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path(host_id): Path<String>,
) -> Result<Response, AppError> {
    hosts::delete(&state.app, &caller, &host_id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
