//! A new designer's way, in each language: a project is started, one line is edited, the golden vectors are asked, and the
//! release is pushed, shown to live calls, promoted and rolled back. Every step is a command of `docs/policies/`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use p2p_coordinator_tests::server::{API_KEY, program};
use p2p_coordinator_tests::shapes::{heartbeat, host, session};
use p2p_coordinator_tests::{Options, Server, Ws, eventually};
use serde_json::Value;

use crate::npcs::AiService;

/// How long a command may take: the first build installs compilers.
const COMMAND: Duration = Duration::from_secs(900);

/// Somebody with a folder, a server and this program.
struct Designer {
    folder: tempfile::TempDir,
    slot: &'static str,
    server: Server,
}

/// What a command said.
struct Said {
    good: bool,
    out: String,
    all: String,
}

impl Designer {
    /// Starts a project.
    async fn new(slot: &'static str, language: &str, server: Server) -> Self {
        let this = Self {
            folder: tempfile::tempdir().unwrap(),
            slot,
            server,
        };
        let _ = this
            .does(&["new", slot, "--lang", language, "--dir", "fair-play"])
            .await;
        this
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("fair-play")
    }

    /// Runs `plugin` in the folder above the project, with the server in the environment.
    async fn plugin(&self, arguments: &[&str]) -> Said {
        let command = tokio::process::Command::new(program())
            .arg("plugin")
            .args(arguments)
            .current_dir(self.folder.path())
            .env("COORDINATOR_URL", format!("http://{}", self.server.address()))
            .env("COORDINATOR_API_KEY", API_KEY)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMAND, command)
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} takes too long"))
            .expect("the program starts");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        Said {
            good: output.status.success(),
            all: format!("{arguments:?}\n{out}{}", String::from_utf8_lossy(&output.stderr)),
            out,
        }
    }

    /// The same, and it must work.
    async fn does(&self, arguments: &[&str]) -> String {
        let said = self.plugin(arguments).await;
        assert!(said.good, "{}", said.all);
        said.out
    }

    /// The one line that the designer changes.
    fn edit(&self, source: &str, line: &str, changed: &str) {
        let path = self.project().join(source);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(line).count(), 1, "{line} is there once");
        std::fs::write(&path, text.replacen(line, changed, 1)).unwrap();
    }

    /// From the edited sources to a stored release: the vectors of before do not hold, and are updated. One build.
    async fn tested_and_pushed(&self) -> String {
        let said = self.plugin(&["test", "fair-play"]).await;
        assert!(
            !said.good && said.out.contains("FAIL"),
            "the change is seen: {}",
            said.all
        );
        let _ = self.does(&["test", "fair-play", "--update"]).await;
        let tested = self.does(&["test", "fair-play", "--json"]).await;
        let tested: Value = serde_json::from_str(&tested).unwrap();
        assert_eq!(tested["failed"], 0, "{tested}");
        let built = component(&self.project(), self.slot);
        let pushed = self.does(&["push", "fair-play", "--note", "my first", "--json"]).await;
        let record: Value = serde_json::from_str(&pushed).unwrap();
        assert_eq!(record["note"], "my first", "{record}");
        let checked = self.does(&["check", built.to_str().unwrap(), "--json"]).await;
        let checked: Value = serde_json::from_str(&checked).unwrap();
        assert_eq!(
            (&checked["digest"], &checked["accepted"]),
            (&record["digest"], &Value::Bool(true)),
            "what is pushed is what was tested"
        );
        record["id"].as_str().unwrap().to_owned()
    }

    /// The candidate becomes the shadow of what serves; every call is shown to it.
    async fn shadowed(&self) {
        let rollout = [
            "rollout",
            self.slot,
            "latest",
            "--mode",
            "shadow",
            "--sample-percent",
            "100",
        ];
        let said = self.does(&rollout).await;
        assert!(said.contains("as a shadow"), "{said}");
    }

    /// Answers that were compared.
    async fn compared(&self) -> u64 {
        let status = self.does(&["status", self.slot, "--json"]).await;
        let status: Value = serde_json::from_str(&status).unwrap();
        status["slots"][0]["delivery"]["rollout_seen"]["compared"]
            .as_u64()
            .unwrap_or(0)
    }

    async fn decides(&self, what: &str) -> Value {
        let said = self
            .does(&[what, self.slot, "--note", "as the test says", "--json"])
            .await;
        serde_json::from_str(&said).unwrap()
    }
}

