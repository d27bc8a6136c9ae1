//! The slot `npc-transform`: lays a frame out in numbers and shared names, asks for patches, and applies them. The NPCs
//! themselves never leave the coordinator.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use npc_transform_policy as native;
use serde_json::{Map, Value};
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use super::{Description, World, lifecycle_of_world};
use crate::domain::clock::Timestamp;
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::plugins::slot::Slot;
use crate::plugins::slot_name::SlotName;
use crate::plugins::state::GuestState;
use crate::plugins::turns::Turns;
use crate::ports::policies::{NpcFrame, NpcTransforming};

mod bindings {
    wasmtime::component::bindgen!({ world: "npc-transform", path: "../wit" });
}

use bindings::exports::p2p_coordinator::policy::transformation as wit;
use bindings::p2p_coordinator::policy::npcs;

type Npc = Map<String, Value>;

/// The frame of the call in hand.
pub type Frame = Option<Arc<NpcFrame>>;

impl npcs::Host for GuestState<Frame> {
    fn member(&mut self, npc: u32, name: String) -> Option<String> {
        let frame = self.call.as_ref()?;
        Some(frame.npcs.get(npc as usize)?.get(&name)?.to_string())
    }
}

/// The world as bound here.
pub struct Bound;

lifecycle_of_world!(bindings, Frame);

impl World for Bound {
    const SLOT: SlotName = SlotName::NpcTransform;
    const ANSWER_BYTES: usize = limits::LARGE_ANSWER_BYTES;
    const SAMPLE: u64 = 1;

    type Call = Frame;
    type Pre = bindings::NpcTransformPre<GuestState<Frame>>;
    type Guest = bindings::NpcTransform;

