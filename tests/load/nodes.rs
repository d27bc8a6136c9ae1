//! Several nodes as one: pairs at one node against pairs across two nodes, and heartbeats on PostgreSQL. PostgreSQL and Redis
//! are started for it, on the load's core; both nodes run on core 0.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use p2p_coordinator_tests::postgres::{Database, Postgres};
use p2p_coordinator_tests::redis::Redis;
use serde_json::json;

use crate::Plan;
use crate::client::Wire;
use crate::fleet::{Kind, Server, host};
use crate::report::{Table, middle, word};
use crate::workloads::{self, offer};

/// Pairs that play at a time.
const PAIRS: [usize; 3] = [1, 16, 64];
/// Hosts, each with a connection that sends heartbeats.
const HOSTS: usize = 16;
/// The least share of the bare handler's heartbeats.
const LEAST: f64 = 0.5;
/// Heartbeats for each transaction, at least: they are gathered before they are written.
const GATHERED: f64 = 100.0;
/// For the last heartbeats to be in the database.
const WRITTEN: Duration = Duration::from_secs(20);

/// What the nodes share.
struct Shared {
    redis: Redis,
    database: Database,
    _postgres: Postgres,
}

impl Shared {
    fn start() -> Self {
        let postgres = Postgres::start();
        Self {
            redis: Redis::start(),
            database: postgres.database(),
            _postgres: postgres,
        }
    }

    async fn node(&self, plan: &Plan, redis: bool) -> anyhow::Result<Server> {
        let mut settings = vec![("DATABASE_URL", self.database.url().to_owned())];
        if redis {
            settings.push(("REDIS_URL", self.redis.url()));
        }
        Server::start_with(Kind::Coordinator, plan, Rc::new(tempfile::tempdir()?), &settings).await
    }

    /// Transactions so far that have written something.
    fn transactions(&self) -> anyhow::Result<f64> {
        Ok(self.database.sql("SELECT pg_current_xact_id()").trim().parse()?)
    }

    /// Waits until every host's heartbeat is in the database.
    async fn until_written(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let written = self.database.sql("SELECT count(*) FROM hosts WHERE latency_ms = 21.5");
            if written.trim() == HOSTS.to_string() {
                return Ok(());
            }
            ensure!(
                began.elapsed() < WRITTEN,
                "{written} of {HOSTS} heartbeats are in the database"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Pairs at one node and pairs across two, in turn on the same two nodes.
pub async fn relay(plan: &Plan) -> anyhow::Result<()> {
    let shared = Shared::start();
    let (one, two) = (shared.node(plan, true).await?, shared.node(plan, true).await?);
    let zone = json!({"zone_id": "load", "zone_name": "load", "zone_display_name": "Load", "map_name": "load",
        "max_players": 1000, "recommended_players": 100});
    one.must("/api/v1/zones/", zone).await?;
    one.must("/api/v1/hosts/register", host("load", 1000)).await?;
    for pairs in PAIRS {
        let (mut same, mut across) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds {
            same.push(play(&one, &one, pairs, plan.seconds).await?);
            across.push(play(&one, &two, pairs, plan.seconds).await?);
        }
        println!("\nrelay, {pairs} pairs, 1 KiB, two nodes, one-way ms");
        println!("  {:<28} {:>12} {:>10} {:>10}", "", "messages/s", "p50", "p99");
        for (name, rounds) in [("at the same node", &same), ("across nodes", &across)] {
            let column = |at: usize| middle(rounds.iter().map(|figures| figures[at]).collect());
            println!(
                "  {name:<28} {:>12.0} {:>10.3} {:>10.3}",
                column(0),
                column(1),
                column(2)
            );
        }
    }
    Ok(())
}

/// One measurement: messages per second, and the median and the 99th percentile of the way from one peer to the other.
async fn play(one: &Server, other: &Server, pairs: usize, length: Duration) -> anyhow::Result<[f64; 3]> {
    let names: Vec<String> = (0..2 * pairs).map(|number| format!("player-{number}")).collect();
    let session = json!({"zone_id": "load", "host_id": "load", "player_ids": names});
    let session = one.must("/api/v1/sessions/", session).await?;
    let session = session["session_id"].as_str().context("no session_id")?;
    let mut wires: Vec<(Wire, Wire, Vec<u8>, Vec<u8>)> = Vec::with_capacity(pairs);
    for pair in names.chunks_exact(2) {
        let a = one.peer(&pair[0], session).await?;
        let b = other.peer(&pair[1], session).await?;
        wires.push((a, b, offer(&pair[0]), offer(&pair[1])));
    }
    let figures = workloads::play(wires, length).await?;
    one.must(&format!("/api/v1/sessions/{session}/end?reason=over"), json!({}))
        .await?;
    Ok(figures)
}

/// Heartbeats on PostgreSQL against the bare handler, and how many of them a transaction carries. With Redis beside it the
/// limits are counted there, and other nodes are told.
pub async fn heartbeats(plan: &Plan) -> anyhow::Result<()> {
    let mut table = Table::new("heartbeats, 16 connections, acknowledged/s", "p99 ms");
    let (mut beats, mut transactions) = (0.0, 0.0);
    for _ in 0..plan.rounds {
        let shared = Shared::start();
        let node = shared.node(plan, false).await?;
        let before = shared.transactions()?;
        let figures = workloads::heartbeats(&node, HOSTS, plan.seconds).await?;
        table.add("coordinator, PostgreSQL", figures);
        beats += figures.0 * plan.seconds.as_secs_f64();
        shared.until_written().await?;
        transactions += shared.transactions()? - before;
        drop(node);
        let shared = Shared::start();
        let node = shared.node(plan, true).await?;
        let figures = workloads::heartbeats(&node, HOSTS, plan.seconds).await?;
        table.add("the same with Redis", figures);
        drop(node);
        let bare = Server::start(Kind::Axum4, plan).await?;
        table.add(
            bare.kind.name(),
            workloads::heartbeats(&bare, HOSTS, plan.seconds).await?,
        );
    }
    table.print(LEAST, None);
    let share = beats / f64::max(transactions, 1.0);
    println!(
        "  {beats:.0} heartbeats on PostgreSQL in {transactions:.0} transactions: {share:.0} in each (at least {GATHERED:.0}: {})",
        word(share >= GATHERED)
    );
    Ok(())
}
