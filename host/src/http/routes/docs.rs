//! The documentation in the browser: Swagger UI, served from this binary and from nowhere else.

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Only what this binary serves runs or loads. Swagger UI sets styles on its elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE: &str = include_str!("../../../assets/swagger-ui/index.html");
const START: &str = include_str!("../../../assets/swagger-ui/start.js");
const CSS: &[u8] = include_bytes!("../../../assets/swagger-ui/swagger-ui.css.gz");
const BUNDLE: &[u8] = include_bytes!("../../../assets/swagger-ui/swagger-ui-bundle.js.gz");
const ICON: &[u8] = include_bytes!("../../../assets/swagger-ui/favicon-32x32.png");

/// The page and its parts.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let packed = |kind: &'static str, bytes: &'static [u8]| {
        get(move || async move {
            let mut response = part(kind, bytes);
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        })
    };
    Router::new()
        .route(
            "/docs",
            get(|| async { part("text/html; charset=utf-8", PAGE.as_bytes()) }),
        )
        .route(
            "/docs/start.js",
            get(|| async { part("text/javascript", START.as_bytes()) }),
        )
        .route("/docs/favicon.png", get(|| async { part("image/png", ICON) }))
        .route("/docs/swagger-ui.css", packed("text/css", CSS))
        .route("/docs/swagger-ui-bundle.js", packed("text/javascript", BUNDLE))
}

fn part(kind: &'static str, bytes: &'static [u8]) -> Response {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    (headers, bytes).into_response()
}
