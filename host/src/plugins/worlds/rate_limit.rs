//! The slot `rate-limit`: asked for every request and message, so nothing here allocates on the way through. Keeps no
//! bucket.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use rate_limit_policy::{Decision as NativeDecision, Limits, Scope as NativeScope, Surface as NativeSurface};
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
use crate::ports::policies::{Caller, Draw, LimitDecision, LimitRequest, RateLimiting, Scope, Surface};

mod bindings {
    wasmtime::component::bindgen!({ world: "rate-limit", path: "../wit" });
}

use bindings::exports::p2p_coordinator::policy::limiting as wit;
use bindings::p2p_coordinator::policy::attributes;

/// The texts of the request in hand, copied once into memory that is kept.
#[derive(Default)]
pub struct Attributes {
    text: String,
    /// Ends of the texts in `text`, in the order of the WIT enum without the address; none for an absent one.
    ends: [Option<usize>; 6],
    ip: Option<IpAddr>,
}

impl Attributes {
    fn fill(&mut self, request: &LimitRequest<'_>) {
        self.text.clear();
        let texts = [
            request.player_id,
            request.user_id,
            request.method,
            request.route,
            request.message_type,
            request.session_id,
        ];
        for (end, text) in self.ends.iter_mut().zip(texts) {
            *end = text.map(|text| {
                self.text.push_str(text);
                self.text.len()
            });
        }
        self.ip = Some(request.ip);
    }

    fn text(&self, index: usize) -> Option<String> {
        let end = (*self.ends.get(index)?)?;
        let start = self.ends.get(..index)?.iter().rev().find_map(|end| *end).unwrap_or(0);
        self.text.get(start..end).map(str::to_owned)
    }
}

impl attributes::Host for GuestState<Attributes> {
    fn get(&mut self, attribute: attributes::Attribute) -> Option<String> {
        use attributes::Attribute;
        let index = match attribute {
            Attribute::Ip => {
                let mut text = String::new();
                write!(text, "{}", self.call.ip?).ok()?;
                return Some(text);
            }
            Attribute::PlayerId => 0,
            Attribute::UserId => 1,
            Attribute::Method => 2,
            Attribute::Route => 3,
            Attribute::MessageType => 4,
            Attribute::SessionId => 5,
        };
        self.call.text(index)
    }
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

