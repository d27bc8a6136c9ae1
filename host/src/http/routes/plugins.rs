//! The policies in their slots.

use axum::extract::State;
use axum::response::Response;

use super::Shared;
use crate::http::answer;
use crate::http::extract::Operator;
use crate::plugins::report::PluginReport;

/// Per slot: where its policy comes from, its digest and state, calls, failures, latency, and the last refusal.
#[utoipa::path(get, path = "/api/v1/plugins", tag = "plugins", security(("api_key" = [])),
    responses((status = 200, body = PluginReport)))]
pub async fn report(State(state): Shared, _: Operator) -> Response {
    answer::ok(&state.plugins.report())
}
