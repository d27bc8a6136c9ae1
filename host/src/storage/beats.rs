//! Which heartbeats of a batch are worth storing. The same for every database, so that they cannot differ.

use std::collections::HashMap;

use crate::ports::storage::HeartbeatRecord;

/// The latest record of each host. A record that is no number is passed over: one bad record must not stop the batch.
pub(super) fn latest(records: &[HeartbeatRecord]) -> Vec<&HeartbeatRecord> {
    let mut latest: HashMap<&str, &HeartbeatRecord> = HashMap::with_capacity(records.len());
    for record in records.iter().filter(|record| is_finite(record)) {
        let kept = latest.entry(&record.host_id).or_insert(record);
        if record.at >= kept.at {
            *kept = record;
        }
    }
    latest.into_values().collect()
}

fn is_finite(record: &HeartbeatRecord) -> bool {
    let m = &record.measured;
    [
        m.latency_ms,
        m.packet_loss_percent,
        m.bandwidth_usage_mbps,
        record.quality_score,
    ]
    .iter()
    .all(|v| v.is_finite())
}
