//! The operators' console at `/console`: its page, the sign-in that turns the API key into a short session, and the live
//! snapshot it shows. What it changes it changes through the API, below `/console/api`.
//!
//! A session counts here and nowhere else: `http/client` asks for it on paths that `http/middleware/path` marked.

pub mod assets;
pub mod events;
pub mod feed;
pub mod numbers;
pub mod session;
pub mod sign_in;
pub mod snapshot;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, Method};
use axum::routing::{get, post};

use self::feed::Feed;
use self::session::{CONSOLE_TOKEN, Sessions};
use super::client::Credential;
use super::state::HttpState;
use crate::config::SecurityConfig;
use crate::domain::clock::SharedClock;
use crate::domain::identity::Identity;

/// What a request carries that came by a path of the console: only a console session counts for it.
#[derive(Clone, Copy, Debug)]
pub struct ThroughConsole;

/// Sessions and the live snapshot. Made once.
pub struct Console {
    pub sessions: Sessions,
    pub feed: Feed,
}

impl Console {
    /// For this key and this clock.
    #[must_use]
    pub fn new(config: &SecurityConfig, clock: SharedClock) -> Self {
        Self {
            sessions: Sessions::new(config, clock),
            feed: Feed::default(),
        }
    }

    /// Who asks by a path of the console. A session is an operator's when its page asks: a request of another page is refused
    /// whatever it wants, and one that may change something needs the token of the session too.
    #[must_use]
    pub fn credential(&self, method: &Method, headers: &HeaderMap) -> Credential {
        let Some(cookie) = session::cookie(headers) else {
            return Credential::Verified(Identity::Anonymous);
        };
        let Some(session) = self.sessions.verify(cookie) else {
            return Credential::Bad("The console session is over; sign in again".to_owned());
        };
        if !same_origin(method, headers) {
            return Credential::Refused("The request comes from another page".to_owned());
        }
        if !method.is_safe() {
            let token = headers.get(CONSOLE_TOKEN).and_then(|token| token.to_str().ok());
            if !token.is_some_and(|token| self.sessions.is_token_of(&session, token)) {
                return Credential::Refused(format!("The header {CONSOLE_TOKEN} is missing or wrong"));
            }
        }
        Credential::Verified(Identity::Operator)
    }
}

/// Whether a browser sent this for a page of this very origin. `Sec-Fetch-Site` is the browser's own word; browsers leave it
/// out over plain HTTP, and then `Origin` must name the host that was asked. What may change something must say one of them.
pub(super) fn same_origin(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
        (None, _) => method.is_safe(),
    }
}

/// The page, its parts, and what only the console asks for.
pub fn routes() -> Router<Arc<HttpState>> {
    Router::new()
        .merge(assets::routes())
        .route("/console/sign-in", post(sign_in::sign_in))
        .route("/console/session", get(sign_in::session).delete(sign_in::sign_out))
        .route("/console/session/renew", post(sign_in::renew))
        .route("/console/events", get(events::events))
}

#[cfg(test)]
mod tests;
