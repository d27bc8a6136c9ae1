//! The settings of one process: read once at start from the environment and `.env`, validated, then never changed.
//!
//! One file per section. Every error names the variable, its value (secrets hidden) and what would be right.

mod ai_service;
mod database;
mod decisions;
mod log;
mod p2p;
mod plugins;
mod rate_limit;
mod reader;
mod redis;
mod secrets;
mod security;
mod server;
mod service;
pub mod settings;
mod source;
mod tasks;
#[cfg(test)]
mod tests;
mod tls;
mod traces;

pub use ai_service::AiServiceConfig;
pub use database::{DatabaseConfig, DatabaseUrl};
pub use decisions::DecisionLogConfig;
pub use log::LogConfig;
pub use p2p::P2pConfig;
pub use plugins::PluginsConfig;
pub use rate_limit::{Limit, RateLimitConfig};
pub use reader::{Effective, Problem};
pub use redis::{RedisConfig, RedisLayout, RedisUrl};
pub use security::SecurityConfig;
pub use server::ServerConfig;
pub use service::{Environment, ServiceConfig};
pub use source::{Origin, Source};
pub use tasks::TasksConfig;
pub use tls::TlsConfig;
pub use traces::TracesConfig;

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    pub service: ServiceConfig,
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub security: SecurityConfig,
    pub ai_service: AiServiceConfig,
    pub p2p: P2pConfig,
    pub rate_limit: RateLimitConfig,
    pub tasks: TasksConfig,
    pub plugins: PluginsConfig,
    pub log: LogConfig,
    pub traces: TracesConfig,
}

/// What loading tells beside the settings themselves.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Every setting as it holds, secrets hidden.
    pub effective: Vec<Effective>,
    /// What is odd but no error.
    pub warnings: Vec<String>,
    /// What was done on the operator's behalf.
    pub notices: Vec<String>,
    /// All that is wrong. Empty exactly when there is a `Config`.
    pub problems: Vec<Problem>,
}

/// Whether loading may write generated secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The service starts: missing secrets are made and kept.
    Start,
    /// Only a look: nothing on disk changes.
    Check,
}

/// Reads and validates all settings. None when something is wrong; the report then names every problem.
#[must_use]
pub fn load(source: &Source, mode: Mode) -> (Option<Config>, Report) {
    let mut reader = reader::Reader::new(source);
    let service = ServiceConfig::read(&mut reader);
    let server = ServerConfig::read(&mut reader);
    let database = DatabaseConfig::read(&mut reader, &service.data_dir);
    let redis = RedisConfig::read(&mut reader);
    let ai_service = AiServiceConfig::read(&mut reader);
    let p2p = P2pConfig::read(&mut reader);
    let rate_limit = RateLimitConfig::read(&mut reader);
    let tasks = TasksConfig::read(&mut reader);
    let plugins = PluginsConfig::read(&mut reader);
    let log = LogConfig::read(&mut reader, service.debug);
    let traces = TracesConfig::read(&mut reader);
    // Last: it makes secrets only when all else is right.
    let store = security::store(&service.data_dir, mode == Mode::Start);
    let (security, kept) = SecurityConfig::read(&mut reader, service.environment, &store);
    let mut report = Report {
        effective: reader.effective(),
        warnings: reader.warnings,
        notices: kept.notices,
        problems: reader.problems,
    };
    for effective in &mut report.effective {
        let generated = match effective.name {
            "JWT_SECRET_KEY" => kept.jwt_secret_key.is_some(),
            "COORDINATOR_API_KEY" => kept.coordinator_api_key.is_some(),
            _ => false,
        };
        if generated {
            effective.value = "***".to_owned();
            effective.origin = Origin::Generated;
        }
    }
    let config = Config {
        service,
        server,
        database,
        redis,
        security,
        ai_service,
        p2p,
        rate_limit,
        tasks,
        plugins,
        log,
        traces,
    };
    (report.problems.is_empty().then_some(config), report)
}
