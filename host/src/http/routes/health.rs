//! Whether the service is well, alive, and ready for traffic.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::app::monitoring::{self, Vitals};
use crate::http::answer;

/// `connected` or `disconnected` for each store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stores {
    /// The durable store, whatever its kind.
    pub postgres: &'static str,
    /// The live store, whatever its kind.
    pub redis: &'static str,
    /// Kind of the durable store: `sqlite` or `postgres`.
    pub storage: &'static str,
    /// Kind of the live store: `memory` or `redis`.
    pub live: &'static str,
}

/// The state of the service and its stores.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy` or `unhealthy`.
    pub status: &'static str,
    pub service: String,
    pub version: String,
    pub database: Stores,
}

/// One word.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// `alive`, `ready`, `draining` or `unavailable`.
    pub status: &'static str,
}

/// Whether the service and its stores are well. 503 when a store does not answer within two seconds.
#[utoipa::path(get, path = "/health", tag = "service",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "A store does not answer")))]
pub async fn health(State(state): Shared) -> Response {
    let vitals: Vitals = monitoring::vitals(&state.app).await;
    let word = |well: bool| if well { "connected" } else { "disconnected" };
    let service = &state.app.config.service;
    let health = Health {
        status: if vitals.healthy() { "healthy" } else { "unhealthy" },
        service: service.name.clone(),
        version: service.version.clone(),
        database: Stores {
            postgres: word(vitals.storage),
            redis: word(vitals.live),
            storage: state.app.storage.health.kind(),
            live: state.app.live.health.kind(),
        },
    };
    answer::json(status_of(vitals.healthy()), &health)
}

/// Whether the process answers at all. Depends on nothing.
#[utoipa::path(get, path = "/health/live", tag = "service", responses((status = 200, body = Status)))]
pub async fn live() -> Response {
    answer::ok(&Status { status: "alive" })
}

/// Whether traffic should come here. 503 while the service drains or storage is away.
#[utoipa::path(get, path = "/health/ready", tag = "service",
    responses((status = 200, body = Status), (status = 503, body = Status, description = "Draining, or storage is away")))]
pub async fn ready(State(state): Shared) -> Response {
    let (well, status) = if state.shutdown.is_cancelled() {
        (false, "draining")
    } else if monitoring::vitals(&state.app).await.storage {
        (true, "ready")
    } else {
        (false, "unavailable")
    };
    answer::json(status_of(well), &Status { status })
}

fn status_of(well: bool) -> StatusCode {
    if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
