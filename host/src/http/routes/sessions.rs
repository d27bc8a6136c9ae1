//! Sessions. `{session}` is the number or the `session_id`.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use crate::app::error::AppError;
use crate::app::placement;
use crate::app::sessions::{self, AddPlayer, CreateSession, SessionMeasurements};
use crate::domain::session::{Session, SessionKey};
use crate::http::answer::{self, Message};
use crate::http::error::Problem;
use crate::http::extract::{Body, Operator, PlayerOrOperator, Query};

/// Longest timeout of a cleanup: one year.
const MAX_TIMEOUT_MINUTES: u32 = 60 * 24 * 365;

/// Opens a session on the named host, or on one the host-selection policy picks. Any answer but 201 means: use the game
/// server.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", request_body = CreateSession,
    security(("token" = []), ("api_key" = [])), responses((status = 201, body = Session),
        (status = 400, body = Problem, content_type = "application/problem+json",
            description = "Peer-to-peer cannot serve: `mode` is `server`, and `reason` says why")))]
pub async fn create(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Body(request): Body<CreateSession>,
) -> Result<Response, AppError> {
    let session = placement::create(&state.app, &caller, request).await?;
    Ok(answer::json(StatusCode::CREATED, &session))
}

/// The session.
#[utoipa::path(get, path = "/api/v1/sessions/{session}", tag = "sessions", params(("session" = String, Path)),
    security(("token" = []), ("api_key" = [])), responses((status = 200, body = Session)))]
pub async fn get(State(state): Shared, _: PlayerOrOperator, Path(session): Path<String>) -> Result<Response, AppError> {
    Ok(answer::ok(
        &sessions::get(&state.app, &SessionKey::parse(&session)).await?,
    ))
}

/// Starts a pending session.
#[utoipa::path(post, path = "/api/v1/sessions/{session}/activate", tag = "sessions", params(("session" = String, Path)),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Message), (status = 400, description = "The session is not pending")))]
pub async fn activate(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path(session): Path<String>,
) -> Result<Response, AppError> {
    sessions::activate(&state.app, &caller, &SessionKey::parse(&session)).await?;
    Ok(answer::message(format!("Session {session} activated")))
}

/// Ends a live session and tells its peers.
#[utoipa::path(post, path = "/api/v1/sessions/{session}/end", tag = "sessions", params(("session" = String, Path),
        ("reason" = Option<String>, Query, description = "For the peers; `normal` when it is not there")),
    security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Message), (status = 400, description = "The session is over already")))]
pub async fn end(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path(session): Path<String>,
    query: Query,
) -> Result<Response, AppError> {
    let reason = query.text("reason").unwrap_or("normal");
    sessions::end(&state.app, &caller, &SessionKey::parse(&session), reason).await?;
    Ok(answer::message(format!("Session {session} ended")))
}

/// Takes over what the host measured. What is left out stays as it is.
#[utoipa::path(patch, path = "/api/v1/sessions/{session}/metrics", tag = "sessions", params(("session" = String, Path)),
    request_body = SessionMeasurements, security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Message), (status = 400, description = "The session is over")))]
pub async fn metrics(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path(session): Path<String>,
    Body(measured): Body<SessionMeasurements>,
) -> Result<Response, AppError> {
    sessions::record_metrics(&state.app, &caller, &SessionKey::parse(&session), measured).await?;
    Ok(answer::message(format!("Session {session} metrics updated")))
}

/// Adds a player to a live session.
#[utoipa::path(post, path = "/api/v1/sessions/{session}/players", tag = "sessions", params(("session" = String, Path)),
    request_body = AddPlayer, security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Message), (status = 400, description = "Full, over, or the player is there already")))]
pub async fn add_player(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path(session): Path<String>,
    Body(AddPlayer { player_id }): Body<AddPlayer>,
) -> Result<Response, AppError> {
    sessions::add_player(&state.app, &caller, &SessionKey::parse(&session), &player_id).await?;
    Ok(answer::message(format!(
        "Player {player_id} added to session {session}"
    )))
}

/// Removes a player from a live session, and its peers from the signaling. A player may remove itself.
#[utoipa::path(delete, path = "/api/v1/sessions/{session}/players/{player_id}", tag = "sessions",
    params(("session" = String, Path), ("player_id" = String, Path)), security(("token" = []), ("api_key" = [])),
    responses((status = 200, body = Message), (status = 400, description = "The player is not there, or the session is over")))]
pub async fn remove_player(
    State(state): Shared,
    PlayerOrOperator(caller): PlayerOrOperator,
    Path((session, player_id)): Path<(String, String)>,
) -> Result<Response, AppError> {
    sessions::remove_player(&state.app, &caller, &SessionKey::parse(&session), &player_id).await?;
    Ok(answer::message(format!(
        "Player {player_id} removed from session {session}"
    )))
}

/// Active sessions of a host, newest first.
#[utoipa::path(get, path = "/api/v1/sessions/host/{host_id}/active", tag = "sessions", params(("host_id" = String, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000), ("offset" = Option<u32>, Query)),
    security(("token" = []), ("api_key" = [])), responses((status = 200, body = Vec<Session>)))]
pub async fn active_for_host(
    State(state): Shared,
    _: PlayerOrOperator,
    Path(host_id): Path<String>,
    mut query: Query,
) -> Result<Response, AppError> {
    let page = query.page();
    query.finish()?;
    Ok(answer::ok(
        &sessions::active_for_host(&state.app, &host_id, page).await?,
    ))
}

/// Active sessions of a zone, newest first.
#[utoipa::path(get, path = "/api/v1/sessions/zone/{zone_id}/active", tag = "sessions", params(("zone_id" = String, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000), ("offset" = Option<u32>, Query)),
    security(("token" = []), ("api_key" = [])), responses((status = 200, body = Vec<Session>)))]
pub async fn active_for_zone(
    State(state): Shared,
    _: PlayerOrOperator,
    Path(zone_id): Path<String>,
    mut query: Query,
) -> Result<Response, AppError> {
    let page = query.page();
    query.finish()?;
    Ok(answer::ok(
        &sessions::active_for_zone(&state.app, &zone_id, page).await?,
    ))
}

/// Ends live sessions without activity for so long.
#[utoipa::path(post, path = "/api/v1/sessions/cleanup", tag = "sessions",
    params(("timeout_minutes" = Option<u32>, Query, minimum = 0, description = "30 when it is not there")),
    security(("api_key" = [])), responses((status = 200, body = Message)))]
pub async fn cleanup(State(state): Shared, _: Operator, mut query: Query) -> Result<Response, AppError> {
    let minutes = query.integer("timeout_minutes", 0, MAX_TIMEOUT_MINUTES).unwrap_or(30);
    query.finish()?;
    let ended = sessions::cleanup(&state.app, Duration::from_secs(u64::from(minutes) * 60)).await?;
    Ok(answer::message(format!("Cleaned up {} stale sessions", ended.len())))
}
