//! Turns raw values into typed ones and gathers every problem on the way, so that one start tells all of them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::settings::{self, Shown};
use super::source::{Origin, Source};

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The variable to change.
    pub variable: String,
    /// Its value as it may be shown; none when it is missing.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is {value}: {}", self.variable, self.message),
            None => write!(f, "{} is not set: {}", self.variable, self.message),
        }
    }
}

/// One setting as it holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Effective {
    pub name: &'static str,
    pub section: &'static str,
    /// As it may be shown.
    pub value: String,
    pub origin: Origin,
}

/// Reads settings by name. Defaults come from the table.
pub struct Reader<'a> {
    source: &'a Source,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader without problems so far.
    #[must_use]
    pub fn new(source: &'a Source) -> Self {
        Self {
            source,
            problems: Vec::new(),
            warnings: source.unknown(),
        }
    }

    /// The raw value, none when it is missing or empty.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&'a str> {
        self.source.get(name).map(|(value, _)| value)
    }

    /// Every given variable with this prefix.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        self.source.with_prefix(prefix)
    }

    /// Notes a problem with a variable.
    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        let value = self.given(name).map(|value| show(name, value));
        self.problems.push(Problem {
            variable: name.to_owned(),
            value,
            message: message.into(),
        });
    }

    /// The value, or the default of the table.
    #[must_use]
    pub fn text(&self, name: &str) -> &'a str {
        self.given(name)
            .unwrap_or_else(|| settings::find(name).map_or("", |setting| setting.default))
    }

    /// Yes or no, in the words of the field.
    pub fn flag(&mut self, name: &str) -> bool {
        let word = self.text(name).to_ascii_lowercase();
        match word.as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.refuse(name, "must be true or false");
                false
            }
        }
    }

    /// A number within a range, both ends included.
    pub fn number<T>(&mut self, name: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match self.text(name).parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.refuse(
                    name,
                    format!("must be a number from {} to {}", range.start(), range.end()),
                );
                *range.start()
            }
        }
    }

    /// A span of time given as a number of units.
    pub fn span(&mut self, name: &str, unit: Duration, range: RangeInclusive<f64>) -> Duration {
        unit.mul_f64(self.number(name, range))
    }

    /// One of a few words in any case; the first when it is none of them.
    pub fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)], otherwise: T) -> T {
        let given = self.text(name);
        if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(given)) {
            return *value;
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.refuse(name, format!("must be one of {}", names.join(", ")));
        otherwise
    }

    /// A comma-separated list, or a JSON list of strings.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name);
        serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| {
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        })
    }

    /// Every setting as it holds, with its origin.
    #[must_use]
    pub fn effective(&self) -> Vec<Effective> {
        settings::SETTINGS
            .iter()
            .map(|setting| {
                let (value, origin) = self
                    .source
                    .get(setting.name)
                    .unwrap_or((setting.default, Origin::Default));
                let value = if value.is_empty() {
                    String::new()
                } else {
                    redact(setting.shown, value)
                };
                Effective {
                    name: setting.name,
                    section: setting.section,
                    value,
                    origin,
                }
            })
            .collect()
    }
}

/// A value in quotes, hidden as far as its setting demands, and short.
fn show(name: &str, value: &str) -> String {
    let shown = settings::find(name).map_or(Shown::Never, |setting| setting.shown);
    if shown == Shown::Never {
        return format!("(hidden, {} characters)", value.chars().count());
    }
    let text = redact(shown, value);
    let short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        format!("{short:?}…")
    } else {
        format!("{short:?}")
    }
}

/// The value as it may be shown.
fn redact(shown: Shown, value: &str) -> String {
    match shown {
        Shown::Plain => value.to_owned(),
        Shown::Never => "***".to_owned(),
        Shown::WithoutPassword => {
            let (start, rest) = value
                .split_once("://")
                .map_or((None, value), |(scheme, rest)| (Some(scheme), rest));
            let (place, query) = rest.split_once('?').map_or((rest, false), |(place, _)| (place, true));
            let place = place
                .rsplit_once('@')
                .map_or_else(|| place.to_owned(), |(_, place)| format!("***@{place}"));
            let place = if query { format!("{place}?***") } else { place };
            start.map_or_else(|| place.clone(), |scheme| format!("{scheme}://{place}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_password_and_query() {
        let redacted = |url| redact(Shown::WithoutPassword, url);
        assert_eq!(
            redacted("postgresql://u:p@ss@h:5432/d?password=x"),
            "postgresql://***@h:5432/d?***"
        );
        assert_eq!(redacted("sqlite:data/x.db"), "sqlite:data/x.db");
        assert_eq!(redacted("u:p@h"), "***@h");
    }

    #[test]
    fn flags_take_the_words_of_the_field() {
        for (word, value) in [
            ("TRUE", true),
            ("1", true),
            ("On", true),
            ("yes", true),
            ("off", false),
            ("No", false),
        ] {
            let source = Source::of(&[("DEBUG", word)], &[]);
            let mut reader = Reader::new(&source);
            assert_eq!(reader.flag("DEBUG"), value);
            assert!(reader.problems.is_empty());
        }
    }
}
