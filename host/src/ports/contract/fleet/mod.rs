//! Contract of `Fleet`: what its checks share. Who is in which session is in `sessions`, places that are kept in `places`, and what
//! nodes say of themselves in `nodes`.

mod nodes;
mod places;
mod sessions;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ports::fleet::{Arrival, Connected, Dispatch, Event, Joined, NodeEvents, Outcome, Parcel, Sent};
use crate::ports::live::Live;

pub(crate) use nodes::*;
pub(crate) use places::*;
pub(crate) use sessions::*;

/// What a node was told.
#[derive(Default)]
struct Told {
    events: Mutex<VecDeque<Event>>,
    listening: Mutex<u32>,
    came: Notify,
}

impl NodeEvents for Told {
    fn apply(&self, event: Event) {
        self.events.lock().push_back(event);
        self.came.notify_one();
    }

    fn listening(&self) {
        *self.listening.lock() += 1;
    }
}

impl Told {
    /// The next event, which must come within a bounded time.
    async fn next(&self) -> Event {
        let waiting = async {
            loop {
                if let Some(event) = self.events.lock().pop_front() {
                    return event;
                }
                self.came.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .expect("an event")
    }

    /// Nothing but what was asked for has come. Sends itself an event and expects it to be the next.
    async fn quiet(&self, live: &Live, node: &str) {
        let marker = Dispatch::Outcome {
            node: node.to_owned(),
            to: "marker".to_owned(),
            id: "1".to_owned(),
            outcome: Outcome::Delivered,
        };
        live.fleet.dispatch(node, &[marker]).await.unwrap();
        assert!(matches!(self.next().await, Event::Outcome { to, .. } if to == "marker"));
    }
}

async fn node(live: &Live, name: &str) -> Arc<Told> {
    let told = Arc::new(Told::default());
    let events: Weak<Told> = Arc::downgrade(&told);
    live.fleet.enter(name, events).await.unwrap();
    assert!(*told.listening.lock() > 0);
    told
}

fn arrival(peer_id: &str, node: &str, token: &str, presented: Option<&str>) -> Arrival {
    Arrival {
        peer_id: peer_id.to_owned(),
        node: node.to_owned(),
        identity: format!("player:{peer_id}"),
        token: token.to_owned(),
        presented: presented.map(str::to_owned),
        ticket: 7,
    }
}

async fn connect(live: &Live, told: &Told, peer_id: &str, node: &str) -> u64 {
    let token = format!("token-of-{peer_id}");
    let Connected::Done(place) = live.fleet.connect(&arrival(peer_id, node, &token, None)).await.unwrap() else {
        panic!("in use")
    };
    let arrived = Event::Arrived {
        ticket: 7,
        peer_id: peer_id.to_owned(),
        generation: place.generation,
        resumed: false,
    };
    assert_eq!(told.next().await, arrived);
    place.generation
}

async fn join(live: &Live, peer_id: &str, generation: u64, session_id: &str) -> Joined {
    let seen = live.fleet.endings(session_id).await.unwrap();
    live.fleet.join(peer_id, generation, session_id, seen).await.unwrap()
}

fn entered(peer_id: &str, generation: u64, session_id: &str, others: &[&str], news: bool) -> Event {
    Event::Entered {
        peer_id: peer_id.to_owned(),
        generation,
        session_id: session_id.to_owned(),
        others: others.iter().map(|&other| other.to_owned()).collect(),
        news,
    }
}

fn left(peer_id: &str, generation: u64, session_id: &str, evicted: bool) -> Event {
    Event::Left {
        session_id: session_id.to_owned(),
        peer_id: peer_id.to_owned(),
        generation,
        evicted,
    }
}

fn parcel(number: u64) -> Parcel {
    Parcel {
        frame: format!("{{\"n\":{number},\"text\":\"ünï\\u0000\"}}"),
        at: 5,
        origin: "one".to_owned(),
        number,
        receipt: None,
    }
}

fn signal(to: &str, session_id: &str, number: u64) -> Dispatch {
    Dispatch::Signal {
        to: to.to_owned(),
        session_id: session_id.to_owned(),
        parcel: parcel(number),
    }
}

async fn send(live: &Live, item: Dispatch) -> Sent {
    live.fleet.dispatch("one", &[item]).await.unwrap()[0]
}
