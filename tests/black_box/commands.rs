//! What operators run beside the service: `doctor`, `migrate`, `backup`, `restore`, `token`, `completions`. What scripts read of
//! them: JSON, and the exit status.

use std::path::Path;
use std::process::{Command, Output};

use p2p_coordinator_tests::postgres::{self, Postgres};
use p2p_coordinator_tests::server::{API_KEY, JWT_SECRET, program};
use p2p_coordinator_tests::shapes::{host, session, zone};
use p2p_coordinator_tests::{Client, Options, Redis, Server};
use serde_json::{Value, json};

/// Runs the program over the data in `home`.
fn run(home: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.env_clear().current_dir(home).args(arguments);
    command
        .env("DATA_DIR", home.join("data"))
        .env("PORT", "0")
        .env("AI_SERVICE_ENABLED", "false");
    command
        .env("JWT_SECRET_KEY", JWT_SECRET)
        .env("COORDINATOR_API_KEY", API_KEY);
    command.envs(env.iter().copied()).output().expect("the program starts")
}

#[track_caller]
fn expect(output: &Output, status: i32) -> String {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(
        !said.contains(|c: char| c.is_control() && c != '\n' && c != '\t'),
        "colours and bars are for terminals: {said:?}"
    );
    assert!(!said.contains(JWT_SECRET) && !said.contains(API_KEY), "{said}");
    said
}

#[track_caller]
fn report(output: &Output, status: i32) -> Value {
    let said = expect(output, status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// A server on the embedded database, whatever the other tests use.
fn embedded() -> Options {
    Options::default().env("DATABASE_URL", "sqlite:data/coordinator.db")
}

const EMBEDDED: &[(&str, &str)] = &[("DATABASE_URL", "sqlite:data/coordinator.db")];

/// All that operators and players can read of a server.
async fn everything(operator: &Client) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/hosts/",
        "/zones/",
        "/sessions/zone/zone-kept/active",
        "/sessions/host/host-kept/active",
    ] {
        all.push(operator.get(path).await.ok(200));
    }
    all
}

#[tokio::test]
async fn a_backup_of_a_running_service_is_restored_elsewhere() {
    let server = embedded().start();
    let operator = server.operator();
    let made = session(&operator, "kept", "alice", &["p1", "p2"]).await;
    // Somebody writes all the while.
    let writer = tokio::spawn({
        let operator = operator.clone();
        async move {
            for n in 0.. {
                let id = format!("late-{n}");
                let _ = operator.post("/zones/", &zone(&id)).await.status_is(201);
                tokio::task::yield_now().await;
            }
        }
    });
    let before = everything(&operator).await;
    let copied = report(
        &run(server.home(), EMBEDDED, &["backup", "--output", "copy.db", "--json"]),
        0,
    );
    writer.abort();
    assert!(
        copied["bytes"].as_u64().unwrap() > 0 && copied["schema"].as_i64().unwrap() > 0,
        "{copied}"
    );
    let copy = server.home().join("copy.db");
    assert_eq!(
        std::os::unix::fs::MetadataExt::mode(&copy.metadata().unwrap()) & 0o777,
        0o600
    );
    let said = expect(&run(server.home(), EMBEDDED, &["backup", "--output", "copy.db"]), 1);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");
    // What runs is not restored over, whatever is said.
    let said = expect(&run(server.home(), EMBEDDED, &["restore", "copy.db", "--force"]), 1);
    assert!(said.contains("in use") && said.contains("stop the service"), "{said}");
    assert_eq!(operator.get("/health").await.status, 200);

    let empty = tempfile::tempdir().unwrap();
    let from = copy.to_str().unwrap();
    expect(&run(empty.path(), EMBEDDED, &["restore", from]), 0);
    let url = format!("sqlite:{}", empty.path().join("data/coordinator.db").display());
    let other = Options::default().env("DATABASE_URL", url).start();
    let after = everything(&other.operator()).await;
    let zones = |all: &[Value]| -> Vec<Value> {
        let zones = all[1].as_array().unwrap().iter();
        zones.filter(|zone| zone["zone_id"] == "zone-kept").cloned().collect()
    };
    assert_eq!(
        (&after[0], &after[2..], zones(&after)),
        (&before[0], &before[2..], zones(&before))
    );
    let found = other.operator().get(&format!("/sessions/{}", made["id"])).await.ok(200);
    assert_eq!(found["session_id"], made["session_id"]);
}

