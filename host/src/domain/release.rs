//! A release: one component with its settings and limits, as an immutable record. Whatever decides what runs is in its
//! canonical form, whose digest is its id: a changed member makes another release. Who stored it and when is told beside it.

pub mod signing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::clock::Timestamp;
use super::slot::SlotName;

/// Most settings of a release.
pub const MAX_SETTINGS: usize = 64;
/// Longest name of a setting in bytes.
pub const MAX_SETTING_NAME: usize = 128;
/// Longest value of a setting in bytes.
pub const MAX_SETTING_VALUE: usize = 4096;
/// Longest note in bytes.
pub const MAX_NOTE: usize = 1024;
/// How many digits of an id people get to see where space is short, and metrics have as a label.
const SHORT: usize = 12;

/// Narrower limits than the host's own, for the instances of one release. What is none is the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseLimits {
    /// Longest decision, in milliseconds. Never longer than the slot's own deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u32>,
    /// Linear memory of one instance, in bytes. Never more than the host gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u32>,
}

/// Who vouches for a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSignature {
    /// The name of the key in `PLUGIN_TRUSTED_KEYS`.
    pub key_id: String,
    /// Ed25519 over the canonical form, in base64.
    pub value: String,
}

/// What of a release decides what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseContent {
    pub slot: SlotName,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Version of the contract that the component was built for.
    pub wit_version: String,
    /// Handed to the policy over the settings of the service.
    pub settings: BTreeMap<String, String>,
    pub limits: ReleaseLimits,
    pub note: String,
}

impl ReleaseContent {
    /// The canonical form: a JSON object with the members `digest`, `limits`, `note`, `settings`, `slot`, `wit_version` in this
    /// order, those of `limits` and `settings` by name, limits that are none left out, no white space, only `"`, `\` and control
    /// characters escaped. These bytes are what is hashed and signed.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Canonical<'a> {
            digest: &'a str,
            limits: ReleaseLimits,
            note: &'a str,
            settings: &'a BTreeMap<String, String>,
            slot: SlotName,
            wit_version: &'a str,
        }
        let canonical = Canonical {
            digest: &self.digest,
            limits: self.limits,
            note: &self.note,
            settings: &self.settings,
            slot: self.slot,
            wit_version: &self.wit_version,
        };
        // Texts and numbers only: this cannot fail.
        serde_json::to_vec(&canonical).unwrap_or_default()
    }

    /// SHA-256 of the canonical form, in hex.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.canonical()))
    }
}

/// A stored release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseRecord {
    /// SHA-256 of the canonical form, in hex.
    pub id: String,
    pub slot: SlotName,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Version of the contract that the component was built for.
    pub wit_version: String,
    /// Handed to the policy over the settings of the service.
    pub settings: BTreeMap<String, String>,
    pub limits: ReleaseLimits,
    pub note: String,
    /// `key:` and the name of the key that signed it, `operator` without a signature, `file` from the policy folder.
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    pub signature: Option<ReleaseSignature>,
}

impl ReleaseRecord {
    /// A record of `content`.
    #[must_use]
    pub fn new(
        content: ReleaseContent,
        created_by: &str,
        created_at: Timestamp,
        signature: Option<ReleaseSignature>,
    ) -> Self {
        Self {
            id: content.id(),
            slot: content.slot,
            digest: content.digest,
            wit_version: content.wit_version,
            settings: content.settings,
            limits: content.limits,
            note: content.note,
            created_by: created_by.to_owned(),
            created_at,
            signature,
        }
    }

    /// What decides what runs.
    #[must_use]
    pub fn content(&self) -> ReleaseContent {
        ReleaseContent {
            slot: self.slot,
            digest: self.digest.clone(),
            wit_version: self.wit_version.clone(),
            settings: self.settings.clone(),
            limits: self.limits,
            note: self.note.clone(),
        }
    }

    /// Whether the id is that of the content: false for a record that was changed where it is kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.content().id() == self.id
    }
}

/// The first digits of an id.
#[must_use]
pub fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

/// Whether a setting may be called so: letters, digits, `_`, `-` and `.`.
#[must_use]
pub fn is_setting_name(name: &str) -> bool {
    (1..=MAX_SETTING_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn content(note: &str) -> ReleaseContent {
        ReleaseContent {
            slot: SlotName::RateLimit,
            digest: "ab".repeat(32),
            wit_version: "1.0.0".to_owned(),
            settings: BTreeMap::from([("B".to_owned(), "2".to_owned()), ("A".to_owned(), "ü \"x\"".to_owned())]),
            limits: ReleaseLimits {
                deadline_ms: Some(3),
                memory_bytes: None,
            },
            note: note.to_owned(),
        }
    }

    #[test]
    fn the_canonical_form_is_what_is_documented() {
        let digest = "ab".repeat(32);
        let wanted = format!(
            r#"{{"digest":"{digest}","limits":{{"deadline_ms":3}},"note":"first","settings":{{"A":"ü \"x\"","B":"2"}},"slot":"rate-limit","wit_version":"1.0.0"}}"#
        );
        assert_eq!(String::from_utf8(content("first").canonical()).unwrap(), wanted);
    }

    #[test]
    fn any_changed_member_is_another_release() {
        let whole = ReleaseRecord::new(content("first"), "operator", Timestamp(1), None);
        assert!(whole.is_whole());
        let later = ReleaseRecord::new(content("first"), "key:a", Timestamp(2), None);
        assert_eq!(whole.id, later.id, "who and when is not content");
        let changes: [fn(&mut ReleaseRecord); 6] = [
            |record| record.slot = SlotName::NpcTransform,
            |record| record.digest = "cd".repeat(32),
            |record| record.wit_version = "1.1.0".to_owned(),
            |record| record.note = "second".to_owned(),
            |record| record.limits.memory_bytes = Some(1),
            |record| {
                record.settings.insert("C".to_owned(), String::new());
            },
        ];
        for change in changes {
            let mut changed = whole.clone();
            change(&mut changed);
            assert!(!changed.is_whole(), "{changed:?}");
        }
    }
}
