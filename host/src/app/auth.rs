//! Who a caller is: API keys, access tokens, and refresh tokens that rotate within a family.
//!
//! Tokens are HS256 only. Time comes from the clock that is passed in. Nothing here logs a credential.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use utoipa::ToSchema;

use super::App;
use super::error::AppError;
use super::members::{self, Members, Request};
use crate::config::SecurityConfig;
use crate::domain::clock::{SharedClock, Timestamp};
use crate::domain::identity::Identity;
use crate::ports::storage::{RefreshFamily, Rotated};

/// How long an access token is good, in seconds.
pub const ACCESS_SECONDS: i64 = 3600;
/// How long a refresh token is good, in seconds.
pub const REFRESH_SECONDS: i64 = 7 * 24 * 3600;
/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 4096;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Purpose {
    Access,
    Refresh,
}

/// The claims of both kinds of token.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    player_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    user_id: Option<String>,
    #[serde(rename = "type")]
    purpose: Purpose,
    iat: i64,
    exp: i64,
    jti: String,
    /// Family of a refresh token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    fam: Option<String>,
}

/// A request for tokens. The API key may come in the header `X-API-Key` instead.
#[derive(Clone, Debug, Default, ToSchema)]
pub struct TokenRequest {
    /// The player the tokens are for.
    pub player_id: String,
    /// An account beside the player, carried in the tokens.
    pub user_id: Option<String>,
    /// The coordinator's API key.
    pub api_key: Option<String>,
}

/// A refresh token to spend.
#[derive(Clone, Debug, ToSchema)]
pub struct RefreshRequest {
    pub refresh_token: String,
}

/// A fresh pair of tokens.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokenPair {
    pub access_token: String,
    pub refresh_token: String,
    /// Always `bearer`.
    pub token_type: &'static str,
    /// Seconds the access token is good.
    pub expires_in: i64,
    /// The access token again.
    pub token: String,
}

/// Verifies credentials and signs tokens.
pub struct Authenticator {
    keys: ArcSwap<Keys>,
    validation: Validation,
    jwt_validation: bool,
    api_key_validation: bool,
    clock: SharedClock,
}

/// The secrets of one reading of the settings. Those before them are good too, but nothing is signed with them.
struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    previous: Option<DecodingKey>,
    api_key: [u8; 32],
    api_key_previous: Option<[u8; 32]>,
}

impl Keys {
    fn new(config: &SecurityConfig) -> Self {
        let bytes = |secret: &SecretString| secret.expose_secret().as_bytes().to_vec();
        let digest = |secret: &SecretString| Sha256::digest(bytes(secret)).into();
        let secret = bytes(&config.jwt_secret_key);
        let previous = config.jwt_secret_key_previous.as_ref();
        Self {
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
            previous: previous.map(|secret| DecodingKey::from_secret(&bytes(secret))),
            api_key: digest(&config.coordinator_api_key),
            api_key_previous: config.coordinator_api_key_previous.as_ref().map(digest),
        }
    }
}

impl Authenticator {
    /// Made once from the settings.
    #[must_use]
    pub fn new(config: &SecurityConfig, clock: SharedClock) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Expiry is checked against the clock that was passed in, to the second.
        validation.validate_exp = false;
        Self {
            keys: ArcSwap::from_pointee(Keys::new(config)),
            validation,
            jwt_validation: config.jwt_validation_enabled,
            api_key_validation: config.api_key_validation_enabled,
            clock,
        }
    }

    /// Goes on with the secrets of other settings. Requests that are being checked end with the old ones.
    pub fn replace(&self, config: &SecurityConfig) {
        self.keys.store(Arc::new(Keys::new(config)));
    }

    /// The player of an access token. With token validation off, a bad token stands for any player.
    ///
    /// # Errors
    /// `Unauthorized` when the token is malformed, wrongly signed, expired or no access token.
    pub fn verify_access(&self, token: &str) -> Result<Identity, AppError> {
        match self.decode(token, Purpose::Access) {
            Ok(claims) => Ok(Identity::Player {
                player_id: Arc::from(claims.player_id),
                user_id: claims.user_id.map(Arc::from),
            }),
            Err(_) if !self.jwt_validation => Ok(Identity::AnyPlayer),
            Err(error) => Err(error),
        }
    }

    /// Whether this is the coordinator's API key, or the one before it. Takes the same time for every key of one length.
    #[must_use]
    pub fn verify_api_key(&self, key: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let keys = self.keys.load();
        let previous = keys
            .api_key_previous
            .map_or(Choice::from(0), |known| digest.ct_eq(&known));
        bool::from(digest.ct_eq(&keys.api_key) | previous) || !self.api_key_validation
    }

    /// What a caller without a credential counts as.
    #[must_use]
    pub fn anonymous(&self) -> Identity {
        if !self.api_key_validation {
            Identity::Operator
        } else if !self.jwt_validation {
            Identity::AnyPlayer
        } else {
            Identity::Anonymous
        }
    }

    fn decode(&self, token: &str, purpose: Purpose) -> Result<Claims, AppError> {
        let refused = |text: &str| AppError::Unauthorized(text.to_owned());
        if token.len() > MAX_TOKEN {
            return Err(refused("Invalid token"));
        }
        let keys = self.keys.load();
        let open = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation);
        let opened = match (open(&keys.decoding), &keys.previous) {
            (Err(error), Some(previous)) if *error.kind() == ErrorKind::InvalidSignature => open(previous),
            (opened, _) => opened,
        };
        let claims = opened.map_err(|_| refused("Invalid token"))?.claims;
        if claims.purpose != purpose {
            return Err(refused("Wrong type of token"));
        }
        if claims.exp <= self.clock.now().unix_seconds() {
            return Err(refused("Token has expired"));
        }
        if members::check_player(&claims.player_id).is_err() {
            return Err(refused("Invalid token"));
        }
        Ok(claims)
    }

    fn sign(&self, claims: &Claims) -> Result<String, AppError> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.keys.load().encoding)
            .map_err(|error| AppError::Internal(anyhow::Error::new(error).context("signing a token")))
    }

    /// An access token that belongs to no sign-in: it cannot be refreshed.
    ///
    /// # Errors
    /// `Internal` when the machine has no randomness.
    pub fn access_token(&self, player_id: &str, user_id: Option<&str>) -> Result<String, AppError> {
        self.access(player_id, user_id, self.clock.now())
    }

    fn access(&self, player_id: &str, user_id: Option<&str>, now: Timestamp) -> Result<String, AppError> {
        let iat = now.unix_seconds();
        self.sign(&Claims {
            sub: player_id.to_owned(),
            player_id: player_id.to_owned(),
            user_id: user_id.map(str::to_owned),
            purpose: Purpose::Access,
            iat,
            exp: iat + ACCESS_SECONDS,
            jti: random_hex::<16>()?,
            fam: None,
        })
    }

    fn pair(&self, family: &RefreshFamily, now: Timestamp) -> Result<TokenPair, AppError> {
        let iat = now.unix_seconds();
        let access = self.access(&family.player_id, family.user_id.as_deref(), now)?;
        let refresh = self.sign(&Claims {
            sub: family.player_id.clone(),
            player_id: family.player_id.clone(),
            user_id: family.user_id.clone(),
            purpose: Purpose::Refresh,
            iat,
            exp: family.expires_at.unix_seconds(),
            jti: family.current_jti.clone(),
            fam: Some(family.family_id.clone()),
        })?;
        Ok(TokenPair {
            token: access.clone(),
            access_token: access,
            refresh_token: refresh,
            token_type: "bearer",
            expires_in: ACCESS_SECONDS,
        })
    }
}

