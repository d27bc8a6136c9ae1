//! The one table of all settings: name, section, default, meaning. It drives reading, `check-config`, the example file and
//! the search for misspelt names. It holds no value of any process.

mod example;
mod spelling;
#[cfg(test)]
mod tests;

pub use self::example::example_file;
pub use self::spelling::did_you_mean;

/// How a value may be shown in logs, errors and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it is.
    Plain,
    /// A URL: without its user, password and query.
    WithoutPassword,
    /// Never.
    Never,
}

/// One variable the service reads.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    /// Heading in the documentation.
    pub section: &'static str,
    /// What holds when the variable is missing or empty; empty when there is no fixed default.
    pub default: &'static str,
    /// What it does and which values are right. One or two short sentences.
    pub meaning: &'static str,
    pub shown: Shown,
}

const fn plain(section: &'static str, name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        section,
        default,
        meaning,
        shown: Shown::Plain,
    }
}

const fn url(section: &'static str, name: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        section,
        default: "",
        meaning,
        shown: Shown::WithoutPassword,
    }
}

const fn secret(section: &'static str, name: &'static str, meaning: &'static str) -> Setting {
    Setting {
        name,
        section,
        default: "",
        meaning,
        shown: Shown::Never,
    }
}

const SERVICE: &str = "Service";
const SERVER: &str = "Server";
const DATABASE: &str = "Database";
const REDIS: &str = "Redis";
const SECURITY: &str = "Security";
const AI: &str = "AI service";
const P2P: &str = "Peer-to-peer";
const LIMITS: &str = "Rate limiting";
const TASKS: &str = "Background tasks";
const PLUGINS: &str = "Policies";
const LOG: &str = "Logging";
const TRACES: &str = "Traces";

/// Variables with this prefix are handed to the policies by name.
pub const POLICY_PREFIX: &str = "POLICY_";

