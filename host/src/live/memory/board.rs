//! The board of hosts: every host by name, and the available ones in order of their score.
//!
//! One lock covers both, so they always agree. It is held for a look-up and a step in an ordered set, well under a
//! microsecond; copying a host and asking the policy for its score happen outside. Readers get shared hosts, never copies.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::domain::clock::Timestamp;
use crate::domain::host::{Host, HostStatus, Measurements};
use crate::ports::live::HostBoard;
use crate::ports::storage::HeartbeatRecord;

/// How often a heartbeat starts over because the host changed under it. After that it takes the last score.
const ATTEMPTS: u32 = 4;

/// The board. Holds as many hosts as storage does.
#[derive(Default)]
pub struct Board(RwLock<Tables>);

#[derive(Default)]
struct Tables {
    hosts: HashMap<Arc<str>, Slot>,
    available: BTreeSet<Ranked>,
    /// Names of the hosts with a heartbeat that storage has not seen, oldest first, each once.
    unsaved: VecDeque<Arc<str>>,
}

struct Slot {
    host: Arc<Host>,
    /// In `unsaved`.
    unsaved: bool,
}

/// Orders by score, best first, then by `host_id`.
struct Ranked(Arc<Host>);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(&self.0, &other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

fn rank(a: &Host, b: &Host) -> Ordering {
    b.quality_score
        .total_cmp(&a.quality_score)
        .then_with(|| a.host_id.cmp(&b.host_id))
}

impl Tables {
    /// Puts `host` in the place of the host with its name, on the board and in the order, and returns what was there.
    fn replace(&mut self, host: Arc<Host>) -> Option<Arc<Host>> {
        let before = match self.hosts.get_mut(&*host.host_id) {
            Some(slot) => Some(std::mem::replace(&mut slot.host, host.clone())),
            None => {
                self.hosts.insert(
                    host.host_id.as_str().into(),
                    Slot {
                        host: host.clone(),
                        unsaved: false,
                    },
                );
                None
            }
        };
        if let Some(before) = before.as_ref().filter(|before| before.is_available()) {
            if host.is_available() && rank(before, &host) == Ordering::Equal {
                self.available.replace(Ranked(host));
                return Some(before.clone());
            }
            self.available.remove(&Ranked(before.clone()));
        }
        if host.is_available() {
            self.available.insert(Ranked(host));
        }
        before
    }

    fn queue(&mut self, host_id: &str) {
        let Some((name, slot)) = self.hosts.get_key_value(host_id) else {
            return;
        };
        if slot.unsaved {
            return;
        }
        let name = name.clone();
        if let Some(slot) = self.hosts.get_mut(host_id) {
            slot.unsaved = true;
        }
        self.unsaved.push_back(name);
    }
}

/// The copy from storage, with the heartbeat on the board where that is newer.
fn merged(mut host: Host, slot: &Slot) -> Host {
    let board = &slot.host;
    let ahead =
        board.last_heartbeat > host.last_heartbeat || (slot.unsaved && board.last_heartbeat == host.last_heartbeat);
    if let Some(at) = board.last_heartbeat.filter(|_| ahead) {
        // What was decided about the host after that heartbeat stands.
        let (status, updated_at) = (host.status, host.updated_at);
        host.apply(&measured(board), at);
        host.quality_score = board.quality_score;
        if at < updated_at {
            (host.status, host.updated_at) = (status, updated_at);
        }
    }
    host
}

fn measured(host: &Host) -> Measurements {
    Measurements {
        latency_ms: host.latency_ms,
        packet_loss_percent: host.packet_loss_percent,
        bandwidth_usage_mbps: host.bandwidth_usage_mbps,
        current_players: host.current_players,
        current_zones: host.current_zones,
    }
}

impl Board {
    /// Takes over a heartbeat that another node accepted, unless the board has a newer one. That node stores it. False when the
    /// host is unknown.
    pub fn heard(&self, record: &HeartbeatRecord) -> bool {
        let mut tables = self.0.write();
        let Some(slot) = tables.hosts.get(&*record.host_id) else {
            return false;
        };
        if slot.host.last_heartbeat < Some(record.at) {
            let mut host = Host::clone(&slot.host);
            let decided = (host.status, host.updated_at);
            host.apply(&record.measured, record.at);
            host.quality_score = record.quality_score;
            if record.at < decided.1 {
                (host.status, host.updated_at) = decided;
            }
            tables.replace(Arc::new(host));
        }
        true
    }
}

impl HostBoard for Board {
    fn put(&self, host: Host) {
        let mut tables = self.0.write();
        let host = match tables.hosts.get(&*host.host_id) {
            // A host that was deleted and registered again has a higher number and starts a new count of revisions.
            Some(slot) if (slot.host.id, slot.host.revision) > (host.id, host.revision) => return,
            Some(slot) => merged(host, slot),
            None => host,
        };
        tables.replace(Arc::new(host));
    }

    fn beat(
        &self,
        host_id: &str,
        measured: &Measurements,
        now: Timestamp,
        score: &dyn Fn(&Host) -> f64,
    ) -> Option<Arc<Host>> {
        let mut base = self.get(host_id)?;
        for attempt in 1.. {
            let mut host = Host::clone(&base);
            host.apply(measured, now);
            let score = score(&host);
            if score.is_finite() {
                host.quality_score = score.clamp(0.0, 100.0);
            }
            let mut tables = self.0.write();
            let current = tables.hosts.get(host_id)?.host.clone();
            if !Arc::ptr_eq(&current, &base) {
                if attempt < ATTEMPTS {
                    drop(tables);
                    base = current;
                    continue;
                }
                let score = host.quality_score;
                host = Host::clone(&current);
                host.apply(measured, now);
                host.quality_score = score;
            }
            let host = Arc::new(host);
            // Freed after the lock.
            let before = tables.replace(host.clone());
            tables.queue(host_id);
            drop(tables);
            drop(before);
            return Some(host);
        }
        None
    }

    fn set_status(&self, host_id: &str, status: HostStatus, now: Timestamp) -> Option<Arc<Host>> {
        let mut tables = self.0.write();
        let mut host = Host::clone(&tables.hosts.get(host_id)?.host);
        host.status = status;
        host.updated_at = now;
        let host = Arc::new(host);
        tables.replace(host.clone());
        Some(host)
    }

    fn get(&self, host_id: &str) -> Option<Arc<Host>> {
        self.0.read().hosts.get(host_id).map(|slot| slot.host.clone())
    }

    fn all(&self) -> Vec<Arc<Host>> {
        let mut hosts: Vec<_> = self.0.read().hosts.values().map(|slot| slot.host.clone()).collect();
        hosts.sort_unstable_by(|a, b| rank(a, b));
        hosts
    }

    fn available(&self, min_quality_score: f64, limit: usize) -> Vec<Arc<Host>> {
        let tables = self.0.read();
        let good = tables
            .available
            .iter()
            .take_while(|ranked| ranked.0.quality_score >= min_quality_score);
        good.take(limit).map(|ranked| ranked.0.clone()).collect()
    }

    fn remove(&self, host_id: &str) {
        let mut tables = self.0.write();
        let Some(slot) = tables.hosts.remove(host_id) else {
            return;
        };
        if slot.host.is_available() {
            tables.available.remove(&Ranked(slot.host));
        }
        if slot.unsaved {
            tables.unsaved.retain(|name| **name != *host_id);
        }
    }

    fn take_unsaved(&self, limit: usize) -> Vec<HeartbeatRecord> {
        let mut tables = self.0.write();
        let mut records = Vec::with_capacity(limit.min(tables.unsaved.len()));
        while records.len() < limit {
            let Some(name) = tables.unsaved.pop_front() else { break };
            let Some(slot) = tables.hosts.get_mut(&*name) else {
                continue;
            };
            slot.unsaved = false;
            records.extend(slot.host.last_heartbeat.map(|at| HeartbeatRecord {
                host_id: slot.host.host_id.clone(),
                measured: measured(&slot.host),
                quality_score: slot.host.quality_score,
                at,
            }));
        }
        records
    }

    fn put_back(&self, records: Vec<HeartbeatRecord>) {
        let mut tables = self.0.write();
        for record in records {
            let Some(slot) = tables.hosts.get(&*record.host_id) else {
                continue;
            };
            if slot.host.last_heartbeat < Some(record.at) {
                let mut host = Host::clone(&slot.host);
                host.apply(&record.measured, record.at);
                host.quality_score = record.quality_score;
                tables.replace(Arc::new(host));
            }
            tables.queue(&record.host_id);
        }
    }

    fn fill(&self, stored: Vec<Host>, known: &[Arc<Host>]) {
        let names: HashSet<String> = stored.iter().map(|host| host.host_id.clone()).collect();
        for host in stored {
            self.put(host);
        }
        for gone in known.iter().filter(|host| !names.contains(&host.host_id)) {
            // One that was registered again since then has another number.
            if self.get(&gone.host_id).is_some_and(|host| host.id == gone.id) {
                self.remove(&gone.host_id);
            }
        }
    }

    fn take_missed(&self) -> bool {
        false
    }
}
