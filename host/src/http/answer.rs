//! Answers in JSON.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::error::AppError;

/// What most answers fit into, in bytes.
const TYPICAL_BODY: usize = 1024;
/// How many entries the whole list has.
pub const X_TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// One sentence.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Message {
    pub message: String,
}

/// `value` with this status.
#[must_use]
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    let mut body = Vec::with_capacity(TYPICAL_BODY);
    if let Err(error) = serde_json::to_writer(&mut body, value) {
        return AppError::Internal(anyhow::Error::new(error).context("writing an answer")).into_response();
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 200 with `value`.
#[must_use]
pub fn ok<T: Serialize + ?Sized>(value: &T) -> Response {
    json(StatusCode::OK, value)
}

/// 200 with one sentence.
#[must_use]
pub fn message(text: String) -> Response {
    ok(&Message { message: text })
}

/// 200 with one page of a list, and the length of the whole list.
#[must_use]
pub fn page<T: Serialize>(entries: &[T], total: usize) -> Response {
    let mut response = ok(entries);
    response.headers_mut().insert(X_TOTAL_COUNT, HeaderValue::from(total));
    response
}
