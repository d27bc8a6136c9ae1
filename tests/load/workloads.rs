//! The workloads. Each returns a rate per second and the 99th percentile of its delay in milliseconds.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::client::{Wire, request, text_frame};
use crate::fleet::{API_KEY, Kind, Server, host};
use crate::matchbox;
use crate::report::Delays;

/// Before measuring: connections, caches and buffers are warm.
const WARM_UP: Duration = Duration::from_millis(500);
/// Rounds of the fan-out that are under way at a time.
const ROUNDS_UNDER_WAY: usize = 4;

/// What the tasks of a workload count together.
#[derive(Clone)]
struct Tally {
    count: Rc<RefCell<(u64, Delays)>>,
    from: Instant,
    until: Instant,
}

impl Tally {
    fn new(length: Duration) -> Self {
        let from = Instant::now() + WARM_UP;
        Self {
            count: Rc::new(RefCell::new((0, Delays::new()))),
            from,
            until: from + length,
        }
    }

    /// Counts what began at `sent` and is done; false when the time is over.
    fn done(&self, sent: Instant) -> bool {
        let now = Instant::now();
        if now >= self.from && now < self.until {
            let mut count = self.count.borrow_mut();
            count.0 += 1;
            count.1.record(now - sent);
        }
        now < self.until
    }

    fn figures(&self) -> (f64, f64) {
        let count = self.count.borrow();
        (
            count.0 as f64 / (self.until - self.from).as_secs_f64(),
            count.1.quantile(0.99),
        )
    }
}

async fn finish(mut tasks: JoinSet<anyhow::Result<()>>, tally: &Tally) -> anyhow::Result<(f64, f64)> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(tally.figures())
}

/// How a relayed offer begins.
const OFFER: &str = "{\"type\":\"offer\"";

/// An offer of 1 KiB to this peer, as a frame.
pub fn offer(to: &str) -> Vec<u8> {
    let sdp = sdp();
    text_frame(&format!("{{\"type\":\"offer\",\"to\":\"{to}\",\"sdp\":\"{sdp}\"}}"))
}

/// The payload of 1 KiB.
pub fn sdp() -> String {
    "v=0 o=- 46 ".repeat(94)
}

async fn peers(server: &Server, count: usize) -> anyhow::Result<(Vec<String>, Vec<Wire>)> {
    let names: Vec<String> = (0..count).map(|number| format!("player-{number}")).collect();
    let session = server.session(&names).await?;
    let mut wires = Vec::with_capacity(count);
    for name in &names {
        wires.push(server.peer(name, &session).await?);
    }
    Ok((names, wires))
}

/// Pairs that play ping-pong with offers; one-way delay.
pub async fn relay(server: &Server, pairs: usize, length: Duration) -> anyhow::Result<(f64, f64)> {
    let matchbox = server.kind == Kind::Matchbox;
    let (names, wires) = if matchbox {
        matchbox::peers(server, 2 * pairs).await?
    } else {
        peers(server, 2 * pairs).await?
    };
    let (frame, head): (fn(&str) -> Vec<u8>, _) = if matchbox {
        (matchbox::signal, matchbox::SIGNAL)
    } else {
        (offer, OFFER)
    };
    let mut wires = VecDeque::from(wires);
    let tally = Tally::new(length);
    let mut tasks = JoinSet::new();
    for pair in names.chunks_exact(2) {
        let (Some(mut a), Some(mut b)) = (wires.pop_front(), wires.pop_front()) else {
            break;
        };
        let (to_a, to_b) = (frame(&pair[0]), frame(&pair[1]));
        let tally = tally.clone();
        tasks.spawn_local(async move {
            loop {
                let sent = Instant::now();
                a.send(&to_b).await?;
                b.frame_with(head).await?;
                if !tally.done(sent) {
                    return Ok(());
                }
                let sent = Instant::now();
                b.send(&to_a).await?;
                a.frame_with(head).await?;
                if !tally.done(sent) {
                    return Ok(());
                }
            }
        });
    }
    finish(tasks, &tally).await
}

