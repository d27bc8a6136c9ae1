//! The table of settings against what is documented.

use super::*;

/// The variables of the deployment guide, literally.
const GUIDE: [&str; 29] = [
    "SERVICE_NAME",
    "SERVICE_VERSION",
    "ENVIRONMENT",
    "DEBUG",
    "LOG_LEVEL",
    "HOST",
    "PORT",
    "DATABASE_URL",
    "DATABASE_POOL_SIZE",
    "DATABASE_MAX_OVERFLOW",
    "REDIS_URL",
    "REDIS_MAX_CONNECTIONS",
    "JWT_SECRET_KEY",
    "COORDINATOR_API_KEY",
    "CORS_ORIGINS",
    "AI_SERVICE_ENABLED",
    "AI_SERVICE_URL",
    "P2P_ENABLED",
    "SESSION_TIMEOUT_MINUTES",
    "HOST_HEARTBEAT_TIMEOUT_MINUTES",
    "RATE_LIMIT_ENABLED",
    "RATE_LIMIT_API_REQUESTS",
    "RATE_LIMIT_API_WINDOW",
    "RATE_LIMIT_WS_REQUESTS",
    "RATE_LIMIT_WS_WINDOW",
    "RATE_LIMIT_AUTH_REQUESTS",
    "RATE_LIMIT_AUTH_WINDOW",
    "NPC_BROADCAST_INTERVAL",
    "SESSION_HEALTH_CHECK_INTERVAL",
];

#[test]
fn every_variable_of_the_guide_is_known() {
    for name in GUIDE {
        assert!(find(name).is_some(), "{name} is missing from the table");
    }
}

#[test]
fn names_are_unique() {
    let names: std::collections::BTreeSet<_> = SETTINGS.iter().map(|s| s.name).collect();
    assert_eq!(names.len(), SETTINGS.len());
}

#[test]
fn misspelt_names_are_recognised() {
    assert_eq!(did_you_mean("RATE_LIMIT_API_REQUEST"), Some("RATE_LIMIT_API_REQUESTS"));
    assert_eq!(did_you_mean("SECRET_KEY"), Some("JWT_SECRET_KEY"));
    assert_eq!(did_you_mean("PROT"), None);
    assert_eq!(did_you_mean("COMPLETELY_DIFFERENT"), None);
}

#[test]
fn the_example_file_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/p2p-coordinator.env.example");
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        std::fs::write(&path, example_file()).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        stored,
        example_file(),
        "run the test with UPDATE_EXAMPLE=1 and commit {}",
        path.display()
    );
}
