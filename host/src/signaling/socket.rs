//! `GET /signaling/ws`: upgrades, checks who it is and which `peer_id` it may carry, and hands over to `connection`.
//!
//! A bad credential is told over the socket (one `error`, then close 1008), because browsers do not show a client the
//! answer to a refused upgrade.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;
use tracing::Instrument as _;
use utoipa::IntoParams;

use super::arrivals::{Arriving, Refusal};
use super::close::CloseReason;
use super::connection::{self, Meter, Passage};
use super::credential;
use super::dialect::Dialect;
use super::errands::Errand;
use super::handshake::Handshake;
use super::hub::Admission;
use super::link;
use super::metrics::Outcome;
use super::queue::Worth;
use super::room::Peer;
use super::stream::WebSocket;
use super::wire::{self, Incoming, Kind};
use crate::domain::identity::{Identity, MAX_ID, MAX_PEER_ID};
use crate::http::client::Client;
use crate::http::error::Problem;
use crate::http::state::HttpState;
use crate::ports::fleet::Arrived;
use crate::telemetry::trace::Trace;

/// The query of an upgrade. Without any, the connection speaks the dialect of the game DLL.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OpenQuery {
    /// The `player_id` of the token, or `player_id:device`.
    peer_id: Option<String>,
    /// A session to join at once.
    session_id: Option<String>,
    /// An access token, where headers cannot be set.
    token: Option<String>,
    /// Keep the place in the session for 30 s when the connection breaks.
    resumable: Option<bool>,
    /// The `resume_token` of the connection to go on from; this one is resumable too.
    resume_token: Option<String>,
}

/// What an upgrade brings along.
struct Opening {
    identity: Result<Identity, String>,
    query: OpenQuery,
    /// There was no query at all.
    bare: bool,
    ip: IpAddr,
}

/// Open a signaling WebSocket
#[utoipa::path(
    get,
    path = "/signaling/ws",
    tag = "signaling",
    params(OpenQuery),
    security(("token" = []), ("api_key" = [])),
    responses(
        (status = 101, description = "The connection is a WebSocket now. A bad credential gets one `error` message, then close 1008"),
        (status = 400, description = "Not a WebSocket upgrade, or a bad query"),
        (status = 503, description = "The node has as many connections as it takes, or goes away")
    )
)]
pub async fn open(
    State(state): State<Arc<HttpState>>,
    RawQuery(raw): RawQuery,
    query: Result<Query<OpenQuery>, QueryRejection>,
    headers: HeaderMap,
    client: Extension<Client>,
    handshake: Result<Handshake, StatusCode>,
) -> Response {
    let Ok(handshake) = handshake else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "This address speaks WebSocket: send an upgrade request",
        );
    };
    let Ok(Query(query)) = query else {
        return refuse(StatusCode::BAD_REQUEST, "The query has a member twice or is not UTF-8");
    };
    let Some(admission) = state.hub.admit() else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node takes no more connections; try again",
        );
    };
    let opening = Opening {
        identity: credential::identify(&state.auth, &client, &headers, query.token.as_deref()),
        query,
        bare: raw.is_none_or(|raw| raw.is_empty()),
        ip: client.ip,
    };
    let answer = handshake.answer(credential::answered_protocol(&headers));
    let tracker = state.tracker.clone();
    let exported = Trace::exported().map(Box::new);
    let serve = async move {
        if let Some(socket) = handshake.finish().await {
            greet(state, socket, opening, admission, exported).await;
        }
    };
    // Without a trace of its own this is no span, and costs nothing.
    tracker.spawn(serve.in_current_span());
    answer
}

fn refuse(status: StatusCode, detail: &str) -> Response {
    Problem::new(status, detail).into_response()
}

/// Finds out who it is, then serves it.
async fn greet(
    state: Arc<HttpState>,
    mut socket: WebSocket,
    opening: Opening,
    admission: Admission,
    exported: Option<Box<Trace>>,
) {
    let mut meter = Meter::new(opening.ip);
    let welcome = Box::pin(welcome(&state, &mut socket, opening, &mut meter)).await;
    match welcome {
        Ok((peer, place, first)) => connection::serve(state, socket, (peer, place), meter, first, exported).await,
        Err(refused) => {
            if let Some(message) = refused.message {
                let frame = wire::error(&message, "");
                let sending = socket.send(Message::Text(frame.into()));
                let _ = tokio::time::timeout(state.hub.limits.identify_within, sending).await;
            }
            state.hub.metrics.closed(refused.reason);
            link::close(&mut socket, refused.reason, |_| {}).await;
        }
    }
    drop(admission);
}

/// Why a connection does not get to be a peer.
struct Refused {
    message: Option<String>,
    reason: CloseReason,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self {
            message: Some(message),
            reason: CloseReason::Refused,
        }
    }
}

