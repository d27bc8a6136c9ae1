//! Policies exchanged under load: calls that use each slot at a steady rate, with and without exchanges in turn.
//!
//! Heartbeats score a host and `best` ranks hosts (`host-selection`), every request and message is limited
//! (`rate-limit`), and a double of the AI service has NPCs passed to a peer (`npc-transform`).

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Plan;
use crate::client::{Wire, request};
use crate::fleet::{API_KEY, Kind, Server, host};
use crate::report::{Delays, middle, word};
use crate::workloads::offer;

const POLICIES: [(&str, &[u8]); 3] = [
    (
        "host-selection",
        include_bytes!("../../plugins/dist/host-selection.wasm"),
    ),
    ("rate-limit", include_bytes!("../../plugins/dist/rate-limit.wasm")),
    ("npc-transform", include_bytes!("../../plugins/dist/npc-transform.wasm")),
];
/// Between two calls of one connection.
const PACE: Duration = Duration::from_millis(5);
/// Connections of each kind of call.
const CONNECTIONS: usize = 4;
/// Between two exchanges, beside the time the coordinator takes to see them.
const PAUSE: Duration = Duration::from_millis(200);
const HOSTS: usize = 100;
const NPCS: usize = 40;
/// Times the slowest call without an exchange.
const MOST: f64 = 2.0;

/// Requests and messages; NPC state, which takes a fetch from the AI service as well.
const KINDS: [&str; 2] = ["calls", "NPC states"];

/// Calls of one phase, by kind.
#[derive(Clone)]
struct Phase {
    delays: Rc<RefCell<[Delays; KINDS.len()]>>,
    until: Instant,
}

/// What the calls of a kind in one phase came to, in milliseconds.
struct Figures {
    slowest: f64,
    p999: f64,
    calls: u64,
}

type Phases = Vec<[Figures; KINDS.len()]>;

/// Runs the workload and prints its table.
pub async fn run(plan: &Plan) -> anyhow::Result<()> {
    let (folder, data) = (tempfile::tempdir()?, Rc::new(tempfile::tempdir()?));
    let settings = [
        ("PLUGIN_DIR", folder.path().display().to_string()),
        ("AI_SERVICE_ENABLED", "true".to_owned()),
        ("AI_SERVICE_URL", ai_service().await?),
        ("NPC_BROADCAST_INTERVAL", "0.05".to_owned()),
    ];
    let server = Server::start_with(Kind::Coordinator, plan, data, &settings).await?;
    for number in 0..HOSTS {
        server
            .must("/api/v1/hosts/register", host(&format!("host-{number}"), 50))
            .await?;
    }
    let players: Vec<String> = (0..2 * CONNECTIONS).map(|number| format!("player-{number}")).collect();
    let session = server.session(&players).await?;
    server
        .must(&format!("/api/v1/sessions/{session}/activate"), json!({}))
        .await?;
    let mut callers = Callers {
        npcs: Some(server.peer("owner-load", &session).await?),
        ..Callers::default()
    };
    for pair in players.chunks_exact(2) {
        let a = server.peer(&pair[0], &session).await?;
        callers
            .pairs
            .push((a, server.peer(&pair[1], &session).await?, offer(&pair[1])));
    }
    let beat = "{\"latency_ms\":21.5,\"packet_loss_percent\":0.25,\"bandwidth_usage_mbps\":12.5,\"current_players\":7,\"current_zones\":1}";
    for number in 0..CONNECTIONS {
        let target = format!("/api/v1/hosts/host-{number}/heartbeat");
        for ask in [
            request("POST", &target, API_KEY, beat),
            request("GET", "/api/v1/hosts/available/best", API_KEY, ""),
        ] {
            callers.requests.push((Wire::connect(server.port).await?, ask));
        }
    }
    // A phase that does not count warms everything.
    callers = callers.phase(Duration::from_secs(1)).await?.0;
    let before = slots(&server).await?;
    let (mut without, mut with, mut swaps) = (Vec::new(), Vec::new(), 0);
    for _ in 0..plan.rounds {
        let (back, figures) = callers.phase(plan.seconds).await?;
        without.push(figures);
        let swapping = swap_until(&server, folder.path(), Instant::now() + plan.seconds, &mut swaps);
        let (figures, swapped) = tokio::join!(back.phase(plan.seconds), swapping);
        swapped?;
        let (back, figures) = figures?;
        with.push(figures);
        callers = back;
    }
    let failed = unserved(&slots(&server).await?) - unserved(&before);
    print(&without, &with, swaps, failed);
    Ok(())
}

fn print(without: &Phases, with: &Phases, swaps: usize, failed: u64) {
    println!(
        "\nhot swap under load, {swaps} swaps, median of {} rounds, ms",
        with.len()
    );
    println!("  {:<34} {:>10} {:>10} {:>10}", "", "slowest", "p99.9", "of all");
    for (kind, name) in KINDS.iter().enumerate() {
        let row = |title: &str, rounds: &Phases| {
            let slowest = middle(rounds.iter().map(|round| round[kind].slowest).collect());
            let p999 = middle(rounds.iter().map(|round| round[kind].p999).collect());
            let of_all = rounds.iter().map(|round| round[kind].slowest).fold(0.0, f64::max);
            let calls: u64 = rounds.iter().map(|round| round[kind].calls).sum();
            let title = format!("{calls} {name} {title}");
            println!("  {title:<34} {slowest:>10.2} {p999:>10.2} {of_all:>10.2}");
            slowest
        };
        let ratio = 1.0 / row("without a swap", without) * row("with swaps", with);
        println!(
            "  slowest of the {name}: {ratio:.2} of the slowest without (at most {MOST:.2}: {})",
            word(ratio <= MOST)
        );
    }
    println!(
        "  calls that a policy did not answer: {failed} (must be 0: {})",
        word(failed == 0)
    );
}

