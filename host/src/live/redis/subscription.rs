//! Listening to one channel on a connection of its own. It connects again by itself, and tells of every gap: what was
//! published meanwhile is lost.

use std::sync::Arc;

use bytes::Bytes;
use redis::{PushInfo, PushKind, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::link::{self, Pauses};
use super::server::Server;
use super::status::Status;

/// Messages that wait for the listener. When one more comes the connection is given up, and the listener is told of a gap.
const WAITING: usize = 8192;

/// What a subscription tells, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From here on every message arrives, until the next `Lost`.
    Connected,
    /// What was published.
    Message(Bytes),
    /// Messages may be missing from here on.
    Lost,
}

/// A channel that is listened to, until this is dropped.
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    _end: DropGuard,
}

impl Subscription {
    pub(super) fn start(server: Arc<Server>, channel: String) -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(keep(server, channel, sender)));
        Self {
            events,
            _end: end.drop_guard(),
        }
    }

    /// Waits for the next event. Can be dropped at any await without a loss.
    pub async fn next(&mut self) -> Event {
        // The other end lives as long as this one.
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

async fn keep(server: Arc<Server>, channel: String, events: mpsc::Sender<Event>) {
    let status = Status::new(server.url.to_string(), false);
    let mut pauses = Pauses::default();
    loop {
        let lost = CancellationToken::new();
        let (pushes, end) = (events.clone(), lost.clone());
        let opened = server.open(move |push| pass_on(push, &pushes, &end)).await;
        match opened {
            Ok(mut opened) => {
                let since = Instant::now();
                let name = if opened.sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" };
                let subscribed = cmd(name).arg(&channel).exec_async(&mut opened.connection).await;
                match subscribed {
                    Ok(()) => {
                        link::watch(&mut opened, &server, &status, &lost).await;
                    }
                    Err(error) => status.failed(error.into()),
                }
                lost.cancel();
                // The listener may take its time with what comes before the next event.
                drop(opened);
                pauses.after(since.elapsed());
                if events.send(Event::Lost).await.is_err() {
                    return;
                }
            }
            Err(error) => status.failed(error),
        }
        pauses.wait().await;
    }
}

/// Hands on what the server sends, in its order. Must not wait.
fn pass_on(push: PushInfo, events: &mpsc::Sender<Event>, lost: &CancellationToken) -> Result<(), ()> {
    if lost.is_cancelled() {
        return Err(());
    }
    let event = match push.kind {
        PushKind::SSubscribe | PushKind::Subscribe => Event::Connected,
        PushKind::SMessage | PushKind::Message => match push.data.into_iter().nth(1) {
            Some(Value::BulkString(payload)) => Event::Message(payload.into()),
            _ => return Ok(()),
        },
        // With the last one the channel has moved to another server.
        PushKind::Disconnection | PushKind::Unsubscribe | PushKind::SUnsubscribe => {
            lost.cancel();
            return Ok(());
        }
        _ => return Ok(()),
    };
    events.try_send(event).map_err(|_| lost.cancel())
}
