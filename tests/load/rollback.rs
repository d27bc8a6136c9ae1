//! From the request for a rollback to the first decision by the old release. Both releases are compiled already, as the last ones
//! of a slot always are. A heartbeat's score tells which release decided.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Plan;
use crate::fleet::{Kind, Server, host};
use crate::report::{middle, word};

/// Scores hosts by what they measure.
const OLD: &[u8] = include_bytes!("../../plugins/dist/host-selection.wasm");
/// Gives every host the same score.
const NEW: &[u8] = include_bytes!("../fixtures/dist/host-selection.wasm");
const FLAT_SCORE: f64 = 42.0;
const ROLLBACKS: usize = 50;
/// Milliseconds in the middle of all rollbacks.
const MOST_MS: f64 = 10.0;
/// For one rollback.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(plan: &Plan) -> anyhow::Result<()> {
    let server = Server::start_with(Kind::Coordinator, plan, Rc::new(tempfile::tempdir()?), &[]).await?;
    server.must("/api/v1/hosts/register", host("load", 1000)).await?;
    let mut ids = Vec::new();
    for component in [OLD, NEW] {
        let body = json!({ "component": STANDARD.encode(component), "note": "" });
        let record = server.must("/api/v1/plugins/host-selection/releases", body).await?;
        ids.push(record["id"].as_str().context("no id")?.to_owned());
    }
    activate(&server, &ids[0]).await?;
    let mut took = Vec::with_capacity(ROLLBACKS);
    for _ in 0..ROLLBACKS {
        activate(&server, &ids[1]).await?;
        ensure!(is_flat(&server).await?, "the new release does not decide");
        let began = Instant::now();
        let rollback = server.must("/api/v1/plugins/host-selection/rollback", json!({}));
        let decided = async {
            while is_flat(&server).await? {
                ensure!(began.elapsed() < PATIENCE, "no rollback after {PATIENCE:?}");
            }
            anyhow::Ok(began.elapsed().as_secs_f64() * 1000.0)
        };
        let (state, decided) = tokio::try_join!(rollback, decided)?;
        ensure!(state["active"] == ids[0].as_str(), "rolled back to {}", state["active"]);
        took.push(decided);
    }
    let slowest = took.iter().copied().fold(0.0, f64::max);
    let median = middle(took);
    println!("\nrollback until the first decision by the old release, median of {ROLLBACKS}");
    println!("  {median:.1} ms, the slowest {slowest:.1} ms");
    println!("  must be: at most {MOST_MS:.0} ms: {}", word(median <= MOST_MS));
    Ok(())
}

async fn activate(server: &Server, id: &str) -> anyhow::Result<Value> {
    let wanted = json!({ "release_id": id });
    server.must("/api/v1/plugins/host-selection/activate", wanted).await
}

async fn is_flat(server: &Server) -> anyhow::Result<bool> {
    let beat = json!({"latency_ms": 21.5, "packet_loss_percent": 0.25, "bandwidth_usage_mbps": 12.5, "current_players": 7,
        "current_zones": 1});
    let beaten = server.must("/api/v1/hosts/load/heartbeat", beat).await?;
    Ok(beaten["quality_score"].as_f64() == Some(FLAT_SCORE))
}