    fn trial(instance: &mut Instance<Self>) -> Result<(), Failure> {
        for surface in [Surface::Api, Surface::Auth, Surface::Exempt, Surface::Websocket] {
            for caller in [Caller::Anonymous, Caller::Player, Caller::Operator] {
                let request = sample(surface, caller);
                instance.run(limits::DECISION_TICKS, |instance| ask(instance, &request))?;
            }
        }
        Ok(())
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

/// One question to one instance, with the answer checked.
fn ask(instance: &mut Instance<Bound>, request: &LimitRequest<'_>) -> Result<LimitDecision, Failure> {
    if instance.reads_details() {
        instance.store.data_mut().call.fill(request);
    }
    let question = wit::Request {
        surface: match request.surface {
            Surface::Api => wit::Surface::Api,
            Surface::Auth => wit::Surface::Auth,
            Surface::Exempt => wit::Surface::Exempt,
            Surface::Websocket => wit::Surface::Websocket,
        },
        caller: match request.caller {
            Caller::Anonymous => wit::Caller::Anonymous,
            Caller::Player => wit::Caller::Player,
            Caller::Operator => wit::Caller::Operator,
        },
        size: request.size,
        now_ms: u64::try_from(request.now.0).unwrap_or(0),
    };
    let answer = instance
        .guest
        .p2p_coordinator_policy_limiting()
        .call_decide(&mut instance.store, question)?;
    match answer {
        wit::Decision::Unlimited => Ok(LimitDecision::Unlimited),
        wit::Decision::Limited(draw) => checked(&draw, request.surface).map(LimitDecision::One),
        wit::Decision::LimitedByAll(draws) => all(&draws, request.surface),
        wit::Decision::Deny(reason) if reason.len() > limits::REASON_BYTES => {
            Err(Failure::invalid(format!("a denial of {} bytes", reason.len())))
        }
        wit::Decision::Deny(reason) => Ok(LimitDecision::Deny(reason)),
    }
}

fn all(draws: &[wit::Draw], surface: Surface) -> Result<LimitDecision, Failure> {
    if draws.is_empty() || draws.len() > limits::DRAWS {
        return Err(Failure::invalid(format!(
            "{} draws, 1 to {} are allowed",
            draws.len(),
            limits::DRAWS
        )));
    }
    let draws = draws
        .iter()
        .map(|draw| checked(draw, surface))
        .collect::<Result<Vec<_>, _>>()?;
    // The same bucket twice could take more than it holds.
    for (index, draw) in draws.iter().enumerate() {
        if draws
            .iter()
            .skip(index + 1)
            .any(|other| other.scope == draw.scope && other.bucket == draw.bucket)
        {
            return Err(Failure::invalid("two draws on the same bucket"));
        }
    }
    Ok(LimitDecision::All(draws))
}

fn checked(draw: &wit::Draw, surface: Surface) -> Result<Draw, Failure> {
    let draw = Draw {
        scope: match draw.scope {
            wit::Scope::Ip => Scope::Ip,
            wit::Scope::Connection => Scope::Connection,
            wit::Scope::Player => Scope::Player,
            wit::Scope::Everyone => Scope::Everyone,
        },
        bucket: draw.bucket,
        capacity: draw.capacity,
        window_seconds: draw.window_seconds,
        cost: draw.cost,
    };
    let makes_sense = (1..=limits::BUCKET_CAPACITY).contains(&draw.capacity)
        && (1..=limits::BUCKET_WINDOW_SECONDS).contains(&draw.window_seconds)
        && draw.cost <= draw.capacity
        && (draw.scope != Scope::Connection || surface == Surface::Websocket);
    if makes_sense {
        Ok(draw)
    } else {
        Err(Failure::invalid(format!("a draw out of range: {draw:?}")))
    }
}

/// The slot as the application calls it.
pub struct RateLimit {
    slot: Arc<Slot<Bound>>,
    limits: Limits,
}

impl RateLimit {
    /// The policy in `slot`, with the native default behind it. Bad settings leave the default its own numbers.
    #[must_use]
    pub fn new(slot: Arc<Slot<Bound>>, settings: &[(String, String)]) -> Self {
        let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let limits = Limits::from_settings(settings).unwrap_or_else(|error| {
            tracing::warn!(%error, "the native rate limit keeps its own numbers");
            Limits::DEFAULT
        });
        Self { slot, limits }
    }

    fn native(&self, surface: Surface) -> LimitDecision {
        let surface = match surface {
            Surface::Api => NativeSurface::Api,
            Surface::Auth => NativeSurface::Auth,
            Surface::Exempt => NativeSurface::Exempt,
            Surface::Websocket => NativeSurface::Websocket,
        };
        match self.limits.decide(surface) {
            NativeDecision::Unlimited => LimitDecision::Unlimited,
            NativeDecision::Limited(draw) => LimitDecision::One(Draw {
                scope: match draw.scope {
                    NativeScope::Ip => Scope::Ip,
                    NativeScope::Connection => Scope::Connection,
                },
                bucket: draw.bucket,
                capacity: draw.capacity,
                window_seconds: draw.window_seconds,
                cost: draw.cost,
            }),
        }
    }
}

impl RateLimiting for RateLimit {
    fn decide(&self, request: &LimitRequest<'_>) -> LimitDecision {
        self.slot
            .call(limits::DECISION_TICKS, |instance| ask(instance, request))
            .unwrap_or_else(|| self.native(request.surface))
    }
}
