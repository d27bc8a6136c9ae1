//! Tokens for players.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderValue};
use axum::response::Response;

use super::Shared;
use crate::app::auth::{self, RefreshRequest, TokenPair, TokenRequest};
use crate::app::error::AppError;
use crate::http::answer;
use crate::http::extract::Body;

/// Issues tokens for a player. The API key stands in `api_key` or in the header `X-API-Key`.
#[utoipa::path(post, path = "/api/v1/auth/token", tag = "auth", request_body = TokenRequest, security((), ("api_key" = [])),
    responses((status = 200, body = TokenPair), (status = 401, description = "No API key, or a bad one")))]
pub async fn token(
    State(state): Shared,
    headers: HeaderMap,
    Body(request): Body<TokenRequest>,
) -> Result<Response, AppError> {
    let key = headers.get("x-api-key").map(|key| key.to_str().unwrap_or_default());
    let pair = auth::issue(&state.app, &state.auth, request, key).await?;
    Ok(secret(&pair))
}

/// Spends a refresh token for new tokens. Presenting a spent one revokes the refresh tokens of the same sign-in; access tokens
/// run until they expire.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth", request_body = RefreshRequest,
    responses((status = 200, body = TokenPair), (status = 401, description = "The token is bad, spent or revoked")))]
pub async fn refresh(State(state): Shared, Body(request): Body<RefreshRequest>) -> Result<Response, AppError> {
    let pair = auth::refresh(&state.app, &state.auth, &request.refresh_token).await?;
    Ok(secret(&pair))
}

/// An answer that no cache may keep.
fn secret(pair: &TokenPair) -> Response {
    let mut response = answer::ok(pair);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
