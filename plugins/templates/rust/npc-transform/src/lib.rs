//! my-policy: peers see every NPC without its private members.

wit_bindgen::generate!({ world: "npc-transform", path: "wit" });

use exports::p2p_coordinator::policy::lifecycle::{self, Description, Setting};
use exports::p2p_coordinator::policy::transformation::{self, Changes, Frame, Patch};

/// Members whose name starts so are private. Edit this line.
const PRIVATE: &str = "_";
/// The member in which an NPC lists the names of further private members, as a JSON list.
const LIST: &str = "internal";

struct Policy;

impl lifecycle::Guest for Policy {
    fn describe() -> Description {
        Description {
            name: "my-policy".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "Peers see every NPC without its private members.".into(),
        }
    }

    fn configure(_settings: Vec<Setting>) -> Result<(), String> {
        Ok(())
    }
}

impl transformation::Guest for Policy {
    fn transform(frame: Frame) -> Changes {
        let list_of = |npc| p2p_coordinator::policy::npcs::member(npc, LIST);
        transform(&frame, list_of)
    }
}

fn transform(frame: &Frame, list_of: impl Fn(u32) -> Option<String>) -> Changes {
    let name = |member: u32| frame.strings.get(member as usize).map_or("", String::as_str);
    let mut patches = Vec::new();
    for (index, npc) in (0u32..).zip(&frame.npcs) {
        let has_list = npc.members.iter().any(|&member| name(member) == LIST);
        let list = if has_list { list_of(index) } else { None }.unwrap_or_default();
        let is_private = |name: &str| {
            name == LIST || name.starts_with(PRIVATE) || list.contains(&format!("\"{name}\""))
        };
        let remove: Vec<u32> = npc.members.iter().copied().filter(|&member| is_private(name(member))).collect();
        if !remove.is_empty() {
            patches.push(Patch {
                npc: index,
                remove,
                set: Vec::new(),
            });
        }
    }
    Changes {
        hidden: Vec::new(),
        patches,
    }
}

#[cfg(target_arch = "wasm32")]
export!(Policy);

#[cfg(test)]
mod tests {
    use super::*;
    use transformation::Npc;

    #[test]
    fn private_members_do_not_pass() {
        let frame = Frame {
            zone_id: "zone-1".into(),
            tick: 1,
            now_ms: 0,
            strings: ["id", "_plan", "internal", "mood"].map(String::from).to_vec(),
            npcs: vec![Npc {
                x: 0.0,
                y: 0.0,
                dialogue_state: None,
                quest_status: None,
                members: vec![0, 1, 2, 3],
            }],
        };
        let changes = transform(&frame, |_| Some(r#"["mood"]"#.into()));
        assert_eq!(changes.patches[0].remove, [1, 2, 3]);
    }
}
