//! Which web pages may call the API: what each kind of `CORS_ORIGINS` adds to the routes.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::http::state::HttpState;
use crate::http::trust::Pages;

/// For any page whatever. Credentials do not count.
pub fn any() -> CorsLayer {
    layer(AllowOrigin::any())
}

/// For the pages that are listed when a request comes.
pub fn listed(state: Arc<HttpState>) -> CorsLayer {
    let is_listed = AllowOrigin::predicate(move |origin, _| match &**state.trust.pages() {
        Pages::Listed(origins) => origins.contains(origin),
        Pages::None | Pages::Any => false,
    });
    layer(is_listed).allow_credentials(true)
}

fn layer(origin: AllowOrigin) -> CorsLayer {
    let exposed = [
        HeaderName::from_static("x-ratelimit-limit"),
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
        HeaderName::from_static("x-total-count"),
        HeaderName::from_static("x-request-id"),
        RETRY_AFTER,
        WWW_AUTHENTICATE,
    ];
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-api-key")])
        .expose_headers(exposed)
        .max_age(Duration::from_secs(600))
}
