//! The native default of the slot: the bundled policy's own code over the coordinator's types.

use npc_transform_policy as policy;
use serde_json::Value;

use super::Npc;

/// What the native default makes of a frame.
pub(super) fn transform(npcs: Vec<Npc>) -> Vec<Npc> {
    let transform = |mut npc: Npc| {
        let removed = policy::removed(
            npc.keys().map(String::as_str),
            policy::mark,
            |name| name,
            || npc.get(policy::INTERNAL).map(Value::to_string),
        );
        if !removed.is_empty() {
            let removed: Vec<String> = removed.into_iter().map(str::to_owned).collect();
            npc.retain(|name, _| !removed.iter().any(|internal| internal == name));
        }
        npc
    };
    npcs.into_iter().map(transform).collect()
}
