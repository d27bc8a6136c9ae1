//! How long a start takes until the node says that traffic may come, its policies being compiled already.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::Plan;
use crate::fleet::{Kind, Server};
use crate::report::{middle, word};

/// Starts that are measured.
const STARTS: usize = 10;
/// Milliseconds from the start of the process to the first 200.
const MOST_MS: f64 = 150.0;
/// For one start.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn run(plan: &Plan) -> anyhow::Result<()> {
    let data = Rc::new(tempfile::tempdir()?);
    // The first start fills the data folder: the database and the compiled policies.
    drop(Server::start_with(Kind::Coordinator, plan, Rc::clone(&data), &[]).await?);
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let began = Instant::now();
        let server = Server::spawn(Kind::Coordinator, plan, Rc::clone(&data), &[])?;
        while !matches!(server.call("GET", "/health/ready", "").await, Ok((200, _))) {
            ensure!(began.elapsed() < PATIENCE, "not ready after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    let slowest = took.iter().copied().fold(0.0, f64::max);
    let median = middle(took);
    println!("\nstart until ready, policies compiled already, median of {STARTS}");
    println!("  {median:.0} ms, the slowest {slowest:.0} ms");
    println!("  must be: at most {MOST_MS:.0} ms: {}", word(median <= MOST_MS));
    Ok(())
}
