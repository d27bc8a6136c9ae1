//! Releases of policies: operators store them and have them serve, on every node.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::Shared;
use crate::app::error::AppError;
use crate::app::releases::input::{Activation, Decision, Rollback, RolloutRequest, Upload};
use crate::app::releases::{self, MAX_LISTED};
use crate::domain::release::ReleaseRecord;
use crate::domain::rollout::{AuditEntry, DesiredSlot};
use crate::domain::slot::SlotName;
use crate::http::answer;
use crate::http::extract::{Body, Operator, Query};

fn slot(name: &str) -> Result<SlotName, AppError> {
    SlotName::parse(name).ok_or_else(|| AppError::NotFound(format!("Slot not found: {name}")))
}

/// Stores a release. The same content again is the same release.
#[utoipa::path(post, path = "/api/v1/plugins/{slot}/releases", tag = "plugins", params(("slot" = String, Path)),
    request_body = Upload, security(("api_key" = [])),
    responses((status = 201, body = ReleaseRecord), (status = 200, body = ReleaseRecord, description = "It was there"),
        (status = 422, description = "Bad members, or the release is refused: `step`, `reason`, `mend`")))]
pub async fn upload(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    Body(upload): Body<Upload>,
) -> Result<Response, AppError> {
    let (record, is_new) = releases::upload(&state.app, slot(&name)?, upload).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer::json(status, &record))
}

/// The latest releases of a slot, newest first.
#[utoipa::path(get, path = "/api/v1/plugins/{slot}/releases", tag = "plugins", params(("slot" = String, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200)),
    security(("api_key" = [])), responses((status = 200, body = Vec<ReleaseRecord>)))]
pub async fn list(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Response, AppError> {
    let limit = query.integer("limit", 1, MAX_LISTED).unwrap_or(MAX_LISTED);
    query.finish()?;
    Ok(answer::ok(&releases::list(&state.app, slot(&name)?, limit).await?))
}

/// The release.
#[utoipa::path(get, path = "/api/v1/plugins/releases/{id}", tag = "plugins", params(("id" = String, Path)),
    security(("api_key" = [])), responses((status = 200, body = ReleaseRecord)))]
pub async fn get(State(state): Shared, _: Operator, Path(id): Path<String>) -> Result<Response, AppError> {
    Ok(answer::ok(&releases::get(&state.app, &id).await?))
}

/// Who did what to a slot, newest first.
#[utoipa::path(get, path = "/api/v1/plugins/{slot}/audit", tag = "plugins", params(("slot" = String, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200)),
    security(("api_key" = [])), responses((status = 200, body = Vec<AuditEntry>)))]
pub async fn audit(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    mut query: Query,
) -> Result<Response, AppError> {
    let limit = query.integer("limit", 1, MAX_LISTED).unwrap_or(MAX_LISTED);
    query.finish()?;
    Ok(answer::ok(&releases::audit(&state.app, slot(&name)?, limit).await?))
}

/// Has a release serve. This node tries it first.
#[utoipa::path(post, path = "/api/v1/plugins/{slot}/activate", tag = "plugins", params(("slot" = String, Path)),
    request_body = Activation, security(("api_key" = [])),
    responses((status = 200, body = DesiredSlot),
        (status = 422, description = "Bad members, or the release is refused: `step`, `reason`, `mend`")))]
pub async fn activate(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    Body(wanted): Body<Activation>,
) -> Result<Response, AppError> {
    Ok(answer::ok(&releases::activate(&state.app, slot(&name)?, wanted).await?))
}

/// Tries a release on live calls: as a shadow whose answers are only compared, or as a canary that answers a share.
#[utoipa::path(post, path = "/api/v1/plugins/{slot}/rollout", tag = "plugins", params(("slot" = String, Path)),
    request_body = RolloutRequest, security(("api_key" = [])),
    responses((status = 200, body = DesiredSlot), (status = 400, description = "It is active already"),
        (status = 422, description = "Bad members, or the release is refused: `step`, `reason`, `mend`")))]
pub async fn roll_out(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    Body(wanted): Body<RolloutRequest>,
) -> Result<Response, AppError> {
    Ok(answer::ok(&releases::roll_out(&state.app, slot(&name)?, wanted).await?))
}

/// Makes the candidate the active release.
#[utoipa::path(post, path = "/api/v1/plugins/{slot}/promote", tag = "plugins", params(("slot" = String, Path)),
    request_body = Decision, security(("api_key" = [])),
    responses((status = 200, body = DesiredSlot), (status = 400, description = "There is no rollout")))]
pub async fn promote(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    Body(decision): Body<Decision>,
) -> Result<Response, AppError> {
    Ok(answer::ok(
        &releases::promote(&state.app, slot(&name)?, &decision.note).await?,
    ))
}

/// Ends the rollout. The active release goes on.
#[utoipa::path(post, path = "/api/v1/plugins/{slot}/halt", tag = "plugins", params(("slot" = String, Path)),
    request_body = Decision, security(("api_key" = [])),
    responses((status = 200, body = DesiredSlot), (status = 400, description = "There is no rollout")))]
pub async fn halt(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    Body(decision): Body<Decision>,
) -> Result<Response, AppError> {
    Ok(answer::ok(
        &releases::halt(&state.app, slot(&name)?, &decision.note).await?,
    ))
}

/// Goes back by one release, or to one that served before.
#[utoipa::path(post, path = "/api/v1/plugins/{slot}/rollback", tag = "plugins", params(("slot" = String, Path)),
    request_body = Rollback, security(("api_key" = [])),
    responses((status = 200, body = DesiredSlot), (status = 400, description = "There is nothing to go back to")))]
pub async fn roll_back(
    State(state): Shared,
    _: Operator,
    Path(name): Path<String>,
    Body(wanted): Body<Rollback>,
) -> Result<Response, AppError> {
    let to = wanted.release_id.as_deref();
    Ok(answer::ok(
        &releases::roll_back(&state.app, slot(&name)?, to, &wanted.note).await?,
    ))
}
