//! Whole configurations, good and bad: defaults, production's demands, and that every refusal names its variable.

use secrecy::ExposeSecret as _;

use super::*;

const GOOD_JWT: &str = "3f9a1c7be2d84560a1b3c5d7e9f00112";
const GOOD_KEY: &str = "9c8b7a6f5e4d3c2b1a09f8e7d6c5b4a3";

fn check(pairs: &[(&str, &str)]) -> (Option<Config>, Report) {
    load(&Source::of(pairs, &[]), Mode::Check)
}

fn production(changes: &[(&'static str, &'static str)]) -> (Option<Config>, Report) {
    let mut pairs = vec![
        ("ENVIRONMENT", "production"),
        ("JWT_SECRET_KEY", GOOD_JWT),
        ("COORDINATOR_API_KEY", GOOD_KEY),
        ("CORS_ORIGINS", "https://play.my-game.net"),
    ];
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        pairs.push((name, value));
    }
    check(&pairs)
}

fn refused(report: &Report, variable: &str, part: &str) -> bool {
    report
        .problems
        .iter()
        .any(|p| p.variable == variable && p.message.contains(part))
}

#[test]
fn nothing_set_gives_the_defaults() {
    let (config, report) = check(&[]);
    let config = config.unwrap_or_else(|| panic!("{:?}", report.problems));
    assert_eq!(config.service.environment, Environment::Development);
    assert_eq!(config.server.port, 8001);
    assert!(matches!(&config.database.url, DatabaseUrl::Sqlite(path) if path.ends_with("data/coordinator.db")));
    assert!(config.redis.url.is_none());
    assert_eq!(
        config.rate_limit.api,
        Limit {
            requests: 100,
            window_seconds: 60
        }
    );
    assert_eq!(
        config.rate_limit.websocket,
        Limit {
            requests: 1000,
            window_seconds: 60
        }
    );
    assert_eq!(
        config.rate_limit.auth,
        Limit {
            requests: 10,
            window_seconds: 60
        }
    );
    assert_eq!(config.security.cors_origins, ["*"]);
    assert_eq!(config.p2p.session_timeout.as_secs(), 1800);
    assert!(
        config
            .plugins
            .settings
            .contains(&("RATE_LIMIT_API_REQUESTS".into(), "100".into()))
    );
    assert_eq!(config.service.version, env!("CARGO_PKG_VERSION"));
    assert!(config.security.jwt_secret_key.expose_secret().len() >= 32);
}

#[test]
fn good_production_settings_pass() {
    let (config, report) = production(&[]);
    assert!(config.is_some(), "{:?}", report.problems);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
}

#[test]
fn production_refuses_missing_secrets() {
    let (config, report) = check(&[("ENVIRONMENT", "production")]);
    assert!(config.is_none());
    assert!(refused(&report, "JWT_SECRET_KEY", "needs one") && refused(&report, "COORDINATOR_API_KEY", "needs one"));
    assert!(report.notices.is_empty());
}

#[test]
fn production_refuses_short_secrets() {
    let (_, report) = production(&[("JWT_SECRET_KEY", "short-but-hidden")]);
    assert!(refused(&report, "JWT_SECRET_KEY", "it has 16"));
    assert!(!format!("{report:?}").contains("short-but-hidden"));
}

