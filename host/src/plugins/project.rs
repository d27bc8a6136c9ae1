//! A policy's sources on disk: which language they are in, which slot they are for, and where their parts are. Reads the
//! manifest; builds nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::slot_name::SlotName;

/// The manifest of a policy that is not written in Rust. A policy in Rust has its `Cargo.toml`.
pub const MANIFEST: &str = "policy.json";
/// The folder that holds the built component, in the project.
const DIST: &str = "dist";

/// What a policy is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    Javascript,
    Python,
}

impl Language {
    /// The name on the command line and in `policy.json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Javascript => "javascript",
            Self::Python => "python",
        }
    }

    const fn main(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Javascript => "src/policy.js",
            Self::Python => "src/policy.py",
        }
    }
}

/// Why a folder is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("{0} holds no Cargo.toml and no {MANIFEST}: give the folder of a policy, or start one with `plugin new`")]
    NoManifest(PathBuf),
    #[error(
        "{}: {message}. It needs `name`, `slot` (host-selection, rate-limit or npc-transform) and `language` (javascript \
         or python)", path.display()
    )]
    Manifest { path: PathBuf, message: String },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
}

/// The sources of one policy.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its folder, absolute.
    pub dir: PathBuf,
    pub language: Language,
    /// What the manifest says. None for Rust: `Cargo.toml` and the exports say it all.
    pub manifest: Option<Manifest>,
}

/// `policy.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the project.
    pub name: String,
    pub slot: SlotName,
    pub language: Language,
    /// The source file that exports the policy, from the project's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<PathBuf>,
}

impl Project {
    /// Reads the manifest in `dir`.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not say what it must.
    pub fn open(dir: &Path) -> Result<Self, ProjectError> {
        let dir = dir.canonicalize().map_err(|error| ProjectError::File {
            path: dir.to_owned(),
            error,
        })?;
        let path = dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if dir.join("Cargo.toml").is_file() => {
                return Ok(Self {
                    dir,
                    language: Language::Rust,
                    manifest: None,
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ProjectError::NoManifest(dir)),
            Err(error) => return Err(ProjectError::File { path, error }),
        };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| ProjectError::Manifest {
            path,
            message: error.to_string(),
        })?;
        Ok(Self {
            dir,
            language: manifest.language,
            manifest: Some(manifest),
        })
    }

    /// The source file that exports the policy, absolute.
    #[must_use]
    pub fn main(&self) -> PathBuf {
        let named = self.manifest.as_ref().and_then(|manifest| manifest.main.clone());
        self.dir
            .join(named.unwrap_or_else(|| PathBuf::from(self.language.main())))
    }

    /// The file name of the manifest.
    #[must_use]
    pub const fn manifest_name(&self) -> &'static str {
        match self.language {
            Language::Rust => "Cargo.toml",
            Language::Javascript | Language::Python => MANIFEST,
        }
    }

    /// Where the component goes when nothing else is said.
    #[must_use]
    pub fn component(&self, slot: SlotName) -> PathBuf {
        self.dir.join(DIST).join(format!("{}.wasm", slot.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(manifest: &str) -> Result<Project, ProjectError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        Project::open(dir.path())
    }

    #[test]
    fn the_manifest_says_language_and_slot() {
        let project = opened(r#"{"name": "a", "slot": "rate-limit", "language": "python"}"#).unwrap();
        assert_eq!(project.language, Language::Python);
        assert!(project.main().ends_with("src/policy.py"));
        assert_eq!(project.manifest.unwrap().slot, SlotName::RateLimit);
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_said() {
        for (manifest, wanted) in [
            (r#"{"name": "a", "slot": "rate-limit"}"#, "language"),
            (r#"{"name": "a", "slot": "nothing", "language": "python"}"#, "nothing"),
            ("{", "policy.json"),
        ] {
            let error = opened(manifest).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let empty = tempfile::tempdir().unwrap();
        let error = Project::open(empty.path()).unwrap_err().to_string();
        assert!(error.contains("plugin new"), "{error}");
    }
}
