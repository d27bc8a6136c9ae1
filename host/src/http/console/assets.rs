//! The console's page and its parts, served from this binary and from nowhere else.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::state::HttpState;

/// Only what this binary serves runs, loads, or is talked to; and no text ever becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; frame-ancestors 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types 'none'";
const HTML: &str = "text/html; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($name:literal) => {
        include_str!(concat!("../../../assets/console/", $name))
    };
}

/// Path, type, content.
const ASSETS: [(&str, &str, &str); 15] = [
    ("/console", HTML, asset!("index.html")),
    ("/console/style.css", "text/css; charset=utf-8", asset!("style.css")),
    ("/console/icon.svg", "image/svg+xml", asset!("icon.svg")),
    ("/console/app.js", JS, asset!("app.js")),
    ("/console/api.js", JS, asset!("api.js")),
    ("/console/live.js", JS, asset!("live.js")),
    ("/console/dom.js", JS, asset!("dom.js")),
    ("/console/chart.js", JS, asset!("chart.js")),
    ("/console/overview.js", JS, asset!("overview.js")),
    ("/console/hosts.js", JS, asset!("hosts.js")),
    ("/console/sessions.js", JS, asset!("sessions.js")),
    ("/console/policies.js", JS, asset!("policies.js")),
    ("/console/upload.js", JS, asset!("upload.js")),
    ("/console/ask.js", JS, asset!("ask.js")),
    ("/console/decisions.js", JS, asset!("decisions.js")),
];

pub(super) fn routes() -> Router<Arc<HttpState>> {
    ASSETS.iter().fold(Router::new(), |router, &(path, kind, content)| {
        router.route(path, get(move || async move { part(kind, content) }))
    })
}

/// The page at `/` for browsers.
pub fn front() -> Response {
    part(HTML, asset!("front.html"))
}

fn part(kind: &'static str, content: &'static str) -> Response {
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (headers, content).into_response()
}
