//! Releases as an operator pushes them: the request for a component, and signatures made from what is documented alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::client::Client;

/// The body of an upload.
#[must_use]
pub fn upload(component: &[u8], note: &str) -> Value {
    json!({ "component": STANDARD.encode(component), "note": note })
}

/// Stores a release and returns its id.
pub async fn push(operator: &Client, slot: &str, component: &[u8], note: &str) -> String {
    let answer = operator
        .post(&format!("/plugins/{slot}/releases"), &upload(component, note))
        .await;
    let record = answer.ok(answer.status.clamp(200, 201));
    record["id"].as_str().expect("an id").to_owned()
}

/// A key that signs releases.
#[derive(Debug)]
pub struct Signer {
    id: String,
    key: Ed25519KeyPair,
}

impl Signer {
    /// A fresh key with this name.
    #[must_use]
    pub fn new(id: &str) -> Self {
        let random = ring::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        Self { id: id.to_owned(), key }
    }

    /// As `PLUGIN_TRUSTED_KEYS` wants it.
    #[must_use]
    pub fn trusted(&self) -> String {
        format!("{}:{}", self.id, STANDARD.encode(self.key.public_key().as_ref()))
    }

    /// An upload with a signature.
    #[must_use]
    pub fn signed(&self, slot: &str, component: &[u8], note: &str) -> Value {
        let digest: String = digest(&SHA256, component)
            .as_ref()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let canonical = json!({
            "digest": digest, "limits": {}, "note": note, "settings": {}, "slot": slot, "wit_version": "1.0.0",
        });
        let signature = self.key.sign(canonical.to_string().as_bytes());
        let mut body = upload(component, note);
        body["signature"] = json!({ "key_id": self.id, "value": STANDARD.encode(signature.as_ref()) });
        body
    }
}
