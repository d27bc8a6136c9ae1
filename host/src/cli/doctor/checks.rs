//! What `doctor` looks at, one function each. Each ends within a few seconds and leaves nothing behind.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use prometheus::Registry;

use super::{Found, State, disk};
use crate::cli::database;
use crate::config::{Config, DatabaseUrl};
use crate::domain::slot::SlotName;
use crate::live::redis::Connection;
use crate::npcs::HttpNpcSource;
use crate::outbound;
use crate::plugins::check;
use crate::ports::npc_source::NpcError;
use crate::serve;
use crate::telemetry::export;

/// Files that are open beside the connections of clients: database, Redis, logs, policies.
const OTHER_FILES: u64 = 256;
/// How long whoever has the port gets to say who it is.
const ASK: Duration = Duration::from_secs(2);

pub(super) fn folder(path: &Path) -> Found {
    let shown = path.display();
    match tempfile::tempfile_in(disk::nearest(path)) {
        Ok(_) if path.exists() => (State::Good, format!("{shown} can be written to")),
        Ok(_) => (State::Good, format!("{shown} is made at the first start")),
        Err(error) => (
            State::Bad,
            format!("DATA_DIR: {shown} cannot be written to ({error}); give it to this user, or name another folder"),
        ),
    }
}

pub(super) fn open_files(config: &Config) -> Found {
    // A connection with TLS has a pair of sockets inside, and a WebSocket counts into its bound.
    let each = if config.server.tls.is_some() { 3 } else { 1 };
    let most = each * serve::bound(config.server.max_connections) as u64;
    let pool = u64::from(config.database.pool_size) + u64::from(config.database.max_overflow);
    let needed = most + pool + u64::from(config.redis.max_connections) + OTHER_FILES;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let Some(soft) = line.and_then(|line| line.split_whitespace().next()) else {
        return (State::Good, "the limit of this system is not known".to_owned());
    };
    match soft.parse::<u64>() {
        Ok(soft) if soft < needed => (
            State::Warning,
            format!(
                "{soft} files may be open, and WS_MAX_CONNECTIONS={} needs {needed}: raise it (LimitNOFILE= of the unit, \
                 ulimit -n), or lower WS_MAX_CONNECTIONS",
                config.server.max_connections
            ),
        ),
        _ => (State::Good, format!("{soft} may be open, {needed} are needed at most")),
    }
}

pub(super) async fn database(config: &Config) -> Found {
    let begin = Instant::now();
    match database::look(config).await {
        Err(error) => (State::Bad, format!("{error:#}")),
        Ok(None) => (
            State::Good,
            "the embedded database is made at the first start".to_owned(),
        ),
        Ok(Some(schema)) if !schema.unknown.is_empty() => (
            State::Bad,
            format!(
                "{}: its schema is newer than this program; start a newer version",
                schema.server
            ),
        ),
        Ok(Some(schema)) => {
            let took = begin.elapsed().as_millis();
            let next = if schema.pending.is_empty() {
                "the schema is up to date".to_owned()
            } else {
                format!("{} migrations run at the next start", schema.pending.len())
            };
            let place = match &config.database.url {
                DatabaseUrl::Sqlite(path) => format!(" at {}", path.display()),
                DatabaseUrl::Postgres(_) => String::new(),
            };
            (
                State::Good,
                format!("{}{place} answers in {took} ms; {next}", schema.server),
            )
        }
    }
}

pub(super) async fn redis(config: &Config) -> Found {
    let Some(url) = &config.redis.url else {
        return (
            State::Good,
            "REDIS_URL is not set: live state is in memory, on one node".to_owned(),
        );
    };
    let connection = match Connection::open(&config.redis, url, &Registry::new()).await {
        Ok(connection) => connection,
        Err(error) => return (State::Bad, format!("{error:#}")),
    };
    let begin = Instant::now();
    match connection.query::<String>(&redis::cmd("PING")).await {
        Ok(_) => (
            State::Good,
            format!("{url} answers in {} ms", begin.elapsed().as_millis()),
        ),
        Err(error) => (State::Bad, format!("REDIS_URL: {url} does not answer: {error}")),
    }
}

