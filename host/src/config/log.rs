//! What is logged, how, and where to.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::reader::Reader;

/// `LOG_LEVEL`, `LOG_FORMAT`, `LOG_FILE`, `LOG_ROTATION`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A level name, or a full filter directive.
    pub level: String,
    pub json: bool,
    pub file: Option<PathBuf>,
    /// `LOG_ROTATION`: full files and those of yesterday get another name, and the oldest are removed.
    pub rotate: bool,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>, debug: bool) -> Self {
        let given = match reader.given("LOG_LEVEL") {
            None if debug => "DEBUG",
            _ => reader.text("LOG_LEVEL"),
        };
        let level = filter(given);
        if EnvFilter::builder().parse(&level).is_err() {
            reader.refuse(
                "LOG_LEVEL",
                "must be TRACE, DEBUG, INFO, WARNING or ERROR, or a filter as in info,p2p_coordinator=debug",
            );
        }
        let file = reader.given("LOG_FILE").map(PathBuf::from);
        if file
            .as_ref()
            .is_some_and(|file| file.file_name().is_none() || file.is_dir())
        {
            reader.refuse("LOG_FILE", "must be the path of a file");
        }
        Self {
            level,
            json: reader.choice("LOG_FORMAT", &[("text", false), ("json", true)], false),
            file,
            rotate: reader.flag("LOG_ROTATION"),
        }
    }
}

/// A filter from a level name. Verbose levels are for our own code: libraries stay at info.
fn filter(given: &str) -> String {
    match given.to_ascii_uppercase().as_str() {
        "ERROR" | "CRITICAL" | "FATAL" => "error".to_owned(),
        "WARNING" | "WARN" => "warn".to_owned(),
        "INFO" => "info".to_owned(),
        "DEBUG" => "info,p2p_coordinator=debug".to_owned(),
        "TRACE" => "info,p2p_coordinator=trace".to_owned(),
        // A bare word would be read as the name of a module.
        word if given.chars().all(char::is_alphanumeric) && word != "OFF" => format!("={given}"),
        _ => given.to_owned(),
    }
}
