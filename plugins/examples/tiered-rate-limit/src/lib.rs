//! An example of the slot `rate-limit`: limits per class of player.
//!
//! The class follows from the beginning of the player's id, as the game server gives ids. A player draws on a bucket of
//! their own, as large as their class allows, and on one of their address, so that many accounts behind one address do not
//! get without end. The coordinator keeps the buckets. Plain Rust without the contract; `component` puts the two together.

#[cfg(target_arch = "wasm32")]
mod component;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Class, Settings};

/// Name of the policy, for operators.
pub const NAME: &str = "tiered-rate-limit";
/// Version of the policy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the policy does, in one sentence.
pub const SUMMARY: &str =
    "A bucket for each player, as large as the class of their id allows, and one for their address.";

/// How many players' worth an address gets.
pub const PLAYERS_PER_ADDRESS: u32 = 10;
/// Most tokens a bucket holds.
const MOST: u32 = 1_000_000;

/// What is being limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    Api,
    Auth,
    Exempt,
    Websocket,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    Player,
    Operator,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Ip,
    Connection,
    Player,
}

/// One draw on one token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    pub scope: Scope,
    /// Tells buckets of the same scope apart.
    pub bucket: u32,
    pub capacity: u32,
    pub window_seconds: u32,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Unlimited,
    One(Draw),
    /// All or none.
    Both(Draw, Draw),
}

/// Decides one request. `player_id` is asked only when a player's class matters.
pub fn decide(
    settings: &Settings,
    surface: Surface,
    caller: Caller,
    player_id: impl FnOnce() -> Option<String>,
) -> Decision {
    let times = |number: u32, factor: u32| number.saturating_mul(factor).min(MOST);
    match (surface, caller) {
        (Surface::Exempt, _) | (_, Caller::Operator) => Decision::Unlimited,
        (Surface::Auth, _) => Decision::One(Draw {
            scope: Scope::Ip,
            bucket: 0,
            capacity: settings.auth_requests,
            window_seconds: settings.auth_window,
        }),
        (Surface::Api, Caller::Anonymous) => Decision::One(Draw {
            scope: Scope::Ip,
            bucket: 0,
            capacity: settings.api_requests,
            window_seconds: settings.api_window,
        }),
        (Surface::Api, Caller::Player) => {
            let factor = player_id().map_or(1, |id| settings.factor(&id));
            let own = times(settings.api_requests, factor);
            Decision::Both(
                Draw {
                    scope: Scope::Player,
                    bucket: 0,
                    capacity: own,
                    window_seconds: settings.api_window,
                },
                Draw {
                    scope: Scope::Ip,
                    // Not the bucket of those who come without a player: it is of another size.
                    bucket: factor,
                    capacity: times(own, PLAYERS_PER_ADDRESS),
                    window_seconds: settings.api_window,
                },
            )
        }
        (Surface::Websocket, _) => {
            let factor = player_id().map_or(1, |id| settings.factor(&id));
            Decision::One(Draw {
                scope: Scope::Connection,
                bucket: 0,
                capacity: times(settings.ws_requests, factor),
                window_seconds: settings.ws_window,
            })
        }
    }
}
