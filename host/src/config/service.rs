//! What the service calls itself, where it runs, and where it keeps data.

use std::path::PathBuf;

use super::reader::Reader;

/// Where the service runs. Production refuses weak settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Development,
    Testing,
    Production,
}

impl Environment {
    /// The name in settings and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Testing => "testing",
            Self::Production => "production",
        }
    }
}

/// `SERVICE_NAME`, `SERVICE_VERSION`, `ENVIRONMENT`, `DEBUG`, and where data is kept.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    pub name: String,
    pub version: String,
    pub environment: Environment,
    pub debug: bool,
    /// `DATA_DIR`: the embedded database, generated secrets, compiled policies.
    pub data_dir: PathBuf,
}

impl ServiceConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let words = [
            ("development", Environment::Development),
            ("testing", Environment::Testing),
            ("production", Environment::Production),
            ("dev", Environment::Development),
            ("test", Environment::Testing),
            ("prod", Environment::Production),
        ];
        let config = Self {
            name: reader.text("SERVICE_NAME").to_owned(),
            version: reader.text("SERVICE_VERSION").to_owned(),
            // What cannot be read is judged by the strictest rules.
            environment: reader.choice("ENVIRONMENT", &words, Environment::Production),
            debug: reader.flag("DEBUG"),
            data_dir: PathBuf::from(reader.text("DATA_DIR")),
        };
        if config.debug && config.environment == Environment::Production {
            reader
                .warnings
                .push("DEBUG is true in production: logs are verbose".to_owned());
        }
        config
    }
}
