//! How far the nodes are with what is desired, in numbers and in words.

use serde::Serialize;
use utoipa::ToSchema;

use super::{follow, gates};
use crate::app::App;
use crate::app::error::AppError;
use crate::domain::release::short;
use crate::domain::rollout::{DesiredSlot, NodeReport, RolloutCounts};

/// Nodes that said nothing for so long are not shown, in seconds.
pub const FRESH_SECONDS: i64 = 60;

/// What a slot is to run and how far the nodes are.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SlotDelivery {
    pub desired: DesiredSlot,
    /// What all nodes saw of the candidate of the rollout.
    pub rollout_seen: Option<RolloutCounts>,
    /// Every node that said something in the last minute.
    pub nodes: Vec<NodeReport>,
    /// The same in words, for example `2 of 3 nodes on 4f1c0a9b12de; node-c refused: trial: …`.
    pub convergence: String,
}

/// What every slot is to run and how far the nodes are, in the order of `SlotName::ALL`.
///
/// # Errors
/// `Unavailable` when storage is away.
pub async fn delivery(app: &App) -> Result<Vec<SlotDelivery>, AppError> {
    let desired = app.storage.releases.desired().await?;
    let since = app.clock.now().plus_seconds(-FRESH_SECONDS);
    let mut reports = app.storage.releases.reports(since).await?;
    // What this node said may be a moment old.
    reports.retain(|report| report.node != app.releases.node);
    reports.extend(follow::reports(app, &desired));
    reports.sort_by(|a, b| a.node.cmp(&b.node));
    let mut slots = Vec::with_capacity(desired.len());
    for state in desired {
        let nodes: Vec<NodeReport> = reports
            .iter()
            .filter(|report| report.slot == state.slot)
            .cloned()
            .collect();
        let rollout_seen = match state.rollout {
            Some(_) => gates::seen(app, &state).await?,
            None => None,
        };
        slots.push(SlotDelivery {
            convergence: convergence(&state, &nodes),
            rollout_seen,
            nodes,
            desired: state,
        });
    }
    Ok(slots)
}

fn convergence(state: &DesiredSlot, nodes: &[NodeReport]) -> String {
    let name = |id: &Option<String>| id.as_deref().map_or("the bundled policy", short).to_owned();
    let converged = |report: &&NodeReport| report.active == state.active && report.generation == state.generation;
    let on = nodes.iter().filter(converged).count();
    let all = if nodes.len() == 1 { "node" } else { "nodes" };
    let mut text = format!("{on} of {} {all} on {}", nodes.len(), name(&state.active));
    for report in nodes {
        let node = &report.node;
        match &report.error {
            Some(error) => text.push_str(&format!("; {node} refused: {error}")),
            None if converged(&report) => {}
            None if report.active.as_deref() == Some("file") => {
                text.push_str(&format!("; {node} serves a file of its own"));
            }
            None if report.active.as_deref() == Some("native") => {
                text.push_str(&format!("; {node} has POLICY_MODE=native"));
            }
            None => text.push_str(&format!("; {node} is on {}", name(&report.active))),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Timestamp;
    use crate::domain::slot::SlotName;

    #[test]
    fn convergence_is_told_in_words() {
        let id = "4f1c".repeat(16);
        let mut state = DesiredSlot::untouched(SlotName::RateLimit).activated(&id, Timestamp(0));
        state.generation = 2;
        let node = |node: &str, generation, active: Option<&str>, error: Option<&str>| NodeReport {
            node: node.to_owned(),
            slot: SlotName::RateLimit,
            generation,
            desired: Some(id.clone()),
            active: active.map(str::to_owned),
            previous: None,
            error: error.map(str::to_owned),
            changed_at: Timestamp(0),
            seen_at: Timestamp(0),
            rollout: None,
        };
        let nodes = [
            node("node-a", 2, Some(&id), None),
            node("node-b", 1, None, None),
            node("node-c", 2, None, Some("world: it does not export `rank`")),
            node("node-d", 2, Some("file"), None),
        ];
        assert_eq!(
            convergence(&state, &nodes),
            "1 of 4 nodes on 4f1c4f1c4f1c; node-b is on the bundled policy; node-c refused: world: it does not export \
             `rank`; node-d serves a file of its own"
        );
        assert_eq!(convergence(&state, &nodes[..1]), "1 of 1 node on 4f1c4f1c4f1c");
    }
}
