//! Spans of HTTP requests, answered here or sent from here, with the names that OpenTelemetry's conventions give. Tells the
//! template of a path, never the path.

use axum::http::{Method, StatusCode};

use super::request::RequestId;
use super::span::{Span, SpanKind};
use super::trace::Trace;

const STATUS: &str = "http.response.status_code";
const ERROR: &str = "error.type";

impl Span {
    /// The handling of a request; none when its trace is not exported.
    #[must_use]
    pub fn of_request(trace: &Trace, method: &Method, route: Option<&str>, id: RequestId) -> Option<Self> {
        let mut span = Self::of(trace, SpanKind::Server, || name(method, route))?;
        span.text("http.request.method", known(method).unwrap_or("_OTHER"));
        if let Some(route) = route {
            span.text("http.route", route);
        }
        span.text("request_id", id.to_string());
        Some(span)
    }

    /// Ends the handling of a request with what was answered.
    pub fn answered(mut self, status: StatusCode) {
        self.number(STATUS, status.as_u16());
        if status.is_server_error() {
            self.text(ERROR, status.as_str());
            self.fail(status.canonical_reason().unwrap_or_default());
        }
    }

    /// A request to another service, which the work in hand asks; none when that is not exported.
    #[must_use]
    pub fn to_service(method: &Method, template: &str, address: &str) -> Option<Self> {
        let mut span = Self::part(SpanKind::Client, || name(method, Some(template)))?;
        span.text("http.request.method", known(method).unwrap_or("_OTHER"));
        span.text("url.template", template);
        span.text("server.address", address);
        Some(span)
    }

    /// What the other service answered.
    pub fn got(&mut self, status: StatusCode) {
        self.number(STATUS, status.as_u16());
        if !status.is_success() {
            self.text(ERROR, status.as_str());
            self.fail(status.canonical_reason().unwrap_or_default());
        }
    }
}

fn name(method: &Method, route: Option<&str>) -> String {
    let method = known(method).unwrap_or("HTTP");
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// The method, unless a client made it up.
fn known(method: &Method) -> Option<&str> {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    known.contains(method).then(|| method.as_str())
}
