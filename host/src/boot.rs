//! The composition root: the only file that names concrete backends. It puts the parts together, serves, and takes them
//! apart again in order.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::auth::Authenticator;
use crate::app::limits::Limiter;
use crate::app::releases::{self, Releases};
use crate::config::{Config, DatabaseUrl, Environment, Report, Source};
use crate::domain::clock::{SharedClock, SystemClock};
use crate::http::answer::Written;
use crate::http::console::Console;
use crate::http::state::HttpState;
use crate::http::trust::Trust;
use crate::lifecycle::{self, Asked, Signals};
use crate::npcs::HttpNpcSource;
use crate::plugins::PluginRuntime;
use crate::plugins::delivery::node::Node;
use crate::ports::live::Live;
use crate::ports::npc_source::NpcSource;
use crate::ports::storage::Storage;
use crate::reload::Reload;
use crate::serve::Tls;
use crate::signaling::hub::{Hub, HubLimits};
use crate::telemetry::export::{self, Export};
use crate::telemetry::logs::Logs;
use crate::telemetry::metrics::Metrics;
use crate::{http, live, serve, signaling, storage, tasks};

/// What the last writes to storage get at least, however short the grace is.
const LAST_WRITES: Duration = Duration::from_millis(500);
/// What the last spans get at most.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Runs the service until a signal ends it. When it cannot start, the log and the service manager are told what to change.
///
/// # Errors
///
/// The same text, when there is no log that could tell it.
pub fn run(config: Config, report: &Report, source: &Source, env_file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let logs = Logs::install(&config.log)?;
    let mut reload = Reload::new(env_file.map(Path::to_path_buf), source.clone(), logs);
    for notice in &report.notices {
        tracing::info!("{notice}");
    }
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = runtime(config.server.worker_threads)?;
    let result = runtime.block_on(serve_until_signal(config, &mut reload));
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    let Err(error) = result else {
        return Ok(ExitCode::SUCCESS);
    };
    lifecycle::tell_manager(&format!("STATUS=cannot start: {error:#}"));
    if !tracing::enabled!(tracing::Level::ERROR) {
        return Err(error);
    }
    tracing::error!("cannot start: {error:#}");
    Ok(ExitCode::FAILURE)
}

fn runtime(worker_threads: Option<usize>) -> anyhow::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = worker_threads {
        builder.worker_threads(threads);
    }
    builder
        .enable_all()
        .thread_name("coordinator")
        .build()
        .context("cannot start threads")
}

async fn serve_until_signal(config: Config, reload: &mut Reload) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    // First of all, so that a port in use is told before anything is opened.
    let listener = serve::bind(&config.server)?;
    let address = listener.local_addr().context("the listener has no address")?;
    let service = Service::compose(config).await?;
    let accepting = service.accept(listener)?;
    service.announce(address);
    lifecycle::tell_manager("READY=1");
    let watchdog = lifecycle::watchdog();
    let signal = loop {
        match signals.next().await {
            Asked::Stop(signal) => break signal,
            Asked::Reload => {
                lifecycle::tell_reloading();
                tokio::task::block_in_place(|| reload.run(&service.state, service.tls.as_deref()));
                lifecycle::tell_manager("READY=1");
            }
        }
    };
    tracing::info!(signal, "shutting down");
    lifecycle::tell_manager("STOPPING=1");
    signals.or_hard_exit(service.stop(accepting)).await;
    watchdog.abort();
    Ok(())
}

/// The parts of a running service.
struct Service {
    config: Arc<Config>,
    state: Arc<HttpState>,
    connections: TaskTracker,
    /// The certificate, when PORT speaks HTTPS.
    tls: Option<Arc<Tls>>,
    /// What keeps this node in the fleet, until its last peer is gone.
    fleet: [AbortHandle; 2],
    export: Option<Export>,
}

