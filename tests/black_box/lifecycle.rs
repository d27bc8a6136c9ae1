//! Starts of the process: settings, refusals, `check-config`.

use std::os::unix::fs::PermissionsExt;

use p2p_coordinator_tests::server::{API_KEY, JWT_SECRET};
use p2p_coordinator_tests::{Options, Server};
use reqwest::Method;

fn production() -> Options {
    Options::default()
        .env("ENVIRONMENT", "production")
        .env("CORS_ORIGINS", "https://game.example")
}

#[test]
fn check_config_says_that_all_is_well_and_hides_secrets() {
    let (status, said) = production().run(&["check-config"]);
    assert!(status.success(), "{said}");
    assert!(!said.contains(API_KEY) && !said.contains(JWT_SECRET), "{said}");
}

#[test]
fn a_bad_setting_is_named_with_its_value_and_what_would_be_right() {
    for (name, value) in [
        ("PORT", "80x"),
        ("PORT", "70000"),
        ("HOST", "not an address"),
        ("P2P_ENABLED", "perhaps"),
        ("ENVIRONMENT", "prod-ish"),
        ("RATE_LIMIT_API_REQUESTS", "0"),
        ("RATE_LIMIT_API_WINDOW", "-5"),
        ("SESSION_TIMEOUT_MINUTES", "soon"),
        ("NPC_BROADCAST_INTERVAL", "0"),
        ("AI_SERVICE_URL", "localhost"),
        ("DATABASE_URL", "mysql://db/x"),
        ("LOG_LEVEL", "p2p=[shout"),
        ("TRUSTED_PROXIES", "everyone"),
    ] {
        let (status, said) = Options::default()
            .env(name, value)
            .env("AI_SERVICE_ENABLED", "true")
            .run(&["check-config"]);
        assert!(!status.success(), "{name}={value} was taken: {said}");
        assert!(said.contains(name), "{name}={value}: {said}");
        assert!(said.contains(value), "{name}={value}: {said}");
    }
}

#[test]
fn every_bad_setting_is_reported_at_once() {
    let options = Options::default()
        .env("PORT", "x")
        .env("P2P_ENABLED", "y")
        .env("DATABASE_POOL_SIZE", "z");
    let (status, said) = options.run(&[]);
    assert!(!status.success());
    for name in ["PORT", "P2P_ENABLED", "DATABASE_POOL_SIZE"] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn production_refuses_weak_settings_all_at_once() {
    let options = production()
        .env("JWT_SECRET_KEY", "short")
        .without("COORDINATOR_API_KEY")
        .env("CORS_ORIGINS", "*");
    let (status, said) = options.run(&[]);
    assert!(!status.success());
    for name in ["JWT_SECRET_KEY", "COORDINATOR_API_KEY", "CORS_ORIGINS"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(said.contains("32"), "{said}");
    assert!(!said.contains("short\""), "a secret is not shown: {said}");

    let (status, said) = production().env("COORDINATOR_API_KEY", JWT_SECRET).run(&[]);
    assert!(!status.success(), "both secrets equal: {said}");

    for placeholder in [
        "your-jwt-secret-key-minimum-32-characters-required-here",
        "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6a7b8c9d0e1f2",
        "your-coordinator-api-key-minimum-32-characters-required",
        "f2e1d0c9b8a7z6y5x4w3v2u1t0s9r8q7p6o5n4m3l2k1j0i9h8g7f6e5d4c3b2a1",
    ] {
        let (status, said) = production().env("JWT_SECRET_KEY", placeholder).run(&[]);
        assert!(!status.success(), "{placeholder} was taken: {said}");
        assert!(said.contains("JWT_SECRET_KEY") && !said.contains(placeholder), "{said}");
    }
}

#[tokio::test]
async fn production_starts_with_strong_secrets() {
    let server = production().start();
    let root = server.anonymous().absolute(Method::GET, "/", None).await.ok(200);
    assert_eq!(root["service"], "p2p-coordinator");
}

#[tokio::test]
async fn development_makes_secrets_and_keeps_them_to_itself() {
    let options = Options::default()
        .without("JWT_SECRET_KEY")
        .without("COORDINATOR_API_KEY");
    let server = options.start();
    let data = server.home().join("data");
    let mut secrets = Vec::new();
    for entry in walk(&data) {
        let text = std::fs::read_to_string(&entry).unwrap_or_default();
        let name = entry.file_name().unwrap().to_string_lossy().to_lowercase();
        if name.contains("secret") || name.contains("key") {
            let mode = std::fs::metadata(&entry).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.display());
            secrets.push((entry, text));
        }
    }
    assert!(!secrets.is_empty(), "no secrets in {}", data.display());
    assert!(
        server.log().to_lowercase().contains("secret") || server.log().contains("JWT_SECRET_KEY"),
        "it says so"
    );
    // The same ones serve after a restart: a token stays good.
    let key = secrets
        .iter()
        .flat_map(|(_, text)| text.split(['\n', '=', '"', ' ']))
        .filter(|w| w.len() >= 32);
    let mut operator = None;
    for word in key {
        let client = server.anonymous().with_api_key(word);
        if client.get("/hosts/").await.status == 200 {
            operator = Some(word.to_owned());
        }
    }
    let key = operator.expect("the API key is in the data folder");
    assert!(!server.log().contains(&key), "a generated secret is not in the log");
    let token = server.anonymous().with_api_key(&key).token("alice").await;
    let server = server.restart();
    let _ = server
        .anonymous()
        .with_bearer(&token)
        .get("/hosts/")
        .await
        .status_is(200);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path))
        } else {
            found.push(path)
        }
    }
    found
}

#[test]
fn settings_come_from_a_dotenv_file_as_well() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(".env"), "PORT=nonsense\n").unwrap();
    let mut command = std::process::Command::new(p2p_coordinator_tests::server::program());
    let output = command
        .arg("check-config")
        .current_dir(home.path())
        .env_clear()
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("PORT") && said.contains("nonsense"), "{said}");
}

#[tokio::test]
async fn a_port_in_use_is_said_in_words() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (status, said) = Options::default().env("PORT", port).run(&[]);
    assert!(!status.success());
    assert!(said.contains("PORT") && said.contains(&port.to_string()), "{said}");
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn help_and_version_answer() {
    let (status, said) = Options::default().run(&["--help"]);
    assert!(status.success());
    for word in ["check-config", "plugin"] {
        assert!(said.contains(word), "{said}");
    }
    let (status, said) = Options::default().run(&["--version"]);
    assert!(status.success());
    assert!(said.contains("2.0.0"), "{said}");
    let (status, _) = Options::default().run(&["dance"]);
    assert!(!status.success());
}

#[tokio::test]
async fn two_servers_do_not_disturb_each_other() {
    let (one, two) = (Server::start(), Server::start());
    let _ = one
        .operator()
        .post("/zones/", &p2p_coordinator_tests::shapes::zone("only-here"))
        .await
        .ok(201);
    let _ = two.operator().get("/zones/only-here").await.problem(404);
}
