//! Ed25519 signatures over the canonical form of a release: who may vouch, until when, and whether a signature holds.
//! Private keys are PKCS#8 in PEM; they are read by whoever signs and never by the service.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::{ReleaseContent, ReleaseRecord, ReleaseSignature};
use crate::domain::clock::Timestamp;

/// Bytes of a public key.
const PUBLIC_KEY: usize = 32;
/// Longest name of a key in bytes.
const MAX_KEY_ID: usize = 64;
const DAY_MS: i64 = 86_400_000;

/// Why a release is not vouched for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not signed, and PLUGIN_REQUIRE_SIGNATURE is true")]
    Missing,
    #[error("it is signed with the key {0:?}, which PLUGIN_TRUSTED_KEYS does not name")]
    UnknownKey(String),
    #[error("it is signed with the key {key_id:?}, which PLUGIN_TRUSTED_KEYS trusts only until {until}")]
    Expired { key_id: String, until: String },
    #[error(
        "its signature is not one of the key {0:?} over this record: the record, the signature or the key is another"
    )]
    Wrong(String),
    #[error("its record was changed: its id is not the digest of its content")]
    Changed,
}

impl SignatureError {
    /// What to do about it.
    #[must_use]
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::Missing => "sign it with `plugin sign` and a trusted key, and push it again",
            Self::UnknownKey(_) => "sign it with a trusted key, or add the key to PLUGIN_TRUSTED_KEYS on every node",
            Self::Expired { .. } => {
                "sign it with a key that is still trusted, or set a later day in PLUGIN_TRUSTED_KEYS on every node"
            }
            Self::Wrong(_) => "sign exactly what is pushed: the same component, settings, limits and note",
            Self::Changed => "push the release again; find out who writes to the database",
        }
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("{0:?} is not <key-id>:<public key in base64>, or the same with :<YYYY-MM-DD> behind it")]
    Form(String),
    #[error("{0:?} is no public key of Ed25519: 32 bytes in base64")]
    Public(String),
    #[error("{0:?} is named twice")]
    Twice(String),
    #[error("it is no private key of Ed25519 in PKCS#8 PEM; make one with `plugin keygen`")]
    Private,
    #[error("no randomness")]
    Randomness,
}

/// A key that may vouch for releases.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TrustedKey {
    id: String,
    public: [u8; PUBLIC_KEY],
    /// The end of its last day, as it was written and as a moment.
    until: Option<(String, Timestamp)>,
}

/// The keys that may vouch for releases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<TrustedKey>);

impl TrustedKeys {
    /// Reads `key-id:base64-public-key[:YYYY-MM-DD]`, comma separated. A key is trusted to the end of its day, in UTC.
    ///
    /// # Errors
    ///
    /// The first entry that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<TrustedKey> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let form = || KeyError::Form(entry.to_owned());
            let mut parts = entry.split(':');
            let (id, public) = parts.next().zip(parts.next()).ok_or_else(form)?;
            let until = parts.next().map(|day| end_of(day).ok_or_else(form)).transpose()?;
            if !is_key_id(id) || parts.next().is_some() {
                return Err(form());
            }
            let public = STANDARD
                .decode(public)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| KeyError::Public(entry.to_owned()))?;
            if keys.iter().any(|key| key.id == id) {
                return Err(KeyError::Twice(id.to_owned()));
            }
            keys.push(TrustedKey {
                id: id.to_owned(),
                public,
                until,
            });
        }
        Ok(Self(keys))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a key may be called so.
#[must_use]
pub fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn end_of(day: &str) -> Option<(String, Timestamp)> {
    let start: Timestamp = serde_json::from_value(serde_json::Value::String(format!("{day}T00:00:00Z"))).ok()?;
    Some((day.to_owned(), start.plus_millis(DAY_MS)))
}

/// Signs a release with a private key (PKCS#8 PEM) that others know by `key_id`.
///
/// # Errors
///
/// When the key is none of Ed25519, or `key_id` cannot be a name.
pub fn sign(content: &ReleaseContent, private_pem: &[u8], key_id: &str) -> Result<ReleaseSignature, KeyError> {
    if !is_key_id(key_id) {
        return Err(KeyError::Form(key_id.to_owned()));
    }
    let signature = key_pair(private_pem)?.sign(&content.canonical());
    Ok(ReleaseSignature {
        key_id: key_id.to_owned(),
        value: STANDARD.encode(signature.as_ref()),
    })
}

/// The public key of a private one, in base64, as `PLUGIN_TRUSTED_KEYS` wants it.
///
/// # Errors
///
/// When the key is none of Ed25519.
pub fn public_key(private_pem: &[u8]) -> Result<String, KeyError> {
    Ok(STANDARD.encode(key_pair(private_pem)?.public_key().as_ref()))
}

