//! The component around the logic: the world `npc-transform` in terms of this crate. Names are judged once per frame,
//! and the coordinator is asked only for the lists of internal names.

#![allow(
    unsafe_code,
    reason = "the generated bindings pass memory to and from the coordinator"
)]

use crate::{INTERNAL, Mark, NAME, SUMMARY, VERSION, mark, removed};

wit_bindgen::generate!({ world: "npc-transform", path: "../../wit" });

use exports::p2p_coordinator::policy::{lifecycle, transformation};
use p2p_coordinator::policy::npcs;

struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: NAME.into(),
            version: VERSION.into(),
            summary: SUMMARY.into(),
        }
    }

    fn configure(_settings: Vec<lifecycle::Setting>) -> Result<(), String> {
        Ok(())
    }
}

impl transformation::Guest for Component {
    fn transform(frame: transformation::Frame) -> transformation::Changes {
        let mut changes = transformation::Changes {
            hidden: Vec::new(),
            patches: Vec::new(),
        };
        let marks: Vec<Mark> = frame.strings.iter().map(|name| mark(name)).collect();
        if marks.iter().all(|&mark| mark == Mark::Public) {
            return changes;
        }
        for (index, npc) in (0u32..).zip(&frame.npcs) {
            let remove = removed(
                npc.members.iter().copied(),
                |member| marks[member as usize],
                |member| frame.strings[member as usize].as_str(),
                || npcs::member(index, INTERNAL),
            );
            if !remove.is_empty() {
                changes.patches.push(transformation::Patch {
                    npc: index,
                    remove,
                    set: Vec::new(),
                });
            }
        }
        changes
    }
}

export!(Component);
