//! Lays a frame out in numbers and shared names.

use std::collections::HashMap;

use serde_json::Value;

use super::bindings::exports::p2p_coordinator::policy::transformation as wit;
use crate::ports::policies::NpcFrame;

/// The texts of a frame, each once.
#[derive(Default)]
struct Strings<'a> {
    texts: Vec<&'a str>,
    indexes: HashMap<&'a str, u32>,
    /// The index found at each place of the record before. Records of one zone have the same members, mostly.
    places: Vec<u32>,
}

impl<'a> Strings<'a> {
    fn index(&mut self, text: &'a str) -> u32 {
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        *self.indexes.entry(text).or_insert_with(|| {
            self.texts.push(text);
            next
        })
    }

    fn at(&mut self, place: usize, text: &'a str) -> u32 {
        if let Some(&guess) = self.places.get(place)
            && self.texts.get(guess as usize).is_some_and(|known| *known == text)
        {
            return guess;
        }
        let index = self.index(text);
        if let Some(kept) = self.places.get_mut(place) {
            *kept = index;
        } else if self.places.len() == place {
            self.places.push(index);
        }
        index
    }
}

/// Lays a frame out as the contract wants it.
pub(super) fn lay_out(frame: &NpcFrame) -> wit::Frame {
    let mut strings = Strings::default();
    let npcs = frame
        .npcs
        .iter()
        .map(|record| {
            let mut npc = wit::Npc {
                x: 0.0,
                y: 0.0,
                dialogue_state: None,
                quest_status: None,
                members: Vec::with_capacity(record.len()),
            };
            let mut position = None;
            for (place, (name, value)) in record.iter().enumerate() {
                npc.members.push(strings.at(place, name));
                match name.as_str() {
                    "dialogue_state" => npc.dialogue_state = value.as_str().map(|text| strings.index(text)),
                    "quest_status" => npc.quest_status = value.as_str().map(|text| strings.index(text)),
                    "position" => position = value.as_object(),
                    "x" => npc.x = value.as_f64().unwrap_or(0.0),
                    "y" => npc.y = value.as_f64().unwrap_or(0.0),
                    _ => {}
                }
            }
            // `position.x` and `position.y`, or `x` and `y` beside it.
            if let Some(position) = position {
                let number = |name| position.get(name).and_then(Value::as_f64).unwrap_or(0.0);
                (npc.x, npc.y) = (number("x"), number("y"));
            }
            npc
        })
        .collect();
    wit::Frame {
        zone_id: frame.zone_id.clone(),
        tick: frame.tick,
        now_ms: u64::try_from(frame.now.0).unwrap_or(0),
        strings: strings.texts.iter().map(|text| (*text).to_owned()).collect(),
        npcs,
    }
}