impl From<CloseReason> for Refused {
    fn from(reason: CloseReason) -> Self {
        Self { message: None, reason }
    }
}

async fn welcome(
    state: &Arc<HttpState>,
    socket: &mut WebSocket,
    opening: Opening,
    meter: &mut Meter,
) -> Result<(Arc<Peer>, Arrived, Option<Errand>), Refused> {
    let identity = opening.identity?;
    let resumable = opening.query.resumable.unwrap_or(false);
    let resume_token = opening.query.resume_token.filter(|token| !token.is_empty());
    let (peer_id, identity, dialect, first) = if opening.bare {
        let limit = state.hub.limits.identify_within;
        let waiting = tokio::time::timeout(limit, first_message(state, socket, identity, meter));
        let created = tokio::select! {
            created = waiting => created,
            () = state.shutdown.cancelled() => return Err(CloseReason::Restart.into()),
        };
        let (peer_id, identity, zone) = created.map_err(|_| {
            format!(
                "Send create_session within {} s, or open with peer_id in the query",
                limit.as_secs()
            )
        })??;
        (peer_id, identity, Dialect::Underscore, Some(Errand::Create { zone }))
    } else {
        let peer_id = opening
            .query
            .peer_id
            .ok_or_else(|| "peer_id is required in the query".to_owned())?;
        let first = opening.query.session_id.filter(|session_id| !session_id.is_empty());
        if let Some(session_id) = &first {
            wire::check_name("session_id", session_id, MAX_ID)?;
        }
        (peer_id, identity, Dialect::Hyphen, first.map(Errand::Join))
    };
    wire::check_name("peer_id", &peer_id, MAX_PEER_ID)?;
    if identity == Identity::Anonymous {
        return Err("A token is required".to_owned().into());
    }
    if !identity.may_connect_as(&peer_id) {
        return Err("The token belongs to another player".to_owned().into());
    }
    let arriving = Arriving {
        peer_id: &peer_id,
        identity: &identity,
        dialect,
        resumable: dialect == Dialect::Hyphen && (resumable || resume_token.is_some()),
        resume_token: resume_token.as_deref(),
    };
    match state.hub.connect(arriving).await {
        Ok((peer, place)) => {
            if resume_token.is_some() && !(place.resumed && place.session_id.is_some()) {
                let frame = wire::error("The place is gone: join again", ",\"code\":\"resume_expired\"");
                state.hub.send(&peer, frame.into(), Worth::Keep);
            }
            Ok((peer, place, first))
        }
        Err(Refusal::InUse) => Err("This peer_id is connected with another identity".to_owned().into()),
    }
}

/// Waits for `create_session`: the `peer_id`, who it is, and the zone.
async fn first_message(
    state: &HttpState,
    socket: &mut WebSocket,
    identity: Identity,
    meter: &mut Meter,
) -> Result<(String, Identity, String), Refused> {
    loop {
        let text = match socket.recv().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Binary(_))) => return Err("Binary messages are not understood".to_owned().into()),
            Some(Ok(Message::Close(_))) | None => return Err(CloseReason::ByClient.into()),
            Some(Err(error)) => return Err(link::reason_of(&error).into()),
        };
        let message = Incoming::read(&text);
        let kind = message.as_ref().map_or(Kind::Other, Incoming::kind);
        let refusal = match meter.check(
            &state.limiter,
            &state.hub,
            &identity,
            None,
            state.hub.now(),
            (kind, text.len()),
        ) {
            Passage::Abuse => return Err(CloseReason::Abuse.into()),
            Passage::Refused(frame) => Some(frame),
            Passage::Open => None,
        };
        let frame = match (refusal, message) {
            (Some(frame), _) => frame,
            (None, Ok(message)) if kind == Kind::CreateSession => match create_session(&message) {
                Ok((peer_id, zone)) => {
                    state.hub.metrics.message(kind, Outcome::Done);
                    let identity = match message.token.as_deref() {
                        Some(token) => credential::verify(&state.auth, token)?,
                        None => identity,
                    };
                    return Ok((peer_id, identity, zone));
                }
                Err(message) => wire::error(&message, ""),
            },
            (None, Ok(_)) => wire::error("Send create_session first", ""),
            (None, Err(message)) => wire::error(&message, ""),
        };
        if socket.send(Message::Text(frame.into())).await.is_err() {
            return Err(CloseReason::ByClient.into());
        }
    }
}

/// The `peer_id` and the zone of a `create_session`.
fn create_session(message: &Incoming<'_>) -> Result<(String, String), String> {
    let peer_id = message.peer_id.as_deref().ok_or("peer_id is required")?;
    let zone = message.zone.as_deref().ok_or("zone is required")?;
    wire::check_name("peer_id", peer_id, MAX_PEER_ID)?;
    wire::check_name("zone", zone, MAX_ID)?;
    Ok((peer_id.to_owned(), zone.to_owned()))
}
