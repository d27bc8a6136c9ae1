//! The slot `npc-transform`: lays a frame out in numbers and shared names, asks for patches, and applies them. The NPCs
//! themselves never leave the coordinator.

mod ask;
mod changes;
mod kept;
mod layout;
mod native;
mod question;
mod service;

use std::sync::Arc;

use serde_json::{Map, Value};
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

pub use self::question::{Answer, Question};
pub use self::service::NpcView;
use super::{Description, World, lifecycle_of_world};
use crate::domain::clock::Timestamp;
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::plugins::slot_name::SlotName;
use crate::plugins::state::GuestState;
use crate::ports::policies::NpcFrame;

mod bindings {
    wasmtime::component::bindgen!({ world: "npc-transform", path: "../wit" });
}

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

    type Question = Question;
    type Answer = Answer;
    type Kept = kept::Kept;

    fn ticks(_: &Question) -> u64 {
        limits::TRANSFORM_TICKS
    }

    fn answer(instance: &mut Instance<Self>, question: &Question) -> Result<Answer, Failure> {
        let count = question.npcs.len();
        if count > limits::NPCS {
            return Err(Failure::invalid(format!(
                "a frame of {count} NPCs; no policy is asked about more than {}",
                limits::NPCS
            )));
        }
        let changes = ask::transform(instance, &Arc::new(question.to_domain()))?;
        Ok(Answer {
            npcs: changes.apply(question.npcs.clone()),
        })
    }

    fn native(question: &Question, _: &[(String, String)]) -> Answer {
        Answer {
            npcs: native::transform(question.npcs.clone()),
        }
    }

    fn samples() -> Vec<Question> {
        [0, 1, 40]
            .into_iter()
            .map(|count| Question::of(&sample_frame(count)))
            .collect()
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
