//! The settings of one process: read once at start from the environment and `.env`, validated, then never changed.
//!
//! One file per section. Every error names the variable, its value (secrets hidden) and what would be right.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Where the service runs. Production refuses weak settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Development,
    Testing,
    Production,
}

/// `SERVICE_NAME`, `SERVICE_VERSION`, `ENVIRONMENT`, `DEBUG`, and where data is kept.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    pub name: String,
    pub version: String,
    pub environment: Environment,
    pub debug: bool,
    /// `DATA_DIR`: the embedded database, generated secrets, compiled policies.
    pub data_dir: PathBuf,
}

/// `HOST`, `PORT`, and how long a shutdown may take.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub host: IpAddr,
    pub port: u16,
    /// `SHUTDOWN_GRACE_SECONDS`: from the signal to the hard end.
    pub shutdown_grace: Duration,
    /// `TRUSTED_PROXIES`: addresses whose `X-Forwarded-For` is believed. Empty: the socket's address counts.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Which database.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A file of the embedded database.
    Sqlite(PathBuf),
    /// `postgresql://…`; carries a password.
    Postgres(SecretString),
}

/// `DATABASE_URL`, `DATABASE_POOL_SIZE`, `DATABASE_MAX_OVERFLOW`.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    pub pool_size: u32,
    pub max_overflow: u32,
}

/// `REDIS_URL`, `REDIS_MAX_CONNECTIONS`.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// None: live state in memory, one node.
    pub url: Option<SecretString>,
    pub max_connections: u32,
}

/// `JWT_SECRET_KEY`, `COORDINATOR_API_KEY`, `CORS_ORIGINS` and the switches of the field.
#[derive(Clone, Debug)]
pub struct SecurityConfig {
    pub jwt_secret_key: SecretString,
    pub coordinator_api_key: SecretString,
    /// Exact origins, or one `*`.
    pub cors_origins: Vec<String>,
    pub jwt_validation_enabled: bool,
    pub api_key_validation_enabled: bool,
}

/// `AI_SERVICE_ENABLED`, `AI_SERVICE_URL`.
#[derive(Clone, Debug)]
pub struct AiServiceConfig {
    pub enabled: bool,
    /// Without a trailing slash.
    pub url: String,
    /// `AI_SERVICE_TIMEOUT_SECONDS`: the whole request.
    pub timeout: Duration,
}

/// `P2P_ENABLED`, `SESSION_TIMEOUT_MINUTES`, `HOST_HEARTBEAT_TIMEOUT_MINUTES`.
#[derive(Clone, Debug)]
pub struct P2pConfig {
    pub enabled: bool,
    pub session_timeout: Duration,
    pub host_heartbeat_timeout: Duration,
}

/// Requests per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub requests: u32,
    pub window_seconds: u32,
}

/// `RATE_LIMIT_*`.
#[derive(Clone, Debug)]
pub struct RateLimitConfig {
    pub enabled: bool,
    pub api: Limit,
    pub websocket: Limit,
    pub auth: Limit,
}

/// `NPC_BROADCAST_INTERVAL`, `SESSION_HEALTH_CHECK_INTERVAL`.
#[derive(Clone, Debug)]
pub struct TasksConfig {
    pub npc_broadcast_interval: Duration,
    pub session_health_check_interval: Duration,
}

/// `PLUGIN_DIR` and what policies get to read.
#[derive(Clone, Debug)]
pub struct PluginsConfig {
    /// Watched for components named after their slot, for example `rate-limit.wasm`. None: the bundled ones.
    pub dir: Option<PathBuf>,
    /// `POLICY_MODE=native`: no component is loaded and the native defaults answer. For measuring what the components cost;
    /// `POLICY_MODE=component` is the default.
    pub native_only: bool,
    /// Handed to every policy: the `RATE_LIMIT_*` settings and every `POLICY_*` variable, by name.
    pub settings: Vec<(String, String)>,
}

/// `LOG_LEVEL`, `LOG_FORMAT`, `LOG_FILE`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// A level name, or a full filter directive.
    pub level: String,
    pub json: bool,
    pub file: Option<PathBuf>,
}

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
}
