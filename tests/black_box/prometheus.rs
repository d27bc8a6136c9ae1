//! The alerts and the dashboard of `deploy`: checked by `promtool`, and asked of a real Prometheus that scrapes a real run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use p2p_coordinator_tests::redis::process;
use p2p_coordinator_tests::shapes::session;
use p2p_coordinator_tests::{Options, Redis, eventually, postgres};
use serde_json::Value;

use crate::npcs::AiService;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

/// Runs `promtool` in a folder that has the alerts and their cases.
fn promtool(arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "deploy/prometheus/alerts.yml",
        "deploy/prometheus/prometheus.yml",
        "tests/fixtures/alerts.test.yml",
    ] {
        let path = repository(file);
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder.path())
        .output();
    let output = output.expect("promtool of Debian's package prometheus runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn alerts_are_raised_when_they_should_be_and_not_before() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
}

/// The questions of the dashboard, as Grafana would ask them.
fn questions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/p2p-coordinator.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let asked = targets.map(|target| target["expr"].as_str().unwrap());
    asked
        .map(|text| text.replace("$__rate_interval", "1m").replace("$instance", ".*"))
        .collect()
}

/// Names of our families in a text, as they are registered.
fn families(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("p2p_") && *word != "p2p_coordinator");
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

struct Prometheus {
    address: String,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = read("deploy/prometheus/alerts.yml");
        std::fs::write(folder.path().join("alerts.yml"), rules).unwrap();
        let config = read("deploy/prometheus/prometheus.yml");
        assert!(config.contains("127.0.0.1:8001") && config.contains("15s"));
        let config = config.replace("127.0.0.1:8001", target).replace("15s", "1s");
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, format!("global: {{evaluation_interval: 1s}}\n{config}")).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", path.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        drop(listener);
        let process = process::spawn(command, "prometheus", "prometheus");
        Self {
            address,
            process,
            _folder: folder,
        }
    }

    /// What it answers; none when it does not, or not yet.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let url = reqwest::Url::parse_with_params(&format!("http://{}/api/v1/{path}", self.address), query).unwrap();
        let answer = p2p_coordinator_tests::client::http().get(url).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        Some(answer["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_a_run_and_understands_every_question() {
    let (redis, database, ai) = (Redis::start(), postgres::database(), AiService::start().await);
    let options = Options::default()
        .env("DATABASE_URL", database.url())
        .env("REDIS_URL", redis.url())
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("RATE_LIMIT_ENABLED", "true");
    let server = options.start();
    let _ = session(&server.operator(), "scraped", "alice", &["p1", "p2"]).await;
    let prometheus = Prometheus::start(server.address());
    eventually("Prometheus has scraped a player", || async {
        let found = prometheus.get("query", &[("query", "p2p_players_total == 2")]).await?;
        (found["result"].as_array()?.len() == 1).then_some(())
    })
    .await;
    // A question about a family that is misspelt or gone would be answered with nothing, for ever.
    let metrics = server
        .anonymous()
        .absolute(reqwest::Method::GET, "/metrics", None)
        .await
        .body;
    let there: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect();
    for family in families(&questions().join("\n")).union(&families(&read("deploy/prometheus/alerts.yml"))) {
        assert!(there.contains(family), "{family} is asked for and not there");
    }
    for question in questions() {
        prometheus.get("query", &[("query", &question)]).await.unwrap();
    }
    let rules = eventually("the alerts are looked at", || async {
        let rules = prometheus.get("rules", &[]).await?;
        let all = rules["groups"][0]["rules"].as_array()?.clone();
        all.iter().all(|rule| rule["health"] == "ok").then_some(all)
    })
    .await;
    assert!(rules.len() >= 10);
    for rule in rules {
        assert_eq!(
            rule["alerts"],
            serde_json::json!([]),
            "a run that is well raises no alert: {rule}"
        );
    }
}
