//! Logs: text or JSON on stderr, and into a file if one is set. `RUST_LOG` goes before `LOG_LEVEL`.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::log_file::{KEPT, LogFile, MAX_BYTES, Rotation};
use crate::config::LogConfig;

/// Keeps log writers alive; what is buffered is written out when it is dropped.
#[must_use]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    reopen: Arc<AtomicBool>,
    _file: Option<WorkerGuard>,
}

impl Logs {
    /// Installs the log of this process.
    ///
    /// # Errors
    ///
    /// When the filter is bad, the file's folder cannot be written to, or a log is installed already.
    pub fn install(config: &LogConfig) -> anyhow::Result<Self> {
        let (filter, handle) = reload::Layer::new(filter(config)?);
        let reopen = Arc::new(AtomicBool::new(false));
        let mut layers = Vec::new();
        layers.push(if config.json {
            let layer = fmt::layer().json().flatten_event(true).with_span_list(false);
            layer.with_writer(std::io::stderr).boxed()
        } else {
            let layer = fmt::layer().with_ansi(std::io::stderr().is_terminal());
            layer.with_writer(std::io::stderr).boxed()
        });
        let mut guard = None;
        if let Some(path) = &config.file {
            let rotation = config.rotate.then_some(Rotation {
                max_bytes: MAX_BYTES,
                kept: KEPT,
            });
            let file = LogFile::open(path, rotation, reopen.clone()).with_context(|| {
                format!(
                    "LOG_FILE: cannot write to {}; name a file this user may write to",
                    path.display()
                )
            })?;
            // On a thread of its own, so that a slow disk never holds up a request.
            let (writer, worker) = tracing_appender::non_blocking(file);
            guard = Some(worker);
            layers.push(if config.json {
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_span_list(false)
                    .with_writer(writer)
                    .boxed()
            } else {
                fmt::layer().with_ansi(false).with_writer(writer).boxed()
            });
        }
        tracing_subscriber::registry()
            .with(layers.with_filter(filter))
            .try_init()
            .context("cannot install the log")?;
        Ok(Self {
            filter: handle,
            reopen,
            _file: guard,
        })
    }

    /// Takes the level of other settings. The file is opened again with its next line, as after somebody moved it away.
    ///
    /// # Errors
    ///
    /// When the filter is bad; the old one then stays.
    pub fn reload(&self, config: &LogConfig) -> anyhow::Result<()> {
        self.filter.reload(filter(config)?)?;
        self.reopen.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn filter(config: &LogConfig) -> anyhow::Result<EnvFilter> {
    match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::builder()
            .parse(&directives)
            .with_context(|| format!("RUST_LOG is {directives:?}")),
        _ => EnvFilter::builder().parse(&config.level).context("LOG_LEVEL"),
    }
}
