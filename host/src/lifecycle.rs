//! Signals, and what the service manager is told. The first signal starts a drain, the second one ends the process at once.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status after a second signal.
const HARD_EXIT: i32 = 130;

/// SIGTERM and SIGINT of this process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both signals.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Does the work; another signal meanwhile ends the process without it.
    pub async fn or_hard_exit(mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            name = self.next() => {
                tracing::warn!(signal = name, "second signal: leaving at once");
                std::process::exit(HARD_EXIT);
            }
        }
    }
}

/// Tells systemd (`Type=notify`) how far the service is: `READY=1` or `STOPPING=1`. Does nothing under other managers.
pub fn tell_manager(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = path.to_str().map_or_else(
        || SocketAddr::from_pathname(&path),
        |text| match text.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        },
    );
    let sent = sent.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager was not reached");
    }
}
