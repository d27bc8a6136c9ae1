//! Many peers at once that send each other numbered messages, come back when their node goes away, and check that none is
//! lost, doubled or out of order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::server::Server;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How long a peer tries to get a connection.
const COME_BACK: Duration = Duration::from_secs(25);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sessions (`session_id`) with their players.
    pub sessions: Vec<(String, Vec<String>)>,
    /// Messages of each peer to each other one of its session.
    pub messages: u64,
    /// Between two messages of a peer.
    pub pace: Duration,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub received: u64,
    /// Numbers that never came, by pair.
    pub lost: u64,
    /// Numbers that came again.
    pub doubled: u64,
    /// Numbers that came before a smaller one.
    pub disordered: u64,
    pub reconnects: u64,
    /// Reconnects that did not get the place back.
    pub places_lost: u64,
    /// `peer-left` that were told.
    pub departures: u64,
    /// `error` messages.
    pub errors: Vec<String>,
}

#[derive(Default)]
struct Shared {
    nodes: Mutex<Vec<String>>,
    next: AtomicU64,
    stop: AtomicBool,
    received: AtomicU64,
    report: Mutex<Report>,
}

/// Peers at work.
pub struct Swarm {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    expected: u64,
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Swarm")
    }
}

impl Swarm {
    /// Connects every peer, spread over the nodes, joins them to their sessions, and starts to send.
    pub async fn start(nodes: &[Server], plan: &Plan) -> Self {
        let shared = Arc::new(Shared::default());
        *lock(&shared.nodes) = nodes.iter().map(|node| node.address().to_owned()).collect();
        let mut ready = Vec::new();
        for (session_id, players) in &plan.sessions {
            for (place, player) in players.iter().enumerate() {
                let token = nodes[place % nodes.len()].operator().token(player).await;
                let mut peer = Member {
                    shared: Arc::clone(&shared),
                    player: player.clone(),
                    token,
                    session_id: session_id.clone(),
                    others: players.iter().filter(|other| *other != player).cloned().collect(),
                    resume: None,
                    sent: 0,
                    heard: HashMap::new(),
                };
                let socket = peer.open(nodes[place % nodes.len()].address()).await;
                let mut socket = socket.unwrap_or_else(|why| panic!("{player}: {why}"));
                peer.join(&mut socket).await;
                ready.push((peer, socket));
            }
        }
        let peers = u64::try_from(ready.len()).expect("a count");
        let per_session: u64 = plan
            .sessions
            .iter()
            .map(|(_, players)| players.len() as u64 - 1)
            .max()
            .unwrap_or(0);
        let mut tasks = JoinSet::new();
        for (peer, socket) in ready {
            tasks.spawn(peer.live(socket, plan.messages, plan.pace));
        }
        Self {
            shared,
            tasks,
            expected: peers * per_session * plan.messages,
        }
    }

