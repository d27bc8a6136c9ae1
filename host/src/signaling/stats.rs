//! `GET /signaling/stats`: how many connections and sessions there are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::state::HttpState;

/// Numbers of signaling.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SignalingStats {
    /// Peers that are connected.
    pub active_connections: u64,
    /// Sessions with at least one connected peer.
    pub active_sessions: u64,
}

/// Signaling statistics
#[utoipa::path(
    get,
    path = "/signaling/stats",
    tag = "signaling",
    responses((status = 200, description = "Connected peers and their sessions", body = SignalingStats))
)]
pub async fn stats(State(state): State<Arc<HttpState>>) -> Json<SignalingStats> {
    let (active_connections, active_sessions) = state.hub.counts().await;
    Json(SignalingStats {
        active_connections,
        active_sessions,
    })
}
