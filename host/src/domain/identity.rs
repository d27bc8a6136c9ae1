//! Who asks, as far as the service has verified it. Never built from a client's word.

use std::sync::Arc;

/// Longest id of a host, zone, session or player, in bytes.
pub const MAX_ID: usize = 128;
/// Longest `peer_id`, in bytes: a `player_id`, `:` and a device name.
pub const MAX_PEER_ID: usize = 255;

/// A verified caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No credential.
    Anonymous,
    /// No credential, and token validation is switched off (never in production): may act as any player.
    AnyPlayer,
    /// Holds a valid access token of this player.
    Player {
        player_id: Arc<str>,
        user_id: Option<Arc<str>>,
    },
    /// Holds the coordinator's API key: the game server or an operator. May do all.
    Operator,
}

impl Identity {
    /// The verified player, none for anybody else.
    #[must_use]
    pub fn player_id(&self) -> Option<&str> {
        match self {
            Self::Player { player_id, .. } => Some(player_id),
            Self::Anonymous | Self::AnyPlayer | Self::Operator => None,
        }
    }

    /// The verified player's `user_id`, where the token names one.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::Player { user_id, .. } => user_id.as_deref(),
            Self::Anonymous | Self::AnyPlayer | Self::Operator => None,
        }
    }

    /// Whether the caller may act for `player_id`: the operator for anyone, a player for itself.
    #[must_use]
    pub fn may_act_for(&self, player_id: &str) -> bool {
        matches!(self, Self::Operator | Self::AnyPlayer) || self.player_id() == Some(player_id)
    }

    /// Whether a socket of this caller may carry `peer_id`: the `player_id` itself, or `player_id:device`.
    #[must_use]
    pub fn may_connect_as(&self, peer_id: &str) -> bool {
        match self {
            Self::Operator | Self::AnyPlayer => true,
            Self::Player { player_id, .. } => {
                peer_id == &**player_id
                    || peer_id
                        .strip_prefix(&**player_id)
                        .and_then(|rest| rest.strip_prefix(':'))
                        .is_some_and(|device| !device.is_empty())
            }
            Self::Anonymous => false,
        }
    }
}

/// The player a peer belongs to: what stands before the first `:` of its `peer_id`.
#[must_use]
pub fn player_of(peer_id: &str) -> &str {
    peer_id.split_once(':').map_or(peer_id, |(player, _)| player)
}
