//! Signaling: introduces the peers of a session to each other over WebSocket, and never carries game traffic.
//!
//! One connection: `handshake` and `socket` open it and check its credential, `connection` is its one task and `errands` what
//! that asks of storage, `link` and `stream` read and write the socket, `outbox` and `queue` are what waits for it, `traced` tells a
//! collector of it.
//!
//! This node: `hub` knows who is here, `membership` who is in which session, `notifier` speaks for the application, `drain`
//! sends everybody away. The fleet: `events` applies what it tells, `courier` is the one way out and `deliveries` what became of
//! it, `arrivals`, `handover` and `resume` carry a place from one connection to the next, `keeper` keeps the node a member.
//!
//! `wire` and `dialect` know the messages. Rights are decided in `app::sessions`, limits in `app::limits`.
//!
//! # Messages
//!
//! `offer`, `answer` and `ice-candidate` name their receiver in `to`, in both dialects. `from` is what the service has
//! verified. A message that cannot be served is answered with `error` and its `message`; over the rate limit also with
//! `retry_after`, in seconds. Binary messages are answered with `error`. A message is at most 64 KiB.
//!
//! # Opening
//!
//! The credential is, in this order: `token` in the query, the API key in `X-API-Key`, `Authorization: Bearer`, or a value
//! of `Sec-WebSocket-Protocol` that has the form of a token. A connection without any query speaks the dialect of the
//! game DLL: it has 10 s to send `create_session`, which may carry a `token` of its own.
//!
//! A second connection with the same `peer_id` and the same verified identity takes over, with its place in the
//! session; the others see `peer-joined` again when it joins. With another identity it is refused. With the `resume_token` of a
//! resumable connection it goes on where that one broke, and nobody sees it leave.
//!
//! # Close codes
//!
//! Below 4500 a client connects again (with a back-off; after 1008 with a good credential), from 4500 on it does not.
//!
//! | code | when |
//! |---|---|
//! | 1000 | the client closed |
//! | 1002 | the client broke the WebSocket protocol |
//! | 1007 | a text message was not UTF-8 |
//! | 1008 | bad or missing credential, `peer_id` refused, no `create_session` in time, or 1000 messages in a row over the limit |
//! | 1009 | a message longer than 64 KiB |
//! | 1011 | the service failed |
//! | 1012 | the node restarts: connect again after the delay that `server-draining` names |
//! | 4000 | slow reader: more than 1024 frames or 1 MiB waited, or the socket took nothing for a ping period (25 s) |
//! | 4001 | nothing was heard for a ping period after a ping |
//! | 4500 | a newer connection of the same peer took over |

mod arrivals;
pub mod asyncapi;
mod close;
mod connection;
mod courier;
mod credential;
mod deliveries;
mod dialect;
mod drain;
mod errands;
mod events;
mod frame;
mod handover;
mod handshake;
pub mod hub;
pub mod keeper;
mod link;
mod membership;
mod metrics;
mod notifier;
mod outbox;
mod queue;
mod quick;
mod resume;
mod room;
pub mod socket;
pub mod stats;
mod stream;
mod syscall;
#[cfg(test)]
mod tests;
mod traced;
mod wire;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::state::HttpState;

pub use queue::OutboxLimits;

/// `GET /signaling/ws` and `GET /signaling/stats`.
pub fn routes() -> OpenApiRouter<Arc<HttpState>> {
    OpenApiRouter::new()
        .routes(routes!(socket::open))
        .routes(routes!(stats::stats))
}
