//! Around every request: who asks, the rate limit before anything is read, the timeout, panics, and the headers.
//!
//! One function on purpose: each further layer costs every request an allocation or two.

use std::fmt::{Display, Write as _};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::FutureExt;

use crate::app::error::AppError;
use crate::app::limits::LimitOutcome;
use crate::http::client::Client;
use crate::http::error::Problem;
use crate::http::extract::announced_length;
use crate::http::metrics::HttpMetrics;
use crate::http::state::HttpState;
use crate::ports::live::BucketAnswer;
use crate::ports::policies::{Caller, LimitRequest, Surface};
use crate::telemetry::request::RequestId;
use crate::telemetry::span::Span;

/// Longest time to answer a request. WebSockets answer at once and live on elsewhere.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The route label of requests that match none.
const NO_ROUTE: &str = "none";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What the guard needs.
pub struct Guard {
    pub state: Arc<HttpState>,
    pub metrics: HttpMetrics,
}

/// Lets a request through to its handler, or refuses it. What is logged meanwhile carries the trace of a request that names one,
/// or whose trace is exported.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let id = RequestId::next();
    let Some(trace) = guard.state.app.traces.enter(request.headers()) else {
        // Pinned where it is: what wraps it does not move it.
        let work = pin!(pass(&guard, id, request, next));
        return id.handle(work).await;
    };
    let route = request.extensions().get::<MatchedPath>();
    let span = tracing::info_span!(
        "request",
        trace_id = trace.id(),
        request_id = %id,
        method = %request.method(),
        route = route.map_or(NO_ROUTE, MatchedPath::as_str)
    );
    let exported = Span::of_request(&trace, request.method(), route.map(MatchedPath::as_str), id);
    let work = pin!(pass(&guard, id, request, next));
    let response = trace.run(span, id.handle(work)).await;
    if let Some(exported) = exported {
        exported.answered(response.status());
    }
    response
}

async fn pass(guard: &Guard, id: RequestId, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let state = &guard.state;
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let template = matched.as_ref().map(|path| {
        let path = path.as_str();
        path.strip_prefix("/api/v1").unwrap_or(path)
    });
    let method = request.method().clone();
    // CORS says so itself to pages that name their origin.
    let varies = !request.headers().contains_key(ORIGIN) && state.trust.answers_vary();
    let client = Client::of(state, &method, request.headers(), request.extensions());
    let outcome = {
        let identity = client.identity();
        let limit = LimitRequest {
            surface: surface(template),
            caller: Caller::from(identity),
            size: u32::try_from(announced_length(request.headers())).unwrap_or(u32::MAX),
            now: state.app.clock.now(),
            ip: client.ip,
            player_id: identity.player_id(),
            user_id: identity.user_id(),
            method: Some(method.as_str()),
            route: template,
            message_type: None,
            session_id: None,
        };
        let outcome = state.limiter.check_http(&limit).await;
        if outcome.refuses() && never_refused(limit.surface, limit.caller, template) {
            LimitOutcome::Unlimited
        } else {
            outcome
        }
    };
    // Of every number in the headers.
    let mut text = BytesMut::with_capacity(64);
    let mut response = match outcome {
        LimitOutcome::Unlimited => answer(client, request, next).await,
        LimitOutcome::Allowed(bucket) => {
            let mut response = answer(client, request, next).await;
            limit_headers(response.headers_mut(), &bucket, &mut text);
            response
        }
        LimitOutcome::Limited(bucket) => {
            let mut headers = HeaderMap::with_capacity(8);
            limit_headers(&mut headers, &bucket, &mut text);
            headers.insert(RETRY_AFTER, HeaderValue::from(bucket.retry_after_seconds.max(1)));
            Problem::limited(&bucket).respond(headers)
        }
        LimitOutcome::Denied(reason) => Problem::new(StatusCode::FORBIDDEN, reason).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if varies {
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
    insert(headers, X_REQUEST_ID, id, &mut text);
    guard.metrics.observe(
        template.unwrap_or(NO_ROUTE),
        &method,
        response.status(),
        started.elapsed(),
    );
    response
}

/// The handler's answer, within the timeout. A panic is a 500, and every error is a problem document.
async fn answer(client: Client, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(client);
    let handled = tokio::time::timeout(REQUEST_TIMEOUT, AssertUnwindSafe(next.run(request)).catch_unwind());
    let response = match handled.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => AppError::Internal(anyhow::anyhow!("a handler panicked")).into_response(),
        Err(_) => AppError::Unavailable(anyhow::anyhow!("no answer within {REQUEST_TIMEOUT:?}")).into_response(),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        problem(response)
    } else {
        response
    }
}

/// Gives an error of the router itself (unknown path, wrong method, bad percent-encoding) a problem document.
fn problem(response: Response) -> Response {
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|text| text.contains("json")) {
        return response;
    }
    let status = response.status();
    let detail = match status {
        StatusCode::NOT_FOUND => "No such route",
        StatusCode::METHOD_NOT_ALLOWED => "The route does not take this method",
        StatusCode::BAD_REQUEST => "The request is malformed",
        other => other.canonical_reason().unwrap_or("Error"),
    };
    let mut headers = response.into_parts().0.headers;
    headers.remove("content-length");
    Problem::new(status, detail).respond(headers)
}

fn limit_headers(headers: &mut HeaderMap, bucket: &BucketAnswer, text: &mut BytesMut) {
    insert(headers, X_RATELIMIT_LIMIT, bucket.limit, text);
    insert(headers, X_RATELIMIT_REMAINING, bucket.remaining, text);
    insert(headers, X_RATELIMIT_RESET, bucket.reset_at.unix_seconds(), text);
}

/// A header with a number. `text` is the memory that the numbers of one answer share.
fn insert(headers: &mut HeaderMap, name: HeaderName, number: impl Display, text: &mut BytesMut) {
    if write!(text, "{number}").is_ok()
        && let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze())
    {
        headers.insert(name, value);
    }
}

/// Whether no policy may refuse: probes have to work, and operators have to see which policy it is that
/// refuses, and to go back to another.
fn never_refused(surface: Surface, caller: Caller, template: Option<&str>) -> bool {
    surface == Surface::Exempt || (caller == Caller::Operator && template.is_some_and(is_about_policies))
}

/// What an operator needs to see a policy that refuses, and to have another one serve.
fn is_about_policies(template: &str) -> bool {
    ["/plugins", "/decisions", "/console"].iter().any(|root| {
        template
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A sign-in is limited as a request for a token is; the page and its parts are files.
fn console_surface(template: &str) -> Surface {
    if template == "/console/sign-in" {
        Surface::Auth
    } else if template == "/console/events" || template.starts_with("/console/session") {
        Surface::Api
    } else {
        Surface::Exempt
    }
}

/// Which limit a route falls under. Health, the root, metrics, the documentation and the console's page are exempt.
fn surface(template: Option<&str>) -> Surface {
    let Some(template) = template else { return Surface::Api };
    let first = template.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "" | "health" | "docs" | "openapi.json" | "asyncapi.json" | "metrics" => Surface::Exempt,
        "auth" => Surface::Auth,
        "console" => console_surface(template),
        _ if template == "/monitoring/metrics" => Surface::Exempt,
        _ => Surface::Api,
    }
}