/// Pairs that play ping-pong, each with what either sends: a rate, and the median and the 99th percentile of the way.
pub async fn play(pairs: Vec<(Wire, Wire, Vec<u8>, Vec<u8>)>, length: Duration) -> anyhow::Result<[f64; 3]> {
    let tally = Tally::new(length);
    let mut tasks = JoinSet::new();
    for (mut a, mut b, to_a, to_b) in pairs {
        let tally = tally.clone();
        tasks.spawn_local(async move {
            for turn in 0_u64.. {
                let (from, to, frame) = match turn % 2 {
                    0 => (&mut a, &mut b, &to_b),
                    _ => (&mut b, &mut a, &to_a),
                };
                let sent = Instant::now();
                from.send(frame).await?;
                to.frame_of("offer").await?;
                if !tally.done(sent) {
                    break;
                }
            }
            Ok(())
        });
    }
    let (rate, p99) = finish(tasks, &tally).await?;
    let median = tally.count.borrow().1.quantile(0.5);
    Ok([rate, median, p99])
}

/// One sender, a message to each of many peers, round after round; delay of a delivery.
pub async fn fan_out(server: &Server, receivers: usize, length: Duration) -> anyhow::Result<(f64, f64)> {
    let (names, wires) = peers(server, receivers + 1).await?;
    let mut wires = VecDeque::from(wires);
    let Some(mut sender) = wires.pop_front() else {
        return Ok((0.0, 0.0));
    };
    let round: Vec<u8> = names[1..].iter().flat_map(|name| offer(name)).collect();
    let tally = Tally::new(length);
    let mut under_way = VecDeque::new();
    for _ in 0..ROUNDS_UNDER_WAY {
        under_way.push_back(Instant::now());
        sender.send(&round).await?;
    }
    while let Some(sent) = under_way.pop_front() {
        let mut more = true;
        for wire in &mut wires {
            wire.frame_with(OFFER).await?;
            more &= tally.done(sent);
        }
        if more {
            under_way.push_back(Instant::now());
            sender.send(&round).await?;
        }
    }
    Ok(tally.figures())
}

/// The same request again and again on each connection.
async fn requests(server: &Server, requests: Vec<Vec<u8>>, length: Duration) -> anyhow::Result<(f64, f64)> {
    let tally = Tally::new(length);
    let mut tasks = JoinSet::new();
    for bytes in requests {
        let mut wire = Wire::connect(server.port).await?;
        let tally = tally.clone();
        tasks.spawn_local(async move {
            loop {
                let sent = Instant::now();
                wire.send(&bytes).await?;
                let (status, body) = wire.http_answer().await?;
                ensure!(status == 200, "answered {status}: {}", String::from_utf8_lossy(&body));
                if !tally.done(sent) {
                    return Ok(());
                }
            }
        });
    }
    finish(tasks, &tally).await
}

async fn register(server: &Server, count: usize) -> anyhow::Result<()> {
    if server.kind.is_coordinator() {
        for number in 0..count {
            server
                .must("/api/v1/hosts/register", host(&format!("host-{number}"), 50))
                .await?;
        }
    }
    Ok(())
}

/// Heartbeats of as many hosts as connections.
pub async fn heartbeats(server: &Server, connections: usize, length: Duration) -> anyhow::Result<(f64, f64)> {
    register(server, connections).await?;
    let body = "{\"latency_ms\":21.5,\"packet_loss_percent\":0.25,\"bandwidth_usage_mbps\":12.5,\"current_players\":7,\"current_zones\":1}";
    let beat = |number| request("POST", &format!("/api/v1/hosts/host-{number}/heartbeat"), API_KEY, body);
    requests(server, (0..connections).map(beat).collect(), length).await
}

/// The best of many hosts.
pub async fn best(server: &Server, connections: usize, hosts: usize, length: Duration) -> anyhow::Result<(f64, f64)> {
    register(server, hosts).await?;
    let ask = request("GET", "/api/v1/hosts/available/best", API_KEY, "");
    requests(server, vec![ask; connections], length).await
}

/// Bytes of resident memory that one idle connection adds.
pub async fn idle(server: &Server, connections: usize) -> anyhow::Result<f64> {
    // A first one warms what is made once.
    let mut wires = vec![server.peer("player-first", "").await?];
    let before = settled(server).await?;
    for number in 0..connections {
        wires.push(server.peer(&format!("player-{number}"), "").await?);
    }
    let after = settled(server).await?;
    Ok((after - before) / connections as f64)
}

/// Resident memory once it stays the same for a while; at most 10 s.
async fn settled(server: &Server) -> anyhow::Result<f64> {
    let mut last = server.resident()?;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = server.resident()?;
        if (now - last).abs() < 65_536.0 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
