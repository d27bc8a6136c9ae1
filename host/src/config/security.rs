//! Secrets, browsers' origins and validation switches, and what production refuses of them.

use std::path::Path;

use secrecy::SecretString;

use super::reader::Reader;
use super::secrets::{Kept, SecretStore};
use super::service::Environment;

/// `JWT_SECRET_KEY`, `COORDINATOR_API_KEY`, `CORS_ORIGINS` and the switches of the field.
#[derive(Clone, Debug)]
pub struct SecurityConfig {
    pub jwt_secret_key: SecretString,
    /// `JWT_SECRET_KEY_PREVIOUS`: accepted, never used to sign.
    pub jwt_secret_key_previous: Option<SecretString>,
    pub coordinator_api_key: SecretString,
    /// `COORDINATOR_API_KEY_PREVIOUS`: accepted beside the other one.
    pub coordinator_api_key_previous: Option<SecretString>,
    /// Exact origins, or one `*`.
    pub cors_origins: Vec<String>,
    pub jwt_validation_enabled: bool,
    pub api_key_validation_enabled: bool,
}

const JWT: &str = "JWT_SECRET_KEY";
const API_KEY: &str = "COORDINATOR_API_KEY";
const JWT_PREVIOUS: &str = "JWT_SECRET_KEY_PREVIOUS";
const API_KEY_PREVIOUS: &str = "COORDINATOR_API_KEY_PREVIOUS";
/// All secrets. No two of them may be equal.
const SECRETS: [&str; 4] = [JWT, JWT_PREVIOUS, API_KEY, API_KEY_PREVIOUS];
const MIN_SECRET: usize = 32;
const HOW: &str = "make one with: openssl rand -hex 32";

/// Secrets that are printed in documentation, which everybody can read.
const PUBLISHED: [&str; 4] = [
    "your-jwt-secret-key-minimum-32-characters-required-here",
    "your-coordinator-api-key-minimum-32-characters-required",
    "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6a7b8c9d0e1f2",
    "f2e1d0c9b8a7z6y5x4w3v2u1t0s9r8q7p6o5n4m3l2k1j0i9h8g7f6e5d4c3b2a1",
];

/// Words that only placeholders carry.
const PLACEHOLDERS: [&str; 9] = [
    "your-",
    "your_",
    "change-me",
    "changeme",
    "change_me",
    "change-this",
    "placeholder",
    "minimum-32",
    "example",
];

/// The database password of the guide's example.
const PUBLISHED_PASSWORD: &str = "ai_world_pass_2025";

impl SecurityConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment, store: &SecretStore<'_>) -> (Self, Kept) {
        let production = environment == Environment::Production;
        let cors_origins = origins(reader, production);
        let jwt_validation_enabled = reader.flag("JWT_VALIDATION_ENABLED");
        let api_key_validation_enabled = reader.flag("API_KEY_VALIDATION_ENABLED");
        let (jwt, api_key) = (reader.given(JWT), reader.given(API_KEY));
        if production {
            refuse_weak(reader, JWT, jwt);
            refuse_weak(reader, API_KEY, api_key);
            for name in [JWT_PREVIOUS, API_KEY_PREVIOUS] {
                if let Some(secret) = reader.given(name) {
                    refuse_weak(reader, name, Some(secret));
                }
            }
            for (one, other) in equal(reader) {
                reader.refuse(other, format!("must differ from {one}; {HOW}"));
            }
            for (name, enabled) in [
                ("JWT_VALIDATION_ENABLED", jwt_validation_enabled),
                ("API_KEY_VALIDATION_ENABLED", api_key_validation_enabled),
            ] {
                if !enabled && !reader.problems.iter().any(|problem| problem.variable == name) {
                    reader.refuse(name, "must be true in production");
                }
            }
            if reader
                .given("DATABASE_URL")
                .is_some_and(|url| url.contains(PUBLISHED_PASSWORD))
            {
                reader.refuse(
                    "DATABASE_URL",
                    "carries the password of the deployment guide's example; set one of your own",
                );
            }
        } else {
            warn_weak(reader);
        }
        let kept = if production {
            Kept::default()
        } else {
            keep(reader, store, jwt.is_none(), api_key.is_none())
        };
        let secret = |given: Option<&str>, kept: &Option<String>| {
            SecretString::from(given.map_or_else(|| kept.clone().unwrap_or_default(), str::to_owned))
        };
        let previous = |name| reader.given(name).map(SecretString::from);
        let config = Self {
            jwt_secret_key: secret(jwt, &kept.jwt_secret_key),
            jwt_secret_key_previous: previous(JWT_PREVIOUS),
            coordinator_api_key_previous: previous(API_KEY_PREVIOUS),
            coordinator_api_key: secret(api_key, &kept.coordinator_api_key),
            cors_origins,
            jwt_validation_enabled,
            api_key_validation_enabled,
        };
        (config, kept)
    }
}

