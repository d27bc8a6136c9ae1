//! `plugin activate`, `rollout`, `promote`, `halt`, `rollback` and `status`: what a live fleet is to run.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::server::{self, COMPILING, Server, ServerError};
use super::slot;
use crate::config::Source;
use crate::domain::release::short;
use crate::plugins::slot_name::SlotName;

/// A release in a slot.
#[derive(Debug, Args)]
pub struct Activate {
    /// The slot: host-selection, rate-limit or npc-transform.
    #[arg(value_parser = slot)]
    slot: SlotName,
    /// The release: its id, the first digits of it, or `latest`.
    release: String,
    /// Why; for the audit.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    server: Server,
}

impl Activate {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let slot = self.slot.as_str();
        let outcome = self.server.connect(source).and_then(|connection| {
            let id = connection.release(slot, &self.release)?;
            let body = json!({ "release_id": id, "note": self.note });
            connection.post(&[slot, "activate"], &body, COMPILING)
        });
        server::said(&self.server, outcome, text)
    }
}

/// How a candidate is tried.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    /// It is asked what was answered already; its answers are compared and never used.
    Shadow,
    /// It answers a share of the calls.
    Canary,
}

/// A release to try on live calls, and what it has to keep to.
#[derive(Debug, Args)]
pub struct Rollout {
    /// The slot: host-selection, rate-limit or npc-transform.
    #[arg(value_parser = slot)]
    slot: SlotName,
    /// The release: its id, the first digits of it, or `latest`.
    release: String,
    #[arg(long, value_enum)]
    mode: Mode,
    /// Share of the calls that a canary answers, 0 to 100.
    #[arg(long, value_name = "PERCENT")]
    percent: Option<f64>,
    /// Share of the calls that a shadow is shown, 0 to 100.
    #[arg(long, value_name = "PERCENT")]
    sample_percent: Option<f64>,
    /// Calls before it is judged.
    #[arg(long, value_name = "COUNT")]
    min_samples: Option<u64>,
    /// Share of compared answers that may differ, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    max_difference_rate: Option<f64>,
    /// Share of calls that may fail, 0 to 1.
    #[arg(long, value_name = "SHARE")]
    max_failure_rate: Option<f64>,
    /// How many times as long as the active release it may take, at the 99th percentile.
    #[arg(long, value_name = "TIMES")]
    max_p99_ratio: Option<f64>,
    /// Becomes active by itself when it kept to all of them.
    #[arg(long)]
    promote_automatically: bool,
    /// Why; for the audit.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    server: Server,
}

impl Rollout {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let slot = self.slot.as_str();
        let outcome = self.server.connect(source).and_then(|connection| {
            let id = connection.release(slot, &self.release)?;
            connection.post(&[slot, "rollout"], &self.body(&id), COMPILING)
        });
        server::said(&self.server, outcome, text)
    }

    fn body(&self, id: &str) -> Value {
        let mut gates = Map::new();
        let mut gate = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                gates.insert(name.to_owned(), value);
            }
        };
        gate("min_samples", self.min_samples.map(Value::from));
        gate("max_difference_rate", self.max_difference_rate.map(Value::from));
        gate("max_failure_rate", self.max_failure_rate.map(Value::from));
        gate("max_p99_ratio", self.max_p99_ratio.map(Value::from));
        gate(
            "promote_automatically",
            self.promote_automatically.then_some(Value::Bool(true)),
        );
        let mode = match self.mode {
            Mode::Shadow => "shadow",
            Mode::Canary => "canary",
        };
        let mut body = json!({ "release_id": id, "mode": mode, "note": self.note });
        for (name, share) in [("percent", self.percent), ("sample_percent", self.sample_percent)] {
            if let Some(share) = share {
                body[name] = share.into();
            }
        }
        if !gates.is_empty() {
            body["gates"] = Value::Object(gates);
        }
        body
    }
}

/// A decision about the rollout of a slot.
#[derive(Debug, Args)]
pub struct Decide {
    /// The slot: host-selection, rate-limit or npc-transform.
    #[arg(value_parser = slot)]
    slot: SlotName,
    /// Why; for the audit.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    server: Server,
}

impl Decide {
    /// `what`: `promote` or `halt`.
    pub(super) fn run(&self, source: &Source, what: &str) -> ExitCode {
        let body = json!({ "note": self.note });
        let outcome = self
            .server
            .connect(source)
            .and_then(|connection| connection.post(&[self.slot.as_str(), what], &body, COMPILING));
        server::said(&self.server, outcome, text)
    }
}

/// A way back.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The slot: host-selection, rate-limit or npc-transform.
    #[arg(value_parser = slot)]
    slot: SlotName,
    /// A release that served before: its id or the first digits of it. Without it, the one before the active one.
    release: Option<String>,
    /// Why; for the audit.
    #[arg(long, default_value = "")]
    note: String,
    #[command(flatten)]
    server: Server,
}