/// A new private key, as PKCS#8 PEM.
///
/// # Errors
///
/// When the machine gives no randomness.
pub fn generate() -> Result<String, KeyError> {
    let random = ring::rand::SystemRandom::new();
    let key = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Randomness)?;
    let text = STANDARD.encode(key.as_ref());
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .filter_map(|start| text.get(start..text.len().min(start + 64)))
        .collect();
    Ok(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    ))
}

fn key_pair(private_pem: &[u8]) -> Result<Ed25519KeyPair, KeyError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(private_pem).map_err(|_| KeyError::Private)?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).map_err(|_| KeyError::Private)
}

/// Whether a trusted key vouches for the record at the moment `now`.
///
/// # Errors
///
/// Why none does.
pub fn verify(record: &ReleaseRecord, keys: &TrustedKeys, now: Timestamp) -> Result<(), SignatureError> {
    if !record.is_whole() {
        return Err(SignatureError::Changed);
    }
    let signature = record.signature.as_ref().ok_or(SignatureError::Missing)?;
    let key = keys
        .0
        .iter()
        .find(|key| key.id == signature.key_id)
        .ok_or_else(|| SignatureError::UnknownKey(signature.key_id.clone()))?;
    let wrong = || SignatureError::Wrong(key.id.clone());
    let value = STANDARD.decode(&signature.value).map_err(|_| wrong())?;
    UnparsedPublicKey::new(&ED25519, &key.public)
        .verify(&record.content().canonical(), &value)
        .map_err(|_| wrong())?;
    match &key.until {
        Some((day, end)) if now >= *end => Err(SignatureError::Expired {
            key_id: key.id.clone(),
            until: day.clone(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::content;
    use super::*;

    const NOW: Timestamp = Timestamp(1_762_689_600_000);

    fn record(signature: Option<ReleaseSignature>) -> ReleaseRecord {
        ReleaseRecord::new(content("n"), "operator", NOW, signature)
    }

    #[test]
    fn a_signature_holds_for_this_record_this_key_and_this_long() {
        let (ours, theirs) = (generate().unwrap(), generate().unwrap());
        let public = public_key(ours.as_bytes()).unwrap();
        let keys = TrustedKeys::parse(&format!("ours:{public}, other:{public}:2025-11-08")).unwrap();
        let signed = |pem: &str, id: &str| record(Some(sign(&content("n"), pem.as_bytes(), id).unwrap()));

        assert_eq!(verify(&signed(&ours, "ours"), &keys, NOW), Ok(()));
        assert_eq!(verify(&record(None), &keys, NOW), Err(SignatureError::Missing));
        assert_eq!(
            verify(&signed(&theirs, "ours"), &keys, NOW),
            Err(SignatureError::Wrong("ours".to_owned()))
        );
        assert_eq!(
            verify(&signed(&ours, "nobody"), &keys, NOW),
            Err(SignatureError::UnknownKey("nobody".to_owned()))
        );
        let expired = verify(&signed(&ours, "other"), &keys, NOW);
        assert!(matches!(expired, Err(SignatureError::Expired { until, .. }) if until == "2025-11-08"));
        let in_time = NOW.plus_millis(-DAY_MS);
        assert_eq!(verify(&signed(&ours, "other"), &keys, in_time), Ok(()));

        let mut changed = signed(&ours, "ours");
        changed.note.push('!');
        assert_eq!(verify(&changed, &keys, NOW), Err(SignatureError::Changed));
        changed.id = changed.content().id();
        assert_eq!(
            verify(&changed, &keys, NOW),
            Err(SignatureError::Wrong("ours".to_owned()))
        );
    }

    #[test]
    fn keys_that_are_none_are_named() {
        let public = STANDARD.encode([7; 32]);
        for (text, wanted) in [
            ("nothing", KeyError::Form("nothing".to_owned())),
            ("a:AAAA", KeyError::Public("a:AAAA".to_owned())),
            (&format!("a:{public}:soon"), KeyError::Form(format!("a:{public}:soon"))),
            (&format!("a:{public},a:{public}"), KeyError::Twice("a".to_owned())),
            (&format!("ü:{public}"), KeyError::Form(format!("ü:{public}"))),
        ] {
            assert_eq!(TrustedKeys::parse(text), Err(wanted));
        }
        assert!(TrustedKeys::parse(" , ").unwrap().is_empty());
        assert_eq!(sign(&content("n"), b"no key", "a"), Err(KeyError::Private));
    }
}
