//! Policies in `PLUGIN_DIR`: taken over, refused with a reason, removed, and swapped under load without one lost request.

mod swaps;

use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_coordinator_tests::shapes::{heartbeat, host, with};
use p2p_coordinator_tests::{Client, Options, Server, eventually};
use serde_json::Value;

pub(crate) use self::swaps::{Tally, load};

pub(crate) const SLOTS: [&str; 3] = ["host-selection", "rate-limit", "npc-transform"];

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The bundled component of a slot.
pub(crate) fn bundled(slot: &str) -> Vec<u8> {
    std::fs::read(repository(&format!("plugins/dist/{slot}.wasm"))).unwrap()
}

/// The fixture of a slot, showing this behaviour.
pub(crate) fn fixture(slot: &str, behaviour: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(repository(&format!("tests/fixtures/dist/{slot}.wasm"))).unwrap();
    let mark = b"POLICY_FIXTURE=good";
    let at = bytes
        .windows(mark.len())
        .position(|w| w == mark)
        .expect("the fixture has its mark");
    let text = format!("POLICY_FIXTURE={behaviour:<49}");
    assert_eq!(text.len(), 64);
    bytes[at..at + 64].copy_from_slice(text.as_bytes());
    bytes
}

/// The same component with another digest: a custom section is added, which nobody reads.
pub(crate) fn variant(mut component: Vec<u8>, number: usize) -> Vec<u8> {
    let payload = format!("\u{7}variant{number:04}");
    component.push(0);
    component.push(u8::try_from(payload.len()).unwrap());
    component.extend(payload.as_bytes());
    component
}

/// Puts a file there in one step, as deployment tools do.
pub(crate) fn put(dir: &Path, slot: &str, bytes: &[u8]) {
    let partial = dir.join(format!("{slot}.wasm.partial"));
    std::fs::write(&partial, bytes).unwrap();
    std::fs::rename(partial, dir.join(format!("{slot}.wasm"))).unwrap();
}

/// Writes a file in place, piece by piece, as a copy over a slow link does.
async fn put_slowly(dir: &Path, slot: &str, bytes: &[u8]) {
    use tokio::io::AsyncWriteExt;
    let mut file = tokio::fs::File::create(dir.join(format!("{slot}.wasm"))).await.unwrap();
    let mut pace = tokio::time::interval(Duration::from_millis(15));
    for piece in bytes.chunks(bytes.len() / 8 + 1) {
        file.write_all(piece).await.unwrap();
        file.flush().await.unwrap();
        pace.tick().await;
    }
}

pub(crate) async fn slot(operator: &Client, name: &str) -> Value {
    let report = operator.get("/plugins").await.ok(200);
    let slots = report["slots"].as_array().unwrap_or_else(|| panic!("{report}"));
    let found = slots
        .iter()
        .find(|s| s["slot"] == name)
        .unwrap_or_else(|| panic!("{name}: {report}"));
    found.clone()
}

/// Waits until the slot's report satisfies the condition.
async fn slot_until(operator: &Client, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let last = std::sync::Mutex::new(Value::Null);
    let ask = || async {
        let report = slot(operator, name).await;
        *last.lock().unwrap() = report.clone();
        condition(&report).then_some(report)
    };
    let found = tokio::time::timeout(Duration::from_secs(29), eventually(what, ask)).await;
    found.unwrap_or_else(|_| panic!("{name}: {what}: last report {}", last.lock().unwrap()))
}

fn folder(server_env: Options) -> (tempfile::TempDir, Options) {
    let dir = tempfile::tempdir().unwrap();
    let options = server_env.env("PLUGIN_DIR", dir.path().display());
    (dir, options)
}

#[tokio::test]
async fn the_bundled_policies_serve_and_are_reported() {
    let server = Server::shared();
    let operator = server.operator();
    for name in SLOTS {
        let report = slot(&operator, name).await;
        assert_eq!(report["state"], "serving", "{report}");
        let policy = &report["policy"];
        assert_eq!(policy["source"], "bundled", "{report}");
        assert_eq!(policy["digest"].as_str().unwrap().len(), 64, "{report}");
        assert_eq!(policy["wit_version"], "1.0.0", "{report}");
        assert!(policy["name"].is_string() && policy["version"].is_string(), "{report}");
        assert_eq!(report["failures"]["trap"], 0, "{report}");
        assert!(report["last_refusal"].is_null(), "{report}");
    }
    assert!(slot(&operator, "rate-limit").await["calls"].is_u64());
}

