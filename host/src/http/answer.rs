//! Answers in JSON.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
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
    match text(value) {
        Ok(text) => with(status, Body::from(text)),
        Err(error) => error.into_response(),
    }
}

fn text<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, AppError> {
    let mut text = Vec::with_capacity(TYPICAL_BODY);
    match serde_json::to_writer(&mut text, value) {
        Ok(()) => Ok(text),
        Err(error) => Err(AppError::Internal(
            anyhow::Error::new(error).context("writing an answer"),
        )),
    }
}

fn with(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer about a value that many ask for: written once, for as long as it is the same value.
pub struct Written<T>(ArcSwapOption<(Arc<T>, Bytes)>);

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<T: Serialize> Written<T> {
    /// 200 with `value`.
    #[must_use]
    pub fn ok(&self, value: &Arc<T>) -> Response {
        if let Some(last) = &*self.0.load()
            && Arc::ptr_eq(&last.0, value)
        {
            return with(StatusCode::OK, Body::from(last.1.clone()));
        }
        match text(&**value) {
            Ok(text) => {
                let text = Bytes::from(text);
                self.0.store(Some(Arc::new((Arc::clone(value), text.clone()))));
                with(StatusCode::OK, Body::from(text))
            }
            Err(error) => error.into_response(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_that_changed_is_written_again() {
        let written = Written::default();
        let (one, two) = (Arc::new("one"), Arc::new("two"));
        for value in [&one, &one, &two, &one] {
            let response = written.ok(value);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(body, serde_json::to_vec(&**value).unwrap());
        }
    }
}
