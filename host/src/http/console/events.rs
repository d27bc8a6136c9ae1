//! `GET /console/events`: the live snapshot as server-sent events, one per part, when the part has changed. A stream ends with
//! its session and with the drain, so that it never holds one up.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::feed::Subscription;
use super::session;
use super::sign_in;
use super::snapshot::PARTS;
use crate::app::error::AppError;
use crate::http::error::Problem;
use crate::http::extract::Operator;
use crate::http::routes::Shared;
use crate::http::state::HttpState;
use crate::serve::Cut;

/// When a client is to connect again, in seconds.
const RETRY_SECONDS: u32 = 2;

/// A client that takes nothing for so long is cut off.
const STALL: Duration = Duration::from_secs(20);
/// What a client gets to take the end of the stream when the node drains.
const LAST_WORD: Duration = Duration::from_millis(500);

/// The live snapshot, for as long as the session lasts.
pub async fn events(
    State(state): Shared,
    _: Operator,
    cut: Option<Extension<Cut>>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    sign_in::current(&state, &headers)?;
    let cookie = session::cookie(&headers).unwrap_or_default().to_owned();
    let Some(subscription) = super::feed::subscribe(&state) else {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        let full = "As many consoles are open as this node takes, or it drains";
        return Ok(Problem::new(StatusCode::SERVICE_UNAVAILABLE, full).respond(headers));
    };
    let taken = watch::Sender::new(());
    if let Some(Extension(cut)) = cut {
        let overseen = oversee(cut, taken.subscribe(), state.shutdown.clone());
        state.tracker.spawn(overseen);
    }
    let mut response = Sse::new(stream(state, cookie, subscription, taken)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Else nginx collects events before it passes them on.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// What one client has been sent.
struct Watcher {
    state: Arc<HttpState>,
    /// What the session stands in.
    cookie: String,
    subscription: Subscription,
    seen: [u64; PARTS.len()],
    waiting: VecDeque<Event>,
    over: bool,
    /// Told whenever the client has taken something. Dropped with the stream.
    taken: watch::Sender<()>,
}

fn stream(
    state: Arc<HttpState>,
    cookie: String,
    subscription: Subscription,
    taken: watch::Sender<()>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let history = Event::default().event("history").data(state.console.feed.history());
    let watcher = Watcher {
        state,
        cookie,
        subscription,
        seen: [0; PARTS.len()],
        waiting: VecDeque::from([history]),
        over: false,
        taken,
    };
    stream::unfold(watcher, |mut watcher| async move {
        watcher.taken.send_replace(());
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    })
}

/// Cuts a client off that takes nothing any more: the stream itself is not asked then, and cannot end.
async fn oversee(cut: Cut, mut taken: watch::Receiver<()>, shutdown: CancellationToken) {
    loop {
        let within = async {
            tokio::select! {
                () = shutdown.cancelled() => {
                    while tokio::time::timeout(LAST_WORD, taken.changed()).await.is_ok_and(|is| is.is_ok()) {}
                    None
                }
                next = tokio::time::timeout(STALL, taken.changed()) => next.ok(),
            }
        };
        match within.await {
            Some(Ok(())) => {}
            // The stream is gone.
            Some(Err(_)) => return,
            None if taken.has_changed().is_err() => return,
            None => return cut.now(),
        }
    }
}

impl Watcher {
    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Event> {
        while self.waiting.is_empty() {
            if self.over {
                return None;
            }
            let shutdown = self.state.shutdown.clone();
            let snapshot = tokio::select! {
                biased;
                () = shutdown.cancelled() => None,
                snapshot = self.subscription.next() => snapshot,
            };
            // A snapshot comes every second, so a session that is over is seen within one.
            let end = match snapshot {
                None => Some("draining"),
                Some(_) if self.state.console.sessions.verify(&self.cookie).is_none() => Some("signed-out"),
                Some(snapshot) => {
                    for (index, part) in snapshot.parts.iter().enumerate() {
                        if part.version > self.seen[index] {
                            self.seen[index] = part.version;
                            self.waiting
                                .push_back(Event::default().event(PARTS[index]).data(&*part.json));
                        }
                    }
                    None
                }
            };
            if let Some(why) = end {
                self.over = true;
                self.waiting.push_back(Event::default().event("end").data(why));
            }
        }
        self.waiting.pop_front()
    }
}
