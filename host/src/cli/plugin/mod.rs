//! `plugin`: the tools of those who write and release policies. Each file here has the arguments of a few commands and
//! prints what the runtime says; nothing is decided here.

mod ask;
mod check;
mod project;
mod release;
mod replay;
mod rollout;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::progress::Progress;
use super::{NOT_BUILT, answer, fail};
use crate::config::{PluginsConfig, Source};
use crate::plugins::build::{self, BuildStep, tools::Tools};
use crate::plugins::slot_name::SlotName;

/// Work on policies.
///
/// Exit status: 0 done or accepted; 1 refused or failed; 2 wrong settings or arguments; 3 not built; 4 server not reached.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Start a policy: sources that build and golden vectors that hold.
    New(project::New),
    /// Compile a policy written in Rust, JavaScript or Python into a component.
    Build(project::Build),
    /// Try a component as the service would before it serves. Exit status 0 when it would be taken.
    Check(check::Check),
    /// Say what a component imports and exports, what its slot needs and grants, and how it fares.
    Doctor(check::Check),
    /// Ask a component one question, and print its answer as JSON.
    Run(ask::Run),
    /// Ask the golden vectors. Exit status 0 when every one holds.
    Test(ask::Test),
    /// Measure what a component costs: calls, start, memory, compilation.
    Bench(ask::Bench),
    /// Ask the decisions of a log again, and say what would change. Exit status 0 when it passes.
    Replay(replay::Replay),
    /// Make a key to sign releases with.
    Keygen(release::Keygen),
    /// Sign a release: prints the signature that `push` takes.
    Sign(release::Sign),
    /// Store a release on a server. It does not serve yet.
    Push(release::Push),
    /// Have a stored release serve.
    Activate(rollout::Activate),
    /// Try a stored release on live calls, as a shadow or a canary.
    Rollout(rollout::Rollout),
    /// Have the candidate of the rollout serve.
    Promote(rollout::Decide),
    /// End the rollout; the active release goes on.
    Halt(rollout::Decide),
    /// Go back by one release, or to one that served before.
    Rollback(rollout::Rollback),
    /// Say what serves in each slot, what is to serve, and how far the nodes are.
    Status(rollout::Status),
}

impl Plugin {
    /// Does it.
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        match self {
            Self::New(new) => new.run(),
            Self::Build(build) => build.run(),
            Self::Check(check) => check.run(&settings(source), false),
            Self::Doctor(check) => check.run(&settings(source), true),
            Self::Run(run) => run.run(&settings(source)),
            Self::Test(test) => test.run(),
            Self::Bench(bench) => bench.run(&settings(source)),
            Self::Replay(replay) => replay.run(&settings(source)),
            Self::Keygen(keygen) => keygen.run(),
            Self::Sign(sign) => sign.run(),
            Self::Push(push) => push.run(source),
            Self::Activate(activate) => activate.run(source),
            Self::Rollout(rollout) => rollout.run(source),
            Self::Promote(decide) => decide.run(source, "promote"),
            Self::Halt(decide) => decide.run(source, "halt"),
            Self::Rollback(rollback) => rollback.run(source),
            Self::Status(status) => status.run(source),
        }
    }
}

/// What the service would hand to a policy.
fn settings(source: &Source) -> Vec<(String, String)> {
    PluginsConfig::from_source(source).settings
}

/// Where compilers are kept.
#[derive(Clone, Debug, Args)]
pub struct ToolsFolder {
    /// Folder for jco and componentize-py, which are installed when a build needs them. Without it, `p2p-coordinator` in
    /// the user's cache folder.
    #[arg(long, value_name = "DIR", env = "PLUGIN_TOOLS_DIR")]
    tools_dir: Option<PathBuf>,
}

impl ToolsFolder {
    fn tools(&self) -> Tools {
        Tools::new(self.tools_dir.clone())
    }
}

/// A component, or the project that makes one.
#[derive(Clone, Debug, Args)]
pub struct Subject {
    /// The component, or the folder of its project, which is built first when its sources changed.
    #[arg(value_name = "COMPONENT|DIR")]
    path: PathBuf,
    /// The slot it is for: host-selection, rate-limit or npc-transform. Without it, the one whose world it exports.
    #[arg(long, value_parser = slot)]
    slot: Option<SlotName>,
    #[command(flatten)]
    tools: ToolsFolder,
}

impl Subject {
    /// The component's file. A project is built when its component is not of its sources.
    fn component(&self, progress: &mut Progress) -> Result<PathBuf, ExitCode> {
        if !self.path.is_dir() {
            return Ok(self.path.clone());
        }
        let built = build::fresh(&self.path, &self.tools.tools(), &mut |step| show(progress, step));
        progress.rest();
        match built {
            Ok(built) => Ok(built.path),
            Err(error) => Err(not_built(error)),
        }
    }

    /// The project's folder, none when a component is given.
    fn project(&self) -> Option<&Path> {
        Some(&*self.path).filter(|path| path.is_dir())
    }
}

fn show(progress: &mut Progress, step: BuildStep) {
    match step {
        BuildStep::Installing { tool, dir } => {
            progress.say(&format!("installing {tool} into {}", dir.display()));
            progress.step(&format!("installing {tool}"));
        }
        BuildStep::Compiling { by } => progress.step(&format!("compiling with {by}")),
        BuildStep::Watched => progress.rest(),
    }
}

fn not_built(error: build::BuildError) -> ExitCode {
    fail(NOT_BUILT, &format!("{:#}", anyhow::Error::new(error)))
}

fn slot(text: &str) -> Result<SlotName, String> {
    SlotName::parse(text).ok_or_else(|| "no such slot: host-selection, rate-limit or npc-transform".to_owned())
}
