//! The slot `rate-limit`: asked for every request and message, so nothing here allocates on the way through. Keeps no
//! bucket.

mod ask;
mod attributes;
mod kept;
mod native;
mod question;
mod service;

use std::net::IpAddr;

use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

pub use self::attributes::Attributes;
pub use self::question::{Answer, Draw, Question, Scope};
pub use self::service::RateLimit;
use super::{Description, World, lifecycle_of_world};
use crate::domain::clock::Timestamp;
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::plugins::slot_name::SlotName;
use crate::plugins::state::GuestState;
use crate::ports::policies::{Caller, LimitRequest, Surface};

mod bindings {
    wasmtime::component::bindgen!({ world: "rate-limit", path: "../wit" });
}

/// The world as bound here.
pub struct Bound;

lifecycle_of_world!(bindings, Attributes);

impl World for Bound {
    const SLOT: SlotName = SlotName::RateLimit;
    const ANSWER_BYTES: usize = limits::SMALL_ANSWER_BYTES;
    const SAMPLE: u64 = limits::SAMPLE;

    type Call = Attributes;
    type Pre = bindings::RateLimitPre<GuestState<Attributes>>;
    type Guest = bindings::RateLimit;

    fn link(linker: &mut Linker<GuestState<Attributes>>) -> wasmtime::Result<()> {
        bindings::RateLimit::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    fn prepare(pre: InstancePre<GuestState<Attributes>>) -> wasmtime::Result<Self::Pre> {
        bindings::RateLimitPre::new(pre)
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<GuestState<Attributes>>) -> wasmtime::Result<Self::Guest> {
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
        limits::DECISION_TICKS
    }

    fn answer(instance: &mut Instance<Self>, question: &Question) -> Result<Answer, Failure> {
        let decision = ask::decide(instance, &question.to_domain())?;
        Ok(Answer::from(&decision))
    }

    fn native(question: &Question, settings: &[(String, String)]) -> Answer {
        let limits = native::limits(settings).unwrap_or_default();
        Answer::from(&native::decide(&limits, question.surface.into()))
    }

    fn samples() -> Vec<Question> {
        let mut samples = Vec::new();
        for surface in [Surface::Api, Surface::Auth, Surface::Exempt, Surface::Websocket] {
            for caller in [Caller::Anonymous, Caller::Player, Caller::Operator] {
                samples.push(Question::of(&sample(surface, caller)));
            }
        }
        samples
    }
}

/// A request as the trial asks it.
#[must_use]
pub fn sample(surface: Surface, caller: Caller) -> LimitRequest<'static> {
    let websocket = surface == Surface::Websocket;
    LimitRequest {
        surface,
        caller,
        size: 512,
        now: Timestamp(1_750_000_000_000),
        ip: IpAddr::from([192, 0, 2, 1]),
        player_id: (caller == Caller::Player).then_some("player-1"),
        user_id: None,
        method: (!websocket).then_some("GET"),
        route: (!websocket).then_some("/hosts/{host_id}"),
        message_type: websocket.then_some("offer"),
        session_id: websocket.then_some("session-0123456789abcdef"),
    }
}
