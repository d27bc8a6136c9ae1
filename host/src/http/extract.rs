//! What handlers take. A handler that names `Operator` or `PlayerOrOperator` starts already authorised.

use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};

use super::client::{Client, Credential};
use super::error::Problem;
use super::state::HttpState;
use crate::app::error::{AppError, FieldError};
use crate::app::members::{self, Request as Members};
use crate::app::sessions::{MAX_LIST, Page};
use crate::domain::identity::Identity;

/// Bytes of a refused body that are read away.
const MAX_DISCARDED: usize = 1024 * 1024;
/// The longest time that takes.
const DISCARD_TIME: Duration = Duration::from_secs(5);

fn verified(parts: &mut Parts) -> Result<Identity, AppError> {
    match parts.extensions.get::<Client>().map(|client| &client.credential) {
        Some(Credential::Verified(identity)) => Ok(identity.clone()),
        Some(Credential::Bad(text)) => Err(AppError::Unauthorized(text.clone())),
        Some(Credential::Refused(text)) => Err(AppError::Forbidden(text.clone())),
        None => Ok(Identity::Anonymous),
    }
}

/// A player with a good access token, or an operator.
pub struct PlayerOrOperator(pub Identity);

impl FromRequestParts<Arc<HttpState>> for PlayerOrOperator {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<HttpState>) -> Result<Self, AppError> {
        match verified(parts)? {
            Identity::Anonymous => Err(AppError::Unauthorized(
                "An access token or an API key is required".to_owned(),
            )),
            identity => Ok(Self(identity)),
        }
    }
}

/// The holder of the API key.
pub struct Operator;

impl FromRequestParts<Arc<HttpState>> for Operator {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<HttpState>) -> Result<Self, AppError> {
        match verified(parts)? {
            Identity::Operator => Ok(Self),
            Identity::Player { .. } => Err(AppError::Forbidden("Only operators may do this".to_owned())),
            Identity::Anonymous | Identity::AnyPlayer => {
                Err(AppError::Unauthorized("An API key is required".to_owned()))
            }
        }
    }
}

/// A JSON body of limited size, read and checked.
pub struct Body<T>(pub T);

impl<T: Members + Send> FromRequest<Arc<HttpState>> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Arc<HttpState>) -> Result<Self, Response> {
        if !is_json(request.headers()) {
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json");
            return Err(unread(problem, request.into_body()).await);
        }
        let too_large = || {
            let detail = format!("The body must not exceed {} bytes", T::MAX_BODY);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        };
        if announced_length(request.headers()) > T::MAX_BODY as u64 {
            return Err(unread(too_large(), request.into_body()).await);
        }
        let bytes = match to_bytes(request.into_body(), T::MAX_BODY).await {
            Ok(bytes) => bytes,
            Err(error) if is_length_limit(&error) => return Err(last(too_large())),
            Err(_) => {
                let detail = "The body could not be read";
                return Err(Problem::new(StatusCode::BAD_REQUEST, detail).into_response());
            }
        };
        let bytes = if T::OPTIONAL && bytes.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            bytes
        };
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| members::invalid("body", format!("is not valid JSON: {error}")).into_response())?;
        T::read(value).map(Self).map_err(IntoResponse::into_response)
    }
}

/// Refuses a body that was not read. What is left of it is read away, within limits: a client that still sends would see a
/// reset in place of the answer.
async fn unread(problem: Problem, body: axum::body::Body) -> Response {
    let mut rest = std::pin::pin!(Limited::new(body, MAX_DISCARDED));
    let discard = async {
        while let Some(frame) = rest.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    match tokio::time::timeout(DISCARD_TIME, discard).await {
        Ok(true) => problem.into_response(),
        _ => last(problem),
    }
}

/// The last answer on this connection: the rest of the request is still on its way.
fn last(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}

/// The length the client announced, 0 when it did not.
#[must_use]
pub fn announced_length(headers: &HeaderMap) -> u64 {
    headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}

/// JSON, or not said.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    essence.is_empty()
        || essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence.is_char_boundary(essence.len() - 5)
            && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"))
}

/// The query of a request. Every bad parameter is collected; unknown ones are passed over.
pub struct Query {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl FromRequestParts<Arc<HttpState>> for Query {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<HttpState>) -> Result<Self, AppError> {
        let pairs = match parts.uri.query() {
            None | Some("") => Vec::new(),
            Some(_) => {
                axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
                    .map_err(|_| members::invalid("query", "is not a valid query"))?
                    .0
            }
        };
        let errors = Vec::new();
        Ok(Self { pairs, errors })
    }
}

impl Query {
    /// The text of a parameter; absent and empty are the same.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let pair = self.pairs.iter().rev().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that `parse` understands; `expected` says what it would.
    pub fn parsed<T>(&mut self, name: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(self.text(name)?);
        if parsed.is_none() {
            self.refuse(name, expected);
        }
        parsed
    }

    /// Notes that a parameter is bad.
    pub fn refuse(&mut self, name: &str, expected: &str) {
        self.errors.push(FieldError {
            field: name.to_owned(),
            message: format!("must be {expected}"),
        });
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.parsed(name, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    /// `min_quality_score`, 0 when it is not there.
    pub fn min_score(&mut self) -> f64 {
        let score = self.parsed("min_quality_score", "a number from 0 to 100", |text| {
            text.parse::<f64>().ok().filter(|score| (0.0..=100.0).contains(score))
        });
        score.unwrap_or(0.0)
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let expected = format!("a whole number from {min} to {max}");
        self.parsed(name, &expected, |text| {
            text.parse().ok().filter(|number| (min..=max).contains(number))
        })
    }

    /// `limit` and `offset`.
    pub fn page(&mut self) -> Page {
        Page {
            limit: self.integer("limit", 1, MAX_LIST).unwrap_or(MAX_LIST),
            offset: self.integer("offset", 0, members::MAX_INTEGER).unwrap_or(0),
        }
    }

    /// Nothing, unless a parameter was bad.
    ///
    /// # Errors
    /// `Invalid` naming every bad parameter.
    pub fn finish(self) -> Result<(), AppError> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(AppError::Invalid(self.errors))
        }
    }
}
