//! Whether Redis answers, and in which life of its data. Tells the log of every change, once.

use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;

use super::fault;
use super::metrics::StateMetrics;

/// What is known of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// At least one connection is open and answers.
    pub up: bool,
    /// Grows when the server is reached again after it was away, and when it has lost its data. What was written in an
    /// earlier generation may be gone. 0 before the first connection.
    pub generation: u64,
    /// The server has sharded channels.
    pub sharded: bool,
}

/// The state that several connections share.
pub(super) struct Status {
    /// The place, as it may be shown.
    place: String,
    /// Changes are told to operators. Connections beside the main ones keep quiet.
    loud: bool,
    state: watch::Sender<State>,
    inner: Mutex<Inner>,
    metrics: Option<StateMetrics>,
}

#[derive(Default)]
struct Inner {
    open: u32,
    epoch: Option<String>,
    error: Option<String>,
}

impl Status {
    pub(super) fn new(place: String, loud: bool) -> Self {
        Self {
            place,
            loud,
            state: watch::Sender::default(),
            inner: Mutex::default(),
            metrics: None,
        }
    }

    /// Counts on this registry from now on.
    pub(super) fn counted(self, registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            metrics: Some(StateMetrics::register(registry)?),
            ..self
        })
    }

    fn count(&self, open: u32, losses: u64) {
        if let Some(metrics) = &self.metrics {
            metrics.changed(open, losses);
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Why the last attempt to connect failed, and what to do about it.
    pub(super) fn error(&self) -> Option<String> {
        self.inner.lock().error.clone()
    }

    pub(super) fn opened(&self, epoch: String, sharded: bool) {
        let mut inner = self.inner.lock();
        inner.open += 1;
        inner.error = None;
        let first = inner.open == 1;
        let known = inner.epoch.is_some() && !first;
        let new_life = inner.epoch.as_ref() != Some(&epoch);
        inner.epoch = Some(epoch);
        self.state.send_modify(|state| {
            state.up = true;
            state.sharded = sharded;
            state.generation += u64::from(first || new_life);
        });
        self.count(inner.open, u64::from(new_life && known));
        if first && self.loud {
            tracing::info!(server = self.place, "Redis is connected");
        }
    }

    pub(super) fn saw(&self, epoch: String) {
        let mut inner = self.inner.lock();
        if inner.epoch.as_ref() == Some(&epoch) {
            return;
        }
        inner.epoch = Some(epoch);
        self.state.send_modify(|state| state.generation += 1);
        self.count(inner.open, 1);
        if self.loud {
            tracing::warn!(
                server = self.place,
                "Redis has lost its data; live state is built again"
            );
        }
    }

    pub(super) fn lost(&self, why: String) {
        let mut inner = self.inner.lock();
        inner.open = inner.open.saturating_sub(1);
        if inner.open > 0 {
            self.count(inner.open, 0);
            return;
        }
        self.state.send_modify(|state| state.up = false);
        self.count(0, 1);
        if self.loud {
            tracing::warn!(server = self.place, why, "Redis is away; this node goes on by itself");
        }
        inner.error = Some(why);
    }

    pub(super) fn failed(&self, error: anyhow::Error) {
        let error = fault::explain(&error);
        tracing::debug!(server = self.place, error, "no connection to Redis");
        self.inner.lock().error = Some(error);
    }
}
