//! Compiles a policy written in Rust into a component: what `p2p-coordinator plugin build` does. Owns the choice of the
//! toolchain, the flags that make the result the same on every machine, and the source digest in the component. It
//! runs cargo and is never called by the running service.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wit_component::ComponentEncoder;

use super::loader::WIT_PACKAGE;
use super::slot_name::SlotName;
use super::source::{self, SourceError};
use super::toolchain::{TARGET, Toolchain, ToolchainError};
use super::vectors::{self, VectorsError};

/// A finished component.
#[derive(Clone, Debug)]
pub struct Built {
    /// Where it was written.
    pub path: PathBuf,
    /// The slot it is for, for example `rate-limit`.
    pub slot: &'static str,
    /// The crate's name.
    pub package: String,
    /// SHA-256 of its sources, in hex; also in the component.
    pub source_digest: String,
    /// Bytes of the component.
    pub size: usize,
    /// The compiler, as it names itself.
    pub compiler: String,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{0} holds no Cargo.toml: give the folder of a policy's crate")]
    NoManifest(PathBuf),
    #[error("cargo cannot read {manifest}: {message}")]
    Manifest { manifest: PathBuf, message: String },
    #[error("{package} builds no component: add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to its Cargo.toml")]
    NotALibrary { package: String },
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error("{package} does not compile: cargo ended with {status}; its messages stand above")]
    Compile { package: String, status: String },
    #[error("{package} compiles, but is no component: {message}")]
    NoComponent { package: String, message: String },
    #[error(
        "{package} fills no slot: it must export the interfaces of one of the worlds host-selection, rate-limit or \
         npc-transform; it exports {exports}"
    )]
    NoSlot { package: String, exports: String },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
}

/// Builds the policy in `dir`. Writes to `out` when it names a file, to `<slot>.wasm` in `out` when it is a folder, and
/// beside cargo's other results when there is no `out`. The file appears in one step, so a watched folder never holds
/// half of it. Cargo's progress goes to standard error.
///
/// # Errors
///
/// Each says what is missing or wrong and what would be right.
pub fn build(dir: &Path, out: Option<&Path>) -> Result<Built, BuildError> {
    let toolchain = Toolchain::find(dir)?;
    let compiled = compile(dir, &toolchain)?;
    let exports = source::exports(&compiled.bytes);
    let slot = SlotName::ALL
        .into_iter()
        .find(|slot| {
            let interface = format!("{WIT_PACKAGE}{}@", slot.export());
            exports.iter().any(|name| name.starts_with(&interface))
        })
        .ok_or_else(|| BuildError::NoSlot {
            package: compiled.package.clone(),
            exports: if exports.is_empty() {
                "nothing".to_owned()
            } else {
                exports.join(", ")
            },
        })?;
    let mut bytes = compiled.bytes;
    if let Some(vectors) = vectors::of_project(dir, slot)? {
        source::append(&mut bytes, source::VECTORS, &vectors);
    }
    let path = match out {
        Some(out) if !out.is_dir() => out.to_owned(),
        Some(out) => out.join(slot.file()),
        None => compiled.target_dir.join(slot.file()),
    };
    write(&path, &bytes)?;
    Ok(Built {
        path,
        slot: slot.as_str(),
        size: bytes.len(),
        package: compiled.package,
        source_digest: compiled.source_digest,
        compiler: toolchain.version().to_owned(),
    })
}

/// A component that is not written yet.
struct Compiled {
    package: String,
    target_dir: PathBuf,
    source_digest: String,
    bytes: Vec<u8>,
}

fn compile(dir: &Path, toolchain: &Toolchain) -> Result<Compiled, BuildError> {
    let manifest = dir.join("Cargo.toml");
    let manifest = manifest
        .canonicalize()
        .map_err(|_| BuildError::NoManifest(dir.to_owned()))?;
    let (package, library, target_dir) = describe(&manifest, toolchain)?;
    let source_digest = source::digest(dir)?;
    let status = toolchain
        .cargo("build")
        .arg("--release")
        .arg("--lib")
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        .args(toolchain.build_flags())
        .status()
        .map_err(|error| BuildError::Compile {
            package: package.clone(),
            status: error.to_string(),
        })?;
    if !status.success() {
        return Err(BuildError::Compile {
            package,
            status: status.to_string(),
        });
    }
    let module = target_dir.join(TARGET).join("release").join(format!("{library}.wasm"));
    let module = fs::read(&module).map_err(|error| BuildError::File { path: module, error })?;
    let mut bytes = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| BuildError::NoComponent {
            package: package.clone(),
            message: format!("{error:#}"),
        })?;
    source::append(&mut bytes, source::SECTION, source_digest.as_bytes());
    Ok(Compiled {
        package,
        target_dir,
        source_digest,
        bytes,
    })
}

/// What `cargo metadata` says, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// The package's name, its library's file name and the folder for the results. That folder is not the workspace's own
/// target folder, so that the build waits for no other.
fn describe(manifest: &Path, toolchain: &Toolchain) -> Result<(String, String, PathBuf), BuildError> {
    let wrong = |message: String| BuildError::Manifest {
        manifest: manifest.to_owned(),
        message,
    };
    let answer = toolchain
        .cargo("metadata")
        .args(["--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .map_err(|error| wrong(error.to_string()))?;
    if !answer.status.success() {
        return Err(wrong(String::from_utf8_lossy(&answer.stderr).trim().to_owned()));
    }
    let metadata: Metadata = serde_json::from_slice(&answer.stdout).map_err(|error| wrong(error.to_string()))?;
    let package = metadata
        .packages
        .into_iter()
        .find(|package| package.manifest_path.canonicalize().is_ok_and(|path| path == manifest))
        .ok_or_else(|| wrong("it holds no package".to_owned()))?;
    let library = package
        .targets
        .iter()
        .find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"))
        .map(|target| target.name.replace('-', "_"))
        .ok_or_else(|| BuildError::NotALibrary {
            package: package.name.clone(),
        })?;
    Ok((package.name, library, metadata.target_directory.join("policies")))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let at = |error| BuildError::File {
        path: path.to_owned(),
        error,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(at)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let half = folder.join(format!(".{name}.wasm.tmp"));
    fs::write(&half, bytes).map_err(at)?;
    fs::rename(&half, path).map_err(at)
}

#[cfg(test)]
mod tests;
