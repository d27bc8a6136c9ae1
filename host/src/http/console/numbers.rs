//! Totals of this node out of its registry of metrics, as the console draws them. Rates are the page's business.

use std::collections::BTreeMap;

use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily};
use serde::Serialize;

/// What happened on this node since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Messages of clients by type.
    pub messages: BTreeMap<String, u64>,
    /// Messages of clients that were refused or over the limit.
    pub messages_refused: u64,
    /// Frames dropped from the outboxes of slow readers.
    pub outbox_dropped: u64,
    /// Open signaling connections.
    pub connections: u64,
    /// Requests and messages by what the rate limit said.
    pub limits: BTreeMap<String, u64>,
    /// NPC states fetched well, and not.
    pub npc_fetches: BTreeMap<String, u64>,
    /// NPC states queued for a peer.
    pub npc_pushes: u64,
    /// HTTP requests by class of status.
    pub requests: BTreeMap<String, u64>,
}

impl Totals {
    /// Reads the registry.
    #[must_use]
    pub fn read(registry: &Registry) -> Self {
        let mut totals = Self::default();
        for family in registry.gather() {
            match family.name() {
                "p2p_signaling_messages_total" => {
                    for metric in family.get_metric() {
                        let count = value(metric);
                        *totals.messages.entry(label(metric, "type")).or_default() += count;
                        if label(metric, "outcome") != "done" {
                            totals.messages_refused += count;
                        }
                    }
                }
                "p2p_signaling_outbox_dropped_total" => totals.outbox_dropped = sum(&family),
                "p2p_signaling_connections" => totals.connections = sum(&family),
                "p2p_rate_limit_decisions_total" => totals.limits = by(&family, "outcome"),
                "p2p_npc_fetches_total" => totals.npc_fetches = by(&family, "result"),
                "p2p_npc_pushes_total" => totals.npc_pushes = sum(&family),
                "p2p_http_requests_total" => totals.requests = by(&family, "status"),
                _ => {}
            }
        }
        totals
    }
}

fn by(family: &MetricFamily, name: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for metric in family.get_metric() {
        *sums.entry(label(metric, name)).or_default() += value(metric);
    }
    sums
}

fn sum(family: &MetricFamily) -> u64 {
    family.get_metric().iter().map(value).sum()
}

fn label(metric: &Metric, name: &str) -> String {
    let found = metric.get_label().iter().find(|label| label.name() == name);
    found.map(|label| label.value().to_owned()).unwrap_or_default()
}

/// A counter or a gauge; the other of the two is 0.
fn value(metric: &Metric) -> u64 {
    let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts, held as floating point"
    )]
    let count = value.max(0.0) as u64;
    count
}
