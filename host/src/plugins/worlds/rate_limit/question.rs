//! The slot's questions and answers as JSON, and the way between them and the domain. They hold all that a policy can see,
//! its imports included. Decides nothing.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::domain::clock::Timestamp;
use crate::ports::policies::{self, LimitDecision, LimitRequest};

/// One request or message to limit. What is left out is 0, unknown or not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub surface: Surface,
    #[serde(default)]
    pub caller: Caller,
    /// Bytes of the message or of the announced body.
    #[serde(default)]
    pub size: u32,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub now_ms: u64,
    /// The client's address; the unspecified one when it is left out.
    #[serde(default = "nowhere")]
    pub ip: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub player_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The route's template, for example `/hosts/{host_id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

const fn nowhere() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

/// What is being limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    Api,
    Auth,
    Exempt,
    Websocket,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    #[default]
    Anonymous,
    Player,
    Operator,
}

/// The answer, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Passes without a limit.
    Unlimited,
    /// Passes when the bucket has enough tokens.
    Limited(Draw),
    /// Passes when every bucket has.
    LimitedByAll(Vec<Draw>),
    /// Refused, with a reason for the client.
    Deny(String),
}

/// One draw on one token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    pub scope: Scope,
    pub bucket: u32,
    /// Tokens a full bucket holds.
    pub capacity: u32,
    pub window_seconds: u32,
    /// Tokens the request takes.
    pub cost: u32,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Ip,
    Connection,
    Player,
    Everyone,
}

/// Enums with the same names on both sides, converted both ways.
macro_rules! same_names {
    ($here:ident, $there:path, $($name:ident)+) => {
        impl From<$there> for $here {
            fn from(value: $there) -> Self {
                use $there as There;
                match value { $(There::$name => Self::$name,)+ }
            }
        }

        impl From<$here> for $there {
            fn from(value: $here) -> Self {
                match value { $($here::$name => Self::$name,)+ }
            }
        }
    };
}

same_names!(Surface, policies::Surface, Api Auth Exempt Websocket);
same_names!(Caller, policies::Caller, Anonymous Player Operator);
same_names!(Scope, policies::Scope, Ip Connection Player Everyone);

impl Question {
    /// The question about `request`.
    #[must_use]
    pub fn of(request: &LimitRequest<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            surface: request.surface.into(),
            caller: request.caller.into(),
            size: request.size,
            now_ms: u64::try_from(request.now.0).unwrap_or(0),
            ip: request.ip,
            player_id: owned(request.player_id),
            user_id: owned(request.user_id),
            method: owned(request.method),
            route: owned(request.route),
            message_type: owned(request.message_type),
            session_id: owned(request.session_id),
        }
    }

    /// The request as in service.
    pub(super) fn to_domain(&self) -> LimitRequest<'_> {
        LimitRequest {
            surface: self.surface.into(),
            caller: self.caller.into(),
            size: self.size,
            now: Timestamp(i64::try_from(self.now_ms).unwrap_or(i64::MAX)),
            ip: self.ip,
            player_id: self.player_id.as_deref(),
            user_id: self.user_id.as_deref(),
            method: self.method.as_deref(),
            route: self.route.as_deref(),
            message_type: self.message_type.as_deref(),
            session_id: self.session_id.as_deref(),
        }
    }
}

impl From<&policies::Draw> for Draw {
    fn from(draw: &policies::Draw) -> Self {
        Self {
            scope: draw.scope.into(),
            bucket: draw.bucket,
            capacity: draw.capacity,
            window_seconds: draw.window_seconds,
            cost: draw.cost,
        }
    }
}

impl From<&LimitDecision> for Answer {
    fn from(decision: &LimitDecision) -> Self {
        match decision {
            LimitDecision::Unlimited => Self::Unlimited,
            LimitDecision::One(draw) => Self::Limited(draw.into()),
            LimitDecision::All(draws) => Self::LimitedByAll(draws.iter().map(Draw::from).collect()),
            LimitDecision::Deny(reason) => Self::Deny(reason.clone()),
        }
    }
}
