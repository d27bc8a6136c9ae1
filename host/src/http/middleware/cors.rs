//! Which web pages may call the API, from `CORS_ORIGINS`.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Whether an answer depends on who asks: caches between must not give it to another page.
#[must_use]
pub fn varies(origins: &[String]) -> bool {
    !origins.is_empty() && origins.iter().all(|origin| origin != "*")
}

/// The layer for these origins; none when no page may call.
///
/// # Errors
/// When an origin cannot stand in a header.
pub fn layer(origins: &[String]) -> anyhow::Result<Option<CorsLayer>> {
    if origins.is_empty() {
        return Ok(None);
    }
    let any = origins.iter().any(|origin| origin == "*");
    let origin = if any {
        AllowOrigin::any()
    } else {
        let parse =
            |origin: &String| HeaderValue::from_str(origin).with_context(|| format!("CORS_ORIGINS: {origin:?}"));
        AllowOrigin::list(origins.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?)
    };
    let exposed = [
        HeaderName::from_static("x-ratelimit-limit"),
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
        HeaderName::from_static("x-total-count"),
        HeaderName::from_static("x-request-id"),
        RETRY_AFTER,
        WWW_AUTHENTICATE,
    ];
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_credentials(!any)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-api-key")])
        .expose_headers(exposed)
        .max_age(Duration::from_secs(600));
    Ok(Some(layer))
}
