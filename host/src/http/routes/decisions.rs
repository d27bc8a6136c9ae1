//! What policies decided on this node, and why a session got its host.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;

use super::Shared;
use crate::app::error::AppError;
use crate::http::answer;
use crate::http::extract::{Operator, Query};
use crate::http::state::HttpState;
use crate::plugins::decisions::explain::Explanation;
use crate::plugins::decisions::{Filter, LoggedDecision};
use crate::plugins::delivery::differences::Difference;
use crate::plugins::limits::DECISIONS_SHOWN;
use crate::plugins::slot_name::SlotName;

/// Decisions of one answer, when nobody says how many.
const USUAL: u32 = 20;

/// Logged decisions of a slot on this node, newest first.
#[utoipa::path(get, path = "/api/v1/decisions", operation_id = "decisions", tag = "decisions", params(
        ("slot" = Option<String>, Query, description = "`host-selection` when it is not there"),
        ("session_id" = Option<String>, Query, description = "Decisions about this session alone"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "20 when it is not there")),
    security(("api_key" = [])), responses((status = 200, body = Vec<LoggedDecision>)))]
pub async fn list(State(state): Shared, _: Operator, mut query: Query) -> Result<Response, AppError> {
    let slot = query.parsed("slot", "host-selection, rate-limit or npc-transform", SlotName::parse);
    let limit = query.integer("limit", 1, DECISIONS_SHOWN).unwrap_or(USUAL);
    let filter = Filter {
        session_id: query.text("session_id").map(str::to_owned),
        limit: usize::try_from(limit).unwrap_or(1),
    };
    query.finish()?;
    let slot = slot.unwrap_or(SlotName::HostSelection);
    let found = aside(state, move |state| state.plugins.decisions(slot, &filter)).await?;
    Ok(answer::ok(&found))
}

/// One logged decision, explained: for a choice of hosts every candidate, best pick first, with its score and reason.
#[utoipa::path(get, path = "/api/v1/decisions/{id}", tag = "decisions", params(("id" = String, Path)),
    security(("api_key" = [])), responses((status = 200, body = Explanation),
        (status = 404, description = "This node did not make it, or does not have it any more")))]
pub async fn explain(State(state): Shared, _: Operator, Path(id): Path<String>) -> Result<Response, AppError> {
    let wanted = id.clone();
    let found = aside(state, move |state| state.plugins.decision(&wanted)).await?;
    let decision = found.ok_or_else(|| {
        AppError::NotFound(format!(
            "Decision not found: {id}. A decision is kept on the node that made it, and the latest alone"
        ))
    })?;
    Ok(answer::ok(&Explanation::of(decision)))
}

/// The latest calls of this node that the candidate in the shadow would have answered otherwise, newest first. Empty without a
/// shadow.
#[utoipa::path(get, path = "/api/v1/plugins/{slot}/differences", tag = "plugins", params(("slot" = String, Path)),
    security(("api_key" = [])), responses((status = 200, body = Vec<Difference>)))]
pub async fn differences(State(state): Shared, _: Operator, Path(name): Path<String>) -> Result<Response, AppError> {
    let slot = SlotName::parse(&name).ok_or_else(|| AppError::NotFound(format!("Slot not found: {name}")))?;
    let found = aside(state, move |state| state.plugins.differences(slot)).await?;
    Ok(answer::ok(&found))
}

/// Off the event loop: a question may hold a thousand candidates.
async fn aside<T: Send + 'static>(
    state: Arc<HttpState>,
    work: impl FnOnce(&HttpState) -> T + Send + 'static,
) -> Result<T, AppError> {
    tokio::task::spawn_blocking(move || work(&state))
        .await
        .map_err(|error| AppError::Internal(error.into()))
}
