//! What a component's imports and exports say beside what its slot needs and grants, for people. Runs nothing.

use serde::Serialize;

use super::loader::{Outline, WIT_PACKAGE, WIT_VERSION};
use super::slot_name::SlotName;
use super::source;
use super::wasi;

/// The contract of a component, as far as it can be read without running it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ContractReport {
    pub exports: Vec<ContractItem>,
    pub imports: Vec<ContractItem>,
    /// SHA-256 of the sources it was built from, when it says so.
    pub source_digest: Option<String>,
    /// Bytes of the golden vectors in it, none when it carries none.
    pub vectors_bytes: Option<usize>,
}

/// One interface, needed or offered.
#[derive(Clone, Debug, Serialize)]
pub struct ContractItem {
    /// Its full name.
    pub interface: String,
    pub verdict: Verdict,
}

/// How an interface fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Needed and there.
    Exported,
    /// Needed and not there.
    Missing,
    /// There, of a version that does not fit.
    OtherVersion,
    /// Not needed; no harm.
    Unused,
    /// Asked for and granted.
    Granted,
    /// Asked for and there, but it gives nothing.
    GrantsNothing,
    /// Asked for and not given: the component is refused.
    Refused,
}

impl Verdict {
    const fn shown(self) -> &'static str {
        match self {
            Self::Exported => "needed, exported",
            Self::Missing => "needed, MISSING",
            Self::OtherVersion => "exported, but of ANOTHER VERSION",
            Self::Unused => "exported, not used here",
            Self::Granted => "granted",
            Self::GrantsNothing => "linked, grants nothing",
            Self::Refused => "NOT GRANTED",
        }
    }
}

impl ContractReport {
    /// Reads it from a component's bytes and outline.
    #[must_use]
    pub fn new(bytes: &[u8], outline: &Outline, slot: Option<SlotName>) -> Self {
        Self {
            exports: slot.map_or_else(
                || all(&outline.exports, Verdict::Unused),
                |slot| exports(&outline.exports, slot),
            ),
            imports: slot.map_or_else(
                || all(&outline.imports, Verdict::Refused),
                |slot| imports(&outline.imports, slot),
            ),
            source_digest: source::embedded(bytes),
            vectors_bytes: source::section(bytes, source::VECTORS).map(<[u8]>::len),
        }
    }
}

fn all(names: &[String], verdict: Verdict) -> Vec<ContractItem> {
    let item = |name: &String| ContractItem {
        interface: name.clone(),
        verdict,
    };
    names.iter().map(item).collect()
}

fn exports(offered: &[String], slot: SlotName) -> Vec<ContractItem> {
    let needed = ["lifecycle", slot.export()];
    let mut items = Vec::new();
    for interface in needed {
        let wanted = format!("{WIT_PACKAGE}{interface}@{WIT_VERSION}");
        if !offered.iter().any(|name| is(name, interface)) {
            items.push(ContractItem {
                interface: wanted,
                verdict: Verdict::Missing,
            });
        }
    }
    for name in offered {
        let verdict = match needed.iter().find(|interface| is(name, interface)) {
            None => Verdict::Unused,
            Some(_) if major(name) == Some(major_of(WIT_VERSION)) => Verdict::Exported,
            Some(_) => Verdict::OtherVersion,
        };
        items.push(ContractItem {
            interface: name.clone(),
            verdict,
        });
    }
    items
}

fn imports(asked: &[String], slot: SlotName) -> Vec<ContractItem> {
    let own = ["logging", slot.import(), "lifecycle", slot.export()];
    let item = |name: &String| ContractItem {
        interface: name.clone(),
        verdict: if own.iter().any(|interface| is(name, interface)) {
            Verdict::Granted
        } else if wasi::is_known(name) {
            Verdict::GrantsNothing
        } else {
            Verdict::Refused
        },
    };
    asked.iter().map(item).collect()
}

/// Whether `name` is this interface of the contract, in any version.
fn is(name: &str, interface: &str) -> bool {
    name.strip_prefix(WIT_PACKAGE)
        .and_then(|rest| rest.strip_prefix(interface))
        .is_some_and(|rest| rest.starts_with('@'))
}

fn major(name: &str) -> Option<&str> {
    name.split_once('@').map(|(_, version)| major_of(version))
}

fn major_of(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

impl std::fmt::Display for ContractReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (title, items) in [("exports", &self.exports), ("imports", &self.imports)] {
            writeln!(f, "{title}")?;
            for item in items {
                writeln!(f, "  {:<56} {}", item.interface, item.verdict.shown())?;
            }
            if items.is_empty() {
                writeln!(f, "  none")?;
            }
        }
        writeln!(
            f,
            "sources  {}",
            self.source_digest.as_deref().unwrap_or("it does not say which")
        )?;
        match self.vectors_bytes {
            Some(bytes) => writeln!(f, "vectors  {bytes} bytes of golden vectors"),
            None => writeln!(f, "vectors  none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(items: &[ContractItem]) -> Vec<(&str, Verdict)> {
        items
            .iter()
            .map(|item| (item.interface.as_str(), item.verdict))
            .collect()
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_is_named() {
        let outline = Outline {
            imports: [
                "p2p-coordinator:policy/attributes@1.0.0",
                "wasi:io/poll@0.2.3",
                "wasi:http/types@0.2.3",
            ]
            .map(str::to_owned)
            .to_vec(),
            exports: ["p2p-coordinator:policy/limiting@2.0.0", "other:thing/x@1.0.0"]
                .map(str::to_owned)
                .to_vec(),
        };
        let report = ContractReport::new(b"", &outline, Some(SlotName::RateLimit));
        assert_eq!(
            verdicts(&report.exports),
            [
                ("p2p-coordinator:policy/lifecycle@1.0.0", Verdict::Missing),
                ("p2p-coordinator:policy/limiting@2.0.0", Verdict::OtherVersion),
                ("other:thing/x@1.0.0", Verdict::Unused),
            ]
        );
        assert_eq!(
            verdicts(&report.imports),
            [
                ("p2p-coordinator:policy/attributes@1.0.0", Verdict::Granted),
                ("wasi:io/poll@0.2.3", Verdict::GrantsNothing),
                ("wasi:http/types@0.2.3", Verdict::Refused),
            ]
        );
        let text = report.to_string();
        assert!(text.contains("MISSING") && text.contains("NOT GRANTED"), "{text}");
    }
}
