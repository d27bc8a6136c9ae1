//! `plugin keygen`, `plugin sign` and `plugin push`: a component becomes a release, vouched for and stored.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::ask::Settings;
use super::server::{self, COMPILING, Server};
use super::{Subject, answer, rollout};
use crate::cli::progress::Progress;
use crate::cli::{FAILED, fail};
use crate::config::Source;
use crate::domain::release::{ReleaseContent, ReleaseLimits, ReleaseSignature, short, signing};
use crate::plugins::loader::{self, Outline};
use crate::plugins::tryout;

/// Arguments of `plugin keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// The name that the server knows the key by.
    key_id: String,
    /// Where the private key goes. Without it, `<KEY_ID>.pem`. It is not written over.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Keygen {
    pub(super) fn run(&self) -> ExitCode {
        match self.made() {
            Ok(text) => answer(None, || text, true),
            Err(error) => fail(FAILED, &format!("{error:#}")),
        }
    }

    fn made(&self) -> anyhow::Result<String> {
        anyhow::ensure!(
            signing::is_key_id(&self.key_id),
            "{:?} is no name for a key: letters, digits, `_`, `-` and `.`, at most 64",
            self.key_id
        );
        let path = self
            .out
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("{}.pem", self.key_id)));
        let private = signing::generate()?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(private.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let public = signing::public_key(private.as_bytes())?;
        Ok(format!(
            "{} has the private key: whoever has it can vouch for releases.\nThe server trusts it with\n  \
             PLUGIN_TRUSTED_KEYS={}:{public}",
            path.display(),
            self.key_id
        ))
    }
}

/// What a release is made of.
#[derive(Debug, Args)]
pub struct Content {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    settings: Settings,
    /// A word about the release. It is part of it: what is signed and what is pushed must have the same.
    #[arg(long, default_value = "")]
    note: String,
    /// The longest decision, in milliseconds, within the deadline of the slot.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u32>,
    /// The memory of an instance, in bytes, within that of the host.
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<u32>,
}

impl Content {
    /// The component's bytes and the record, as the server will make it of them.
    /// `shown`: people are told what a build is doing.
    fn read(&self, shown: bool) -> Result<(Vec<u8>, ReleaseContent), ExitCode> {
        let file = self.subject.component(&mut Progress::new(shown))?;
        let refused = |refusal: crate::plugins::failure::Refusal| fail(FAILED, &refusal.to_string());
        let (bytes, slot) = tryout::read(&file, self.subject.slot).map_err(refused)?;
        let wit_version = Outline::parse(&bytes)
            .and_then(|outline| outline.admit(slot))
            .map_err(refused)?;
        let settings: BTreeMap<_, _> = self.settings.pairs().iter().cloned().collect();
        let content = ReleaseContent {
            slot,
            digest: loader::digest(&bytes),
            wit_version,
            settings,
            limits: ReleaseLimits {
                deadline_ms: self.deadline_ms,
                memory_bytes: self.memory_bytes,
            },
            note: self.note.clone(),
        };
        Ok((bytes, content))
    }
}

/// A private key and its name.
#[derive(Debug, Args)]
pub struct Key {
    /// The private key to sign with: PKCS#8 PEM, as `plugin keygen` makes it.
    #[arg(long, value_name = "FILE", requires = "key_id")]
    key: Option<PathBuf>,
    /// The name that the server knows the key by.
    #[arg(long, value_name = "NAME", requires = "key")]
    key_id: Option<String>,
}

impl Key {
    fn sign(&self, content: &ReleaseContent) -> anyhow::Result<Option<ReleaseSignature>> {
        let (Some(path), Some(id)) = (&self.key, &self.key_id) else {
            return Ok(None);
        };
        let private = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let signature = signing::sign(content, &private, id).with_context(|| path.display().to_string())?;
        Ok(Some(signature))
    }
}

/// Arguments of `plugin sign`.
#[derive(Debug, Args)]
pub struct Sign {
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    key: Key,
}

impl Sign {
    pub(super) fn run(&self) -> ExitCode {
        self.signed().unwrap_or_else(|status| status)
    }

    fn signed(&self) -> Result<ExitCode, ExitCode> {
        let failed = |error: anyhow::Error| fail(FAILED, &format!("{error:#}"));
        let (_, content) = self.content.read(true)?;
        let signature = self.key.sign(&content).map_err(failed)?;
        let signature = signature
            .context("give the private key with --key and its name with --key-id")
            .map_err(failed)?;
        Ok(answer(Some(json!(signature)), String::new, true))
    }
}

/// Arguments of `plugin push`.
#[derive(Debug, Args)]
pub struct Push {
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    key: Key,
    /// A signature that `plugin sign` printed.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    signature: Option<PathBuf>,
    /// Have it serve at once.
    #[arg(long)]
    activate: bool,
    #[command(flatten)]
    server: Server,
}

impl Push {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        self.pushed(source).unwrap_or_else(|status| status)
    }

    fn pushed(&self, source: &Source) -> Result<ExitCode, ExitCode> {
        let (bytes, content) = self.content.read(!self.server.json)?;
        let signature = self
            .signature(&content)
            .map_err(|error| fail(FAILED, &format!("{error:#}")))?;
        let mut body = json!({
            "component": STANDARD.encode(&bytes),
            "settings": content.settings,
            "limits": content.limits,
            "note": content.note,
        });
        if let Some(signature) = signature {
            body["signature"] = json!(signature);
        }
        let slot = content.slot.as_str();
        let connection = self.server.connect(source).map_err(|error| error.tell())?;
        let record = connection
            .post(&[slot, "releases"], &body, COMPILING)
            .map_err(|error| error.tell())?;
        let id = record["id"].as_str().unwrap_or_default();
        if self.activate {
            let body = json!({ "release_id": id });
            let outcome = connection.post(&[slot, "activate"], &body, COMPILING);
            return Ok(server::said(&self.server, outcome, rollout::text));
        }
        Ok(server::said(&self.server, Ok(record.clone()), |_| stored(slot, id)))
    }

    fn signature(&self, content: &ReleaseContent) -> anyhow::Result<Option<Value>> {
        match &self.signature {
            None => Ok(self.key.sign(content)?.map(|signature| json!(signature))),
            Some(path) => {
                let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                let signature: ReleaseSignature =
                    serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
                Ok(Some(json!(signature)))
            }
        }
    }
}

fn stored(slot: &str, id: &str) -> String {
    format!(
        "{slot} release {id} is stored; nothing has changed yet.\n\nNext:\n  p2p-coordinator plugin rollout {slot} {short} \
         --mode shadow\n  p2p-coordinator plugin activate {slot} {short}",
        short = short(id)
    )
}
