//! The component around the logic: the world `rate-limit` in terms of this crate. Settings are read once, in `configure`.

#![allow(
    unsafe_code,
    reason = "the generated bindings pass memory to and from the coordinator"
)]

use std::cell::RefCell;

use crate::{Caller, Decision, Draw, NAME, SUMMARY, Scope, Settings, Surface, VERSION};

wit_bindgen::generate!({ world: "rate-limit", path: "../../../wit" });

use exports::p2p_coordinator::policy::{lifecycle, limiting};
use p2p_coordinator::policy::attributes::{self, Attribute};

thread_local! {
    static SETTINGS: RefCell<Settings> = const { RefCell::new(Settings::DEFAULT) };
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
        let read = Settings::read(pairs)?;
        SETTINGS.with(|settings| settings.replace(read));
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
        let caller = match request.caller {
            limiting::Caller::Anonymous => Caller::Anonymous,
            limiting::Caller::Player => Caller::Player,
            limiting::Caller::Operator => Caller::Operator,
        };
        let player_id = || attributes::get(Attribute::PlayerId);
        match SETTINGS.with_borrow(|settings| crate::decide(settings, surface, caller, player_id)) {
            Decision::Unlimited => limiting::Decision::Unlimited,
            Decision::One(one) => limiting::Decision::Limited(draw(one)),
            Decision::Both(one, other) => limiting::Decision::LimitedByAll(vec![draw(one), draw(other)]),
        }
    }
}

fn draw(draw: Draw) -> limiting::Draw {
    limiting::Draw {
        scope: match draw.scope {
            Scope::Ip => limiting::Scope::Ip,
            Scope::Connection => limiting::Scope::Connection,
            Scope::Player => limiting::Scope::Player,
        },
        bucket: draw.bucket,
        capacity: draw.capacity,
        window_seconds: draw.window_seconds,
        cost: 1,
    }
}

export!(Component);
