//! Compiles a policy into a component: what `p2p-coordinator plugin build` does. Owns what all languages share: which slot
//! the result is for, and the digest of the sources and the golden vectors in it. Each language has a file of its own. It
//! runs compilers and is never called by the running service.

mod javascript;
mod python;
mod rust;
pub mod step;
mod toolchain;
pub mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use self::step::StepError;
use self::toolchain::{Toolchain, ToolchainError};
use self::tools::{ToolError, Tools};
use super::loader::WIT_PACKAGE;
use super::project::{Language, Project, ProjectError};
use super::slot_name::SlotName;
use super::source::{self, SourceError};
use super::vectors::{self, VectorsError};

/// A finished component.
#[derive(Clone, Debug)]
pub struct Built {
    /// Where it was written.
    pub path: PathBuf,
    /// The slot it is for.
    pub slot: SlotName,
    /// The project's name.
    pub package: String,
    /// SHA-256 of its sources, in hex; also in the component.
    pub source_digest: String,
    /// Bytes of the component.
    pub size: usize,
    /// The compiler, as it names itself.
    pub compiler: String,
    /// Whether it was compiled now. False: the component that was there is of the same sources and vectors.
    pub compiled: bool,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("cargo cannot read {manifest}: {message}")]
    Manifest { manifest: PathBuf, message: String },
    #[error("{package} builds no component: add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to its Cargo.toml")]
    NotALibrary { package: String },
    #[error("{} is missing: it is the source that exports the policy; `main` in policy.json names another", .0.display())]
    NoMain(PathBuf),
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("{package} does not compile: {error}; its messages stand above")]
    Compile { package: String, error: StepError },
    #[error("{} does not compile: {error}", main.display())]
    Step { main: PathBuf, error: StepError },
    #[error("{package} compiles, but is no component: {message}")]
    NoComponent { package: String, message: String },
    #[error(
        "{package} fills no slot: it must export the interfaces of one of the worlds host-selection, rate-limit or \
         npc-transform; it exports {exports}"
    )]
    NoSlot { package: String, exports: String },
    #[error("{package} is for the slot {}, and policy.json says {}", found.as_str(), said.as_str())]
    OtherSlot {
        package: String,
        found: SlotName,
        said: SlotName,
    },
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
}

/// What is being done, for whoever waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildStep {
    /// A compiler is installed, once.
    Installing { tool: String, dir: PathBuf },
    /// A compiler runs that says nothing before it is done.
    Compiling { by: &'static str },
    /// A compiler runs that shows on standard error how far it is.
    Watched,
}

/// Told what is being done.
pub type Watch<'a> = &'a mut dyn FnMut(BuildStep);

/// A component that is not written yet, as the compiler left it.
struct Compiled {
    package: String,
    source_digest: String,
    bytes: Vec<u8>,
    compiler: String,
}

/// Builds the policy in `dir`. Writes to `out` when it names a file, to `<slot>.wasm` in `out` when it is a folder, and
/// to `dist/<slot>.wasm` in the project when there is no `out`. The file appears in one step, so a watched folder never
/// holds half of it. `watch` is told what is being done.
///
/// # Errors
///
/// Each says what is missing or wrong and what would be right.
pub fn build(dir: &Path, out: Option<&Path>, tools: &Tools, watch: Watch<'_>) -> Result<Built, BuildError> {
    let project = Project::open(dir)?;
    let compiled = compile(&project, tools, watch)?;
    let slot = slot_of(&compiled)?;
    if let Some(said) = project.manifest.as_ref().map(|manifest| manifest.slot)
        && said != slot
    {
        return Err(BuildError::OtherSlot {
            package: compiled.package,
            found: slot,
            said,
        });
    }
    let mut bytes = compiled.bytes;
    source::append(&mut bytes, source::SECTION, compiled.source_digest.as_bytes());
    if let Some(vectors) = vectors::of_project(&project.dir, slot)? {
        source::append(&mut bytes, source::VECTORS, &vectors);
    }
    let path = match out {
        Some(out) if !out.is_dir() => out.to_owned(),
        Some(out) => out.join(slot.file()),
        None => project.component(slot),
    };
    write(&path, &bytes)?;
    Ok(Built {
        path,
        slot,
        size: bytes.len(),
        package: compiled.package,
        source_digest: compiled.source_digest,
        compiler: compiled.compiler,
        compiled: true,
    })
}

/// The component of the project in `dir`: the one that is there when it is of the same sources, else a new one. When only the
/// golden vectors are others, they are exchanged in the one that is there.
///
/// # Errors
///
/// As [`build`].
pub fn fresh(dir: &Path, tools: &Tools, watch: Watch<'_>) -> Result<Built, BuildError> {
    let project = Project::open(dir)?;
    let source_digest = source::digest(&project.dir, project.manifest_name())?;
    for slot in SlotName::ALL {
        let path = project.component(slot);
        let Ok(bytes) = fs::read(&path) else { continue };
        if source::embedded(&bytes).as_deref() != Some(&source_digest) {
            continue;
        }
        let vectors = vectors::of_project(&project.dir, slot)?;
        let mut size = bytes.len();
        if source::section(&bytes, source::VECTORS) != vectors.as_deref() {
            let mut bytes = source::without(&bytes, source::VECTORS);
            if let Some(vectors) = vectors {
                source::append(&mut bytes, source::VECTORS, &vectors);
            }
            write(&path, &bytes)?;
            size = bytes.len();
        }
        return Ok(Built {
            path,
            slot,
            package: String::new(),
            source_digest,
            size,
            compiler: String::new(),
            compiled: false,
        });
    }
    build(dir, None, tools, watch)
}

fn compile(project: &Project, tools: &Tools, watch: Watch<'_>) -> Result<Compiled, BuildError> {
    match (project.language, &project.manifest) {
        (Language::Javascript, Some(manifest)) => javascript::compile(project, manifest, tools, watch),
        (Language::Python, Some(manifest)) => python::compile(project, manifest, tools, watch),
        _ => {
            let toolchain = Toolchain::find(&project.dir)?;
            watch(BuildStep::Watched);
            rust::compile(&project.dir, &toolchain)
        }
    }
}

fn slot_of(compiled: &Compiled) -> Result<SlotName, BuildError> {
    let exports = source::exports(&compiled.bytes);
    let is_of = |slot: &SlotName| {
        let interface = format!("{}{}@", WIT_PACKAGE, slot.export());
        exports.iter().any(|name| name.starts_with(&interface))
    };
    SlotName::ALL.into_iter().find(is_of).ok_or_else(|| BuildError::NoSlot {
        package: compiled.package.clone(),
        exports: if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|error| BuildError::File {
        path: path.to_owned(),
        error,
    })
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
