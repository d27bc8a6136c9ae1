//! Compiled components on disk, so that a start does not compile again, and what a start without storage needs. Reads back only what this host wrote: each file
//! is authenticated with a key that only this host has. The one module of the service with `unsafe` in it.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine::PolicyEngine;
use super::limits;
use crate::domain::slot::SlotName;

type Seal = Hmac<Sha256>;

const KEY_BYTES: usize = 32;
const SEAL_BYTES: usize = 32;
/// Ending of the files that hold components as they were stored.
pub const COMPONENT: &str = "component";

/// The folder of compiled components.
pub struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

/// How a component was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Read back.
    Cached,
    /// Compiled now.
    Compiled,
}

impl Cache {
    /// Opens the folder `compiled` in the data folder, and makes it and its key when they are not there.
    ///
    /// # Errors
    ///
    /// When the folder or the key cannot be made or read.
    pub fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let folder = data_dir.join("compiled");
        fs::create_dir_all(&folder).with_context(|| {
            let shown = folder.display();
            format!("DATA_DIR: cannot make the folder {shown}; name a folder this user may write to")
        })?;
        let key = read_or_make_key(&folder.join("key"))?;
        Ok(Self { folder, key })
    }

    /// The compiled component of `bytes`, whose SHA-256 in hex is `digest`: read back, or compiled and kept for the slot.
    ///
    /// # Errors
    ///
    /// When it does not compile.
    pub fn component(
        &self,
        engine: &PolicyEngine,
        slot: SlotName,
        digest: &str,
        bytes: &[u8],
    ) -> wasmtime::Result<(Component, Origin)> {
        let name = format!("{}-{digest}-{:016x}.cwasm", slot.as_str(), compatibility(engine.get()));
        let path = self.folder.join(&name);
        match self.read(&path, &name) {
            Ok(Some(code)) => match deserialize(engine.get(), &code) {
                Ok(component) => return Ok((component, Origin::Cached)),
                Err(error) => tracing::warn!(file = %path.display(), %error, "compiled policy does not load"),
            },
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "compiled policy is not ours; compiling again")
            }
        }
        let component = engine.compile(bytes)?;
        if let Err(error) = component
            .serialize()
            .map_err(anyhow::Error::from)
            .and_then(|code| self.write(&path, &name, &code))
        {
            tracing::warn!(file = %path.display(), %error, "cannot keep the compiled policy");
        }
        Ok((component, Origin::Compiled))
    }

    /// Keeps bytes under a name, sealed.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.write(&self.folder.join(name), name, bytes)
    }

    /// What was kept under a name; none when there is nothing, or when it is not what this host wrote.
    #[must_use]
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.folder.join(name);
        self.read(&path, name).unwrap_or_else(|error| {
            tracing::warn!(file = %path.display(), %error, "kept file is not ours; leaving it alone");
            None
        })
    }

    fn seal(&self, name: &str, code: &[u8]) -> anyhow::Result<Seal> {
        let mut seal = Seal::new_from_slice(&self.key).context("the key has a bad length")?;
        seal.update(name.as_bytes());
        seal.update(&[0]);
        seal.update(code);
        Ok(seal)
    }

    /// None when there is no such file; an error when its seal is broken.
    fn read(&self, path: &Path, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let file = match fs::File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // What is in use stays when the folder is pruned.
        let _unwritable = file.set_modified(std::time::SystemTime::now());
        let mut bytes = Vec::new();
        file.take(limits::COMPILED_BYTES).read_to_end(&mut bytes)?;
        let (seal, code) = bytes.split_at_checked(SEAL_BYTES).context("too short")?;
        self.seal(name, code)?
            .verify_slice(seal)
            .context("its seal is broken")?;
        Ok(Some(code.to_vec()))
    }

    fn write(&self, path: &Path, name: &str, code: &[u8]) -> anyhow::Result<()> {
        let seal = self.seal(name, code)?.finalize().into_bytes();
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&seal)?;
        file.write_all(code)?;
        file.persist(path)?;
        self.prune()
    }

    /// Of each slot keeps the files only that were used last, of components and of compiled ones.
    fn prune(&self) -> anyhow::Result<()> {
        for (slot, kind) in SlotName::ALL
            .iter()
            .flat_map(|slot| [(slot, "cwasm"), (slot, COMPONENT)])
        {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let of_slot = name.to_str().is_some_and(|name| name.starts_with(slot.as_str()));
                if of_slot && entry.path().extension().is_some_and(|ending| ending == kind) {
                    files.push((entry.metadata()?.modified()?, entry.path()));
                }
            }
            files.sort_unstable();
            let surplus = files.len().saturating_sub(limits::COMPILED_FILES);
            for (_, path) in files.iter().take(surplus) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A number that differs between engines which cannot run each other's code.
fn compatibility(engine: &Engine) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

#[expect(
    unsafe_code,
    reason = "compiled code is loaded as it stands; `read` has proved that this host wrote it"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` came out of `Component::serialize` in this module: its seal, made with a key only this host can
    // read, is intact. The engine itself checks that the code was made for it.
    unsafe { Component::deserialize(engine, code) }
}

fn read_or_make_key(path: &Path) -> anyhow::Result<[u8; KEY_BYTES]> {
    let shown = path.display();
    match fs::read(path) {
        Ok(bytes) if bytes.len() == KEY_BYTES => {
            let mut key = [0; KEY_BYTES];
            key.copy_from_slice(&bytes);
            return Ok(key);
        }
        Ok(_) => tracing::warn!(file = %shown, "the key of the compiled policies is damaged; making a new one"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let folder = path.parent().context("the key has no folder")?;
    // Made with mode 0600 and renamed into place, so that nobody else ever reads a byte of it.
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("cannot write {shown}"))?;
    file.write_all(&key)?;
    file.persist(path).with_context(|| format!("cannot write {shown}"))?;
    Ok(key)
}