impl Rollback {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let slot = self.slot.as_str();
        let outcome = self.server.connect(source).and_then(|connection| {
            let mut body = json!({ "note": self.note });
            if let Some(given) = &self.release {
                body["release_id"] = connection.release(slot, given)?.into();
            }
            connection.post(&[slot, "rollback"], &body, COMPILING)
        });
        server::said(&self.server, outcome, text)
    }
}

/// Where to look.
#[derive(Debug, Args)]
pub struct Status {
    /// The slot. Without it, all.
    #[arg(value_parser = slot)]
    slot: Option<SlotName>,
    #[command(flatten)]
    server: Server,
}

impl Status {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        let outcome = self
            .server
            .connect(source)
            .and_then(|connection| connection.get(&[]))
            .and_then(|report| self.slots(report));
        server::said(&self.server, outcome, |report| {
            let slots = report["slots"].as_array().into_iter().flatten();
            slots.map(slot_text).collect::<Vec<_>>().join("\n")
        })
    }

    /// The report, of the wanted slot alone when one is wanted.
    fn slots(&self, mut report: Value) -> Result<Value, ServerError> {
        let strange = || ServerError::Problem("the server's answer is no report of policies".to_owned());
        let slots = report["slots"].as_array_mut().ok_or_else(strange)?;
        if let Some(slot) = self.slot {
            slots.retain(|view| view["slot"] == slot.as_str());
        }
        Ok(report)
    }
}

/// What a slot is to run, in words.
pub(super) fn text(desired: &Value) -> String {
    let slot = desired["slot"].as_str().unwrap_or("?");
    let mut text = format!(
        "{slot}: {} is active (generation {})",
        name(&desired["active"]),
        desired["generation"]
    );
    if let Some(rollout) = desired["rollout"].as_object() {
        text.push_str(&format!("\n  {}", rollout_text(rollout)));
    }
    text
}

fn name(id: &Value) -> &str {
    id.as_str().map_or("the bundled policy", short)
}

fn rollout_text(rollout: &Map<String, Value>) -> String {
    let mode = rollout.get("mode").and_then(Value::as_str).unwrap_or("?");
    let share = if mode == "canary" { "percent" } else { "sample_percent" };
    let share = rollout.get(share).cloned().unwrap_or_default();
    let id = rollout.get("release_id").cloned().unwrap_or_default();
    format!("{} is tried as a {mode} with {share} % of the calls", name(&id))
}

fn slot_text(view: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let policy = &view["policy"];
    let mut text = format!("{}  {}\n", word(&view["slot"]), word(&view["state"]));
    let mut line = |what: &str, said: String| text.push_str(&format!("  {what:<12} {said}\n"));
    if policy.is_object() {
        let source = word(&policy["source"]);
        line(
            "policy",
            format!("{} {} ({source})", word(&policy["name"]), word(&policy["version"])),
        );
    }
    line(
        "calls",
        format!(
            "{}, {} of them answered by the native default",
            view["calls"], view["fallbacks"]
        ),
    );
    let delivery = &view["delivery"];
    if delivery.is_object() {
        line(
            "desired",
            format!(
                "{} (generation {})",
                name(&delivery["desired"]["active"]),
                delivery["desired"]["generation"]
            ),
        );
        line("nodes", word(&delivery["convergence"]));
        if let Some(rollout) = delivery["desired"]["rollout"].as_object() {
            line("rollout", rollout_text(rollout));
        }
        let seen = &delivery["rollout_seen"];
        if seen.is_object() {
            line(
                "seen",
                format!(
                    "{} calls, {} failed; {} compared, {} differ; {} dropped",
                    seen["samples"], seen["failures"], seen["compared"], seen["differences"], seen["dropped"]
                ),
            );
        }
    }
    if let Some(refusal) = view["last_refusal"].as_object() {
        let part = |name: &str| refusal.get(name).map(&word).unwrap_or_default();
        line("refused", format!("at step {}: {}", part("step"), part("reason")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slot_is_to_run_is_told_in_words() {
        let id = "4f1c".repeat(16);
        let desired = json!({"slot": "rate-limit", "generation": 7, "active": id, "rollout": null});
        assert_eq!(text(&desired), "rate-limit: 4f1c4f1c4f1c is active (generation 7)");
        let desired = json!({
            "slot": "rate-limit", "generation": 8, "active": null,
            "rollout": {"release_id": id, "mode": "shadow", "sample_percent": 10.0},
        });
        assert_eq!(
            text(&desired),
            "rate-limit: the bundled policy is active (generation 8)\n  4f1c4f1c4f1c is tried as a shadow with 10.0 % of the calls"
        );
    }
}