impl Service {
    /// Opens every part and starts the background tasks.
    async fn compose(config: Config) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let clock: SharedClock = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(&config.service.version)?);
        create_private(&config.service.data_dir).with_context(|| {
            let shown = config.service.data_dir.display();
            format!("DATA_DIR: cannot create {shown}; name a folder this user may write to")
        })?;
        let node = node_name()?;
        let (traces, export) = export::start(&config.traces, &config.service, &node, &metrics.registry)?;
        // At the same time, so that whatever is wrong is told at once and soon.
        let (storage, live) = match tokio::join!(open_storage(&config), open_live(&config, &node, &metrics)) {
            (Ok(storage), Ok(live)) => (storage, live),
            (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(error),
            (Err(storage), Err(live)) => anyhow::bail!("{storage:#}. Also: {live:#}"),
        };
        let storage = storage::measured(storage, &metrics.registry)?;
        fill_board(&storage, &live).await?;
        let plugins = start_plugins(config.clone(), metrics.clone()).await?;
        let policies = plugins.policies();
        let limits = HubLimits {
            max_connections: config.server.max_connections,
            ..HubLimits::default()
        };
        let hub = Hub::new(live.fleet.clone(), clock.clone(), &metrics, node.clone(), limits)?;
        let courier = hub.start().await.context("cannot enter the fleet")?;
        let limiter = Limiter::new(
            policies.rate_limit.clone(),
            live.buckets.clone(),
            clock.clone(),
            config.rate_limit.enabled,
            &metrics,
        )?;
        let app = Arc::new(App {
            config: config.clone(),
            started_at: clock.now(),
            storage,
            live,
            policies,
            releases: Releases::new(Arc::new(Node(plugins.clone())), node.clone()),
            peers: hub.clone(),
            npcs: npc_source(&config)?,
            metrics,
            traces,
            readings: Default::default(),
            clock: clock.clone(),
        });
        releases::follow::start(&app).await;
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        tasks::start(&app, &node, &tracker, &shutdown)?;
        let state = HttpState {
            console: Console::new(&config.security, clock.clone()),
            auth: Authenticator::new(&config.security, clock),
            trust: Trust::new(&config)?,
            app,
            limiter: Arc::new(limiter),
            hub,
            plugins,
            best: Written::default(),
            tracker,
            shutdown,
        };
        let state = Arc::new(state);
        let keeper = tokio::spawn(signaling::keeper::keep(state.clone())).abort_handle();
        Ok(Self {
            tls: config.server.tls.as_ref().map(Tls::new),
            config,
            state,
            connections: TaskTracker::new(),
            fleet: [courier, keeper],
            export,
        })
    }

    /// Serves on the listener until the returned token is cancelled.
    fn accept(&self, listener: TcpListener) -> anyhow::Result<CancellationToken> {
        let stop = CancellationToken::new();
        let router = http::router(self.state.clone())?;
        let connections = self.connections.clone();
        let most = serve::bound(self.config.server.max_connections);
        self.connections.spawn(serve::run(
            listener,
            self.tls.clone(),
            router,
            most,
            connections,
            stop.clone(),
        ));
        Ok(stop)
    }

    /// Says where the service is found; in development also what to try first.
    fn announce(&self, address: SocketAddr) {
        let service = &self.config.service;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        tracing::info!(version = %service.version, "listening on {scheme}://{address}");
        if service.environment != Environment::Development {
            return;
        }
        let url = match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("{scheme}://localhost:{}", v4.port()),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("{scheme}://localhost:{}", v6.port()),
            other => format!("{scheme}://{other}"),
        };
        tracing::info!(
            "console: {url}/console   API: {url}/docs   health: {url}/health   policies: {url}/api/v1/plugins"
        );
        tracing::info!("try: curl {url}/health");
    }

    /// Drains in order: not ready, peers sent away, no new connections, requests in hand, heartbeats, storage.
    async fn stop(self, accepting: CancellationToken) {
        let grace = self.config.server.shutdown_grace;
        let (state, end) = (&self.state, Instant::now() + grace);
        let left = || end.saturating_duration_since(Instant::now());
        state.shutdown.cancel();
        // The rest of the grace is for requests in hand, but for a tenth of it: that is for storage.
        state.hub.drain(left() * 4 / 5).await;
        accepting.cancel();
        self.connections.close();
        state.tracker.close();
        let rest = async {
            self.connections.wait().await;
            state.tracker.wait().await;
        };
        if tokio::time::timeout(left().saturating_sub(grace / 10), rest)
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.connections.len(),
                tasks = state.tracker.len(),
                "SHUTDOWN_GRACE_SECONDS is nearly over; what is left is cut off"
            );
        }
        let leave = state.hub.stop();
        if tokio::time::timeout((left() / 2).max(LAST_WRITES), leave)
            .await
            .is_err()
        {
            tracing::warn!("the fleet was not told in time that this node stops");
        }
        self.fleet.iter().for_each(AbortHandle::abort);
        let flush = tasks::heartbeats::flush(&state.app);
        match tokio::time::timeout((left() / 2).max(LAST_WRITES), flush).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "the last heartbeats were not saved"),
            Err(_) => tracing::error!("the last heartbeats were not saved in time"),
        }
        state.plugins.shutdown();
        let close = state.app.storage.health.close();
        if tokio::time::timeout(left().max(LAST_WRITES), close).await.is_err() {
            tracing::warn!("storage did not close in time; what it acknowledged is on disk");
        }
        if let Some(export) = self.export {
            export.stop(left().clamp(LAST_WRITES, LAST_SPANS)).await;
        }
        tracing::info!("stopped");
    }
}

