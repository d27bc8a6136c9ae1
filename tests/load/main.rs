//! Load program: measures this coordinator against bare servers of its own, in one run, and prints the ratios.
//!
//! Servers run on core 0, the load on core 1. See `docs/performance.md` for how to run it and what the figures mean.

mod bare;
mod client;
mod decisions;
mod fleet;
mod host_loss;
mod matchbox;
mod nodes;
mod report;
mod rollback;
mod start;
mod swap;
mod workloads;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::fleet::{Kind, Server};
use crate::matchbox::MATCHBOX;
use crate::report::Table;

/// Everything that can be measured, in the order of the output.
const WORKLOADS: [&str; 12] = [
    "relay",
    "fan-out",
    "policy",
    "heartbeats",
    "best",
    "idle",
    "swap",
    "rollback",
    "decisions",
    "start",
    "host-loss",
    "fleet",
];
const USAGE: &str = "usage: load [all|relay|fan-out|policy|heartbeats|best|idle|swap|rollback|decisions|start|host-loss|fleet]... \
                     [--storage sqlite|postgres] [--seconds N] [--rounds N] [--connections N] [--pairs N] [--server FILE] [--matchbox FILE]";
/// Set in the child that runs on its own core with as many open files as are allowed.
const PINNED: &str = "LOAD_PINNED";

/// What to measure, and how long.
pub struct Plan {
    workloads: Vec<String>,
    /// Of each measurement.
    pub seconds: Duration,
    /// Times the servers take turns.
    pub rounds: usize,
    /// Idle connections.
    pub connections: usize,
    /// Pairs that play ping-pong, one measurement for each number.
    pairs: Vec<usize>,
    /// The coordinator's release binary.
    pub server: String,
    /// The binary of `matchbox_server`, to be measured beside the bare relays.
    pub matchbox: Option<String>,
    /// Heartbeats are kept in PostgreSQL rather than SQLite.
    postgres: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first.starts_with("bare-")) {
        return bare::run(&arguments);
    }
    if std::env::var_os(PINNED).is_none() {
        return run_pinned(&arguments);
    }
    let plan = Plan::read(&arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, measure(&plan))
}

/// Runs this program again on core 1, with the hard limit of open files.
fn run_pinned(arguments: &[String]) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let pin = if cores > 1 { "taskset -c 1" } else { "" };
    if cores < 2 {
        eprintln!("one core only: servers and load share it, figures mean little");
    }
    let script = format!("ulimit -n \"$(ulimit -Hn)\" 2>/dev/null; exec {pin} \"$@\"");
    let status = Command::new("sh")
        .args(["-c", &script, "load"])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .env(PINNED, cores.to_string())
        .status()
        .context("sh and taskset are needed")?;
    if !status.success() {
        bail!("the load ended with {status}");
    }
    Ok(())
}

impl Plan {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut plan = Self {
            workloads: Vec::new(),
            seconds: Duration::from_secs(4),
            rounds: 3,
            connections: 10_000,
            pairs: vec![64, 256],
            server: default_server()?,
            matchbox: None,
            postgres: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value\n{USAGE}"))
            };
            match argument.as_str() {
                "--seconds" => plan.seconds = Duration::from_secs(value()?.parse::<u64>()?.clamp(1, 600)),
                "--rounds" => plan.rounds = value()?.parse::<usize>()?.clamp(1, 100),
                "--connections" => plan.connections = value()?.parse::<usize>()?.clamp(1, 25_000),
                "--storage" => {
                    plan.postgres = match value()?.as_str() {
                        "postgres" => true,
                        "sqlite" => false,
                        _ => bail!("--storage is sqlite or postgres\n{USAGE}"),
                    };
                }
                "--pairs" => plan.pairs = vec![value()?.parse::<usize>()?.clamp(1, 10_000)],
                "--server" => plan.server.clone_from(value()?),
                "--matchbox" => plan.matchbox = Some(value()?.clone()),
                workload if workload == "all" || WORKLOADS.contains(&workload) => {
                    plan.workloads.push(argument.clone());
                }
                _ => bail!("{argument} is not understood\n{USAGE}"),
            }
        }
        if plan.workloads.is_empty() {
            plan.workloads.push("all".to_owned());
        }
        Ok(plan)
    }

    fn wants(&self, workload: &str) -> bool {
        self.workloads
            .iter()
            .any(|wanted| wanted == workload || wanted == "all")
    }
}