impl Request for TokenRequest {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let alias = members.optional_player("peer_id");
        let player_id = match alias {
            Some(alias) => members.optional_player("player_id").unwrap_or(alias),
            None => members.player("player_id"),
        };
        let request = Self {
            player_id,
            user_id: members.optional_text("user_id", members::MAX_TEXT),
            api_key: members.optional_text("api_key", 1024),
        };
        members.finish(request)
    }
}

impl Request for RefreshRequest {
    fn read(body: Value) -> Result<Self, AppError> {
        let mut members = Members::of(body)?;
        let refresh_token = members.long_text("refresh_token", MAX_TOKEN);
        members.finish(Self { refresh_token })
    }
}

/// Issues the first pair of tokens of a new family. `header_key` is the API key of the header.
///
/// # Errors
/// `Unauthorized` without a good API key; `Unavailable` when the family cannot be stored.
pub async fn issue(
    app: &App,
    auth: &Authenticator,
    request: TokenRequest,
    header_key: Option<&str>,
) -> Result<TokenPair, AppError> {
    let key = request.api_key.as_deref().or(header_key);
    match key {
        Some(key) if auth.verify_api_key(key) => {}
        Some(_) => return Err(AppError::Unauthorized("Invalid API key".to_owned())),
        None if auth.anonymous() == Identity::Operator => {}
        None => return Err(AppError::Unauthorized("An API key is required".to_owned())),
    }
    let now = app.clock.now();
    let family = RefreshFamily {
        family_id: random_hex::<16>()?,
        player_id: request.player_id,
        user_id: request.user_id,
        current_jti: random_hex::<16>()?,
        expires_at: now.plus_seconds(REFRESH_SECONDS),
    };
    let pair = auth.pair(&family, now)?;
    app.storage.refresh.start(&family, now).await?;
    Ok(pair)
}

/// Spends a refresh token for a new pair. Presenting a spent one revokes its family.
///
/// # Errors
/// `Unauthorized` when the token is bad, spent or revoked; `Unavailable` when storage is away.
pub async fn refresh(app: &App, auth: &Authenticator, token: &str) -> Result<TokenPair, AppError> {
    let claims = auth.decode(token, Purpose::Refresh)?;
    let family_id = claims
        .fam
        .ok_or_else(|| AppError::Unauthorized("Invalid token".to_owned()))?;
    let now = app.clock.now();
    let next = random_hex::<16>()?;
    let expires_at = now.plus_seconds(REFRESH_SECONDS);
    match app
        .storage
        .refresh
        .rotate(&family_id, &claims.jti, &next, expires_at, now)
        .await?
    {
        Rotated::Done(family) => auth.pair(&family, now),
        Rotated::Reused => {
            tracing::warn!(player_id = %claims.player_id, "a spent refresh token was presented; its family is revoked");
            Err(AppError::Unauthorized(
                "The refresh token was used before; sign in again".to_owned(),
            ))
        }
        Rotated::Refused => Err(AppError::Unauthorized("The refresh token is no longer good".to_owned())),
    }
}

/// `N` random bytes in hex.
///
/// # Errors
/// `Internal` when the machine has no randomness.
pub fn random_hex<const N: usize>() -> Result<String, AppError> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| AppError::Internal(anyhow::anyhow!("no randomness from the machine: {error}")))?;
    Ok(hex::encode(bytes))
}
