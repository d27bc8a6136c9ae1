//! Who a request comes from: the address, and the credential it carries. Found out once per request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::AUTHORIZATION;
use axum::http::{Extensions, HeaderMap, Method};

use super::console::ThroughConsole;
use super::state::HttpState;
use crate::app::error::AppError;
use crate::domain::identity::Identity;

/// What is known of the sender of a request. An extension of every request that reaches a handler.
#[derive(Clone, Debug)]
pub struct Client {
    pub ip: IpAddr,
    pub credential: Credential,
}

/// What became of the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Good, or there was none.
    Verified(Identity),
    /// There was one, and it is bad. The text is for the client.
    Bad(String),
    /// There was a good one, and it does not count for this request. The text is for the client.
    Refused(String),
}

impl Client {
    /// Looks at the socket's address and the headers.
    #[must_use]
    pub fn of(state: &HttpState, method: &Method, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let socket = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical());
        Self {
            ip: client_address(socket, headers, state.trust.is_proxy()),
            credential: match extensions.get::<ThroughConsole>() {
                Some(_) => state.console.credential(method, headers),
                None => credential(state, headers),
            },
        }
    }

    /// Who asks; anonymous when the credential is bad.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        match &self.credential {
            Credential::Verified(identity) => identity,
            Credential::Bad(_) | Credential::Refused(_) => &Identity::Anonymous,
        }
    }
}

fn credential(state: &HttpState, headers: &HeaderMap) -> Credential {
    if let Some(key) = headers.get("x-api-key") {
        return match key.to_str() {
            Ok(key) if state.auth.verify_api_key(key) => Credential::Verified(Identity::Operator),
            _ => Credential::Bad("Invalid API key".to_owned()),
        };
    }
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Credential::Verified(state.auth.anonymous());
    };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match token.map(|token| state.auth.verify_access(token)) {
        Some(Ok(identity)) => Credential::Verified(identity),
        Some(Err(AppError::Unauthorized(text))) => Credential::Bad(text),
        Some(Err(_)) => Credential::Bad("Invalid token".to_owned()),
        None => Credential::Bad("Authorization must be a bearer token".to_owned()),
    }
}

/// The socket's address; behind a trusted proxy, the rightmost address of `X-Forwarded-For` that is no trusted proxy.
fn client_address(socket: IpAddr, headers: &HeaderMap, trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    if !trusted(socket) {
        return socket;
    }
    let mut client = socket;
    for header in headers.get_all("x-forwarded-for").iter().rev() {
        let Ok(text) = header.to_str() else { return client };
        for hop in text.rsplit(',').map(str::trim) {
            let address = hop
                .parse::<IpAddr>()
                .or_else(|_| hop.parse::<SocketAddr>().map(|a| a.ip()));
            let Ok(address) = address.map(|a| a.to_canonical()) else {
                return client;
            };
            client = address;
            if !trusted(address) {
                return client;
            }
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(socket: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", axum::http::HeaderValue::from_static(value));
        }
        let proxies: [ipnet::IpNet; 2] = ["10.0.0.1/32".parse().unwrap(), "10.0.1.0/24".parse().unwrap()];
        let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(&address));
        client_address(socket.parse().unwrap(), &headers, trusted).to_string()
    }

    #[test]
    fn forwarded_addresses_count_only_behind_a_trusted_proxy() {
        assert_eq!(seen("192.0.2.7", &["1.1.1.1"]), "192.0.2.7");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6", "1.1.1.1:5000, 10.0.1.200"]), "1.1.1.1");
        assert_eq!(seen("10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
    }
}
