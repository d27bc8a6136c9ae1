//! Errors as clients see them: RFC 9457 problem documents. The only file that knows which error has which status.
//!
//! Internal text goes to the log, once, with a number that the document carries too.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::auth::random_hex;
use crate::app::error::{AppError, FieldError};
use crate::ports::live::BucketAnswer;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Seconds after which a client may try again when a part of the service is away.
const RETRY_SECONDS: u32 = 5;

/// What went wrong (RFC 9457). `status` and `detail` are always there.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Problem {
    /// Kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same for every problem of this kind.
    pub title: String,
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Number of this occurrence in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// With 422: each bad member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// When peer-to-peer cannot serve: always `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// When peer-to-peer cannot serve: why, as one word of `FallbackReason`. When a release is refused: why, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Cow<'static, str>>,
    /// When a release is refused: the step of loading that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// When a release is refused: what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<&'static str>,
    /// With 429: always `rate_limit_exceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// With 429: the same as `detail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// With 429: requests per window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// With 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u32>,
    /// With 429: when the limit is fresh again, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_time: Option<i64>,
}

impl Problem {
    /// A problem that its status explains.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..Self::default()
        }
    }

    /// Too many requests, with the members old clients read.
    #[must_use]
    pub fn limited(answer: &BucketAnswer) -> Self {
        let wait = answer.retry_after_seconds.max(1);
        let message = format!(
            "Rate limit of {} requests per {} seconds exceeded; try again in {wait} seconds",
            answer.limit, answer.window_seconds
        );
        Self {
            kind: "urn:p2p-coordinator:problem:rate-limited",
            error: Some("rate_limit_exceeded"),
            message: Some(message.clone()),
            limit: Some(answer.limit),
            window_seconds: Some(answer.window_seconds),
            reset_time: Some(answer.reset_at.unix_seconds()),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// The document as a response with these headers beside its own.
    #[must_use]
    pub fn respond(&self, headers: HeaderMap) -> Response {
        let body = serde_json::to_vec(self).unwrap_or_else(|_| br#"{"detail":"internal error"}"#.to_vec());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.respond(HeaderMap::new())
    }
}

/// Writes the cause to the log under a new number, and returns the number.
fn logged(error: &AppError, cause: &anyhow::Error) -> Option<String> {
    let number = random_hex::<8>().ok();
    tracing::error!(
        instance = number.as_deref().unwrap_or(""),
        cause = format!("{cause:#}"),
        "{error}"
    );
    number.map(|number| format!("urn:p2p-coordinator:occurrence:{number}"))
}

fn with(name: HeaderName, value: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(name, value);
    headers
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match &self {
            Self::Invalid(errors) => {
                let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
                let problem = Problem {
                    kind: "urn:p2p-coordinator:problem:validation",
                    title: "Validation failed".to_owned(),
                    errors: errors.clone(),
                    ..Problem::new(
                        StatusCode::UNPROCESSABLE_ENTITY,
                        format!("Bad members: {}", fields.join(", ")),
                    )
                };
                problem.into_response()
            }
            Self::NotFound(text) => Problem::new(StatusCode::NOT_FOUND, text).into_response(),
            Self::WrongState(text) => Problem::new(StatusCode::BAD_REQUEST, text).into_response(),
            Self::Fallback(reason) => {
                let problem = Problem {
                    kind: "urn:p2p-coordinator:problem:fallback",
                    title: "Use the game server".to_owned(),
                    mode: Some("server"),
                    reason: Some(reason.as_str().into()),
                    ..Problem::new(StatusCode::BAD_REQUEST, reason.detail())
                };
                problem.into_response()
            }
            Self::Refused(refused) => {
                let problem = Problem {
                    kind: "urn:p2p-coordinator:problem:release-refused",
                    title: "Release refused".to_owned(),
                    step: Some(refused.step),
                    reason: Some(refused.reason.clone().into()),
                    mend: Some(refused.mend),
                    ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refused.to_string())
                };
                problem.into_response()
            }
            Self::Unauthorized(text) => {
                let challenge = HeaderValue::from_static("Bearer realm=\"p2p-coordinator\"");
                Problem::new(StatusCode::UNAUTHORIZED, text).respond(with(WWW_AUTHENTICATE, challenge))
            }
            Self::Forbidden(text) => Problem::new(StatusCode::FORBIDDEN, text).into_response(),
            Self::Unavailable(cause) => {
                let detail = "A part of the service is away; try again soon";
                let problem = Problem {
                    instance: logged(&self, cause),
                    ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                };
                problem.respond(with(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS)))
            }
            Self::Internal(cause) => Problem {
                instance: logged(&self, cause),
                ..Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
            }
            .into_response(),
        }
    }
}
