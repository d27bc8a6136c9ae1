//! `plugin check`: takes a file through every step of loading, in a process of its own, and says how each went.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::doctor::ContractReport;
use super::engine::PolicyEngine;
use super::failure::{Refusal, Step};
use super::instance::Source;
use super::loader::{self, Loader, Outline, Passed};
use super::slot_name::SlotName;
use super::worlds::{World, host_selection, npc_transform, rate_limit};

/// How a file fared.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    pub file: String,
    /// None when it implements no slot's world.
    pub slot: Option<SlotName>,
    pub digest: Option<String>,
    /// Name and version, as the policy says them.
    pub policy: Option<String>,
    /// What it imports and exports, beside what its slot grants and needs.
    pub contract: ContractReport,
    /// In order; the last one failed unless `accepted`.
    pub steps: Vec<StepReport>,
    pub accepted: bool,
}

/// How one step went.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    pub step: Step,
    pub passed: bool,
    pub detail: String,
    pub took_ms: f64,
}

impl StepReport {
    fn passed(step: Step, detail: String, took: Duration) -> Self {
        Self {
            step,
            passed: true,
            detail,
            took_ms: took.as_secs_f64() * 1000.0,
        }
    }
}

impl std::fmt::Display for CheckReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.file)?;
        for step in &self.steps {
            let mark = if step.passed { "ok  " } else { "FAIL" };
            writeln!(
                f,
                "  {mark} {:<11} {:>8.2} ms  {}",
                step.step.as_str(),
                step.took_ms,
                step.detail
            )?;
        }
        match (self.accepted, self.slot) {
            (true, Some(slot)) => write!(f, "accepted for the slot {}", slot.as_str()),
            _ => write!(f, "refused"),
        }
    }
}

/// Checks a file. Without a slot, the one whose world it exports. `settings` are handed over as in a running service.
///
/// # Errors
///
/// Only when the engine does not start; what is wrong with the file stands in the report.
pub fn check(path: &Path, slot: Option<SlotName>, settings: &[(String, String)]) -> anyhow::Result<CheckReport> {
    let loader = Loader {
        engine: PolicyEngine::start()?,
        cache: None,
        settings: settings.to_vec().into(),
        trial: true,
    };
    let mut report = CheckReport {
        file: path.display().to_string(),
        slot,
        digest: None,
        policy: None,
        contract: ContractReport::default(),
        steps: Vec::new(),
        accepted: false,
    };
    match run(&loader, path, &mut report) {
        Ok(()) => report.accepted = true,
        Err(refusal) => report.steps.push(StepReport {
            step: refusal.step,
            passed: false,
            detail: refusal.reason,
            took_ms: 0.0,
        }),
    }
    Ok(report)
}

fn run(loader: &Loader, path: &Path, report: &mut CheckReport) -> Result<(), Refusal> {
    let bytes = loader::read(path)?;
    report.digest = Some(loader::digest(&bytes));
    report.steps.push(StepReport::passed(
        Step::Read,
        format!("{} bytes", bytes.len()),
        Duration::ZERO,
    ));
    let outline = Outline::parse(&bytes)?;
    report.slot = report.slot.or_else(|| outline.slot());
    report.contract = ContractReport::new(&bytes, &outline, report.slot);
    let Some(slot) = report.slot else {
        let reason = format!(
            "it exports the interface of no slot; its exports: {}",
            outline.exports.join(", ")
        );
        return Err(Refusal::new(Step::World, reason));
    };
    let source = Source::File(path.to_owned());
    report.policy = Some(match slot {
        SlotName::HostSelection => load::<host_selection::Bound>(loader, source, &bytes, &mut report.steps)?,
        SlotName::RateLimit => load::<rate_limit::Bound>(loader, source, &bytes, &mut report.steps)?,
        SlotName::NpcTransform => load::<npc_transform::Bound>(loader, source, &bytes, &mut report.steps)?,
    });
    Ok(())
}

fn load<W: World>(
    loader: &Loader,
    source: Source,
    bytes: &[u8],
    steps: &mut Vec<StepReport>,
) -> Result<String, Refusal> {
    let mut watch = |passed: Passed| steps.push(StepReport::passed(passed.step, passed.detail, passed.took));
    let (release, _) = loader.load::<W>(source, bytes, &mut watch)?;
    let said = &release.about.description;
    Ok(format!("{} {}", said.name, said.version))
}
