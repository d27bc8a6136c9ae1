//! Signing in to the console and out of it.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

use super::session::{self, COOKIE_NAME, Session};
use crate::app::error::AppError;
use crate::app::members::{Members, Request};
use crate::config::Environment;
use crate::domain::identity::Identity;
use crate::http::client::Client;
use crate::http::extract::{Body, Operator};
use crate::http::routes::Shared;
use crate::http::state::HttpState;

/// Longest key that is looked at, in bytes.
const MAX_KEY: usize = 1024;

/// A sign-in.
pub struct SignIn {
    api_key: SecretString,
}

impl Request for SignIn {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let api_key = SecretString::from(members.long_text("api_key", MAX_KEY));
        members.finish(Self { api_key })
    }
}

/// What the page needs to know of its session.
#[derive(Debug, Serialize)]
struct SessionView {
    /// To be sent with whatever may change something.
    token: String,
    /// Seconds until the session ends unless it is renewed.
    seconds_left: u64,
    service: String,
    version: String,
}

/// Opens a session for the holder of the API key.
pub async fn sign_in(
    State(state): Shared,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Body(wanted): Body<SignIn>,
) -> Result<Response, AppError> {
    if !super::same_origin(&Method::POST, &headers) {
        return Err(AppError::Forbidden("The request comes from another page".to_owned()));
    }
    if !state.auth.verify_api_key(wanted.api_key.expose_secret()) {
        tracing::warn!(ip = %client.ip, "a sign-in to the console was refused");
        return Err(AppError::Unauthorized("This is not the API key".to_owned()));
    }
    let session = state.console.sessions.open()?;
    tracing::info!(ip = %client.ip, "an operator signed in to the console");
    given(&state, &headers, &session)
}

/// The session of this request; null when there is none, which is no error: it is what a page asks first.
pub async fn session(
    State(state): Shared,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let session = match client.identity() {
        Identity::Operator => Some(current(&state, &headers)?),
        _ => None,
    };
    let view = session.map(|session| view(&state, &session));
    Ok(private(Json(view).into_response()))
}

/// Makes the session last longer.
pub async fn renew(State(state): Shared, _: Operator, headers: HeaderMap) -> Result<Response, AppError> {
    let session = current(&state, &headers)?;
    given(&state, &headers, &state.console.sessions.renewed(&session))
}

/// Ends the session.
pub async fn sign_out(State(state): Shared, _: Operator, headers: HeaderMap) -> Result<Response, AppError> {
    let session = current(&state, &headers)?;
    state.console.sessions.end(&session);
    tracing::info!("an operator signed out of the console");
    with_cookie(&headers, &state, StatusCode::NO_CONTENT.into_response(), "", 0)
}

/// The session whose cookie came with the request.
///
/// # Errors
/// `Unauthorized` when there is none.
pub(super) fn current(state: &HttpState, headers: &HeaderMap) -> Result<Session, AppError> {
    session::cookie(headers)
        .and_then(|cookie| state.console.sessions.verify(cookie))
        .ok_or_else(|| AppError::Unauthorized("Sign in to the console".to_owned()))
}

fn view(state: &HttpState, session: &Session) -> SessionView {
    let service = &state.app.config.service;
    SessionView {
        token: state.console.sessions.token(session),
        seconds_left: state.console.sessions.seconds_left(session),
        service: service.name.clone(),
        version: service.version.clone(),
    }
}

fn given(state: &HttpState, headers: &HeaderMap, session: &Session) -> Result<Response, AppError> {
    let sessions = &state.console.sessions;
    let (value, left) = (sessions.signed(session), sessions.seconds_left(session));
    with_cookie(headers, state, Json(view(state, session)).into_response(), &value, left)
}

/// No script reads the cookie, no other site sends it, and nothing but the console's paths gets it.
fn with_cookie(
    headers: &HeaderMap,
    state: &HttpState,
    response: Response,
    value: &str,
    seconds: u64,
) -> Result<Response, AppError> {
    let secure = if is_secure(state, headers) { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={value}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| AppError::Internal(error.into()))?;
    let mut response = private(response);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// In production always, and with TLS of our own; else when the request says that it came by https. A false word costs its sender
/// the cookie.
fn is_secure(state: &HttpState, headers: &HeaderMap) -> bool {
    let https = |name: &str, wanted: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes().starts_with(wanted.as_bytes()))
    };
    let config = &state.app.config;
    config.service.environment == Environment::Production
        || config.server.tls.is_some()
        || https("x-forwarded-proto", "https")
        || https("origin", "https://")
}

/// An answer that no cache may keep.
fn private(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
