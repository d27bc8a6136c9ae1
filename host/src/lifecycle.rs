//! Signals, and what the service manager is told. The first signal to stop starts a drain, the second one ends the process at
//! once. SIGHUP asks for a new look at the settings.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::AbortHandle;

/// Exit status after a second signal.
const HARD_EXIT: i32 = 130;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To stop; the name of the signal.
    Stop(&'static str),
    /// To read the settings again.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP of this process.
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn install() -> anyhow::Result<Self> {
        let install = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            hangup: install(SignalKind::hangup())?,
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            name = Self::stop(&mut self.terminate, &mut self.interrupt) => Asked::Stop(name),
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    async fn stop(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    }

    /// Does the work; another signal to stop meanwhile ends the process without it.
    pub async fn or_hard_exit(mut self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            name = Self::stop(&mut self.terminate, &mut self.interrupt) => {
                tracing::warn!(signal = name, "second signal: leaving at once");
                std::process::exit(HARD_EXIT);
            }
        }
    }
}

/// Tells systemd that the settings are being read again; `READY=1` says when that is over.
pub fn tell_reloading() {
    // It wants the monotonic clock, which counts from the start of the machine.
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime
        .split(' ')
        .next()
        .and_then(|text| text.parse::<f64>().ok())
        .unwrap_or_default();
    tell_manager(&format!("RELOADING=1\nMONOTONIC_USEC={:.0}", seconds * 1e6));
}

/// With `WatchdogSec=` in the unit: shows systemd twice in that time that the runtime still turns. A service that does not is
/// started anew.
#[must_use]
pub fn watchdog() -> AbortHandle {
    let micros = std::env::var("WATCHDOG_USEC")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let beat = async move {
        let Some(micros) = micros.filter(|micros| *micros > 0) else {
            return;
        };
        let mut ticks = tokio::time::interval(Duration::from_micros(micros) / 2);
        loop {
            ticks.tick().await;
            tell_manager("WATCHDOG=1");
        }
    };
    tokio::spawn(beat).abort_handle()
}

/// Tells systemd (`Type=notify`) how far the service is: `READY=1`, `STOPPING=1`, or a `STATUS=…`. Does nothing under other
/// managers.
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