#[test]
fn production_refuses_the_examples_of_the_guide() {
    for secret in [
        "your-jwt-secret-key-minimum-32-characters-required-here",
        "your-coordinator-api-key-minimum-32-characters-required",
        "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6a7b8c9d0e1f2",
        "f2e1d0c9b8a7z6y5x4w3v2u1t0s9r8q7p6o5n4m3l2k1j0i9h8g7f6e5d4c3b2a1",
        "CHANGE-ME-CHANGE-ME-CHANGE-ME-CHANGE-ME",
        "00000000000000000000000000000000",
    ] {
        let (config, report) = production(&[("JWT_SECRET_KEY", secret)]);
        assert!(
            config.is_none() && refused(&report, "JWT_SECRET_KEY", "published example"),
            "{secret}"
        );
        let (config, report) = production(&[("COORDINATOR_API_KEY", secret)]);
        assert!(
            config.is_none() && refused(&report, "COORDINATOR_API_KEY", "published example"),
            "{secret}"
        );
    }
    let url = "postgresql+asyncpg://ai_world_user:ai_world_pass_2025@localhost:5432/ai_world_memory";
    let (_, report) = production(&[("DATABASE_URL", url)]);
    assert!(refused(&report, "DATABASE_URL", "password"));
    assert!(!format!("{report:?}").contains("ai_world_pass"));
}

#[test]
fn production_refuses_equal_secrets_open_cors_and_open_switches() {
    let (_, report) = production(&[
        ("COORDINATOR_API_KEY", GOOD_JWT),
        ("CORS_ORIGINS", "*"),
        ("JWT_VALIDATION_ENABLED", "false"),
        ("API_KEY_VALIDATION_ENABLED", "off"),
    ]);
    assert!(refused(&report, "COORDINATOR_API_KEY", "differ"));
    assert!(refused(&report, "CORS_ORIGINS", "exact origins"));
    assert!(refused(&report, "JWT_VALIDATION_ENABLED", "true in production"));
    assert!(refused(&report, "API_KEY_VALIDATION_ENABLED", "true in production"));
    assert_eq!(report.problems.len(), 4, "{:?}", report.problems);
}

#[test]
fn every_problem_is_named_at_once() {
    let bad = [
        ("ENVIRONMENT", "staging"),
        ("DEBUG", "maybe"),
        ("HOST", "my-host"),
        ("PORT", "70000"),
        ("TRUSTED_PROXIES", "10.0.0.0/40"),
        ("SHUTDOWN_GRACE_SECONDS", "-1"),
        ("DATABASE_URL", "mysql://root@h/d"),
        ("DATABASE_POOL_SIZE", "0"),
        ("DATABASE_STATEMENT_TIMEOUT_MS", "5s"),
        ("REDIS_URL", "http://h"),
        ("CORS_ORIGINS", "play.my-game.net"),
        ("AI_SERVICE_URL", "localhost:8000"),
        ("SESSION_TIMEOUT_MINUTES", "NaN"),
        ("RATE_LIMIT_API_REQUESTS", "many"),
        ("NPC_BROADCAST_INTERVAL", "0"),
        ("POLICY_MODE", "off"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ];
    let (config, report) = check(&bad);
    assert!(config.is_none());
    for (name, value) in bad {
        let problem = report.problems.iter().find(|p| p.variable == name);
        let problem = problem.unwrap_or_else(|| panic!("{name}={value} was accepted"));
        assert!(
            problem.value.as_deref().is_some_and(|shown| shown.len() > 2),
            "{problem}"
        );
    }
}

#[test]
fn development_keeps_what_it_makes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let source = Source::of(&[("DATA_DIR", data.to_str().unwrap())], &[]);
    let (first, report) = load(&source, Mode::Start);
    assert_eq!(report.notices.len(), 2);
    let (second, _) = load(&source, Mode::Start);
    let secret = |config: Option<Config>| config.unwrap().security.jwt_secret_key.expose_secret().to_owned();
    assert_eq!(secret(first), secret(second));
    let origin = report.effective.iter().find(|e| e.name == "JWT_SECRET_KEY").unwrap();
    assert_eq!((origin.value.as_str(), origin.origin), ("***", Origin::Generated));
}

