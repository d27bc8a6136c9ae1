//! Who opens a connection, by what it presents. Verification itself is the authenticator's.

use axum::http::{HeaderMap, header};

use crate::app::auth::Authenticator;
use crate::domain::identity::Identity;
use crate::http::client::{Client, Credential};

/// The caller of an upgrade: `token` from the query, then the headers, then a token among the subprotocols.
///
/// # Errors
/// A sentence for the client when what it presents is not good.
pub(super) fn identify(
    auth: &Authenticator,
    client: &Client,
    headers: &HeaderMap,
    token: Option<&str>,
) -> Result<Identity, String> {
    let in_headers = headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key");
    let offered = if in_headers { None } else { token_protocol(headers) };
    match (token.or(offered), &client.credential) {
        (Some(token), _) => verify(auth, token),
        (None, Credential::Verified(identity)) => Ok(identity.clone()),
        (None, Credential::Bad(text) | Credential::Refused(text)) => Err(text.clone()),
    }
}

/// The player of an access token.
///
/// # Errors
/// A sentence for the client.
pub(super) fn verify(auth: &Authenticator, token: &str) -> Result<Identity, String> {
    auth.verify_access(token).map_err(|error| error.to_string())
}

/// The offered subprotocols, in their order.
pub(super) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// The subprotocol that is a token: three parts with dots between.
fn token_protocol(headers: &HeaderMap) -> Option<&str> {
    protocols(headers).find(|value| is_token(value))
}

/// The subprotocol to answer with: browsers insist on one of those they offered. A token is repeated only when there is nothing
/// else.
pub(super) fn answered_protocol(headers: &HeaderMap) -> Option<&str> {
    protocols(headers)
        .find(|value| !is_token(value))
        .or_else(|| protocols(headers).next())
}

fn is_token(value: &str) -> bool {
    value.len() > 40 && value.split('.').count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_among_the_protocols_is_found_and_not_answered() {
        let token = format!("{}.{}.{}", "a".repeat(20), "b".repeat(20), "c".repeat(20));
        let mut headers = HeaderMap::new();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, format!("{token}, p2p").parse().unwrap());
        assert_eq!(token_protocol(&headers), Some(token.as_str()));
        assert_eq!(answered_protocol(&headers), Some("p2p"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, token.parse().unwrap());
        assert_eq!(answered_protocol(&headers), Some(token.as_str()));
    }
}
