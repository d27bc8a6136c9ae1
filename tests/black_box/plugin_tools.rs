//! The authors' tools as scripts use them: what they print as JSON, and their exit status.

use std::path::Path;
use std::process::{Command, Output};

use p2p_coordinator_tests::server::{API_KEY, program};
use p2p_coordinator_tests::{Options, Server};
use serde_json::Value;

use crate::policies::{bundled, fixture};

/// Runs `plugin` in a folder, without anything of this process's environment that it listens to.
pub(crate) fn plugin(folder: &Path, server: Option<&Server>, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("plugin").args(arguments).current_dir(folder);
    command.env_remove("COORDINATOR_URL").env_remove("COORDINATOR_API_KEY");
    // Compiled code stays in this test's own folder.
    command.env("PLUGIN_TOOLS_DIR", folder.join("tools"));
    if let Some(server) = server {
        command
            .env("COORDINATOR_URL", format!("http://{}", server.address()))
            .env("COORDINATOR_API_KEY", API_KEY);
    }
    command.output().expect("the program starts")
}

pub(crate) fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn the_exit_status_says_what_kind_of_failure_it_was() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good.wasm"), bundled("rate-limit")).unwrap();
    std::fs::write(folder.path().join("panic.wasm"), fixture("rate-limit", "panic")).unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let nobody = ["--url", "http://127.0.0.1:1", "--api-key", "k"];
    for (arguments, wanted, text) in [
        (&["check", "good.wasm"][..], 0, "accepted"),
        (&["check", "panic.wasm"], 1, "refused"),
        (&["check", "nowhere.wasm"], 1, "nowhere.wasm"),
        (&["new", "rate-limit", "--lang", "cobol"], 2, "cobol"),
        (&["new", "no-slot", "--lang", "rust"], 2, "no such slot"),
        (
            &["new", "rate-limit", "--lang", "rust", "--dir", "."],
            1,
            "is not empty",
        ),
        (&["build", "empty"], 3, "plugin new"),
        (&["test", "empty"], 3, "policy.json"),
        (&["status"], 2, "COORDINATOR_API_KEY"),
        (&[&["status"][..], &nobody[..]].concat(), 4, "cannot be reached"),
        (&["run", "good.wasm", "--input", "nowhere.json"], 1, "nowhere.json"),
    ] {
        let output = plugin(folder.path(), None, arguments);
        assert_eq!(status(&output), wanted, "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(text), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn a_component_is_asked_and_what_is_wrong_with_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("hosts.wasm", &bundled("host-selection"));
    write(
        "question.json",
        br#"{"score": {"cpu_cores": 4, "memory_mb": 8192, "network_mbps": 100, "latency_ms": 100}}"#,
    );
    write("bad.json", br#"{"surface": "api"}"#);
    let asked = plugin(folder.path(), None, &["run", "hosts.wasm", "--input", "question.json"]);
    assert_eq!(json(&asked)["score"], 65.0, "{}", said(&asked));
    let refused = plugin(folder.path(), None, &["run", "hosts.wasm", "--input", "bad.json"]);
    assert_eq!(status(&refused), 1);
    assert!(
        said(&refused).contains("no question for the slot host-selection"),
        "{}",
        said(&refused)
    );

    let tested = json(&plugin(folder.path(), None, &["test", "hosts.wasm", "--json"]));
    assert_eq!(
        (&tested["failed"], &tested["slot"]),
        (&0.into(), &"host-selection".into()),
        "{tested}"
    );
    let vectors = br#"{"vectors": [{"name": "wrong", "question": {"score": {}}, "answer": {"score": 1}}]}"#;
    write("vectors.json", vectors);
    let tested = plugin(
        folder.path(),
        None,
        &["test", "hosts.wasm", "--vectors", "vectors.json", "--json"],
    );
    assert_eq!((status(&tested), &json(&tested)["failed"]), (1, &1.into()));
    assert!(said(&tested).contains("expected 1"), "{}", said(&tested));

    write("limits.wasm", &bundled("rate-limit"));
    let doctor = plugin(
        folder.path(),
        None,
        &["doctor", "limits.wasm", "--slot", "host-selection"],
    );
    assert_eq!(status(&doctor), 1);
    for text in [
        "policy/selection@",
        "needed, MISSING",
        "policy/limiting@",
        "not used here",
    ] {
        assert!(said(&doctor).contains(text), "{text}: {}", said(&doctor));
    }
    let doctor = plugin(folder.path(), None, &["doctor", "limits.wasm", "--json"]);
    let exports = json(&doctor)["contract"]["exports"].clone();
    assert!(
        exports
            .as_array()
            .unwrap()
            .iter()
            .all(|export| export["verdict"] == "exported"),
        "{exports}"
    );
}

#[test]
fn what_a_component_costs_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("limits.wasm"), bundled("rate-limit")).unwrap();
    let report = json(&plugin(folder.path(), None, &["bench", "limits.wasm", "--json"]));
    assert_eq!(
        (&report["failed_calls"], &report["slot"]),
        (&0.into(), &"rate-limit".into()),
        "{report}"
    );
    for row in report["rows"].as_array().unwrap() {
        assert!(
            row["p50_us"].as_f64() > Some(0.0) && row["p99_us"].as_f64() >= row["p50_us"].as_f64(),
            "{row}"
        );
    }
    assert!(report["memory_bytes"].as_u64() > Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_release_gets_where_an_unsigned_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = |server: Option<&Server>, arguments: &[&str]| {
        tokio::task::block_in_place(|| plugin(folder.path(), server, arguments))
    };
    std::fs::write(folder.path().join("limits.wasm"), bundled("rate-limit")).unwrap();
    let made = plugin(None, &["keygen", "alice-2026"]);
    assert_eq!(status(&made), 0, "{}", said(&made));
    let line = said(&made);
    let trusted = line.split("PLUGIN_TRUSTED_KEYS=").nth(1).unwrap().trim().to_owned();
    assert_eq!(
        status(&plugin(None, &["keygen", "alice-2026"])),
        1,
        "it is not written over"
    );
    let server = Options::default()
        .env("PLUGIN_REQUIRE_SIGNATURE", "true")
        .env("PLUGIN_TRUSTED_KEYS", trusted)
        .start();
    let server = Some(&server);

    let unsigned = plugin(server, &["push", "limits.wasm", "--activate"]);
    assert_eq!(status(&unsigned), 1);
    for text in ["step    signature", "reason  ", "mend    ", "plugin sign"] {
        assert!(said(&unsigned).contains(text), "{text}: {}", said(&unsigned));
    }
    let release = ["limits.wasm", "--note", "signed", "--setting", "POLICY_X=1"];
    let key = ["--key", "alice-2026.pem", "--key-id", "alice-2026"];
    let signed = plugin(None, &[&["sign"][..], &release[..], &key[..]].concat());
    assert_eq!(json(&signed)["key_id"], "alice-2026", "{}", said(&signed));
    std::fs::write(folder.path().join("signature.json"), &signed.stdout).unwrap();
    let push = [
        &["push"][..],
        &release[..],
        &["--signature", "signature.json", "--json"],
    ]
    .concat();
    let record = json(&plugin(server, &push));
    assert_eq!(record["created_by"], "key:alice-2026", "{record}");
    let id = record["id"].as_str().unwrap();
    let active = plugin(server, &["activate", "rate-limit", &id[..10], "--json"]);
    assert_eq!(json(&active)["active"], id, "{}", said(&active));

    let state = plugin(server, &["status", "rate-limit"]);
    assert!(
        said(&state).contains(&format!("1 of 1 node on {}", &id[..12])),
        "{}",
        said(&state)
    );
    let back = plugin(server, &["rollback", "rate-limit"]);
    assert!(said(&back).contains("the bundled policy is active"), "{}", said(&back));
    assert_eq!(
        status(&plugin(server, &["promote", "rate-limit"])),
        1,
        "there is no rollout"
    );
    let stranger = plugin(server, &["status", "--api-key", "wrong"]);
    assert_eq!(status(&stranger), 4, "{}", said(&stranger));
}