/// Creates a folder that only its owner may look into. One that exists stays as it is.
fn create_private(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Loads the policies on a thread of its own: compiling takes a while.
async fn start_plugins(config: Arc<Config>, metrics: Arc<Metrics>) -> anyhow::Result<Arc<PluginRuntime>> {
    let start = move || PluginRuntime::start(&config.plugins, &config.service.data_dir, metrics);
    tokio::task::spawn_blocking(start)
        .await
        .context("loading the policies panicked")?
}

/// Opens the database, with its schema up to date.
pub(crate) async fn open_storage(config: &Config) -> anyhow::Result<Storage> {
    match &config.database.url {
        DatabaseUrl::Sqlite(path) => {
            let connections = config.database.pool_size.saturating_add(config.database.max_overflow);
            let storage = storage::sqlite::open(path, connections).await.context("DATABASE_URL")?;
            tracing::info!(path = %path.display(), "embedded database is open");
            Ok(storage)
        }
        DatabaseUrl::Postgres(url) => {
            let limits = storage::postgres::Limits {
                kept: config.database.pool_size,
                most: config.database.pool_size.saturating_add(config.database.max_overflow),
                statement: config.database.statement_timeout,
            };
            let storage = storage::postgres::open(url.expose_secret(), limits).await;
            storage.context("DATABASE_URL")
        }
    }
}

async fn open_live(config: &Config, node: &str, metrics: &Metrics) -> anyhow::Result<Live> {
    let Some(url) = &config.redis.url else {
        return Ok(live::memory::open());
    };
    let connection = live::redis::Connection::open(&config.redis, url, &metrics.registry).await?;
    Ok(live::redis::open(&connection, node))
}

/// Puts the stored hosts on the board, as they were last seen.
async fn fill_board(storage: &Storage, live: &Live) -> anyhow::Result<()> {
    let hosts = storage.hosts.all().await.context("cannot read the hosts")?;
    tracing::info!(hosts = hosts.len(), "hosts are loaded");
    live.hosts.fill(hosts, &[]);
    Ok(())
}

fn npc_source(config: &Config) -> anyhow::Result<Option<Arc<dyn NpcSource>>> {
    if !config.ai_service.enabled {
        return Ok(None);
    }
    let source: Arc<dyn NpcSource> = Arc::new(HttpNpcSource::new(&config.ai_service)?);
    Ok(Some(source))
}

/// Different for every process of a fleet.
fn node_name() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(format!("node-{}", hex::encode(bytes)))
}
