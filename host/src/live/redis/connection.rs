//! What the rest of live state uses of Redis: commands and scripts, calls in order, subscriptions, and the news of its state.
//! Every call ends within a second, and at once while the server is known to be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::Registry;
use redis::{Cmd, FromRedisValue, ToRedisArgs, Value};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fault;
use super::keys::Keys;
use super::link::{Link, Script, unavailable};
use super::metrics::CallMetrics;
use super::server::Server;
use super::status::{State, Status};
use super::subscription::Subscription;
use crate::config::{RedisConfig, RedisUrl};
use crate::ports::live::LiveError;

/// How long a start waits for the server.
const START: Duration = Duration::from_secs(4);
/// Connections that are no command connections: two in order, three subscriptions, one that asks for the master.
const RESERVED: usize = 6;

/// The connections of this node to Redis. Cheap to clone; the last clone closes them.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    server: Arc<Server>,
    status: Arc<Status>,
    calls: Arc<CallMetrics>,
    links: Vec<Arc<Link>>,
    next: AtomicUsize,
    _end: DropGuard,
}

impl Connection {
    /// Connects. Later losses mend themselves.
    ///
    /// Opens one command connection for each processor, but leaves `RESERVED` of `max_connections` to others, and always opens
    /// one.
    ///
    /// # Errors
    ///
    /// When the server does not answer within `START`, a file of the settings cannot be read, or metric names are taken. The text names the setting.
    pub async fn open(config: &RedisConfig, url: &RedisUrl, registry: &Registry) -> anyhow::Result<Self> {
        Self::open_to(config, url, Server::new(url.clone())?, registry).await
    }

    /// As `open`, with names that no other connection has.
    #[cfg(test)]
    pub(super) async fn open_apart(config: &RedisConfig, url: &RedisUrl) -> anyhow::Result<Self> {
        let mut server = Server::new(url.clone())?;
        server.keys = server.keys.apart();
        Self::open_to(config, url, server, &Registry::new()).await
    }

    async fn open_to(
        config: &RedisConfig,
        url: &RedisUrl,
        server: Server,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let server = Arc::new(server);
        let status = Arc::new(Status::new(url.to_string(), true).counted(registry)?);
        let calls = Arc::new(CallMetrics::register(registry)?);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let most = usize::try_from(config.max_connections).unwrap_or(usize::MAX);
        let count = processors.min(most.saturating_sub(RESERVED)).max(1);
        let end = CancellationToken::new();
        let links =
            (0..count).map(|_| Link::start((server.clone(), status.clone()), calls.clone(), end.clone(), false));
        let connection = Self(Arc::new(Inner {
            links: links.collect(),
            server,
            status,
            calls,
            next: AtomicUsize::new(0),
            _end: end.drop_guard(),
        }));
        let mut state = connection.watch();
        let up = tokio::time::timeout(START, state.wait_for(|state| state.up)).await;
        if up.is_err() {
            let why = connection.0.status.error();
            anyhow::bail!(
                "REDIS_URL: cannot use {url}: {}",
                why.unwrap_or_else(|| fault::explain(&anyhow::anyhow!("no answer")))
            );
        }
        Ok(connection)
    }

    /// Names of keys and channels.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.0.server.keys
    }

    /// What is known of the server now.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.status.state()
    }

    /// Grows when what was written before may be gone. See `State::generation`.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// Changes of the state.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.status.watch()
    }

    /// The command that publishes to what `subscribe` listens to: `SPUBLISH` or `PUBLISH`. Scripts call it by this name.
    #[must_use]
    pub fn publish_command(&self) -> &'static str {
        if self.state().sharded { "SPUBLISH" } else { "PUBLISH" }
    }

    /// Runs a script. Each of its keys comes from `keys`, so that a cluster has them in one slot.
    ///
    /// # Errors
    ///
    /// When the server is away, too slow or refuses. The script may have run all the same.
    pub async fn eval<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        args: &impl ToRedisArgs,
    ) -> Result<T, LiveError> {
        typed(self.link().eval(script, keys, args).await?)
    }

    /// Sends one command.
    ///
    /// # Errors
    ///
    /// As `eval`.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LiveError> {
        typed(self.link().query(command).await?)
    }

    /// Publishes; the number of subscribers it went to.
    ///
    /// # Errors
    ///
    /// As `eval`.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> Result<u64, LiveError> {
        self.query(redis::cmd(self.publish_command()).arg(channel).arg(message))
            .await
    }

    /// A connection of its own on which calls run in the order they are made.
    #[must_use]
    pub fn ordered(&self) -> Ordered {
        let status = Arc::new(Status::new(self.0.server.url.to_string(), false));
        let end = CancellationToken::new();
        let parts = (self.0.server.clone(), status.clone());
        let link = Link::start(parts, self.0.calls.clone(), end.clone(), true);
        Ordered(Arc::new((link, status, end.drop_guard())))
    }

    /// Listens to a channel, on a connection of its own.
    #[must_use]
    pub fn subscribe(&self, channel: String) -> Subscription {
        Subscription::start(self.0.server.clone(), channel)
    }

    /// The next link that works; any when none does, which then says so.
    fn link(&self) -> &Link {
        let links = &self.0.links;
        let start = self.0.next.fetch_add(1, Ordering::Relaxed);
        let turn = |step: usize| &links[start.wrapping_add(step) % links.len()];
        (0..links.len())
            .map(turn)
            .find(|link| link.is_up())
            .unwrap_or_else(|| turn(0))
    }
}

/// Calls in order. Cheap to clone; the last clone closes the connection.
///
/// A call is made when its future is polled for the first time. After a loss calls start anew on another connection: those
/// that failed may have run, and those of a server that was only paused may still run then, after newer ones.
#[derive(Clone)]
pub struct Ordered(Arc<(Arc<Link>, Arc<Status>, DropGuard)>);

impl Ordered {
    /// Changes of the state of this connection.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.1.watch()
    }

    /// As `Connection::eval`.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn eval<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        args: &impl ToRedisArgs,
    ) -> Result<T, LiveError> {
        typed(self.0.0.eval(script, keys, args).await?)
    }

    /// As `Connection::query`.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LiveError> {
        typed(self.0.0.query(command).await?)
    }
}

fn typed<T: FromRedisValue>(value: Value) -> Result<T, LiveError> {
    redis::from_redis_value(value).map_err(|error| unavailable(error.into()))
}