    fn link(linker: &mut Linker<GuestState<Frame>>) -> wasmtime::Result<()> {
        bindings::NpcTransform::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    fn prepare(pre: InstancePre<GuestState<Frame>>) -> wasmtime::Result<Self::Pre> {
        bindings::NpcTransformPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<GuestState<Frame>>) -> wasmtime::Result<Self::Guest> {
        pre.instantiate(store)
    }

    fn describe(instance: &mut Instance<Self>) -> wasmtime::Result<Description> {
        call_describe(instance)
    }

    fn configure(instance: &mut Instance<Self>, settings: &[(String, String)]) -> wasmtime::Result<Result<(), String>> {
        call_configure(instance, settings)
    }

    fn trial(instance: &mut Instance<Self>) -> Result<(), Failure> {
        for count in [0, 1, 40] {
            let frame = Arc::new(sample_frame(count));
            instance.run(limits::TRANSFORM_TICKS, |instance| ask(instance, &frame))?;
        }
        Ok(())
    }
}

/// A frame as the trial asks it.
#[must_use]
pub fn sample_frame(count: u32) -> NpcFrame {
    let npc = |number: u32| {
        let state = |states: [&'static str; 3]| states.into_iter().nth(number as usize % 3);
        let mut record = serde_json::json!({
            "npc_id": format!("npc-{number}"),
            "name": format!("Villager {number}"),
            "position": {"x": f64::from(number), "y": f64::from(number % 7) * 0.5},
            "dialogue_state": state(["idle", "talking", "waiting"]),
            "quest_status": state(["none", "offered", "done"]),
            "health": 100 - number % 100,
            "_plan": {"goal": "wander"},
            "mood": "calm",
        });
        // Most records mark their internal members by name; some list further ones.
        if number.is_multiple_of(10) {
            record["internal"] = serde_json::json!(["mood"]);
        }
        match record {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    };
    NpcFrame {
        zone_id: "zone-1".to_owned(),
        tick: 1,
        now: Timestamp(1_750_000_000_000),
        npcs: (0..count).map(npc).collect(),
    }
}

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
fn lay_out(frame: &NpcFrame) -> wit::Frame {
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

/// What is to be done to one NPC, checked.
#[derive(Clone, Debug, Default)]
struct Patch {
    hidden: bool,
    patched: bool,
    /// Indexes into the names of the frame.
    remove: Vec<u32>,
    set: Vec<(String, Value)>,
}

/// What is to be done to a frame, checked: one patch for each NPC, and the names that patches point to.
#[derive(Clone, Debug, Default)]
struct Changes {
    patches: Vec<Patch>,
    names: Vec<String>,
}

impl Changes {
    fn check(answer: wit::Changes, frame: &NpcFrame, names: Vec<String>) -> Result<Self, Failure> {
        let count = frame.npcs.len();
        let mut patches = vec![Patch::default(); count];
        let beyond = |index: u32| Failure::invalid(format!("NPC {index} of {count}"));
        for index in answer.hidden {
            let patch = patches.get_mut(index as usize).ok_or_else(|| beyond(index))?;
            if std::mem::replace(&mut patch.hidden, true) {
                return Err(Failure::invalid(format!("NPC {index} hidden twice")));
            }
        }
        for given in answer.patches {
            let index = given.npc;
            let patch = patches.get_mut(index as usize).ok_or_else(|| beyond(index))?;
            if std::mem::replace(&mut patch.patched, true) {
                return Err(Failure::invalid(format!("NPC {index} patched twice")));
            }
            if let Some(name) = given.remove.iter().find(|name| **name as usize >= names.len()) {
                return Err(Failure::invalid(format!("name {name} of {}", names.len())));
            }
            patch.remove = given.remove;
            patch.set = values(given.set)?;
        }
        Ok(Self { patches, names })
    }

    fn apply(self, npcs: Vec<Npc>) -> Vec<Npc> {
        let Self { patches, names } = self;
        npcs.into_iter()
            .zip(patches)
            .filter(|(_, patch)| !patch.hidden)
            .map(|(mut npc, patch)| {
                for name in patch.remove.iter().filter_map(|index| names.get(*index as usize)) {
                    npc.remove(name);
                }
                npc.extend(patch.set);
                npc
            })
            .collect()
    }
}

/// The members to set, read from their JSON.
fn values(members: Vec<wit::Member>) -> Result<Vec<(String, Value)>, Failure> {
    members
        .into_iter()
        .map(|member| match serde_json::from_str(&member.value) {
            Ok(value) => Ok((member.name, value)),
            Err(error) => Err(Failure::invalid(format!("the value of a member is not JSON: {error}"))),
        })
        .collect()
}

fn ask(instance: &mut Instance<Bound>, frame: &Arc<NpcFrame>) -> Result<Changes, Failure> {
    let question = lay_out(frame);
    if instance.reads_details() {
        instance.store.data_mut().call = Some(Arc::clone(frame));
    }
    let answer = instance
        .guest
        .p2p_coordinator_policy_transformation()
        .call_transform(&mut instance.store, &question);
    instance.store.data_mut().call = None;
    Changes::check(answer?, frame, question.strings)
}

/// What the native default makes of a frame.
fn native_transform(npcs: Vec<Npc>) -> Vec<Npc> {
    let transform = |mut npc: Npc| {
        let removed = native::removed(
            npc.keys().map(String::as_str),
            native::mark,
            |name| name,
            || npc.get(native::INTERNAL).map(Value::to_string),
        );
        if !removed.is_empty() {
            let removed: Vec<String> = removed.into_iter().map(str::to_owned).collect();
            npc.retain(|name, _| !removed.iter().any(|internal| internal == name));
        }
        npc
    };
    npcs.into_iter().map(transform).collect()
}

/// The slot as the application calls it.
pub struct NpcView {
    slot: Arc<Slot<Bound>>,
    turns: Turns,
}

impl NpcView {
    /// The policy in `slot`, with the native default behind it.
    #[must_use]
    pub fn new(slot: Arc<Slot<Bound>>) -> Self {
        Self {
            slot,
            turns: Turns::default(),
        }
    }
}

#[async_trait]
impl NpcTransforming for NpcView {
    async fn transform(&self, frame: NpcFrame) -> Vec<Npc> {
        if frame.npcs.len() > limits::NPCS {
            return native_transform(frame.npcs);
        }
        let frame = Arc::new(frame);
        let changes = self
            .turns
            .take(&self.slot, || {
                self.slot
                    .call(limits::TRANSFORM_TICKS, |instance| ask(instance, &frame))
            })
            .await;
        let npcs = Arc::try_unwrap(frame).map_or_else(|shared| shared.npcs.clone(), |frame| frame.npcs);
        match changes {
            Some(changes) => changes.apply(npcs),
            None => native_transform(npcs),
        }
    }
}
