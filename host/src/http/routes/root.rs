//! What this service is.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderValue, VARY};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::app::monitoring;
use crate::http::answer;
use crate::http::console::assets as page;
use crate::http::state::HttpState;

/// The service in short.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct About {
    pub service: String,
    pub version: String,
    /// `running`, or `draining` while the service shuts down.
    pub status: &'static str,
    /// Whether peer-to-peer is on at all.
    pub p2p_enabled: bool,
    /// `zone_id` of every zone that serves peer-to-peer.
    pub enabled_zones: Vec<String>,
    /// Path of the documentation.
    pub docs: &'static str,
}

/// The service in short. A browser, which asks for `text/html`, gets a page that leads on.
#[utoipa::path(get, path = "/", tag = "service", responses((status = 200, body = About)))]
pub async fn about(State(state): Shared, headers: HeaderMap) -> Response {
    let mut response = if asks_for_a_page(&headers) {
        page::front()
    } else {
        about_in_json(&state).await
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Only who names the type: libraries say `*/*`.
fn asks_for_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|text| text.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
}

async fn about_in_json(state: &HttpState) -> Response {
    let config = &state.app.config;
    let zones = match monitoring::sums(&state.app).await {
        Ok(sums) if config.p2p.enabled => sums.p2p_zones.clone(),
        _ => Vec::new(),
    };
    answer::ok(&About {
        service: config.service.name.clone(),
        version: config.service.version.clone(),
        status: if state.shutdown.is_cancelled() {
            "draining"
        } else {
            "running"
        },
        p2p_enabled: config.p2p.enabled,
        enabled_zones: zones,
        docs: "/docs",
    })
}
