//! Secrets that the service makes for itself outside production and keeps in `DATA_DIR/secrets.env`, readable by its user
//! alone. Never used in production.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

const FILE: &str = "secrets.env";

/// The folder's secrets. Without `write` nothing on disk changes.
pub(super) struct SecretStore<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) write: bool,
}

/// Secrets taken from the store or made now.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) jwt_secret_key: Option<String>,
    pub(super) coordinator_api_key: Option<String>,
    /// What to tell the operator.
    pub(super) notices: Vec<String>,
}

impl SecretStore<'_> {
    /// Reads the wanted secrets, and makes and keeps those that are not there yet.
    pub(super) fn fill(&self, jwt: bool, api_key: bool) -> anyhow::Result<Kept> {
        let path = self.data_dir.join(FILE);
        let mut stored = read(&path)?;
        let mut made = Vec::new();
        let mut kept = Kept::default();
        for (wanted, name) in [(jwt, "JWT_SECRET_KEY"), (api_key, "COORDINATOR_API_KEY")] {
            if !wanted {
                continue;
            }
            let secret = match stored.iter().find(|(key, _)| key == name) {
                Some((_, secret)) => secret.clone(),
                None => {
                    let secret = generate()?;
                    stored.push((name.to_owned(), secret.clone()));
                    made.push(name);
                    secret
                }
            };
            let place = if name == "JWT_SECRET_KEY" {
                &mut kept.jwt_secret_key
            } else {
                &mut kept.coordinator_api_key
            };
            *place = Some(secret);
            let verb = if made.contains(&name) { "made" } else { "read" };
            kept.notices
                .push(format!("{name} is not set: {verb} one in {}", path.display()));
        }
        if self.write && !made.is_empty() {
            self.save(&path, &stored)?;
        }
        Ok(kept)
    }

    fn save(&self, path: &PathBuf, stored: &[(String, String)]) -> anyhow::Result<()> {
        if !self.data_dir.exists() {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(self.data_dir);
            created.with_context(|| format!("cannot create {}", self.data_dir.display()))?;
        }
        let mut text =
            String::from("# Made by p2p-coordinator for development. Production needs secrets of its own.\n");
        for (name, secret) in stored {
            text.push_str(&format!("{name}={secret}\n"));
        }
        // A new file beside it, then a rename: a crash leaves the old secrets or the new ones.
        let fresh = path.with_extension(format!("env.{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh);
        written
            .and_then(|mut file| {
                file.set_permissions(Permissions::from_mode(0o600))?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&fresh, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let pairs = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, secret)| (name.trim().to_owned(), secret.trim().to_owned()))
        .filter(|(_, secret)| !secret.is_empty())
        .collect())
}

/// 32 random bytes in hex.
fn generate() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let store = SecretStore {
            data_dir: &data_dir,
            write: true,
        };
        let first = store.fill(true, true).unwrap();
        let second = store.fill(true, true).unwrap();
        assert_eq!(first.jwt_secret_key, second.jwt_secret_key);
        assert_eq!(first.coordinator_api_key, second.coordinator_api_key);
        assert_ne!(first.jwt_secret_key, first.coordinator_api_key);
        assert_eq!(first.jwt_secret_key.unwrap().len(), 64);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data_dir.join(FILE)), 0o600);
        assert_eq!(mode(&data_dir), 0o700);
        assert_eq!(std::fs::read_dir(&data_dir).unwrap().count(), 1);
    }

    #[test]
    fn a_dry_run_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        let kept = SecretStore {
            data_dir: &data_dir,
            write: false,
        }
        .fill(true, false)
        .unwrap();
        assert!(kept.jwt_secret_key.is_some() && kept.coordinator_api_key.is_none());
        assert!(!data_dir.exists());
    }
}