/// The coordinator beside this program.
fn default_server() -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("this program lies in no folder")?;
    Ok(folder.join("p2p-coordinator").display().to_string())
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let relays = [Kind::Coordinator, Kind::Axum4, Kind::Axum128, Kind::FastWebSockets];
    if plan.wants("relay") {
        let mut kinds = relays.to_vec();
        kinds.extend(plan.matchbox.is_some().then_some(Kind::Matchbox));
        for &pairs in &plan.pairs {
            let mut table = Table::new(&format!("relay, {pairs} pairs, 1 KiB, messages/s"), "p99 ms");
            rounds(plan, &kinds, &mut table, async |server| {
                workloads::relay(server, pairs, plan.seconds).await
            })
            .await?;
            table.print(0.80, Some(1.3));
            table.print_multiple(MATCHBOX, 2.0);
        }
    }
    if plan.wants("fan-out") {
        let mut table = Table::new("one sender to 50 peers, 1 KiB, deliveries/s", "p99 ms");
        rounds(plan, &relays, &mut table, async |server| {
            workloads::fan_out(server, 50, plan.seconds).await
        })
        .await?;
        table.print(0.80, None);
    }
    if plan.wants("policy") {
        let pairs = plan.pairs.first().copied().unwrap_or(64);
        let kinds = [Kind::Coordinator, Kind::Native];
        let mut table = Table::new(
            &format!("policy's share: relay, {pairs} pairs, component against native, messages/s"),
            "p99 ms",
        );
        rounds(plan, &kinds, &mut table, async |server| {
            workloads::relay(server, pairs, plan.seconds).await
        })
        .await?;
        table.print(0.90, None);
    }
    if plan.wants("fleet") {
        nodes::relay(plan).await?;
    }
    if plan.wants("fleet") || (plan.postgres && plan.wants("heartbeats")) {
        nodes::heartbeats(plan).await?;
    }
    if plan.wants("heartbeats") && !plan.postgres {
        let kinds = [Kind::Coordinator, Kind::Axum4];
        let mut table = Table::new("heartbeats, 16 connections, acknowledged/s", "p99 ms");
        rounds(plan, &kinds, &mut table, async |server| {
            workloads::heartbeats(server, 16, plan.seconds).await
        })
        .await?;
        table.print(0.50, None);
    }
    if plan.wants("best") {
        let kinds = [Kind::Coordinator, Kind::Axum4];
        let mut table = Table::new("best host among 1,000, 16 connections, answers/s", "p99 ms");
        rounds(plan, &kinds, &mut table, async |server| {
            workloads::best(server, 16, 1000, plan.seconds).await
        })
        .await?;
        table.print(0.50, None);
    }
    if plan.wants("idle") {
        for kind in [Kind::Coordinator, Kind::Axum4, Kind::Axum128] {
            let server = Server::start(kind, plan).await?;
            let bytes = workloads::idle(&server, plan.connections).await?;
            println!(
                "idle, {} connections, {}: {:.1} KB each",
                plan.connections,
                kind.name(),
                bytes / 1000.0
            );
        }
        println!("  must be: coordinator at most 10 KB");
    }
    if plan.wants("swap") {
        swap::run(plan).await?;
    }
    if plan.wants("rollback") {
        rollback::run(plan).await?;
    }
    if plan.wants("decisions") {
        decisions::run(plan).await?;
    }
    if plan.wants("start") {
        start::run(plan).await?;
    }
    if plan.wants("host-loss") {
        host_loss::run(plan).await?;
    }
    Ok(())
}

/// Lets the servers take turns, each fresh for its turn.
async fn rounds(
    plan: &Plan,
    kinds: &[Kind],
    table: &mut Table,
    workload: impl AsyncFn(&Server) -> anyhow::Result<(f64, f64)>,
) -> anyhow::Result<()> {
    for _ in 0..plan.rounds {
        for kind in kinds {
            let server = Server::start(*kind, plan).await?;
            let figures = workload(&server)
                .await
                .with_context(|| format!("{} under load", kind.name()))?;
            table.add(kind.name(), figures);
        }
    }
    Ok(())
}
