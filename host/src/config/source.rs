//! Where raw values come from: the environment, then an env file. Nothing here changes the environment of the process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::settings;

/// Where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    Environment,
    EnvFile,
    /// Made by the service and kept in `DATA_DIR/secrets.env`.
    Generated,
    Default,
}

impl Origin {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::EnvFile => "env file",
            Self::Generated => "generated",
            Self::Default => "default",
        }
    }
}

/// Prefixes that no other program's variables are likely to carry.
const OWN_PREFIXES: [&str; 11] = [
    "RATE_LIMIT_",
    "P2P_",
    "SESSION_TIMEOUT",
    "SESSION_HEALTH",
    "SESSION_RETENTION",
    "HOST_HEARTBEAT_",
    "NPC_BROADCAST",
    "AI_SERVICE_",
    "COORDINATOR_",
    "JWT_",
    "DATABASE_",
];

/// Raw values by name.
#[derive(Clone, Debug, Default)]
pub struct Source {
    environment: BTreeMap<String, String>,
    env_file: BTreeMap<String, String>,
}

impl Source {
    /// Reads the environment and an env file: the named one, which must exist, or `.env` in the working folder if there is one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has a line that is no assignment.
    pub fn read(env_file: Option<&Path>) -> anyhow::Result<Self> {
        let path = env_file.map_or_else(|| PathBuf::from(".env"), Path::to_path_buf);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if env_file.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self {
            environment: environment.collect(),
            env_file: parse(&text).with_context(|| format!("in {}", path.display()))?,
        })
    }

    /// A source from given pairs.
    #[must_use]
    pub fn of(environment: &[(&str, &str)], env_file: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self {
            environment: map(environment),
            env_file: map(env_file),
        }
    }

    /// The value and where it was found. A value of spaces only counts as missing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(&str, Origin)> {
        let present = |map: &'_ BTreeMap<String, String>| map.get(name).is_some_and(|v| !v.trim().is_empty());
        let (map, origin) = if present(&self.environment) {
            (&self.environment, Origin::Environment)
        } else if present(&self.env_file) {
            (&self.env_file, Origin::EnvFile)
        } else {
            return None;
        };
        map.get(name).map(|value| (value.trim(), origin))
    }

    /// Every variable with a value whose name starts with `prefix`, by name.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Vec<(String, String)> {
        let names: std::collections::BTreeSet<&String> = self.environment.keys().chain(self.env_file.keys()).collect();
        names
            .into_iter()
            .filter(|name| name.starts_with(prefix))
            .filter_map(|name| self.get(name).map(|(value, _)| (name.clone(), value.to_owned())))
            .collect()
    }

    /// Names of settings, and of what policies get, whose values differ.
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<String> {
        let handed = |source: &Self| {
            source
                .with_prefix(settings::POLICY_PREFIX)
                .into_iter()
                .map(|(name, _)| name)
        };
        let mut names: Vec<String> = settings::SETTINGS
            .iter()
            .map(|setting| setting.name.to_owned())
            .collect();
        names.extend(handed(self).chain(handed(other)));
        names.sort();
        names.dedup();
        let value = |source: &Self, name: &str| source.get(name).map(|(value, _)| value.to_owned());
        names.retain(|name| value(self, name) != value(other, name));
        names
    }

    /// Takes the values of these names from another source.
    pub fn take(&mut self, other: &Self, names: &[&str]) {
        let copy = |to: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>, name: &str| match from.get(name)
        {
            Some(value) => drop(to.insert(name.to_owned(), value.clone())),
            None => drop(to.remove(name)),
        };
        for name in names {
            copy(&mut self.environment, &other.environment, name);
            copy(&mut self.env_file, &other.env_file, name);
        }
    }

    /// One sentence for each variable that looks like a setting and is none. Names only, never values.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        let known = |name: &str| {
            settings::find(name).is_some() || name.starts_with(settings::POLICY_PREFIX) || name.starts_with("RUST_")
        };
        let from_file = self
            .env_file
            .keys()
            .filter(|name| !known(name))
            .map(|name| (name, "env file"));
        let from_environment = self
            .environment
            .keys()
            .filter(|name| !known(name) && OWN_PREFIXES.iter().any(|p| name.starts_with(p)) && !is_service_link(name))
            .map(|name| (name, "environment"));
        from_file
            .chain(from_environment)
            .map(|(name, place)| match settings::did_you_mean(name) {
                Some(known) => format!("{name} ({place}) is not a setting and is ignored; did you mean {known}?"),
                None => format!("{name} ({place}) is not a setting and is ignored"),
            })
            .collect()
    }
}

/// Variables that Kubernetes sets for every service of a namespace.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

/// Reads assignments. The first of two with the same name counts.
fn parse(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut values = BTreeMap::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            Ok((name, value)) => {
                values.entry(name).or_insert(value);
            }
            // What is quoted may hold a secret: the line's number and name have to do.
            Err(dotenvy::Error::LineParse(part, _)) => {
                let place = text
                    .lines()
                    .position(|line| line.contains(part.lines().next().unwrap_or_default()));
                let line = text.lines().nth(place.unwrap_or_default()).unwrap_or_default();
                let name = line.split_once('=').map_or("", |(name, _)| name).trim();
                anyhow::bail!(
                    "line {} ({name}) is no assignment; write NAME=value, and quote values with spaces",
                    place.unwrap_or_default() + 1
                );
            }
            Err(error) => anyhow::bail!("{error}"),
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_the_file() {
        let source = Source::of(
            &[("PORT", "1"), ("HOST", " ")],
            &[("PORT", "2"), ("HOST", "::1"), ("DEBUG", "")],
        );
        assert_eq!(source.get("PORT"), Some(("1", Origin::Environment)));
        assert_eq!(source.get("HOST"), Some(("::1", Origin::EnvFile)));
        assert_eq!(source.get("DEBUG"), None);
    }

    #[test]
    fn env_files_have_comments_quotes_and_a_byte_order_mark() {
        let values =
            parse("\u{feff}# note\nRATE_LIMIT_API_REQUESTS=100    # per window\nSERVICE_NAME=\"a b\"\nexport PORT=1\n")
                .unwrap();
        assert_eq!(values["RATE_LIMIT_API_REQUESTS"], "100");
        assert_eq!(values["SERVICE_NAME"], "a b");
        assert_eq!(values["PORT"], "1");
    }

    #[test]
    fn a_bad_line_is_named_without_its_value() {
        let error = parse("JWT_SECRET_KEY=top secret value\n").unwrap_err().to_string();
        assert!(error.contains("JWT_SECRET_KEY") && !error.contains("top"), "{error}");
    }

    #[test]
    fn unknown_names_are_reported_with_a_suggestion() {
        let source = Source::of(
            &[
                ("RATE_LIMIT_API_REQUEST", "5"),
                ("PATH", "/bin"),
                ("P2P_COORDINATOR_SERVICE_HOST", "10.0.0.1"),
            ],
            &[("SECRET_KEY", "hidden"), ("POLICY_REGION", "eu"), ("PORT", "1")],
        );
        let unknown = source.unknown();
        assert_eq!(unknown.len(), 2, "{unknown:?}");
        assert!(unknown[0].contains("SECRET_KEY") && unknown[0].contains("JWT_SECRET_KEY"));
        assert!(unknown[1].contains("did you mean RATE_LIMIT_API_REQUESTS"));
        assert!(!unknown.concat().contains("hidden"));
    }
}
