//! The component around the logic: the world `npc-transform` in terms of this crate. The coordinator is asked only for the
//! lists of private names.

#![allow(
    unsafe_code,
    reason = "the generated bindings pass memory to and from the coordinator"
)]

use std::cell::RefCell;

use crate::{INTERNAL, NAME, SUMMARY, Settings, VERSION, View, removed, view};

wit_bindgen::generate!({ world: "npc-transform", path: "../../../wit" });

use exports::p2p_coordinator::policy::{lifecycle, transformation};
use p2p_coordinator::policy::npcs;

thread_local! {
    static SETTINGS: RefCell<Settings> = const { RefCell::new(Settings { places: Vec::new() }) };
}

struct Component;

impl lifecycle::Guest for Component {
    fn describe() -> lifecycle::Description {
        lifecycle::Description {
            name: NAME.into(),
            version: VERSION.into(),
            summary: SUMMARY.into(),
        }
    }

    fn configure(settings: Vec<lifecycle::Setting>) -> Result<(), String> {
        let pairs = settings
            .iter()
            .map(|setting| (setting.name.as_str(), setting.value.as_str()));
        let read = Settings::read(pairs)?;
        SETTINGS.with(|settings| settings.replace(read));
        Ok(())
    }
}

impl transformation::Guest for Component {
    fn transform(frame: transformation::Frame) -> transformation::Changes {
        SETTINGS.with_borrow(|settings| transform(settings, &frame))
    }
}

fn transform(settings: &Settings, frame: &transformation::Frame) -> transformation::Changes {
    let places = settings.of(&frame.zone_id);
    let text = |index: u32| frame.strings.get(index as usize).map_or("", String::as_str);
    let mut changes = transformation::Changes {
        hidden: Vec::new(),
        patches: Vec::new(),
    };
    for (index, npc) in (0u32..).zip(&frame.npcs) {
        let view = view(&places, npc.x, npc.y, npc.quest_status.map(text));
        if view == View::Hidden {
            changes.hidden.push(index);
            continue;
        }
        let remove = removed(view, npc.members.iter().copied(), text, || {
            npcs::member(index, INTERNAL)
        });
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

export!(Component);
