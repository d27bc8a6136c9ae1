//! Logs: text or JSON on stderr, and into a file if one is set. `RUST_LOG` goes before `LOG_LEVEL`.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::LogConfig;

/// Keeps log writers alive; what is buffered is written out when it is dropped.
#[must_use]
pub struct LogGuard {
    _file: Option<WorkerGuard>,
}

/// Installs the log of this process.
///
/// # Errors
///
/// When the filter is bad, the file's folder cannot be written to, or a log is installed already.
pub fn install(config: &LogConfig) -> anyhow::Result<LogGuard> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::builder()
            .parse(&directives)
            .with_context(|| format!("RUST_LOG is {directives:?}"))?,
        _ => EnvFilter::builder().parse(&config.level).context("LOG_LEVEL")?,
    };
    let (file, guard) = match &config.file {
        Some(path) => open(path).map(|(writer, guard)| (Some(writer), Some(guard)))?,
        None => (None, None),
    };
    let stderr: Box<dyn Layer<Registry> + Send + Sync> = if config.json {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed()
    } else {
        fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed()
    };
    let file = file.map(|writer| -> Box<dyn Layer<Registry> + Send + Sync> {
        if config.json {
            fmt::layer().json().flatten_event(true).with_writer(writer).boxed()
        } else {
            fmt::layer().with_ansi(false).with_writer(writer).boxed()
        }
    });
    let layers: Vec<_> = std::iter::once(stderr).chain(file).collect();
    tracing_subscriber::registry()
        .with(layers.with_filter(filter))
        .try_init()
        .context("cannot install the log")?;
    Ok(LogGuard { _file: guard })
}

/// A file per day, written by a thread of its own, so that a slow disk never holds up a request.
fn open(path: &Path) -> anyhow::Result<(NonBlocking, WorkerGuard)> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| {
        format!(
            "LOG_FILE: cannot create {}; name a file in a folder this user may write to",
            folder.display()
        )
    })?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let appender = tracing_appender::rolling::RollingFileAppender::builder()
        .rotation(tracing_appender::rolling::Rotation::DAILY)
        .filename_prefix(name)
        .build(folder)
        .with_context(|| {
            format!(
                "LOG_FILE: cannot write to {}; name a file this user may write to",
                path.display()
            )
        })?;
    Ok(tracing_appender::non_blocking(appender))
}