#[test]
fn policies_get_their_settings_by_name() {
    let (config, _) = check(&[
        ("POLICY_REGION", "eu"),
        ("POLICY_MODE", "native"),
        ("RATE_LIMIT_WS_WINDOW", "9"),
    ]);
    let plugins = config.unwrap().plugins;
    assert!(plugins.native_only);
    assert!(plugins.settings.contains(&("POLICY_REGION".into(), "eu".into())));
    assert!(plugins.settings.contains(&("RATE_LIMIT_WS_WINDOW".into(), "9".into())));
    assert!(!plugins.settings.iter().any(|(name, _)| name == "POLICY_MODE"));
}

#[test]
fn python_level_names_work() {
    for (given, level) in [("WARNING", "warn"), ("info", "info"), ("CRITICAL", "error")] {
        assert_eq!(check(&[("LOG_LEVEL", given)]).0.unwrap().log.level, level);
    }
    assert!(check(&[("DEBUG", "true")]).0.unwrap().log.level.contains("debug"));
}

#[test]
fn a_bad_url_of_redis_is_refused_with_everything_else() {
    let (config, report) = check(&[("ENVIRONMENT", "production"), ("REDIS_URL", "redis://:pw@h:6379/main")]);
    assert!(config.is_none());
    assert!(refused(&report, "REDIS_URL", "number of a database"));
    assert_eq!(report.problems.len(), 3, "{:?}", report.problems);
    assert!(!format!("{report:?}").contains("pw"));
}

#[test]
fn postgresql_is_taken_and_its_password_is_never_shown() {
    let url = "postgresql+asyncpg://u:pw@h:5432/d?ssl=require";
    let (config, report) = production(&[("DATABASE_URL", url), ("DATABASE_STATEMENT_TIMEOUT_MS", "2500")]);
    let database = config.unwrap().database;
    assert!(matches!(database.url, DatabaseUrl::Postgres(_)));
    assert_eq!(database.statement_timeout.as_millis(), 2500);
    assert!(!format!("{report:?}").contains("pw"));
}

/// Rows of the tables in the sections of settings of the document: names and defaults as they stand there.
fn documented() -> Vec<(Vec<String>, Vec<String>)> {
    let document = include_str!("../../../docs/operate.md");
    let settings = document
        .split("\n## Settings\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let words = |cell: &str| -> Vec<String> {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let rows = settings.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split(" | ");
        (words(cells.next().unwrap()), words(cells.next().unwrap()))
    })
    .collect()
}

#[test]
fn every_setting_is_in_the_document_with_its_default_and_nothing_else_is() {
    let rows = documented();
    let names: Vec<&String> = rows.iter().flat_map(|(names, _)| names).collect();
    for setting in settings::SETTINGS {
        let found = names.iter().filter(|name| **name == setting.name).count();
        assert_eq!(found, 1, "{} in docs/operate.md", setting.name);
    }
    for (names, defaults) in &rows {
        for (at, name) in names.iter().enumerate() {
            if name == "POLICY_…" {
                continue;
            }
            let setting =
                settings::find(name).unwrap_or_else(|| panic!("docs/operate.md has {name}, which is no setting"));
            let fixed = !setting.default.is_empty() && name != "SERVICE_VERSION";
            assert!(
                !fixed || defaults.get(at).is_some_and(|given| given == setting.default),
                "{name}: {defaults:?}"
            );
        }
    }
}

#[test]
fn every_setting_is_read_and_every_name_that_is_read_is_a_setting() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.is_file() && !path.ends_with("settings.rs") && !path.ends_with("tests.rs"));
    let code: String = files
        .map(|path| std::fs::read_to_string(path).unwrap())
        .map(|text| text.split("#[cfg(test)]").next().unwrap().to_owned())
        .collect();
    for setting in settings::SETTINGS {
        assert!(
            code.contains(&format!("\"{}\"", setting.name)),
            "{} is never read",
            setting.name
        );
    }
    for reading in ["given", "text", "flag", "number", "span", "choice", "list"] {
        for rest in code.split(&format!("reader.{reading}(\"")).skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(settings::find(name).is_some(), "{name} is read and is not in the table");
        }
    }
}
