//! What the decision log costs: requests with every decision kept, kept and written, and no log at all, in turn.

use std::rc::Rc;

use crate::Plan;
use crate::fleet::{Kind, Server};
use crate::report::{middle, word};
use crate::workloads;

/// Share of the throughput without a log that must be left with it.
const LEAST: f64 = 0.95;
const CONNECTIONS: usize = 16;

/// Runs the workload and prints its tables.
pub async fn run(plan: &Plan) -> anyhow::Result<()> {
    for workload in ["heartbeats", "best"] {
        let modes = ["no log", "every decision kept", "kept and written"];
        let mut rates = modes.map(|_| Vec::new());
        for _ in 0..plan.rounds {
            for (mode, rates) in rates.iter_mut().enumerate() {
                let data = Rc::new(tempfile::tempdir()?);
                let mut settings = vec![
                    ("DECISION_LOG_SIZE", if mode == 0 { "0" } else { "2000" }.to_owned()),
                    ("DECISION_LOG_SAMPLE", "1".to_owned()),
                ];
                if mode == 2 {
                    let file = data.path().join("decisions.jsonl");
                    settings.push(("DECISION_LOG_FILE", file.display().to_string()));
                }
                let server = Server::start_with(Kind::Coordinator, plan, data, &settings).await?;
                let figures = match workload {
                    "heartbeats" => workloads::heartbeats(&server, CONNECTIONS, plan.seconds).await?,
                    _ => workloads::best(&server, CONNECTIONS, 1000, plan.seconds).await?,
                };
                rates.push(figures.0);
            }
        }
        println!(
            "\ndecision log, {workload}, {CONNECTIONS} connections, requests/s, median of {} rounds",
            plan.rounds
        );
        let [without, ..] = &rates;
        let ratios = |rates: &[f64]| {
            middle(
                rates
                    .iter()
                    .zip(without)
                    .map(|(with, without)| with / without)
                    .collect(),
            )
        };
        for (mode, rates) in modes.iter().zip(&rates) {
            let ratio = ratios(rates);
            println!("  {mode:<28} {:>12.0} {ratio:>10.3}", middle(rates.clone()));
            if *mode == "every decision kept" {
                println!(
                    "  must be: at least {LEAST:.2} of it without a log: {}",
                    word(ratio >= LEAST)
                );
            }
        }
    }
    Ok(())
}
