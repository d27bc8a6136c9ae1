//! Every route on one page.
//!
//! `R` marks who may: `-` everyone, `P` a player or an operator (ownership is checked by the use case), `O` operators.
//! `docs/authorization.md` says it in full. Each path answers under both prefixes, see `middleware/path.rs`.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::console;
use super::metrics::HttpMetrics;
use super::middleware::cors;
use super::middleware::guard::{Guard, guard};
use super::openapi;
use super::routes::{auth, decisions, docs, health, hosts, monitoring, plugins, releases, root, sessions, zones};
use super::service::Api;
use super::state::HttpState;
use crate::signaling::asyncapi;

/// All routes with their documentation.
#[rustfmt::skip]
pub(super) fn table() -> OpenApiRouter<Arc<HttpState>> {
    OpenApiRouter::with_openapi(openapi::Frame::openapi())
        // R  method  path
        // -  GET     /
        .routes(routes!(root::about))
        // -  GET     /health  /health/live  /health/ready
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        // -  POST    /auth/token  /auth/refresh
        .routes(routes!(auth::token))
        .routes(routes!(auth::refresh))
        // P  POST    /hosts/register  /hosts/{host_id}/heartbeat
        .routes(routes!(hosts::register))
        .routes(routes!(hosts::heartbeat))
        // P  GET     /hosts  /hosts/available/list  /hosts/available/best
        .routes(routes!(hosts::list))
        .routes(routes!(hosts::available))
        .routes(routes!(hosts::best))
        // P  GET     /hosts/{host_id}     P  DELETE  the same
        .routes(routes!(hosts::get, hosts::delete))
        // P  GET     /zones               O  POST    the same
        .routes(routes!(zones::list, zones::define))
        // P  GET     /zones/p2p/enabled  /zones/{zone_id}
        .routes(routes!(zones::p2p_enabled))
        .routes(routes!(zones::get))
        // O  POST    /zones/{zone_id}/enable-p2p  /zones/{zone_id}/disable-p2p
        .routes(routes!(zones::enable_p2p))
        .routes(routes!(zones::disable_p2p))
        // O  PATCH   /zones/{zone_id}/status
        .routes(routes!(zones::set_status))
        // P  POST    /sessions
        .routes(routes!(sessions::create))
        // O  POST    /sessions/cleanup
        .routes(routes!(sessions::cleanup))
        // P  GET     /sessions/{session}  /sessions/host/{host_id}/active  /sessions/zone/{zone_id}/active
        .routes(routes!(sessions::get))
        .routes(routes!(sessions::active_for_host))
        .routes(routes!(sessions::active_for_zone))
        // P  POST    /sessions/{session}/activate  …/end  …/players
        .routes(routes!(sessions::activate))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::add_player))
        // P  PATCH   /sessions/{session}/metrics
        .routes(routes!(sessions::metrics))
        // P  DELETE  /sessions/{session}/players/{player_id}
        .routes(routes!(sessions::remove_player))
        // -  GET     /monitoring/dashboard  /monitoring/hosts/stats  /monitoring/metrics  /metrics
        .routes(routes!(monitoring::dashboard))
        .routes(routes!(monitoring::host_stats))
        .routes(routes!(monitoring::metrics_under_prefix))
        .routes(routes!(monitoring::metrics))
        // O  GET     /plugins
        .routes(routes!(plugins::report))
        // O  GET     /plugins/{slot}/releases     O  POST    the same
        .routes(routes!(releases::list, releases::upload))
        // O  GET     /plugins/releases/{id}  /plugins/{slot}/audit
        .routes(routes!(releases::get))
        .routes(routes!(releases::audit))
        // O  POST    /plugins/{slot}/activate  …/rollout  …/promote  …/halt  …/rollback
        .routes(routes!(releases::activate))
        .routes(routes!(releases::roll_out))
        .routes(routes!(releases::promote))
        .routes(routes!(releases::halt))
        .routes(routes!(releases::roll_back))
        // O  GET     /plugins/{slot}/differences
        .routes(routes!(decisions::differences))
        // O  GET     /decisions  /decisions/{id}
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::explain))
        // -  GET     /signaling/ws  /signaling/stats (the socket checks its own credential)
        .nest("/api/v1", crate::signaling::routes())
}

/// The OpenAPI document, as text to read.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi_document(version: &str) -> anyhow::Result<String> {
    Ok(documented(version).1.to_pretty_json()?)
}

fn documented(version: &str) -> (Router<Arc<HttpState>>, utoipa::openapi::OpenApi) {
    let (routes, mut document) = table().split_for_parts();
    openapi::complete(&mut document, version);
    (routes, document)
}

fn json_text<S: Clone + Send + Sync + 'static>(text: Bytes) -> MethodRouter<S> {
    get(move || async move {
        let kind = HeaderValue::from_static("application/json");
        ([(CONTENT_TYPE, kind)], text).into_response()
    })
}

/// The whole HTTP service. Serve it with connect info: the rate limit counts by the socket's address.
///
/// # Errors
/// When a metric's name is taken, or an origin of `CORS_ORIGINS` cannot stand in a header.
pub fn router(state: Arc<HttpState>) -> anyhow::Result<Api> {
    let cors = cors::layer(&state.app.config.security.cors_origins)?;
    let (routes, document) = documented(&state.app.config.service.version);
    let document = Bytes::from(document.to_json()?);
    let signaling = Bytes::from(asyncapi::document(&state.app.config.service.version)?);
    let guard_state = Arc::new(Guard {
        metrics: HttpMetrics::register(&state.app.metrics.registry)?,
        varies: cors::varies(&state.app.config.security.cors_origins),
        state: state.clone(),
    });
    let routes = routes
        .route("/openapi.json", json_text(document))
        .route("/asyncapi.json", json_text(signaling))
        .merge(docs::routes())
        .merge(console::routes())
        .layer(axum::middleware::from_fn_with_state(guard_state, guard));
    Ok(Api::new(routes.with_state(state), cors))
}
