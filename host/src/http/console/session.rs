//! Console sessions: what stands in the cookie, how it is signed, and how it ends.
//!
//! The cookie is signed and not stored: each node of a fleet knows the API key, so each accepts it, and another key ends all
//! sessions; while the key before it is accepted, so are its sessions. It holds a random id, the moment of the sign-in and the
//! end. A sign-out is remembered until the session would have ended anyway, on the node that took it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use parking_lot::Mutex;
use ring::hmac::{Context, HMAC_SHA256, Key, Tag};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::app::auth::random_hex;
use crate::app::error::AppError;
use crate::config::SecurityConfig;
use crate::domain::clock::SharedClock;

/// How long a session is good without being renewed, in seconds.
pub const SESSION_SECONDS: i64 = 3600;
/// How long after the sign-in a session can be renewed, in seconds.
pub const LONGEST_SECONDS: i64 = 12 * 3600;
/// The name of the cookie.
pub const COOKIE_NAME: &str = "p2p_console";
/// The header that a request which may change something carries its token in.
pub const CONSOLE_TOKEN: &str = "x-console-token";
/// Longest cookie that is looked at, in bytes.
const MAX_COOKIE: usize = 256;
/// Sign-outs that are remembered; then those that end first are forgotten.
const MAX_SIGNED_OUT: usize = 4096;

/// One sign-in of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// 256 random bits in hex.
    pub id: String,
    /// In Unix seconds.
    pub signed_in: i64,
    /// In Unix seconds.
    pub expires: i64,
}

impl Session {
    fn text(&self) -> String {
        format!("1.{}.{}.{}", self.id, self.signed_in, self.expires)
    }
}

/// Makes sessions and verifies them.
pub struct Sessions {
    /// The one that signs, then the one before it.
    keys: ArcSwap<Vec<Key>>,
    clock: SharedClock,
    /// Ids, and until when each could have been used.
    signed_out: Mutex<HashMap<String, i64>>,
}

impl Sessions {
    /// Sessions of these API keys.
    #[must_use]
    pub fn new(config: &SecurityConfig, clock: SharedClock) -> Self {
        Self {
            keys: ArcSwap::from_pointee(derived(config)),
            clock,
            signed_out: Mutex::new(HashMap::new()),
        }
    }

    /// Goes on with other API keys. Sessions of one that is not among them have ended.
    pub fn replace(&self, config: &SecurityConfig) {
        self.keys.store(Arc::new(derived(config)));
    }

    /// A new session.
    ///
    /// # Errors
    /// `Internal` when the machine has no randomness.
    pub fn open(&self) -> Result<Session, AppError> {
        let now = self.clock.now().unix_seconds();
        Ok(Session {
            id: random_hex::<32>()?,
            signed_in: now,
            expires: now + SESSION_SECONDS,
        })
    }

    /// The same session for longer, never beyond `LONGEST_SECONDS` after its sign-in.
    #[must_use]
    pub fn renewed(&self, session: &Session) -> Session {
        let longest = session.signed_in + LONGEST_SECONDS;
        Session {
            expires: (self.clock.now().unix_seconds() + SESSION_SECONDS).min(longest),
            ..session.clone()
        }
    }

    /// What stands in the cookie.
    #[must_use]
    pub fn signed(&self, session: &Session) -> String {
        let text = session.text();
        let seal = self.seals(&["session", &text]).next().unwrap_or_default();
        format!("{text}.{seal}")
    }

    /// The session of a cookie, none when it is forged, expired or signed out.
    #[must_use]
    pub fn verify(&self, cookie: &str) -> Option<Session> {
        if cookie.len() > MAX_COOKIE {
            return None;
        }
        let (text, mac) = cookie.rsplit_once('.')?;
        if !self.is_sealed(&["session", text], mac) {
            return None;
        }
        let mut parts = text.strip_prefix("1.")?.split('.');
        let session = Session {
            id: parts.next()?.to_owned(),
            signed_in: parts.next()?.parse().ok()?,
            expires: parts.next()?.parse().ok()?,
        };
        let now = self.clock.now().unix_seconds();
        let is_good = session.expires > now && !self.signed_out.lock().contains_key(&session.id);
        is_good.then_some(session)
    }

    /// Seconds until a session ends, 0 when it has ended.
    #[must_use]
    pub fn seconds_left(&self, session: &Session) -> u64 {
        u64::try_from(session.expires - self.clock.now().unix_seconds()).unwrap_or(0)
    }

    /// Ends a session on this node.
    pub fn end(&self, session: &Session) {
        let now = self.clock.now().unix_seconds();
        let mut signed_out = self.signed_out.lock();
        signed_out.retain(|_, end| *end > now);
        if signed_out.len() >= MAX_SIGNED_OUT
            && let Some(first) = signed_out.iter().min_by_key(|(_, end)| **end).map(|(id, _)| id.clone())
        {
            signed_out.remove(&first);
        }
        signed_out.insert(session.id.clone(), session.signed_in + LONGEST_SECONDS);
    }

    /// What the session's page sends with whatever may change something.
    #[must_use]
    pub fn token(&self, session: &Session) -> String {
        self.seals(&["token", &session.id]).next().unwrap_or_default()
    }

    /// Whether this is the session's token. Takes the same time for every token of its length.
    #[must_use]
    pub fn is_token_of(&self, session: &Session, token: &str) -> bool {
        self.is_sealed(&["token", &session.id], token)
    }

    /// The seals of each key in hex, that of the current one first.
    fn seals<'a>(&self, parts: &'a [&str]) -> impl Iterator<Item = String> + use<'a> {
        let keys = self.keys.load_full();
        (0..keys.len()).map(move |index| hex::encode(seal(&keys[index], parts)))
    }

    fn is_sealed(&self, parts: &[&str], given: &str) -> bool {
        self.seals(parts)
            .any(|seal| seal.as_bytes().ct_eq(given.as_bytes()).into())
    }
}

/// The console's cookie of a request. Of two with its name the first counts.
#[must_use]
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

/// A key of its own of each API key.
fn derived(config: &SecurityConfig) -> Vec<Key> {
    let secrets = [
        Some(&config.coordinator_api_key),
        config.coordinator_api_key_previous.as_ref(),
    ];
    let derive = |secret: &SecretString| {
        let secret = Key::new(HMAC_SHA256, secret.expose_secret().as_bytes());
        let derived = seal(&secret, &["p2p-coordinator console session"]);
        Key::new(HMAC_SHA256, derived.as_ref())
    };
    secrets.into_iter().flatten().map(derive).collect()
}

/// HMAC-SHA256 over the parts, each ended by a zero byte.
fn seal(key: &Key, parts: &[&str]) -> Tag {
    let mut context = Context::with_key(key);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    context.sign()
}
