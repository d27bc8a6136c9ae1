//! Recorded decisions asked again: what another component would have answered, with the engine and the limits of the service.
//! Answers are compared as golden vectors are. Serves nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::decisions::LoggedDecision;
use super::failure::{FailureKind, shortened};
use super::limits;
use super::slot_name::SlotName;
use super::tryout::{AskError, Tried};
use super::vectors::expect;

/// Lines that are no decisions and are named; all are counted.
const NAMED_LINES: usize = 20;
/// Bytes of a question or answer in the report for people.
const SHOWN_BYTES: usize = 400;

/// What passes, and how much is asked.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// Share of the replayed decisions, 0 to 1, that may differ or get no answer. None: all of them may.
    pub max_difference_rate: Option<f64>,
    /// Fewer replayed decisions than this do not pass.
    pub min_decisions: u64,
    /// Decisions that are replayed at most.
    pub limit: Option<u64>,
    /// Where it stops.
    pub time: Duration,
}

/// What would change.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReplayReport {
    /// Name and version, as the policy says them.
    pub policy: String,
    pub slot: Option<SlotName>,
    pub replayed: u64,
    pub same: u64,
    /// Answered otherwise, or not at all.
    pub different: u64,
    pub difference_rate: f64,
    /// Decisions of other slots, which were passed over.
    pub other_slots: u64,
    /// Lines that are no decisions.
    pub unreadable: u64,
    /// Their numbers, the first of them.
    pub unreadable_lines: Vec<u64>,
    /// False when the time or the limit ended it.
    pub complete: bool,
    /// The most frequent first.
    pub groups: Vec<ReplayGroup>,
    pub passed: bool,
    /// Why it did not pass.
    pub reason: Option<String>,
}

/// Decisions that would change alike.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayGroup {
    pub change: String,
    pub count: u64,
    /// Of those replayed.
    pub share: f64,
    pub example: Example,
}

/// The first decision of a group.
#[derive(Clone, Debug, Serialize)]
pub struct Example {
    pub line: u64,
    pub id: String,
    pub question: Value,
    pub recorded: Value,
    /// None when there was no answer.
    pub given: Option<Value>,
    /// Where they differ, or why there was no answer.
    pub why: String,
}

/// Asks the decisions of a log again. `watch` is told how many bytes of how many are read.
///
/// # Errors
///
/// When the log cannot be read.
pub fn run(
    tried: &mut dyn Tried,
    log: &Path,
    options: ReplayOptions,
    watch: &mut dyn FnMut(u64, u64),
) -> anyhow::Result<ReplayReport> {
    let cannot = || format!("cannot read {}", log.display());
    let file = File::open(log).with_context(cannot)?;
    let (mut bytes, of) = (0, file.metadata().with_context(cannot)?.len());
    let mut lines = BufReader::new(file);
    let end = Instant::now() + options.time;
    let mut report = ReplayReport {
        policy: tried.name(),
        slot: Some(tried.slot()),
        ..ReplayReport::default()
    };
    let mut groups: BTreeMap<String, (u64, Example)> = BTreeMap::new();
    let most = u64::try_from(4 * limits::LARGE_ANSWER_BYTES).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        watch(bytes, of);
        let read = lines
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut line)
            .with_context(cannot)?;
        bytes += read as u64;
        if read == 0 {
            report.complete = true;
            break;
        }
        if options.limit.is_some_and(|limit| report.replayed >= limit) || Instant::now() >= end {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Ok(decision) = serde_json::from_slice::<LoggedDecision>(&line) else {
            report.unreadable(number);
            continue;
        };
        if decision.slot != tried.slot() {
            report.other_slots += 1;
            continue;
        }
        let Some((change, given, why)) = again(tried, &decision) else {
            report.unreadable(number);
            continue;
        };
        report.replayed += 1;
        let Some(change) = change else {
            report.same += 1;
            continue;
        };
        let group = groups.entry(change).or_insert_with(|| {
            let example = Example {
                line: number,
                id: decision.id,
                question: decision.question,
                recorded: decision.answer,
                given,
                why,
            };
            (0, example)
        });
        group.0 += 1;
    }
    report.finish(groups, &options);
    Ok(report)
}