#[tokio::test]
async fn a_file_takes_the_slot_and_its_removal_gives_it_back() {
    let (dir, options) = folder(Options::default().env("RATE_LIMIT_ENABLED", "true"));
    let server = options.start();
    let operator = server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let before = slot(&operator, "host-selection").await;
    put(dir.path(), "host-selection", &fixture("host-selection", "good"));
    let taken = slot_until(&operator, "host-selection", "the file serves", |s| {
        s["policy"]["source"] != "bundled"
    })
    .await;
    assert_ne!(taken["policy"]["digest"], before["policy"]["digest"]);
    assert_eq!(taken["swaps"].as_u64(), before["swaps"].as_u64().map(|n| n + 1));
    let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    assert_eq!(
        beaten["quality_score"].as_f64(),
        Some(42.0),
        "the fixture scores 42: {beaten}"
    );

    put(dir.path(), "rate-limit", &fixture("rate-limit", "good"));
    let _ = slot_until(&operator, "rate-limit", "the file serves", |s| {
        s["policy"]["source"] != "bundled"
    })
    .await;
    assert_eq!(operator.get("/zones/").await.number("x-ratelimit-limit"), 999_999);

    for name in ["host-selection", "rate-limit"] {
        std::fs::remove_file(dir.path().join(format!("{name}.wasm"))).unwrap();
        let back = slot_until(&operator, name, "the bundled one serves", |s| {
            s["policy"]["source"] == "bundled"
        })
        .await;
        assert_eq!(back["state"], "serving", "{back}");
    }
    let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
    assert_eq!(beaten["quality_score"].as_f64(), Some(98.0), "{beaten}");
    assert_eq!(operator.get("/zones/").await.number("x-ratelimit-limit"), 100);
}

#[tokio::test]
async fn a_bad_file_is_refused_with_its_reason_and_the_old_one_serves() {
    let (dir, options) = folder(Options::default());
    let server = options.start();
    let operator = server.operator();
    let name = "host-selection";
    let good = bundled(name);
    let fixture_of = |behaviour: &str| fixture(name, behaviour);
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("text", b"not a component".to_vec()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("a core module", b"\0asm\x01\0\0\0".to_vec()),
        ("another world", bundled("rate-limit")),
        ("endless loop", fixture_of("loop")),
        ("memory hog", fixture_of("memory")),
        ("panic", fixture_of("panic")),
        ("unreachable", fixture_of("unreachable")),
        ("stack overflow", fixture_of("stack")),
        ("NaN", fixture_of("nan")),
        ("huge answer", fixture_of("huge-list")),
        ("a host not among the candidates", fixture_of("stranger")),
    ];
    let serving = slot(&operator, name).await["policy"]["digest"].clone();
    for (number, (what, bytes)) in bad.into_iter().enumerate() {
        let before = slot(&operator, name).await["refusals"].as_u64().unwrap();
        put(dir.path(), name, &bytes);
        let refused = slot_until(&operator, name, what, |s| s["refusals"].as_u64() > Some(before)).await;
        let last = &refused["last_refusal"];
        assert!(
            last["reason"].as_str().is_some_and(|r| r.len() > 5),
            "{what}: {refused}"
        );
        assert!(last["step"].is_string() && last["at"].is_string(), "{what}: {refused}");
        assert!(
            last["source"].as_str().unwrap().ends_with("host-selection.wasm"),
            "{what}: {refused}"
        );
        assert_eq!(refused["policy"]["digest"], serving, "{what}: the old one serves");
        assert_eq!(refused["state"], "serving", "{what}");
        assert!(server.log().contains("refused"), "{what}: the log says so");
        let id = format!("after-{number}");
        let registered = operator.post("/hosts/register", &host(&id, "alice")).await.ok(201);
        assert_eq!(
            registered["quality_score"].as_f64(),
            Some(100.0),
            "{what}: the next call works"
        );
    }
    put(dir.path(), name, &fixture_of("good"));
    let _ = slot_until(&operator, name, "the good one serves", |s| {
        s["policy"]["digest"] != serving
    })
    .await;
}

