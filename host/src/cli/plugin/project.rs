//! `plugin new` and `plugin build`: from nothing to sources, from sources to a component.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{ToolsFolder, answer, not_built, show, slot};
use crate::cli::progress::Progress;
use crate::cli::{FAILED, fail};
use crate::plugins::project::Language;
use crate::plugins::slot_name::SlotName;
use crate::plugins::{build, templates};

/// Arguments of `plugin new`.
#[derive(Debug, Args)]
pub struct New {
    /// The slot it is for: host-selection, rate-limit or npc-transform.
    #[arg(value_parser = slot)]
    slot: SlotName,
    /// What it is written in.
    #[arg(long, value_enum)]
    lang: Language,
    /// The folder to write, which must be empty or not there. Its name is the policy's. Without it, `my-<slot>`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl New {
    pub(super) fn run(&self) -> ExitCode {
        let dir = self
            .dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("my-{}", self.slot.as_str())));
        match templates::write(self.slot, self.lang, &dir) {
            Ok(files) => {
                let shown = dir.display();
                let mut text = String::new();
                for file in files {
                    text.push_str(&format!("  {shown}/{file}\n"));
                }
                text.push_str(&format!(
                    "\nNext:\n  p2p-coordinator plugin build {shown}\n  p2p-coordinator plugin test {shown}\n  \
                     p2p-coordinator plugin push {shown} --url http://localhost:8001"
                ));
                answer(None, || text, true)
            }
            Err(error) => fail(FAILED, &format!("{error:#}")),
        }
    }
}

/// Arguments of `plugin build`.
#[derive(Debug, Args)]
pub struct Build {
    /// The policy's folder, with its Cargo.toml or policy.json.
    dir: PathBuf,
    /// Where the component goes: a file, or a folder. Without it, `dist` in the policy's folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    tools: ToolsFolder,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(super) fn run(&self) -> ExitCode {
        let built = {
            let mut progress = Progress::new(!self.json);
            let mut watch = |step| show(&mut progress, step);
            build::build(&self.dir, self.out.as_deref(), &self.tools.tools(), &mut watch)
        };
        let built = match built {
            Ok(built) => built,
            Err(error) => return not_built(error),
        };
        let json = self.json.then(|| {
            serde_json::json!({
                "component": built.path,
                "name": built.package,
                "slot": built.slot,
                "bytes": built.size,
                "source_digest": built.source_digest,
                "compiler": built.compiler,
            })
        });
        answer(
            json,
            || {
                format!(
                    "{} {} for slot {}: {} bytes, sources {}",
                    built.path.display(),
                    built.package,
                    built.slot.as_str(),
                    built.size,
                    built.source_digest
                )
            },
            true,
        )
    }
}