/// Fills in what is missing from the store. Nothing is written while other settings are wrong.
fn keep(reader: &mut Reader<'_>, store: &SecretStore<'_>, jwt: bool, api_key: bool) -> Kept {
    if !reader.problems.is_empty() || !(jwt || api_key) {
        return Kept::default();
    }
    store.fill(jwt, api_key).unwrap_or_else(|error| {
        reader.refuse(
            "DATA_DIR",
            format!("must be a folder this user may write to: {error:#}"),
        );
        Kept::default()
    })
}

fn refuse_weak(reader: &mut Reader<'_>, name: &str, given: Option<&str>) {
    let Some(secret) = given else {
        return reader.refuse(name, format!("production needs one; {HOW}"));
    };
    let length = secret.chars().count();
    if length < MIN_SECRET {
        reader.refuse(
            name,
            format!("must have {MIN_SECRET} characters or more, it has {length}; {HOW}"),
        );
    } else if is_placeholder(secret) {
        reader.refuse(name, format!("is a published example or a placeholder; {HOW}"));
    }
}

fn is_placeholder(secret: &str) -> bool {
    let lower = secret.to_ascii_lowercase();
    let distinct: std::collections::BTreeSet<char> = lower.chars().collect();
    PUBLISHED.contains(&lower.as_str()) || PLACEHOLDERS.iter().any(|word| lower.contains(word)) || distinct.len() < 6
}

fn warn_weak(reader: &mut Reader<'_>) {
    for name in SECRETS {
        let secret = reader.given(name);
        if secret.is_some_and(|s| s.chars().count() < MIN_SECRET || is_placeholder(s)) {
            reader
                .warnings
                .push(format!("{name} is too weak for production; {HOW}"));
        }
    }
    for (one, other) in equal(reader) {
        reader
            .warnings
            .push(format!("{one} and {other} are equal, which production refuses"));
    }
}

/// Pairs of secrets that are the same.
fn equal(reader: &Reader<'_>) -> Vec<(&'static str, &'static str)> {
    let pairs = SECRETS
        .iter()
        .enumerate()
        .flat_map(|(at, one)| SECRETS[at + 1..].iter().map(move |other| (*one, *other)));
    let same = |one, other| reader.given(one).is_some() && reader.given(one) == reader.given(other);
    pairs.filter(|(one, other)| same(one, other)).collect()
}

fn origins(reader: &mut Reader<'_>, production: bool) -> Vec<String> {
    const NAME: &str = "CORS_ORIGINS";
    let given = reader.list(NAME);
    if given.is_empty() {
        return if production { Vec::new() } else { vec!["*".to_owned()] };
    }
    if given.iter().any(|origin| origin == "*") {
        if production {
            reader.refuse(
                NAME,
                "must list exact origins in production, for example https://play.my-game.net",
            );
        } else if given.len() > 1 {
            reader.refuse(NAME, "must be either * or a list of exact origins");
        }
        return vec!["*".to_owned()];
    }
    let mut origins = Vec::new();
    for origin in given {
        match parse_origin(&origin) {
            Some(origin) => origins.push(origin),
            None => reader.refuse(
                NAME,
                format!("{origin:?} is no origin; write the scheme, the name and no path, for example https://play.my-game.net"),
            ),
        }
    }
    if production && origins.iter().any(|origin| origin.contains("your-domain.com")) {
        reader
            .warnings
            .push(format!("{NAME} holds the example of the deployment guide"));
    }
    origins
}

/// The origin as browsers send it; none when it is none.
fn parse_origin(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (matches!(url.scheme(), "http" | "https") && bare).then(|| url.origin().ascii_serialization())
}

/// Where generated secrets are kept.
pub(super) fn store(data_dir: &Path, write: bool) -> SecretStore<'_> {
    SecretStore { data_dir, write }
}