/// The connections, each used by one task at a time.
#[derive(Default)]
struct Callers {
    requests: Vec<(Wire, Vec<u8>)>,
    /// A sender, a receiver, and the message from one to the other.
    pairs: Vec<(Wire, Wire, Vec<u8>)>,
    /// A peer that gets NPC state.
    npcs: Option<Wire>,
}

enum Caller {
    Request(Wire, Vec<u8>),
    Pair(Wire, Wire, Vec<u8>),
    Npcs(Wire),
}

impl Callers {
    /// Calls at a steady rate for so long. Any refused call is an error.
    async fn phase(self, length: Duration) -> anyhow::Result<(Self, [Figures; KINDS.len()])> {
        let phase = Phase {
            delays: Rc::new(RefCell::new(KINDS.map(|_| Delays::new()))),
            until: Instant::now() + length,
        };
        let mut tasks = JoinSet::new();
        let callers = (self.requests.into_iter().map(|(wire, ask)| Caller::Request(wire, ask)))
            .chain(self.pairs.into_iter().map(|(a, b, frame)| Caller::Pair(a, b, frame)))
            .chain(self.npcs.map(Caller::Npcs));
        for caller in callers {
            tasks.spawn_local(caller.call(phase.clone()));
        }
        let mut back = Self::default();
        while let Some(caller) = tasks.join_next().await {
            match caller?? {
                Caller::Request(wire, ask) => back.requests.push((wire, ask)),
                Caller::Pair(a, b, frame) => back.pairs.push((a, b, frame)),
                Caller::Npcs(wire) => back.npcs = Some(wire),
            }
        }
        let delays = phase.delays.borrow();
        let figures = [0, 1].map(|kind: usize| Figures {
            slowest: delays[kind].quantile(1.0),
            p999: delays[kind].quantile(0.999),
            calls: delays[kind].count(),
        });
        Ok((back, figures))
    }
}

impl Caller {
    async fn call(mut self, phase: Phase) -> anyhow::Result<Self> {
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let began = Instant::now();
        loop {
            let (kind, sent) = match &mut self {
                Self::Request(wire, ask) => {
                    pace.tick().await;
                    let sent = Instant::now();
                    wire.send(ask).await?;
                    let (status, body) = wire.http_answer().await?;
                    ensure!(status == 200, "answered {status}: {}", String::from_utf8_lossy(&body));
                    (0, sent)
                }
                Self::Pair(a, b, frame) => {
                    pace.tick().await;
                    let sent = Instant::now();
                    a.send(frame).await?;
                    b.frame_of("offer").await?;
                    (0, sent)
                }
                Self::Npcs(wire) => loop {
                    wire.frame_of("npc-state").await?;
                    // What came between two phases waited for its reader, not for a policy.
                    if let Some(answered) = ANSWERED.take().filter(|answered| *answered > began) {
                        break (1, answered);
                    }
                },
            };
            phase.delays.borrow_mut()[kind].record(sent.elapsed());
            if Instant::now() >= phase.until {
                return Ok(self);
            }
        }
    }
}

thread_local! {
    /// When the AI service's double last answered.
    static ANSWERED: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) };
}

/// Starts a double of the AI service; its address.
async fn ai_service() -> anyhow::Result<String> {
    let npc = |number: usize| {
        json!({"npc_id": format!("npc-{number}"), "position": {"x": number, "y": 2.5}, "mood": "gruff",
            "dialogue_state": "greeting", "plan": ["patrol"], "internal": ["plan"]})
    };
    let npcs = Value::from((0..NPCS).map(npc).collect::<Vec<_>>());
    let answer = move || {
        ANSWERED.set(Some(Instant::now()));
        std::future::ready(Json(npcs))
    };
    let router = Router::new().route("/api/world/zones/{zone_id}/npcs", get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}

/// Exchanges one policy after another for one of another digest, which has to be compiled.
async fn swap_until(server: &Server, folder: &Path, until: Instant, swaps: &mut usize) -> anyhow::Result<()> {
    while Instant::now() < until {
        let (slot, bundled) = POLICIES[*swaps % POLICIES.len()];
        *swaps += 1;
        // A custom section that nobody reads.
        let section = format!("\u{7}variant{:06}", *swaps);
        let mut bytes = bundled.to_vec();
        bytes.extend([0, u8::try_from(section.len())?]);
        bytes.extend(section.as_bytes());
        let partial = folder.join("partial");
        std::fs::write(&partial, bytes)?;
        std::fs::rename(&partial, folder.join(format!("{slot}.wasm")))?;
        let wanted = *swaps as u64;
        while slots(server)
            .await?
            .iter()
            .map(|slot| number(slot, "swaps"))
            .sum::<u64>()
            < wanted
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// The report of each slot.
async fn slots(server: &Server) -> anyhow::Result<Vec<Value>> {
    let (status, body) = server.call("GET", "/api/v1/plugins", "").await?;
    ensure!(status == 200, "the report of the policies answered {status}");
    let mut report: Value = serde_json::from_slice(&body)?;
    let slots = report["slots"].as_array_mut().context("no slots")?;
    Ok(std::mem::take(slots))
}

fn number(slot: &Value, member: &str) -> u64 {
    slot[member].as_u64().unwrap_or_default()
}

/// Calls that failed, or that the native default answered.
fn unserved(slots: &[Value]) -> u64 {
    let failed = |slot: &Value| -> u64 {
        let kinds = slot["failures"].as_object();
        kinds.map_or(0, |kinds| kinds.values().filter_map(Value::as_u64).sum())
    };
    slots
        .iter()
        .map(|slot| failed(slot).max(number(slot, "fallbacks")))
        .sum()
}
