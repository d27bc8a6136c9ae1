//! Which decisions of policies are kept, how many, and where they are written.

use std::path::PathBuf;

use super::reader::Reader;
use crate::domain::slot::SlotName;

/// `DECISION_LOG_SIZE`, `DECISION_LOG_SAMPLE`, `DECISION_LOG_FILE`.
#[derive(Clone, Debug, Default)]
pub struct DecisionLogConfig {
    /// Decisions of each kind that are kept in memory. 0: no log at all.
    pub size: usize,
    /// Share of the calls of each slot, 0 to 1, in the order of `SlotName::ALL`.
    shares: [f64; SlotName::ALL.len()],
    /// Gets the decisions as lines of JSON.
    pub file: Option<PathBuf>,
}

const SIZE: &str = "DECISION_LOG_SIZE";
const SAMPLE: &str = "DECISION_LOG_SAMPLE";
const FILE: &str = "DECISION_LOG_FILE";
/// Decisions of each kind at most.
const MAX_SIZE: usize = 100_000;

impl DecisionLogConfig {
    /// The share of the calls of a slot.
    #[must_use]
    pub fn share(&self, slot: SlotName) -> f64 {
        let place = SlotName::ALL.iter().position(|known| *known == slot);
        place.and_then(|place| self.shares.get(place)).copied().unwrap_or(0.0)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut shares = [0.0; SlotName::ALL.len()];
        let standard = super::settings::find(SAMPLE).map_or("", |setting| setting.default);
        for text in [standard, reader.text(SAMPLE)] {
            if let Err(problem) = apply(text, &mut shares) {
                reader.refuse(SAMPLE, problem);
            }
        }
        let size = reader.number(SIZE, 0..=MAX_SIZE);
        let file = reader.given(FILE).map(PathBuf::from);
        if let Some(path) = &file {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if path.file_name().is_none() || path.is_dir() {
                reader.refuse(FILE, "must be the path of a file");
            } else if folder.is_some_and(|folder| !folder.is_dir()) {
                reader.refuse(FILE, "must be in a folder that is there");
            } else if size == 0 {
                reader.refuse(
                    FILE,
                    "needs DECISION_LOG_SIZE above 0: decisions go to the file by way of memory",
                );
            }
        }
        Self { size, shares, file }
    }
}

/// One share for all slots, or a list of `slot=share`.
fn apply(text: &str, shares: &mut [f64; SlotName::ALL.len()]) -> Result<(), String> {
    let share = |text: &str| text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
    if !text.contains('=') {
        let all: f64 =
            share(text).ok_or("must be a share from 0 to 1, or a list as in host-selection=1,rate-limit=0.01")?;
        *shares = [all; SlotName::ALL.len()];
        return Ok(());
    }
    for item in text.split(',').filter(|item| !item.trim().is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let place = SlotName::ALL.iter().position(|slot| slot.as_str() == name.trim());
        match (place.and_then(|place| shares.get_mut(place)), share(value)) {
            (Some(place), Some(share)) => *place = share,
            (None, _) => {
                return Err(format!(
                    "{:?} is no slot: host-selection, rate-limit or npc-transform",
                    name.trim()
                ));
            }
            (_, None) => return Err(format!("the share of {} must be a number from 0 to 1", name.trim())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn read(pairs: &[(&str, &str)]) -> (DecisionLogConfig, Vec<String>) {
        let source = Source::of(pairs, &[]);
        let mut reader = Reader::new(&source);
        let config = DecisionLogConfig::read(&mut reader);
        (config, reader.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn shares_are_for_all_slots_or_for_each() {
        let shares = |text: &str| {
            let (config, problems) = read(&[(SAMPLE, text)]);
            assert!(problems.is_empty(), "{problems:?}");
            SlotName::ALL.map(|slot| config.share(slot))
        };
        let standard = shares("");
        assert_eq!(standard, [1.0, 0.01, 0.05]);
        assert_eq!(shares("0.5"), [0.5; 3]);
        assert_eq!(shares("rate-limit=1, npc-transform=0"), [standard[0], 1.0, 0.0]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (pairs, text) in [
            (&[(SAMPLE, "2")][..], "a share from 0 to 1"),
            (&[(SAMPLE, "hosts=1")], "no slot"),
            (&[(SAMPLE, "rate-limit=x")], "the share of rate-limit"),
            (&[(SIZE, "-1")], "0 to 100000"),
            (&[(FILE, "/nowhere/decisions.jsonl")], "a folder that is there"),
            (&[(FILE, "/tmp")], "the path of a file"),
            (&[(FILE, "decisions.jsonl"), (SIZE, "0")], "DECISION_LOG_SIZE above 0"),
        ] {
            let (_, problems) = read(pairs);
            assert!(
                problems.len() == 1 && problems[0].contains(text),
                "{pairs:?}: {problems:?}"
            );
        }
    }
}
