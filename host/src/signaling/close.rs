//! Why a connection is closed, and the code it is closed with. The table is in the documentation of `signaling`.

/// Why a connection is closed by the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed, or its socket broke.
    ByClient,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// A text message was not UTF-8.
    NotText,
    /// A bad credential, a refused `peer_id`, or no `create_session` in time.
    Refused,
    /// Far too many messages over the limit.
    Abuse,
    /// A message was too long.
    TooLong,
    /// This node goes away.
    Restart,
    /// The outbox is full, or the socket takes nothing for a whole ping period.
    SlowReader,
    /// No answer to a ping.
    Silent,
    /// A newer connection of the same peer took over.
    Replaced,
}

impl CloseReason {
    /// Every reason, in the order of the metric's labels.
    pub const ALL: [Self; 10] = [
        Self::ByClient,
        Self::Protocol,
        Self::NotText,
        Self::Refused,
        Self::Abuse,
        Self::TooLong,
        Self::Restart,
        Self::SlowReader,
        Self::Silent,
        Self::Replaced,
    ];

    /// The close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::ByClient => 1000,
            Self::Protocol => 1002,
            Self::NotText => 1007,
            Self::Refused | Self::Abuse => 1008,
            Self::TooLong => 1009,
            Self::Restart => 1012,
            Self::SlowReader => 4000,
            Self::Silent => 4001,
            Self::Replaced => 4500,
        }
    }

    /// The text in the close frame and the metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByClient => "by_client",
            Self::Protocol => "protocol",
            Self::NotText => "not_text",
            Self::Refused => "refused",
            Self::Abuse => "abuse",
            Self::TooLong => "too_long",
            Self::Restart => "restart",
            Self::SlowReader => "slow_reader",
            Self::Silent => "silent",
            Self::Replaced => "replaced",
        }
    }

    /// Whether what waits in the outbox is dropped rather than written first.
    #[must_use]
    pub const fn discards(self) -> bool {
        matches!(self, Self::SlowReader | Self::Replaced)
    }

    /// Whether what comes after the close is kept for the peer's next connection.
    #[must_use]
    pub const fn keeps(self) -> bool {
        matches!(self, Self::Restart | Self::ByClient | Self::Silent)
    }

    /// Whether the place of a resumable connection is kept that ended so.
    #[must_use]
    pub const fn may_resume(self) -> bool {
        !matches!(self, Self::Refused | Self::Abuse | Self::Replaced)
    }
}
