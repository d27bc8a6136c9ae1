//! Rust to a component: cargo, the flags that make the result the same on every machine, and the component around the
//! module.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use wit_component::ComponentEncoder;

use super::step;
use super::toolchain::{TARGET, Toolchain};
use super::{BuildError, Compiled, read};
use crate::plugins::source;

/// How long cargo may take: a minute as a rule, when nothing was compiled before.
const COMPILE: Duration = Duration::from_secs(1800);
/// How long cargo may take to read a manifest.
const METADATA: Duration = Duration::from_secs(60);

/// Compiles the crate in `dir`. Cargo's progress goes to standard error.
pub(super) fn compile(dir: &Path, toolchain: &Toolchain) -> Result<Compiled, BuildError> {
    let manifest = dir.join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|error| BuildError::File {
        path: manifest.clone(),
        error,
    })?;
    let (package, library, target_dir) = describe(&manifest, toolchain)?;
    let source_digest = source::digest(dir, "Cargo.toml")?;
    let mut cargo = toolchain.cargo("build");
    cargo
        .arg("--release")
        .arg("--lib")
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        .args(toolchain.build_flags());
    step::watched(&mut cargo, COMPILE).map_err(|error| BuildError::Compile {
        package: package.clone(),
        error,
    })?;
    let module = target_dir.join(TARGET).join("release").join(format!("{library}.wasm"));
    let module = read(&module)?;
    let bytes = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| BuildError::NoComponent {
            package: package.clone(),
            message: format!("{error:#}"),
        })?;
    Ok(Compiled {
        package,
        source_digest,
        bytes,
        compiler: toolchain.version().to_owned(),
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
    let mut cargo = toolchain.cargo("metadata");
    cargo
        .args(["--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest);
    let answer = step::answer(&mut cargo, METADATA).map_err(|error| wrong(error.to_string()))?;
    let metadata: Metadata = serde_json::from_str(&answer).map_err(|error| wrong(error.to_string()))?;
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
