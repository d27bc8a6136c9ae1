//! Python to a component: componentize-py, with CPython in it. No WASI import is left, so there is nothing to grant.

use std::time::Duration;

use super::step;
use super::tools::{COMPONENTIZE_PY, Tools};
use super::{BuildError, BuildStep, Compiled, Watch, read};
use crate::plugins::project::{Manifest, Project};
use crate::plugins::source;

/// How long the compilation may take: some 10 s as a rule.
const COMPILE: Duration = Duration::from_secs(600);

/// Compiles the project with `componentize-py`. The policy is the module of its main source.
pub(super) fn compile(
    project: &Project,
    manifest: &Manifest,
    tools: &Tools,
    watch: Watch<'_>,
) -> Result<Compiled, BuildError> {
    let source_digest = source::digest(&project.dir, project.manifest_name())?;
    let main = project.main();
    let (Some(folder), Some(module)) = (main.parent().filter(|_| main.is_file()), main.file_stem()) else {
        return Err(BuildError::NoMain(main));
    };
    let out = tempfile::tempdir().map_err(|error| BuildError::File {
        path: std::env::temp_dir(),
        error,
    })?;
    let component = out.path().join("policy.wasm");
    let mut python = tools.componentize_py(&project.dir, watch)?;
    python
        .current_dir(out.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Of the environment of whoever builds, nothing goes into the component.
        .env_remove("VIRTUAL_ENV")
        .env_remove("PYTHONPATH")
        .arg("-q")
        .arg("-d")
        .arg(source::contract(&project.dir)?)
        .args(["-w", manifest.slot.as_str(), "componentize", "--stub-wasi", "-p"])
        .arg(folder)
        .arg(module)
        .arg("-o")
        .arg(&component);
    watch(BuildStep::Compiling { by: "componentize-py" });
    step::answer(&mut python, COMPILE).map_err(|error| BuildError::Step {
        main: main.clone(),
        error,
    })?;
    Ok(Compiled {
        package: manifest.name.clone(),
        source_digest,
        bytes: read(&component)?,
        compiler: format!("componentize-py {COMPONENTIZE_PY}"),
    })
}