#[tokio::test]
async fn files_of_editors_and_other_names_are_left_alone() {
    let (dir, options) = folder(Options::default());
    let server = options.start();
    let operator = server.operator();
    for junk in [
        ".host-selection.wasm.swp",
        "host-selection.wasm~",
        "4913",
        "host-selection.wasm.tmp",
        "readme.txt",
        "x.wasm",
    ] {
        std::fs::write(dir.path().join(junk), b"junk").unwrap();
    }
    std::fs::create_dir(dir.path().join("npc-transform.wasm.d")).unwrap();
    // A slow write in place behind the junk: when it serves, the junk has been seen.
    put_slowly(dir.path(), "host-selection", &variant(bundled("host-selection"), 1)).await;
    let taken = slot_until(&operator, "host-selection", "the file serves", |s| {
        s["policy"]["source"] != "bundled"
    })
    .await;
    assert_eq!(taken["state"], "serving");
    for name in ["rate-limit", "npc-transform"] {
        assert_eq!(slot(&operator, name).await["refusals"], 0);
    }
}

#[tokio::test]
async fn a_policy_that_is_there_at_the_start_serves_from_the_start() {
    let (dir, options) = folder(Options::default());
    put(dir.path(), "host-selection", &fixture("host-selection", "good"));
    put(dir.path(), "npc-transform", b"junk");
    let server = options.start();
    let operator = server.operator();
    let made = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    assert_eq!(made["quality_score"].as_f64(), Some(42.0), "{made}");
    let broken = slot(&operator, "npc-transform").await;
    assert_eq!(broken["policy"]["source"], "bundled", "{broken}");
    assert_eq!(broken["refusals"], 1, "{broken}");
}

#[tokio::test]
async fn a_policy_that_goes_bad_while_it_serves_is_answered_for() {
    let (dir, options) = folder(Options::default().env("RATE_LIMIT_ENABLED", "true"));
    put(dir.path(), "rate-limit", &fixture("rate-limit", "deny"));
    let server = options.start();
    let denied = server.operator().get("/zones/").await;
    assert!(matches!(denied.status, 403 | 429), "{denied}");
    assert!(
        denied.problem(denied.status)["detail"]
            .as_str()
            .unwrap()
            .contains("denied by the fixture"),
        "{denied}"
    );
    // Probes work all the same, and an operator sees which policy it is.
    assert_eq!(server.anonymous().get("/health/live").await.status, 200);
    let refusing = slot(&server.operator(), "rate-limit").await;
    assert_eq!(refusing["policy"]["version"], "9.9.9", "{refusing}");
    // A file out of the folder is enough to come back.
    std::fs::remove_file(dir.path().join("rate-limit.wasm")).unwrap();
    let operator = server.operator();
    eventually("the bundled policy serves", || async {
        (operator.get("/zones/").await.status == 200).then_some(())
    })
    .await;
}

#[test]
fn plugin_check_says_what_the_service_would_do() {
    let dir = tempfile::tempdir().unwrap();
    for name in SLOTS {
        for (what, bytes, taken) in [
            ("good", bundled(name), true),
            ("truncated", bundled(name)[..500].to_vec(), false),
            ("panic", fixture(name, "panic"), false),
            ("loop", fixture(name, "loop"), false),
        ] {
            let file = dir.path().join(format!("{what}-{name}.wasm"));
            std::fs::write(&file, bytes).unwrap();
            let (status, said) = Options::default().run(&["plugin", "check", file.to_str().unwrap()]);
            assert_eq!(status.success(), taken, "{what} {name}: {said}");
            assert!(!said.is_empty());
        }
    }
    let (status, said) = Options::default().run(&["plugin", "check", "/nowhere.wasm"]);
    assert!(!status.success());
    assert!(said.contains("/nowhere.wasm"), "{said}");
}
