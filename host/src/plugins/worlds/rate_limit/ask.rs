//! One question to one instance: asked in numbers, so that nothing is allocated on the way, and checked.

use super::Bound;
use super::bindings::exports::p2p_coordinator::policy::limiting as wit;
use crate::plugins::failure::Failure;
use crate::plugins::instance::Instance;
use crate::plugins::limits;
use crate::ports::policies::{Caller, Draw, LimitDecision, LimitRequest, Scope, Surface};

/// One question to one instance, with the answer checked.
pub(super) fn decide(instance: &mut Instance<Bound>, request: &LimitRequest<'_>) -> Result<LimitDecision, Failure> {
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
