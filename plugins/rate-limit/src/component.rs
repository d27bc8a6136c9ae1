//! The component around the logic: the world `rate-limit` in terms of this crate. Settings are read once, in
//! `configure`; a decision allocates nothing.

#![allow(
    unsafe_code,
    reason = "the generated bindings pass memory to and from the coordinator"
)]

use std::cell::Cell;

use crate::{Decision, Limits, NAME, SUMMARY, Scope, Surface, VERSION};

wit_bindgen::generate!({ world: "rate-limit", path: "../../wit" });

use exports::p2p_coordinator::policy::{lifecycle, limiting};

thread_local! {
    static LIMITS: Cell<Limits> = const { Cell::new(Limits::DEFAULT) };
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
        LIMITS.set(Limits::from_settings(pairs)?);
        Ok(())
    }
}

impl limiting::Guest for Component {
    fn decide(request: limiting::Request) -> limiting::Decision {
        let surface = match request.surface {
            limiting::Surface::Api => Surface::Api,
            limiting::Surface::Auth => Surface::Auth,
            limiting::Surface::Exempt => Surface::Exempt,
            limiting::Surface::Websocket => Surface::Websocket,
        };
        match LIMITS.get().decide(surface) {
            Decision::Unlimited => limiting::Decision::Unlimited,
            Decision::Limited(draw) => limiting::Decision::Limited(limiting::Draw {
                scope: match draw.scope {
                    Scope::Ip => limiting::Scope::Ip,
                    Scope::Connection => limiting::Scope::Connection,
                },
                bucket: draw.bucket,
                capacity: draw.capacity,
                window_seconds: draw.window_seconds,
                cost: draw.cost,
            }),
        }
    }
}

export!(Component);
