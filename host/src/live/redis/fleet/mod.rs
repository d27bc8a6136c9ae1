//! The fleet in Redis: every step is one script (`scripts`), every node listens to a channel of its own.
//!
//! What a script publishes is in the order in which the scripts ran, so all nodes see the same story. What was published
//! while a node did not listen is gone; it announces its peers and compares its rooms when it listens again.

mod codec;
mod scripts;

use std::collections::{HashMap, HashSet};
use std::sync::Weak;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::FromRedisValue;
use tokio::sync::oneshot;

use super::connection::{Connection, Ordered};
use super::link::Script;
use super::subscription::{self, Subscription};
use crate::ports::fleet::{
    Announced, Arrival, Arrived, Connected, Departure, Dispatch, Fleet, Joined, MAILBOX_BYTES, MAILBOX_PARCELS,
    NODE_SILENCE, NodeEvents, Parcel, PeerConnection, Sent,
};
use crate::ports::live::{LiveError, Result};
use codec::{Gone, departure, number, read, typed, write, write_item};

/// How long `enter` waits until the node listens.
const LISTEN: Duration = Duration::from_secs(4);
/// How long a node must have reached the server without a gap before it takes others for dead: after a gap they all look
/// silent.
const STEADY: Duration = Duration::from_secs(11);
/// Peers of one announcing script.
const ANNOUNCE_BATCH: usize = 200;

/// See the module.
pub struct RedisFleet {
    connection: Connection,
    ordered: Ordered,
    scripts: Scripts,
    steady_since: Mutex<Option<Instant>>,
    listeners: Mutex<HashMap<String, tokio::task::AbortHandle>>,
}

struct Scripts {
    connect: Script,
    join: Script,
    leave: Script,
    disconnect: Script,
    prune: Script,
    park: Script,
    leave_behind: Script,
    dispatch: Script,
    reap: Script,
    renew: Script,
    exit: Script,
    announce: Script,
    counts: Script,
}

impl Drop for RedisFleet {
    fn drop(&mut self) {
        for (_, listener) in self.listeners.lock().drain() {
            listener.abort();
        }
    }
}

impl RedisFleet {
    /// The fleet over this connection.
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            ordered: connection.ordered(),
            connection,
            scripts: Scripts {
                connect: Script::new(scripts::CONNECT),
                join: Script::new(scripts::JOIN),
                leave: Script::new(scripts::LEAVE),
                disconnect: Script::new(scripts::DISCONNECT),
                prune: Script::new(scripts::PRUNE),
                park: Script::new(scripts::PARK),
                leave_behind: Script::new(scripts::LEAVE_BEHIND),
                dispatch: Script::new(scripts::DISPATCH),
                reap: Script::new(scripts::REAP),
                renew: Script::new(scripts::RENEW),
                exit: Script::new(scripts::EXIT),
                announce: Script::new(scripts::ANNOUNCE),
                counts: Script::new(scripts::COUNTS),
            },
            steady_since: Mutex::new(None),
            listeners: Mutex::default(),
        }
    }

    fn key(&self, kind: &str, name: &str) -> String {
        self.connection.keys().name(&["signaling", kind, name])
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec![self.connection.keys().prefix(), self.connection.publish_command()];
        all.extend_from_slice(args);
        all
    }

    async fn eval<T: FromRedisValue>(&self, script: &Script, args: &[&str]) -> Result<T> {
        let keys = [self.key("peer", "")];
        self.connection.eval(script, &keys, &self.args(args)).await
    }

    async fn renewed(&self, node: &str, enter: bool) -> Result<Option<u64>> {
        let enter = if enter { "1" } else { "0" };
        let answer: Result<Option<String>> = self.eval(&self.scripts.renew, &[node, enter]).await;
        let mut steady = self.steady_since.lock();
        match &answer {
            Ok(_) => {
                steady.get_or_insert_with(Instant::now);
            }
            Err(_) => *steady = None,
        }
        drop(steady);
        Ok(answer?.and_then(|generation| generation.parse().ok()))
    }
}