    /// The nodes that peers come back to from now on.
    pub fn nodes<'a>(&self, nodes: impl Iterator<Item = &'a Server>) {
        *lock(&self.shared.nodes) = nodes.map(|node| node.address().to_owned()).collect();
    }

    /// Messages received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Messages that all peers together are to receive.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// Waits until so many messages were received.
    pub async fn reaches(&self, count: u64) {
        let end = Instant::now() + Duration::from_secs(240);
        while self.received() < count {
            assert!(
                Instant::now() < end,
                "{} of {count} messages: {:?}",
                self.received(),
                self.so_far()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn so_far(&self) -> Report {
        lock(&self.shared.report).clone()
    }

    /// Waits until nothing more comes for `quiet`, ends all peers, and tells what happened.
    pub async fn finish(mut self, quiet: Duration) -> Report {
        let mut last = (self.received(), Instant::now());
        while self.received() < self.expected && last.1.elapsed() < quiet {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.received() != last.0 {
                last = (self.received(), Instant::now());
            }
        }
        // One that comes twice would come now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a peer ends in good order");
        }
        let mut report = self.so_far();
        report.received = self.received();
        report.lost = self.expected.saturating_sub(report.received);
        report
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Member {
    shared: Arc<Shared>,
    player: String,
    token: String,
    session_id: String,
    others: Vec<String>,
    resume: Option<String>,
    sent: u64,
    /// The last number of each sender.
    heard: HashMap<String, u64>,
}

impl Member {
    async fn open(&self, address: &str) -> Result<Socket, String> {
        let resume = self
            .resume
            .as_ref()
            .map_or_else(String::new, |token| format!("&resume_token={token}"));
        let (player, token) = (&self.player, &self.token);
        let url = format!("ws://{address}/api/v1/signaling/ws?peer_id={player}&resumable=true&token={token}{resume}");
        match tokio::time::timeout(Duration::from_secs(5), tokio_tungstenite::connect_async(url)).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    async fn join(&mut self, socket: &mut Socket) {
        let join = json!({ "type": "join", "session_id": self.session_id }).to_string();
        socket
            .send(Message::text(join))
            .await
            .expect("the socket takes a message");
        while self.resume.is_none() {
            match tokio::time::timeout(Duration::from_secs(20), socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => self.hear(&text),
                Ok(Some(Ok(_))) => {}
                other => panic!("{}: no answer to the join: {other:?}", self.player),
            }
        }
    }

    /// A connection to some node, with the place that was left.
    async fn come_back(&mut self) -> Option<Socket> {
        let end = Instant::now() + COME_BACK;
        lock(&self.shared.report).reconnects += 1;
        while Instant::now() < end && !self.stopped() {
            let address = {
                let nodes = lock(&self.shared.nodes);
                let next = self.shared.next.fetch_add(1, Ordering::Relaxed);
                let next = usize::try_from(next).unwrap_or_default();
                nodes.get(next % nodes.len().max(1)).cloned()
            };
            if let Some(address) = address
                && let Ok(socket) = self.open(&address).await
            {
                return Some(socket);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    async fn live(mut self, mut socket: Socket, messages: u64, pace: Duration) {
        let total = messages * self.others.len() as u64;
        let mut ticker = tokio::time::interval(pace);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closing = false;
        while !self.stopped() {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.hear(&text),
                    Some(Ok(Message::Close(_))) => closing = true,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => match self.come_back().await {
                        Some(next) => (socket, closing) = (next, false),
                        None => return,
                    },
                },
                _ = ticker.tick() => {
                    if !closing && self.sent < total && self.say(&mut socket).await {
                        self.sent += 1;
                    }
                }
            }
        }
    }

    /// Sends the next message; false when the socket did not take it.
    async fn say(&self, socket: &mut Socket) -> bool {
        let count = self.others.len() as u64;
        let (to, number) = (&self.others[(self.sent % count) as usize], self.sent / count + 1);
        let message = json!({ "type": "ice-candidate", "to": to, "candidate": number.to_string() });
        socket.send(Message::text(message.to_string())).await.is_ok()
    }

    fn hear(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let mut report = lock(&self.shared.report);
        match message["type"].as_str().unwrap_or_default() {
            "ice-candidate" => {
                self.shared.received.fetch_add(1, Ordering::Relaxed);
                let from = message["from"].as_str().unwrap_or_default().to_owned();
                let number: u64 = message["candidate"]
                    .as_str()
                    .and_then(|n| n.parse().ok())
                    .expect("a number");
                let last = self.heard.entry(from).or_default();
                if number > *last + 1 {
                    // Those between are lost unless they come later, and then they are out of order.
                    report.disordered += 1;
                } else if number <= *last {
                    report.doubled += 1;
                }
                *last = number.max(*last);
            }
            "session-joined" => {
                self.resume = message["resume_token"].as_str().map(str::to_owned);
            }
            "peer-left" => report.departures += 1,
            "error" => {
                if message["code"] == "resume_expired" {
                    report.places_lost += 1;
                }
                report.errors.push(text.to_owned());
            }
            _ => {}
        }
    }
}
