//! my-policy: every player has a bucket of their own, everybody else shares one per address.

wit_bindgen::generate!({ world: "rate-limit", path: "wit" });

use exports::p2p_coordinator::policy::lifecycle::{self, Description, Setting};
use exports::p2p_coordinator::policy::limiting::{self, Caller, Decision, Draw, Request, Scope, Surface};

/// HTTP requests a minute. Edit this line.
const API_REQUESTS: u32 = 100;
/// Requests for tokens a minute.
const AUTH_REQUESTS: u32 = 10;
/// Messages a minute on one WebSocket connection.
const WEBSOCKET_MESSAGES: u32 = 1000;

struct Policy;

impl lifecycle::Guest for Policy {
    fn describe() -> Description {
        Description {
            name: "my-policy".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "One bucket per player, one per address for everybody else.".into(),
        }
    }

    fn configure(_settings: Vec<Setting>) -> Result<(), String> {
        Ok(())
    }
}

impl limiting::Guest for Policy {
    fn decide(request: Request) -> Decision {
        decide(&request)
    }
}

fn decide(request: &Request) -> Decision {
    match request.surface {
        Surface::Exempt => Decision::Unlimited,
        Surface::Websocket => a_minute(Scope::Connection, WEBSOCKET_MESSAGES),
        Surface::Auth => a_minute(Scope::Ip, AUTH_REQUESTS),
        Surface::Api => match request.caller {
            Caller::Operator => Decision::Unlimited,
            Caller::Player => a_minute(Scope::Player, API_REQUESTS),
            Caller::Anonymous => a_minute(Scope::Ip, API_REQUESTS),
        },
    }
}

fn a_minute(scope: Scope, capacity: u32) -> Decision {
    Decision::Limited(Draw {
        scope,
        bucket: 0,
        capacity,
        window_seconds: 60,
        cost: 1,
    })
}

#[cfg(target_arch = "wasm32")]
export!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_not_limited() {
        let request = Request {
            surface: Surface::Api,
            caller: Caller::Operator,
            size: 0,
            now_ms: 0,
        };
        assert!(matches!(decide(&request), Decision::Unlimited));
    }
}
