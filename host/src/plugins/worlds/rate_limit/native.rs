//! The native default of the slot: the bundled policy's own code over the coordinator's types.

use rate_limit_policy::{Decision, Limits, Scope as NativeScope, Surface as NativeSurface};

use crate::ports::policies::{Draw, LimitDecision, Scope, Surface};

/// The limits that the operator's settings name. The error names the setting that is wrong.
pub(super) fn limits(settings: &[(String, String)]) -> Result<Limits, String> {
    Limits::from_settings(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Decides one request.
pub(super) fn decide(limits: &Limits, surface: Surface) -> LimitDecision {
    let surface = match surface {
        Surface::Api => NativeSurface::Api,
        Surface::Auth => NativeSurface::Auth,
        Surface::Exempt => NativeSurface::Exempt,
        Surface::Websocket => NativeSurface::Websocket,
    };
    match limits.decide(surface) {
        Decision::Unlimited => LimitDecision::Unlimited,
        Decision::Limited(draw) => LimitDecision::One(Draw {
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

/// The static decision, when even the native default fails: the numbers that the bundled policy has without settings.
pub(super) fn fixed(surface: Surface) -> LimitDecision {
    match surface {
        Surface::Exempt => LimitDecision::Unlimited,
        Surface::Api | Surface::Auth | Surface::Websocket => LimitDecision::One(Draw {
            scope: Scope::Ip,
            bucket: FIXED_BUCKET,
            capacity: 100,
            window_seconds: 60,
            cost: 1,
        }),
    }
}

/// A bucket that no policy of ours draws on.
const FIXED_BUCKET: u32 = u32::MAX;
