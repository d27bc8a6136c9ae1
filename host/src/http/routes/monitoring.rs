//! Aggregate numbers for people and for Prometheus. No names, no addresses: these are public.

use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::app::error::AppError;
use crate::app::monitoring::{self, Dashboard, HostStats};
use crate::http::answer;

/// All numbers on one page.
#[utoipa::path(get, path = "/api/v1/monitoring/dashboard", tag = "monitoring", responses((status = 200, body = Dashboard)))]
pub async fn dashboard(State(state): Shared) -> Result<Response, AppError> {
    Ok(answer::ok(&monitoring::dashboard(&state.app).await?))
}

/// Online hosts and how their scores are spread.
#[utoipa::path(get, path = "/api/v1/monitoring/hosts/stats", tag = "monitoring", responses((status = 200, body = HostStats)))]
pub async fn host_stats(State(state): Shared) -> Response {
    answer::ok(&monitoring::host_stats(&state.app))
}

/// All metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "monitoring",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4")))]
pub async fn metrics(State(state): Shared) -> Result<Response, AppError> {
    prometheus_text(monitoring::metrics_text(&state.app).await?)
}

/// All metrics in the Prometheus text format.
#[utoipa::path(get, path = "/api/v1/monitoring/metrics", tag = "monitoring",
    responses((status = 200, body = String, content_type = "text/plain; version=0.0.4")))]
pub async fn metrics_under_prefix(State(state): Shared) -> Result<Response, AppError> {
    prometheus_text(monitoring::metrics_text(&state.app).await?)
}

fn prometheus_text(text: String) -> Result<Response, AppError> {
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