/// Every variable the service reads, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    plain(SERVICE, "SERVICE_NAME", "p2p-coordinator", "Name in answers and logs."),
    plain(
        SERVICE,
        "SERVICE_VERSION",
        env!("CARGO_PKG_VERSION"),
        "Version in answers.",
    ),
    plain(
        SERVICE,
        "ENVIRONMENT",
        "development",
        "development, testing or production. Production refuses weak settings.",
    ),
    plain(SERVICE, "DEBUG", "false", "true: LOG_LEVEL is DEBUG unless it is set."),
    plain(
        SERVICE,
        "DATA_DIR",
        "./data",
        "Folder of the embedded database, generated secrets and compiled policies.",
    ),
    plain(SERVER, "HOST", "0.0.0.0", "IP address to listen on."),
    plain(
        SERVER,
        "PORT",
        "8001",
        "Port to listen on, 0 to 65535. With 0 the system chooses one.",
    ),
    plain(
        SERVER,
        "TLS_CERT_FILE",
        "",
        "Certificate chain in PEM, the service's own certificate first. With it and TLS_KEY_FILE, PORT speaks HTTPS. Empty: plain HTTP.",
    ),
    plain(
        SERVER,
        "TLS_KEY_FILE",
        "",
        "Private key of the certificate in PEM (PKCS#8, PKCS#1 or SEC1), without a password.",
    ),
    plain(
        SERVER,
        "SHUTDOWN_GRACE_SECONDS",
        "20",
        "Time from the signal to the hard end, 0 to 600 seconds.",
    ),
    plain(
        SERVER,
        "TRUSTED_PROXIES",
        "",
        "Comma-separated IP addresses and networks (10.0.0.0/8) whose X-Forwarded-For is believed. Empty: the address of the socket counts.",
    ),
    plain(
        SERVER,
        "WS_MAX_CONNECTIONS",
        "100000",
        "WebSocket connections at one time, 1 to 10000000.",
    ),
    plain(
        SERVER,
        "WORKER_THREADS",
        "",
        "Threads that serve requests, 1 to 1024. Empty: one for each processor.",
    ),
    url(
        DATABASE,
        "DATABASE_URL",
        "postgresql://user:password@host:5432/name, or a file of the embedded database: sqlite:///relative/path.db, sqlite:////absolute/path.db or sqlite:path.db. Empty: coordinator.db in DATA_DIR.",
    ),
    plain(
        DATABASE,
        "DATABASE_POOL_SIZE",
        "20",
        "Database connections that are kept open, 1 to 500.",
    ),
    plain(
        DATABASE,
        "DATABASE_MAX_OVERFLOW",
        "10",
        "Further ones that are opened when they are needed, 0 to 500.",
    ),
    plain(
        DATABASE,
        "DATABASE_STATEMENT_TIMEOUT_MS",
        "5000",
        "Longest run of one statement in PostgreSQL, 100 to 60000 milliseconds.",
    ),
    url(
        REDIS,
        "REDIS_URL",
        "Redis or DragonflyDB for several nodes: redis://[user:password@]host:6379/0, redis+sentinel://host:26379,host:26379/master_name/0 or redis+cluster://host:6379,host:6379; rediss for TLS, with ?ca=/path/of/ca.pem for an authority of your own. Empty: live state is in memory, on one node.",
    ),
    plain(
        REDIS,
        "REDIS_MAX_CONNECTIONS",
        "50",
        "Connections of this node to Redis at most, 1 to 10000; see docs/operate.md.",
    ),
    secret(
        SECURITY,
        "JWT_SECRET_KEY",
        "Signs tokens; 32 characters or more. Empty outside production: made at the first start and kept in DATA_DIR/secrets.env.",
    ),
    secret(
        SECURITY,
        "JWT_SECRET_KEY_PREVIOUS",
        "Also accepted in tokens and never used to sign, for a changeover of JWT_SECRET_KEY.",
    ),
    secret(
        SECURITY,
        "COORDINATOR_API_KEY",
        "Key of the game server and of operators; 32 characters or more. Empty outside production: made at the first start and kept in DATA_DIR/secrets.env.",
    ),
    secret(
        SECURITY,
        "COORDINATOR_API_KEY_PREVIOUS",
        "Also accepted, for a changeover of COORDINATOR_API_KEY.",
    ),
    plain(
        SECURITY,
        "CORS_ORIGINS",
        "",
        "Comma-separated origins of browsers that may call, or *. Empty: * outside production, none in production.",
    ),
    plain(
        SECURITY,
        "JWT_VALIDATION_ENABLED",
        "true",
        "false: callers without a token may act as any player. Refused in production.",
    ),
    plain(
        SECURITY,
        "API_KEY_VALIDATION_ENABLED",
        "true",
        "false: every caller is an operator. Refused in production.",
    ),
    plain(
        AI,
        "AI_SERVICE_ENABLED",
        "true",
        "Whether NPC state is fetched and sent to peers.",
    ),
    plain(
        AI,
        "AI_SERVICE_URL",
        "http://localhost:8000",
        "http:// or https:// URL of the AI service.",
    ),
    plain(
        AI,
        "AI_SERVICE_TIMEOUT_SECONDS",
        "5",
        "Limit of one request to the AI service, 0.1 to 60 seconds.",
    ),
    plain(
        P2P,
        "P2P_ENABLED",
        "true",
        "false: every session request is answered with server routing.",
    ),
    plain(
        P2P,
        "SESSION_TIMEOUT_MINUTES",
        "30",
        "A session without activity ends after so many minutes, 0.01 to 10080.",
    ),
    plain(
        P2P,
        "HOST_HEARTBEAT_TIMEOUT_MINUTES",
        "5",
        "A host without a heartbeat goes offline after so many minutes, 0.01 to 1440.",
    ),
    plain(
        LIMITS,
        "RATE_LIMIT_ENABLED",
        "true",
        "Whether requests and messages are limited.",
    ),
    plain(
        LIMITS,
        "RATE_LIMIT_API_REQUESTS",
        "100",
        "API requests in a window for one address, 1 to 1000000.",
    ),
    plain(
        LIMITS,
        "RATE_LIMIT_API_WINDOW",
        "60",
        "That window, 1 to 86400 seconds.",
    ),
    plain(
        LIMITS,
        "RATE_LIMIT_WS_REQUESTS",
        "1000",
        "WebSocket messages in a window for one connection, 1 to 1000000.",
    ),
    plain(LIMITS, "RATE_LIMIT_WS_WINDOW", "60", "That window, 1 to 86400 seconds."),
    plain(
        LIMITS,
        "RATE_LIMIT_AUTH_REQUESTS",
        "10",
        "Token requests in a window for one address, 1 to 1000000.",
    ),
    plain(
        LIMITS,
        "RATE_LIMIT_AUTH_WINDOW",
        "60",
        "That window, 1 to 86400 seconds.",
    ),
    plain(
        TASKS,
        "NPC_BROADCAST_INTERVAL",
        "5",
        "Between two fetches of NPC state, 0.05 to 3600 seconds.",
    ),
    plain(
        TASKS,
        "SESSION_HEALTH_CHECK_INTERVAL",
        "30",
        "Between two checks for inactive sessions, 0.05 to 3600 seconds.",
    ),
    plain(
        TASKS,
        "SESSION_RETENTION_DAYS",
        "7",
        "Sessions that are over are removed after so many days, 0.01 to 3650.",
    ),
    plain(
        PLUGINS,
        "PLUGIN_DIR",
        "",
        "Folder that is watched for policies, for example rate-limit.wasm. Empty: the bundled policies.",
    ),
    plain(
        PLUGINS,
        "PLUGIN_REQUIRE_SIGNATURE",
        "false",
        "true: only releases that a trusted key has signed are taken, and no file of PLUGIN_DIR.",
    ),
    plain(
        PLUGINS,
        "PLUGIN_TRUSTED_KEYS",
        "",
        "Comma-separated keys that may sign releases: key-id:base64-public-key, with :YYYY-MM-DD behind it the last day.",
    ),
    plain(
        PLUGINS,
        "POLICY_MODE",
        "component",
        "component, or native: the built-in code of the bundled policies answers, for diagnosis.",
    ),
    plain(
        PLUGINS,
        "DECISION_LOG_SIZE",
        "2000",
        "Decisions of each kind that are kept in memory for operators, 0 to 100000. 0: none, and no file.",
    ),
    plain(
        PLUGINS,
        "DECISION_LOG_SAMPLE",
        "host-selection=1,rate-limit=0.01,npc-transform=0.05",
        "Share of the calls that are kept, 0 to 1: one for all slots, or one for each. A slot that is left out has its default.",
    ),
    plain(
        PLUGINS,
        "DECISION_LOG_FILE",
        "",
        "File that also gets them, one JSON object a line; above 64 MiB it is put aside, and four old ones are kept. Empty: none.",
    ),
    plain(
        LOG,
        "LOG_LEVEL",
        "INFO",
        "TRACE, DEBUG, INFO, WARNING or ERROR, or a filter as in info,p2p_coordinator=debug. RUST_LOG goes before it.",
    ),
    plain(LOG, "LOG_FORMAT", "text", "text or json."),
    plain(LOG, "LOG_FILE", "", "File that also gets the log. Empty: stderr alone."),
    plain(
        LOG,
        "LOG_ROTATION",
        "true",
        "true: LOG_FILE gets the date behind its name each day and at 500 MB, and 10 old ones are kept. false: another program moves it away, and SIGHUP has it made again.",
    ),
    url(
        TRACES,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http:// or https:// URL of a collector that takes OTLP over HTTP, as in http://localhost:4318; /v1/traces is put behind it. Empty: no trace is exported.",
    ),
    secret(
        TRACES,
        "OTEL_EXPORTER_OTLP_HEADERS",
        "Headers for the collector: name=value,name=value, with special characters as %XX.",
    ),
    plain(
        TRACES,
        "OTEL_TRACES_SAMPLER_ARG",
        "0.01",
        "Share of the requests without a sampled traceparent, and of runs of background tasks, that is exported, 0 to 1.",
    ),
    plain(
        TRACES,
        "OTEL_SERVICE_NAME",
        "p2p-coordinator",
        "Name of the service in exported traces.",
    ),
];

/// The setting with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}