/// How a decision changes (none: not at all), the answer now, and where they differ. None when its question is none of the slot.
fn again(tried: &mut dyn Tried, decision: &LoggedDecision) -> Option<(Option<String>, Option<Value>, String)> {
    // A deadline can also be missed because the machine is busy.
    let mut attempts = limits::LOAD_ATTEMPTS;
    let asked = loop {
        attempts -= 1;
        match tried.ask(&decision.question) {
            Err(AskError::Failure(failure)) if failure.kind == FailureKind::Deadline && attempts > 0 => {}
            asked => break asked,
        }
    };
    match asked {
        Ok(answered) => Some(match expect::same(&decision.answer, &answered.answer) {
            Ok(()) => (None, None, String::new()),
            Err(expect::Mismatch(why)) => {
                let change = change(decision.slot, &decision.answer, &answered.answer);
                (Some(change), Some(answered.answer), why)
            }
        }),
        Err(AskError::Failure(failure)) => {
            let change = format!("no answer: {}", failure.kind.as_str());
            Some((Some(change), None, failure.to_string()))
        }
        Err(AskError::Question { .. }) => None,
    }
}

/// In which way two different answers of a slot differ.
fn change(slot: SlotName, recorded: &Value, given: &Value) -> String {
    match slot {
        SlotName::HostSelection => hosts(recorded, given).to_owned(),
        SlotName::RateLimit => limit(recorded, given),
        SlotName::NpcTransform => npcs(recorded, given).to_owned(),
    }
}

fn hosts(recorded: &Value, given: &Value) -> &'static str {
    let names = |answer: &Value| -> Option<Vec<String>> {
        let picks = answer.get("rank")?.as_array()?;
        let name = |pick: &Value| Some(pick.get("host_id")?.as_str()?.to_owned());
        picks.iter().map(name).collect()
    };
    let (Some(before), Some(after)) = (names(recorded), names(given)) else {
        return "another score";
    };
    match (before.first(), after.first()) {
        (None, Some(_)) => return "a host where there was none",
        (Some(_), None) => return "no host where there was one",
        (a, b) if a != b => return "another host",
        _ => {}
    }
    let sorted = |names: &[String]| {
        let mut sorted = names.to_vec();
        sorted.sort();
        sorted
    };
    if before == after {
        "same hosts, other scores or reasons"
    } else if sorted(&before) == sorted(&after) {
        "same first host, another order behind it"
    } else {
        "same first host, others behind it"
    }
}