#[tokio::test]
async fn restore_keeps_what_was_there_and_takes_no_damaged_file() {
    let server = embedded().start();
    let _ = server.operator().post("/zones/", &zone("old")).await.ok(201);
    let home = server.home().to_owned();
    expect(&run(&home, EMBEDDED, &["backup", "-o", "old.db"]), 0);
    let _ = server.operator().post("/zones/", &zone("new")).await.ok(201);
    let mut stopped = server;
    stopped.terminate();
    assert!(stopped.wait().success());
    let said = expect(&run(&home, EMBEDDED, &["restore", "old.db"]), 1);
    assert!(said.contains("is there already") && said.contains("--force"), "{said}");

    let good = std::fs::read(home.join("old.db")).unwrap();
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    let mut scratched = good.clone();
    // Page 3 and on: the header stays good.
    scratched[8192..8192 + 600].fill(0x5a);
    for (name, content) in [
        ("cut.db", cut),
        ("scratched.db", scratched),
        ("text.db", b"no database".repeat(50)),
    ] {
        std::fs::write(home.join(name), content).unwrap();
        let said = expect(&run(&home, EMBEDDED, &["restore", name, "--force"]), 1);
        assert!(said.contains(name), "{said}");
    }
    expect(&run(&home, EMBEDDED, &["restore", "nowhere.db"]), 1);

    let done = report(&run(&home, EMBEDDED, &["restore", "old.db", "--force", "--json"]), 0);
    let kept = done["kept"].as_str().unwrap();
    assert!(home.join(kept).is_file(), "{done}");
    let server = stopped.start_again();
    let _ = server.operator().get("/zones/old").await.ok(200);
    assert_eq!(server.operator().get("/zones/new").await.status, 404);
}

#[test]
fn migrate_says_what_it_did_and_what_a_start_would_do() {
    let home = tempfile::tempdir().unwrap();
    let checked = report(&run(home.path(), EMBEDDED, &["migrate", "--check", "--json"]), 1);
    assert_eq!(checked, json!({ "schema": null, "ran": [], "up_to_date": false }));
    let done = report(&run(home.path(), EMBEDDED, &["migrate", "--json"]), 0);
    assert!(
        done["ran"].as_array().unwrap().len() > 1 && done["up_to_date"] == true,
        "{done}"
    );
    let again = report(&run(home.path(), EMBEDDED, &["migrate", "--json"]), 0);
    assert_eq!((&again["ran"], &again["schema"]), (&json!([]), &done["schema"]));
    expect(&run(home.path(), EMBEDDED, &["migrate", "--check"]), 0);
    let database = postgres::database();
    let env = [("DATABASE_URL", database.url())];
    let checked = report(&run(home.path(), &env, &["migrate", "--check", "--json"]), 1);
    assert_eq!(checked["schema"]["applied"], json!([]), "{checked}");
    let done = report(&run(home.path(), &env, &["migrate", "--json"]), 0);
    assert_eq!(done["ran"], checked["schema"]["pending"]);
    database
        .sql("UPDATE _sqlx_migrations SET version = 99999 WHERE version = (SELECT max(version) FROM _sqlx_migrations)");
    let said = expect(&run(home.path(), &env, &["migrate", "--check"]), 1);
    assert!(said.contains("99999") && said.contains("newer"), "{said}");
}

