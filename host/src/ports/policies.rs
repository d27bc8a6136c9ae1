//! The three policies as the application calls them. Every call answers: what a broken policy does not decide, the
//! native default does, within the same call.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::clock::Timestamp;
use crate::domain::host::Host;
use crate::domain::identity::Identity;
use crate::domain::zone::Zone;
use crate::ports::live::BucketDraw;

/// What a session needs of a host.
#[derive(Clone, Debug)]
pub struct HostRequest {
    pub zone: Zone,
    /// Players the session has.
    pub players: u32,
    pub now: Timestamp,
    /// Different for every request.
    pub seed: u64,
    /// The session that the host is for, for the decision log. No policy sees it.
    pub session_id: Option<String>,
}

/// A host that could serve.
#[derive(Clone, Debug)]
pub struct HostCandidate {
    pub host: Arc<Host>,
    /// Live sessions it serves already.
    pub sessions: u32,
}

/// One choice of the policy, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPick {
    pub host_id: String,
    pub score: f64,
    pub reason: String,
}

/// Who answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The candidate of a rollout.
    Candidate,
    /// The active release in the slot.
    Component,
    /// The release that was active before.
    Previous,
    /// The native default.
    Native,
    /// The fixed decision that stands when even the native default fails.
    Static,
}

impl Rung {
    /// The name in metrics, records and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Component => "component",
            Self::Previous => "previous",
            Self::Native => "native",
            Self::Static => "static",
        }
    }
}

/// Slot `host-selection`.
#[async_trait]
pub trait HostSelection: Send + Sync {
    /// The host's quality, 0 to 100, two decimals.
    fn score(&self, host: &Host) -> f64;

    /// The hosts that should serve, best first; empty when none is suitable.
    async fn rank(&self, request: HostRequest, candidates: Vec<HostCandidate>) -> (Vec<HostPick>, Rung);
}

/// What is being limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    Api,
    Auth,
    Exempt,
    Websocket,
}

/// Who asks, reduced to what a limit may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    Anonymous,
    Player,
    Operator,
}

impl From<&Identity> for Caller {
    /// A caller that may act as any player has shown nothing: it counts as anonymous.
    fn from(identity: &Identity) -> Self {
        match identity {
            Identity::Operator => Self::Operator,
            Identity::Player { .. } => Self::Player,
            Identity::AnyPlayer | Identity::Anonymous => Self::Anonymous,
        }
    }
}

/// One request or message to limit. Borrowed: this is made for every message.
#[derive(Clone, Copy, Debug)]
pub struct LimitRequest<'a> {
    pub surface: Surface,
    pub caller: Caller,
    pub size: u32,
    pub now: Timestamp,
    pub ip: IpAddr,
    pub player_id: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub method: Option<&'a str>,
    /// The route's template, never the raw path.
    pub route: Option<&'a str>,
    pub message_type: Option<&'a str>,
    pub session_id: Option<&'a str>,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Ip,
    Connection,
    Player,
    Everyone,
}

/// One draw as the policy wants it; the key is made by the caller of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draw {
    pub scope: Scope,
    pub bucket: u32,
    pub capacity: u32,
    pub window_seconds: u32,
    pub cost: u32,
}

impl Draw {
    /// The draw with the full key of its bucket. `connection` is none outside WebSockets.
    #[must_use]
    pub fn keyed(&self, request: &LimitRequest<'_>, connection: Option<u64>) -> BucketDraw {
        let (surface, bucket) = (request.surface.as_str(), self.bucket);
        let key = match self.scope {
            Scope::Everyone => format!("{surface}:{bucket}:everyone"),
            Scope::Connection => match connection {
                Some(number) => format!("{surface}:{bucket}:connection:{number}"),
                None => format!("{surface}:{bucket}:ip:{}", request.ip),
            },
            Scope::Player => match request.player_id {
                Some(player) => format!("{surface}:{bucket}:player:{player}"),
                None => format!("{surface}:{bucket}:ip:{}", request.ip),
            },
            Scope::Ip => format!("{surface}:{bucket}:ip:{}", request.ip),
        };
        BucketDraw {
            key,
            capacity: self.capacity,
            window_seconds: self.window_seconds,
            cost: self.cost,
        }
    }
}

impl Surface {
    /// The name in bucket keys and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Auth => "auth",
            Self::Exempt => "exempt",
            Self::Websocket => "websocket",
        }
    }
}

/// The policy's answer, checked: at most four draws, all within their ranges.
#[derive(Clone, Debug, PartialEq)]
pub enum LimitDecision {
    Unlimited,
    One(Draw),
    All(Vec<Draw>),
    Deny(String),
}

/// Slot `rate-limit`.
pub trait RateLimiting: Send + Sync {
    /// Decides one request. Takes about a microsecond and never waits.
    fn decide(&self, request: &LimitRequest<'_>) -> LimitDecision;
}

/// All NPCs of one zone at one tick, as the AI service sent them.
#[derive(Clone, Debug)]
pub struct NpcFrame {
    pub zone_id: String,
    pub tick: u64,
    pub now: Timestamp,
    /// Each one a JSON object.
    pub npcs: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// Slot `npc-transform`.
#[async_trait]
pub trait NpcTransforming: Send + Sync {
    /// What peers get to see of the frame.
    async fn transform(&self, frame: NpcFrame) -> Vec<serde_json::Map<String, serde_json::Value>>;
}

/// The three policies, as the application holds them.
#[derive(Clone)]
pub struct Policies {
    pub host_selection: Arc<dyn HostSelection>,
    pub rate_limit: Arc<dyn RateLimiting>,
    pub npc_transform: Arc<dyn NpcTransforming>,
}
