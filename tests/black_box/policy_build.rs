//! A designer's way: a changed policy is compiled from its sources, checked, and served.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use p2p_coordinator_tests::server::program;
use p2p_coordinator_tests::{Options, eventually};
use serde_json::Value;

const MANIFEST: &str = r#"
[package]
name = "my-rate-limit"
version = "7.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[dependencies]
wit-bindgen = { version = "0.61", default-features = false, features = ["macros", "realloc"] }

[workspace]
"#;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn plugin(arguments: &[&str]) -> Output {
    Command::new(program())
        .arg("plugin")
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_is_built_checked_and_served() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, plugins) = (
        folder.path().join("plugins/my-rate-limit"),
        folder.path().join("served"),
    );
    std::fs::create_dir_all(&plugins).unwrap();
    copy(&repository("wit"), &folder.path().join("wit"));
    copy(&repository("plugins/rate-limit/src"), &policy.join("src"));
    std::fs::write(policy.join("Cargo.toml"), MANIFEST).unwrap();
    // The one line that the designer changes.
    let logic = policy.join("src/lib.rs");
    let source = std::fs::read_to_string(&logic).unwrap();
    let changed = source.replacen("capacity: rate.requests,", "capacity: 7,", 1);
    assert_ne!(source, changed, "the line to change is there");
    std::fs::write(&logic, changed).unwrap();

    let component = plugins.join("rate-limit.wasm");
    let (policy, path) = (policy.to_str().unwrap(), component.to_str().unwrap());
    let built = tokio::task::block_in_place(|| plugin(&["build", policy, "--out", path]));
    assert!(built.status.success(), "{}", text(&built));

    let checked = tokio::task::block_in_place(|| plugin(&["check", path, "--json"]));
    assert!(checked.status.success(), "{}", text(&checked));
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(report.to_string().contains("7.1.0"), "{report}");

    let server = Options::default()
        .env("PLUGIN_DIR", plugins.display())
        .env("RATE_LIMIT_ENABLED", "true")
        .start();
    let operator = server.operator();
    eventually("the policy serves", async || {
        let report = operator.get("/plugins").await.ok(200);
        let slots = report["slots"].as_array().unwrap().clone();
        slots
            .into_iter()
            .find(|slot| slot["slot"] == "rate-limit" && slot["policy"]["version"] == "7.1.0")
    })
    .await;
    let answer = operator.get("/zones/").await;
    assert_eq!(answer.headers["x-ratelimit-limit"], "7", "{answer}");
}

#[test]
fn an_example_is_built_its_vectors_hold_and_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("rate-limit.wasm");
    let (example, component) = (
        repository("plugins/examples/tiered-rate-limit"),
        component.to_str().unwrap(),
    );
    let built = plugin(&["build", example.to_str().unwrap(), "--out", component]);
    assert!(built.status.success(), "{}", text(&built));
    let tested = plugin(&["test", component, "--json"]);
    assert!(tested.status.success(), "{}", text(&tested));
    let tested: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!(
        (&tested["failed"], &tested["passed"]),
        (&0.into(), &5.into()),
        "{tested}"
    );

    let question = folder.path().join("question.json");
    std::fs::write(
        &question,
        r#"{"surface": "api", "caller": "player", "player_id": "gold-1"}"#,
    )
    .unwrap();
    let settings = ["--setting", "POLICY_PLAYER_CLASSES=gold-:3"];
    let asked = plugin(
        &[
            &["run", component, "--input", question.to_str().unwrap()][..],
            &settings[..],
        ]
        .concat(),
    );
    assert!(asked.status.success(), "{}", text(&asked));
    let answer: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(answer["limited_by_all"][0]["capacity"], 300, "{answer}");
}