#[test]
fn the_backup_of_postgresql_is_told_as_a_command() {
    let home = tempfile::tempdir().unwrap();
    let env = [(
        "DATABASE_URL",
        "postgresql://coordinator:wr0ng-s3cret@db.internal:5433/game",
    )];
    let said = expect(&run(home.path(), &env, &["backup"]), 1);
    assert!(
        said.contains("pg_dump -h db.internal -p 5433 -U coordinator -d game > backup.sql"),
        "{said}"
    );
    let said = expect(&run(home.path(), &env, &["restore", "x"]), 1);
    assert!(
        said.contains("psql") && said.contains("< backup.sql") && !said.contains("wr0ng"),
        "{said}"
    );
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|found| found["check"] == check)
        .unwrap_or_else(|| panic!("{check}: {report}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_finds_everything_well() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    let database = postgres.database();
    let server = Options::default()
        .env("DATABASE_URL", database.url())
        .env("REDIS_URL", redis.url())
        .start();
    let port = server.address().rsplit(':').next().unwrap();
    let plugins = server.home().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::write(plugins.join("rate-limit.wasm"), crate::policies::bundled("rate-limit")).unwrap();
    let url = redis.url();
    let env = [
        ("DATABASE_URL", database.url()),
        ("REDIS_URL", &url),
        ("HOST", "127.0.0.1"),
        ("PORT", port),
        ("PLUGIN_DIR", plugins.to_str().unwrap()),
        ("WS_MAX_CONNECTIONS", "10"),
    ];
    let home = server.home().to_owned();
    let looked = tokio::task::block_in_place(|| run(&home, &env, &["doctor", "--json"]));
    let report = report(&looked, 0);
    assert_eq!(report["good"], true, "{report}");
    for (check, words) in [
        ("settings", "every setting is good"),
        ("data folder", "can be written to"),
        ("disk space", " are free at "),
        ("database", "the schema is up to date"),
        ("redis", "answers in"),
        ("ai service", "AI_SERVICE_ENABLED is false"),
        ("collector", "no trace is exported"),
        ("policies", "rate-limit.wasm is taken"),
        ("port", "a coordinator answers"),
    ] {
        let found = finding(&report, check);
        assert!(found["detail"].as_str().unwrap().contains(words), "{found}");
        assert_eq!(found["state"], "good", "{found}");
    }
}

#[test]
fn doctor_says_all_that_is_wrong_and_the_mend() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir(home.path().join("plugins")).unwrap();
    std::fs::write(home.path().join("plugins/rate-limit.wasm"), "no component").unwrap();
    let env = [
        ("DATA_DIR", file.to_str().unwrap()),
        ("DATABASE_URL", "postgresql://u:wr0ng-s3cret@127.0.0.1:1/d"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("AI_SERVICE_ENABLED", "true"),
        ("AI_SERVICE_URL", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:wr0ng-s3cret@127.0.0.1:1"),
        ("HOST", "127.0.0.1"),
        ("PORT", &port),
        ("PLUGIN_DIR", "plugins"),
        ("RATE_LIMIT_API_REQUEST", "5"),
    ];
    let report = report(&run(home.path(), &env, &["doctor", "--json"]), 1);
    assert_eq!(report["good"], false);
    for (check, state, words) in [
        ("settings", "warning", "did you mean RATE_LIMIT_API_REQUESTS"),
        ("data folder", "bad", "give it to this user"),
        ("disk space", "", "DATA_DIR"),
        ("open files", "", ""),
        ("database", "bad", "start PostgreSQL"),
        ("redis", "bad", "start Redis there"),
        ("ai service", "warning", "correct AI_SERVICE_URL"),
        ("collector", "warning", "http://127.0.0.1:1/: no connection"),
        ("policies", "bad", "is refused"),
        ("port", "bad", "end that one"),
    ] {
        let found = finding(&report, check);
        assert!(found["detail"].as_str().unwrap().contains(words), "{found}");
        assert!(state.is_empty() || found["state"] == state, "{found}");
    }
    assert!(!report.to_string().contains("wr0ng"), "{report}");
    let said = expect(&run(home.path(), &env, &["doctor"]), 1);
    assert!(said.contains("bad      redis") && said.contains("Bad: 5"), "{said}");
    let said = expect(
        &run(
            home.path(),
            &[("ENVIRONMENT", "production"), ("CORS_ORIGINS", "*")],
            &["doctor"],
        ),
        2,
    );
    assert!(said.contains("CORS_ORIGINS"), "{said}");
}

#[tokio::test]
async fn a_token_of_the_command_line_is_good() {
    let server = Server::start();
    let output = run(server.home(), &[], &["token", "alice", "--user-id", "account-7"]);
    let token = expect(&output, 0).trim().to_owned();
    let player = server.anonymous().with_bearer(&token);
    let _ = player.post("/hosts/register", &host("of-alice", "alice")).await.ok(201);
    assert_eq!(player.post("/hosts/register", &host("of-bob", "bob")).await.status, 403);
    let told = report(&run(server.home(), &[], &["token", "alice", "--json"]), 0);
    assert_eq!(
        (&told["token_type"], &told["expires_in"]),
        (&json!("bearer"), &json!(3600))
    );
    let said = expect(&run(server.home(), &[], &["token", "a:b"]), 2);
    assert!(said.contains("PLAYER_ID"), "{said}");
}

#[test]
fn completions_are_scripts() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = expect(&run(home.path(), &[], &["completions", shell]), 0);
        assert!(script.contains("check-config") && script.contains("doctor"), "{shell}");
    }
    let script = home.path().join("completions.bash");
    std::fs::write(&script, expect(&run(home.path(), &[], &["completions", "bash"]), 0)).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(checked.success());
}