#[async_trait]
impl Fleet for RedisFleet {
    async fn enter(&self, node: &str, events: Weak<dyn NodeEvents>) -> Result<()> {
        self.renewed(node, true).await?;
        let subscription = self.connection.subscribe(self.key("events", node));
        let (listening, first) = oneshot::channel();
        let listener = tokio::spawn(listen(subscription, events, Some(listening))).abort_handle();
        if let Some(before) = self.listeners.lock().insert(node.to_owned(), listener) {
            before.abort();
        }
        match tokio::time::timeout(LISTEN, first).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(LiveError::Unavailable(anyhow::anyhow!(
                "the node's channel does not answer"
            ))),
        }
    }

    async fn exit(&self, node: &str) -> Result<()> {
        self.eval::<i64>(&self.scripts.exit, &[node]).await.map(|_| ())
    }

    async fn renew(&self, node: &str) -> Result<Option<u64>> {
        self.renewed(node, false).await
    }

    async fn announce(&self, node: &str, asof: u64, peers: &[Announced], arriving: &[String]) -> Result<Vec<String>> {
        self.renewed(node, true).await?;
        let mut members = redis::cmd("SMEMBERS");
        members.arg(self.key("node", node));
        let known: Vec<String> = self.connection.query(&members).await?;
        let named = peers.iter().map(|peer| &*peer.peer_id);
        let named: HashSet<&str> = named.chain(arriving.iter().map(String::as_str)).collect();
        let asof = asof.to_string();
        let extra: Vec<&str> = known
            .iter()
            .map(String::as_str)
            .filter(|name| !named.contains(name))
            .collect();
        for extra in extra.chunks(ANNOUNCE_BATCH) {
            let args: Vec<&str> = [node, &asof].into_iter().chain(extra.iter().copied()).collect();
            self.eval::<i64>(&self.scripts.prune, &args).await?;
        }
        let mut newer = Vec::new();
        for batch in peers.chunks(ANNOUNCE_BATCH) {
            let generations: Vec<String> = batch.iter().map(|peer| peer.generation.to_string()).collect();
            let mut args = vec![node];
            for (peer, generation) in batch.iter().zip(&generations) {
                let session_id = peer.session_id.as_deref().unwrap_or_default();
                let alone = if peer.alone { "1" } else { "0" };
                args.extend([
                    &*peer.peer_id,
                    generation,
                    &peer.identity,
                    &peer.token,
                    session_id,
                    alone,
                ]);
            }
            newer.extend(self.eval::<Vec<String>>(&self.scripts.announce, &args).await?);
        }
        Ok(newer)
    }

    async fn connect(&self, arrival: &Arrival) -> Result<Connected> {
        let ticket = arrival.ticket.to_string();
        let args = [
            &*arrival.peer_id,
            &arrival.node,
            &arrival.identity,
            &arrival.token,
            arrival.presented.as_deref().unwrap_or_default(),
            &ticket,
        ];
        let answer: Vec<redis::Value> = self.eval(&self.scripts.connect, &args).await?;
        let [generation, session_id, resumed, owed, mailbox] = <[_; 5]>::try_from(answer).unwrap_or_default();
        if generation == redis::Value::Nil {
            return Ok(Connected::InUse);
        }
        let session_id: String = typed(session_id)?;
        let mailbox: Vec<String> = typed(mailbox)?;
        Ok(Connected::Done(Arrived {
            generation: number(&typed::<String>(generation)?)?,
            session_id: Some(session_id).filter(|session_id| !session_id.is_empty()),
            resumed: typed(resumed)?,
            mailbox: mailbox.iter().filter_map(|parcel| read(parcel)).collect(),
            owed: typed(owed)?,
        }))
    }

    async fn find(&self, peer_id: &str) -> Result<Option<PeerConnection>> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.key("peer", peer_id)).arg("g").arg("n");
        let (generation, node): (Option<String>, Option<String>) = self.connection.query(&command).await?;
        let Some(generation) = generation else { return Ok(None) };
        Ok(Some(PeerConnection {
            generation: number(&generation)?,
            node: node.filter(|node| !node.is_empty()),
        }))
    }

    async fn endings(&self, session_id: &str) -> Result<u64> {
        let mut command = redis::cmd("GET");
        command.arg(self.key("endings", session_id));
        let count: Option<u64> = self.connection.query(&command).await?;
        Ok(count.unwrap_or(0))
    }

    async fn join(&self, peer_id: &str, generation: u64, session_id: &str, seen: u64) -> Result<Joined> {
        let (generation, seen) = (generation.to_string(), seen.to_string());
        let args = [peer_id, &generation, session_id, &seen];
        let mut answer: Vec<redis::Value> = self.eval(&self.scripts.join, &args).await?;
        let left = if answer.len() > 1 { answer.pop() } else { None };
        let word: String = typed(answer.pop().unwrap_or(redis::Value::Nil))?;
        Ok(match word.as_str() {
            "done" => Joined::Done {
                left: match left {
                    Some(redis::Value::Array(left)) if !left.is_empty() => {
                        let (session_id, remaining) = typed(redis::Value::Array(left))?;
                        Some(Departure {
                            session_id,
                            peer_id: peer_id.to_owned(),
                            remaining,
                            undelivered: Vec::new(),
                        })
                    }
                    _ => None,
                },
            },
            "again" => Joined::Again,
            _ => Joined::Gone,
        })
    }

    async fn leave(&self, peer_id: &str, generation: u64) -> Result<Option<Departure>> {
        let generation = generation.to_string();
        let gone: Vec<Gone> = self.eval(&self.scripts.leave, &[peer_id, &generation]).await?;
        Ok(gone.into_iter().next().map(departure))
    }

    async fn disconnect(&self, peer_id: &str, generation: u64) -> Result<Option<Departure>> {
        let generation = generation.to_string();
        let gone: Vec<Gone> = self.eval(&self.scripts.disconnect, &[peer_id, &generation]).await?;
        Ok(gone.into_iter().next().map(departure))
    }

    async fn park(&self, peer_id: &str, generation: u64, hold: Duration, mail: bool) -> Result<bool> {
        let (generation, hold) = (generation.to_string(), hold.as_millis().to_string());
        let args = [peer_id, &generation, &hold, if mail { "1" } else { "0" }];
        self.eval(&self.scripts.park, &args).await
    }

    async fn leave_behind(&self, peer_id: &str, generation: u64, parcels: Vec<Parcel>) -> Result<()> {
        let generation = generation.to_string();
        let parcels: Vec<String> = parcels.iter().map(write).collect::<Result<_>>()?;
        let args: Vec<&str> = [peer_id, &generation]
            .into_iter()
            .chain(parcels.iter().map(String::as_str))
            .collect();
        self.eval::<i64>(&self.scripts.leave_behind, &args).await.map(|_| ())
    }

    async fn dispatch(&self, node: &str, items: &[Dispatch]) -> Result<Vec<Sent>> {
        let mut args = vec![
            self.connection.keys().prefix().to_owned(),
            self.connection.publish_command().to_owned(),
            node.to_owned(),
            MAILBOX_PARCELS.to_string(),
            MAILBOX_BYTES.to_string(),
        ];
        for item in items {
            write_item(item, &mut args)?;
        }
        let keys = [self.key("peer", "")];
        let codes: Vec<u8> = self.ordered.eval(&self.scripts.dispatch, &keys, &args).await?;
        Ok(codes
            .into_iter()
            .map(|code| match code {
                0 => Sent::Done,
                1 => Sent::Here,
                2 => Sent::Queued,
                3 => Sent::NotThere,
                _ => Sent::Full,
            })
            .collect())
    }

    async fn reap(&self, limit: usize) -> Result<Vec<Departure>> {
        let steady = self.steady_since.lock().is_some_and(|since| since.elapsed() > STEADY);
        let (limit, silence) = (limit.to_string(), NODE_SILENCE.as_millis().to_string());
        let args = [&*limit, if steady { "1" } else { "0" }, &silence];
        let gone: Vec<Gone> = self.eval(&self.scripts.reap, &args).await?;
        Ok(gone.into_iter().map(departure).collect())
    }

    async fn members(&self, session_id: &str) -> Result<Vec<String>> {
        let mut command = redis::cmd("HKEYS");
        command.arg(self.key("sessions", session_id));
        self.connection.query(&command).await
    }

    async fn counts(&self) -> Result<(u64, u64)> {
        self.eval(&self.scripts.counts, &[]).await
    }
}

/// Hands the node's events on, in order, until the node is gone.
async fn listen(
    mut subscription: Subscription,
    events: Weak<dyn NodeEvents>,
    mut listening: Option<oneshot::Sender<()>>,
) {
    loop {
        let next = subscription.next().await;
        let Some(events) = events.upgrade() else { return };
        match next {
            subscription::Event::Connected => {
                events.listening();
                if let Some(listening) = listening.take() {
                    let _ = listening.send(());
                }
            }
            subscription::Event::Message(message) => match serde_json::from_slice(&message) {
                Ok(event) => events.apply(event),
                Err(error) => tracing::warn!(%error, "an event of the fleet is not understood"),
            },
            subscription::Event::Lost => tracing::debug!("events of the fleet may be missing"),
        }
    }
}
