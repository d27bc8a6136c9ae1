//! JavaScript to a component: jco with QuickJS in it. No WASI import is left, so there is nothing to grant.

use std::path::Path;
use std::time::Duration;

use super::step;
use super::tools::{JCO, Tools};
use super::{BuildError, BuildStep, Compiled, Watch, read};
use crate::plugins::project::{Manifest, Project};
use crate::plugins::source;

/// How long the compilation may take: some 5 s as a rule.
const COMPILE: Duration = Duration::from_secs(300);

/// Compiles the project with `jco`, in the folder of its main source.
pub(super) fn compile(
    project: &Project,
    manifest: &Manifest,
    tools: &Tools,
    watch: Watch<'_>,
) -> Result<Compiled, BuildError> {
    let source_digest = source::digest(&project.dir, project.manifest_name())?;
    let main = project.main();
    let (Some(folder), Some(name)) = (main.parent().filter(|_| main.is_file()), main.file_name()) else {
        return Err(BuildError::NoMain(main));
    };
    let out = tempfile::tempdir().map_err(|error| BuildError::File {
        path: std::env::temp_dir(),
        error,
    })?;
    let component = out.path().join("policy.wasm");
    let mut jco = tools.jco(&project.dir, watch)?;
    jco.current_dir(folder)
        .arg("componentize")
        .arg(name)
        .arg("--wit")
        .arg(source::contract(&project.dir)?)
        .args(["--world-name", manifest.slot.as_str()])
        .args([
            "--backend",
            "qjs",
            "--backend-qjs-disable-async",
            "--backend-qjs-stub-wasi",
        ])
        .arg("--out")
        .arg(&component);
    watch(BuildStep::Compiling { by: "jco" });
    step::answer(&mut jco, COMPILE).map_err(|error| failed(&main, error))?;
    Ok(Compiled {
        package: manifest.name.clone(),
        source_digest,
        bytes: read(&component)?,
        compiler: format!("jco {JCO} with QuickJS"),
    })
}

fn failed(main: &Path, error: step::StepError) -> BuildError {
    BuildError::Step {
        main: main.to_owned(),
        error,
    }
}