pub(super) async fn ai_service(config: &Config) -> Found {
    let ai = &config.ai_service;
    if !ai.enabled {
        return (
            State::Good,
            "AI_SERVICE_ENABLED is false: no NPC state is sent".to_owned(),
        );
    }
    let asked = match HttpNpcSource::new(ai) {
        Ok(source) => source.check().await,
        Err(error) => return (State::Bad, format!("{error:#}")),
    };
    match asked {
        Ok(()) => (State::Good, format!("{} is healthy", ai.url)),
        Err(NpcError::Unavailable(why) | NpcError::Unusable(why)) => (
            State::Warning,
            format!(
                "{}/health: {why}; sessions work, peers get no NPC state: start it, correct AI_SERVICE_URL, or set \
                 AI_SERVICE_ENABLED=false",
                ai.url.trim_end_matches('/')
            ),
        ),
    }
}

pub(super) async fn collector(config: &Config) -> Found {
    match export::check(&config.traces).await {
        Ok(None) => (
            State::Good,
            "OTEL_EXPORTER_OTLP_ENDPOINT is not set: no trace is exported".to_owned(),
        ),
        Ok(Some(url)) => (State::Good, format!("{url} takes traces")),
        Err(why) => (
            State::Warning,
            format!(
                "{why}; the service works, its traces are lost: start the collector, correct OTEL_EXPORTER_OTLP_ENDPOINT \
                 or OTEL_EXPORTER_OTLP_HEADERS, or leave the first empty"
            ),
        ),
    }
}

pub(super) async fn policies(config: &Config) -> Found {
    let plugins = &config.plugins;
    if plugins.native_only {
        return (
            State::Warning,
            "POLICY_MODE=native: no policy component is called".to_owned(),
        );
    }
    let Some(dir) = plugins.dir.clone() else {
        return (
            State::Good,
            "bundled policies, and the releases that the database names".to_owned(),
        );
    };
    if dir.exists() && !dir.is_dir() {
        let shown = dir.display();
        return (
            State::Bad,
            format!("PLUGIN_DIR: {shown} is no folder; name one, or leave it out"),
        );
    }
    let settings = plugins.settings.clone();
    let looked = tokio::task::spawn_blocking(move || files(&dir, &settings)).await;
    looked.unwrap_or_else(|_| (State::Bad, "the check of the policies broke down".to_owned()))
}

/// Takes each file of the policy folder through every step of loading.
fn files(dir: &Path, settings: &[(String, String)]) -> Found {
    let mut said = Vec::new();
    let mut state = State::Good;
    for slot in SlotName::ALL {
        let file = dir.join(slot.file());
        if !file.exists() {
            continue;
        }
        match check::check(&file, Some(slot), settings) {
            Ok(report) if report.accepted => said.push(format!("{} is taken", file.display())),
            Ok(report) => {
                state = State::Bad;
                let why = report.steps.last().map(|step| step.detail.clone()).unwrap_or_default();
                said.push(format!(
                    "{} is refused: {why}; `plugin check` tells more",
                    file.display()
                ));
            }
            Err(error) => {
                state = State::Bad;
                said.push(format!("{error:#}"));
            }
        }
    }
    if said.is_empty() {
        said.push(format!("no policy in {}: the bundled ones serve", dir.display()));
    }
    (state, said.join("; "))
}

pub(super) async fn port(config: &Config) -> Found {
    let server = &config.server;
    if server.port == 0 {
        return (State::Good, "PORT=0: the system chooses one".to_owned());
    }
    match serve::bind(server) {
        Ok(_) => (State::Good, format!("{} is free", server.port)),
        Err(error) => {
            let address = match server.host {
                host if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                host => host,
            };
            let scheme = if server.tls.is_some() { "https" } else { "http" };
            let url = format!(
                "{scheme}://{}/health/live",
                std::net::SocketAddr::new(address, server.port)
            );
            if is_coordinator(&url).await {
                (State::Good, format!("a coordinator answers on {}", server.port))
            } else {
                (State::Bad, format!("{error:#}"))
            }
        }
    }
}

/// Whether the one that has the port is this service.
async fn is_coordinator(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let client = outbound::client(&url)
        .timeout(ASK)
        .no_proxy()
        .tls_certs_only([])
        // Nothing is told to it, and its certificate is for a name, not for this address.
        .tls_danger_accept_invalid_certs(true)
        .build();
    let Ok(client) = client else { return false };
    let Ok(answer) = client.get(url).send().await else {
        return false;
    };
    let body: Option<serde_json::Value> = answer.json().await.ok();
    body.is_some_and(|body| body["status"] == "alive")
}