fn limit(recorded: &Value, given: &Value) -> String {
    let kind = |answer: &Value| match answer {
        Value::String(name) => name.clone(),
        Value::Object(members) => members.keys().next().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let (before, after) = (kind(recorded), kind(given));
    match (before == after, before.as_str()) {
        (true, "deny") => "denied for another reason".to_owned(),
        (true, _) => format!("{before} otherwise"),
        (false, _) => format!("{after} where it was {before}"),
    }
}

fn npcs(recorded: &Value, given: &Value) -> &'static str {
    let count = |answer: &Value| answer.get("npcs").and_then(Value::as_array).map_or(0, Vec::len);
    match count(given).cmp(&count(recorded)) {
        std::cmp::Ordering::Less => "fewer NPCs",
        std::cmp::Ordering::Greater => "more NPCs",
        std::cmp::Ordering::Equal => "as many NPCs, other members",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl ReplayReport {
    fn unreadable(&mut self, line: u64) {
        self.unreadable += 1;
        if self.unreadable_lines.len() < NAMED_LINES {
            self.unreadable_lines.push(line);
        }
    }

    fn finish(&mut self, groups: BTreeMap<String, (u64, Example)>, options: &ReplayOptions) {
        self.different = self.replayed - self.same;
        self.difference_rate = share(self.different, self.replayed);
        let group = |(change, (count, example))| ReplayGroup {
            change,
            count,
            share: share(count, self.replayed),
            example,
        };
        self.groups = groups.into_iter().map(group).collect();
        self.groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        self.reason = if self.replayed < options.min_decisions {
            Some(format!(
                "{} decisions were replayed, {} are needed",
                self.replayed, options.min_decisions
            ))
        } else {
            let most = options.max_difference_rate.filter(|most| self.difference_rate > *most);
            most.map(|most| format!("{:.4} of the decisions change, {most} may", self.difference_rate))
        };
        self.passed = self.reason.is_none();
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot.map_or("", SlotName::as_str);
        writeln!(
            f,
            "{} for slot {slot}: {} decisions replayed",
            self.policy, self.replayed
        )?;
        let row = |f: &mut fmt::Formatter<'_>, count, share: f64, what: &str| {
            writeln!(f, "  {count:>8}  {:>6.2} %  {what}", share * 100.0)
        };
        row(f, self.same, share(self.same, self.replayed), "same")?;
        for group in &self.groups {
            row(f, group.count, group.share, &group.change)?;
        }
        for group in &self.groups {
            let example = &group.example;
            let text = |value: &Value| shortened(&value.to_string(), SHOWN_BYTES);
            writeln!(
                f,
                "\n{}, for example line {}, {}:",
                group.change, example.line, example.id
            )?;
            writeln!(f, "  {}", shortened(&example.why, SHOWN_BYTES))?;
            writeln!(f, "  question {}", text(&example.question))?;
            writeln!(f, "  recorded {}", text(&example.recorded))?;
            if let Some(given) = &example.given {
                writeln!(f, "  given    {}", text(given))?;
            }
        }
        if self.other_slots > 0 {
            writeln!(f, "\n{} decisions of other slots are passed over", self.other_slots)?;
        }
        if self.unreadable > 0 {
            let lines: Vec<String> = self.unreadable_lines.iter().map(u64::to_string).collect();
            let more = if self.unreadable > NAMED_LINES as u64 {
                ", …"
            } else {
                ""
            };
            let (count, lines) = (self.unreadable, lines.join(", "));
            writeln!(f, "\n{count} lines are no decisions: {lines}{more}")?;
        }
        if !self.complete {
            writeln!(f, "\nnot all: the limit or the time ended it")?;
        }
        match &self.reason {
            Some(reason) => write!(f, "\ndoes not pass: {reason}"),
            None => write!(f, "\npasses"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_named() {
        let rank = |hosts: &[&str]| {
            let picks: Vec<Value> = hosts
                .iter()
                .map(|host| json!({"host_id": host, "score": 1.0, "reason": ""}))
                .collect();
            json!({ "rank": picks })
        };
        let hosts = SlotName::HostSelection;
        let limits = SlotName::RateLimit;
        for (slot, recorded, given, wanted) in [
            (hosts, rank(&["a", "b"]), rank(&["b", "a"]), "another host"),
            (
                hosts,
                rank(&["a", "b", "c"]),
                rank(&["a", "c", "b"]),
                "same first host, another order behind it",
            ),
            (
                hosts,
                rank(&["a", "b"]),
                rank(&["a"]),
                "same first host, others behind it",
            ),
            (hosts, rank(&["a"]), rank(&["a"]), "same hosts, other scores or reasons"),
            (hosts, rank(&["a"]), rank(&[]), "no host where there was one"),
            (hosts, rank(&[]), rank(&["a"]), "a host where there was none"),
            (hosts, json!({"score": 1.0}), json!({"score": 2.0}), "another score"),
            (
                limits,
                json!("unlimited"),
                json!({"deny": "x"}),
                "deny where it was unlimited",
            ),
            (
                limits,
                json!({"limited": {"cost": 1}}),
                json!({"limited": {"cost": 2}}),
                "limited otherwise",
            ),
            (
                SlotName::NpcTransform,
                json!({"npcs": [{}]}),
                json!({"npcs": []}),
                "fewer NPCs",
            ),
        ] {
            assert_eq!(change(slot, &recorded, &given), wanted);
        }
    }
}