fn component(project: &Path, slot: &str) -> PathBuf {
    project.join("dist").join(format!("{slot}.wasm"))
}

#[tokio::test]
async fn in_rust() {
    let designer = Designer::new("host-selection", "rust", Server::start()).await;
    designer.edit("src/lib.rs", "POINTS_PER_MS: f64 = 0.5;", "POINTS_PER_MS: f64 = 1.5;");
    let id = designer.tested_and_pushed().await;

    let operator = designer.server.operator();
    let _ = operator.post("/hosts/register", &host("h1", "alice")).await.ok(201);
    let score = async || {
        let beaten = operator.post("/hosts/h1/heartbeat", &heartbeat()).await.ok(200);
        beaten["quality_score"].as_f64().unwrap()
    };
    let before = score().await;
    designer.shadowed().await;
    eventually("the shadow compares", async || {
        assert!((score().await - before).abs() < 1e-9, "a shadow answers nobody");
        (designer.compared().await >= 3).then_some(())
    })
    .await;
    assert_eq!(designer.decides("promote").await["active"], id);
    assert!((score().await - 70.0).abs() < 1e-9, "20 ms cost 30 points");
    assert_eq!(designer.decides("rollback").await["active"], Value::Null);
    assert!((score().await - before).abs() < 1e-9);
}

#[tokio::test]
async fn in_javascript() {
    let server = Options::default().env("RATE_LIMIT_ENABLED", "true").start();
    let designer = Designer::new("rate-limit", "javascript", server).await;
    designer.edit("src/policy.js", "API_REQUESTS = 100;", "API_REQUESTS = 4100;");
    let id = designer.tested_and_pushed().await;

    let player = designer.server.player("alice").await;
    let limit = async || player.get("/zones/").await.header("x-ratelimit-limit").to_owned();
    assert_eq!(limit().await, "100");
    designer.shadowed().await;
    eventually("the shadow compares", async || {
        assert_eq!(limit().await, "100", "a shadow answers nobody");
        (designer.compared().await >= 3).then_some(())
    })
    .await;
    assert_eq!(designer.decides("promote").await["active"], id);
    assert_eq!(limit().await, "4100");
    assert_eq!(designer.decides("rollback").await["active"], Value::Null);
    assert_eq!(limit().await, "100");
}

#[tokio::test]
async fn in_python() {
    let ai = AiService::start().await;
    let server = Options::default()
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("NPC_BROADCAST_INTERVAL", 1)
        .start();
    let designer = Designer::new("npc-transform", "python", server).await;
    designer.edit("src/policy.py", "PRIVATE = \"_\"", "PRIVATE = (\"_\", \"mood\")");
    let id = designer.tested_and_pushed().await;

    let operator = designer.server.operator();
    let made = session(&operator, "npc", "alice", &["p1"]).await;
    let mut peer = Ws::joined(&designer.server, "p1", made["session_id"].as_str().unwrap()).await;
    designer.shadowed().await;
    while designer.compared().await < 2 {
        let state = peer.wait_for("npc-state").await;
        assert_eq!(state["npcs"][0]["mood"], "gruff", "a shadow answers nobody: {state}");
    }
    assert_eq!(designer.decides("promote").await["active"], id);
    until_mood(&mut peer, None).await;
    assert_eq!(designer.decides("rollback").await["active"], Value::Null);
    until_mood(&mut peer, Some("gruff")).await;
}

/// Waits for a tick that shows this mood. A tick that was under way may come first.
async fn until_mood(peer: &mut Ws, wanted: Option<&str>) {
    for _ in 0..10 {
        let state = peer.wait_for("npc-state").await;
        if state["npcs"][0]["mood"].as_str() == wanted {
            return;
        }
    }
    panic!("ten ticks without the mood {wanted:?}");
}
