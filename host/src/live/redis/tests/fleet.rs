//! What waits for a node that does not listen. The rest of the fleet is in the contract.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;
use crate::ports::fleet::{Announced, Arrival, Connected, Dispatch, Event as FleetEvent, NodeEvents, Parcel, Sent};

#[derive(Default)]
struct Numbers {
    seen: Mutex<Vec<u64>>,
    came: Notify,
}

impl NodeEvents for Numbers {
    fn apply(&self, event: FleetEvent) {
        if let FleetEvent::Signal { parcel, .. } = event {
            self.seen.lock().push(parcel.number);
            self.came.notify_one();
        }
    }

    fn listening(&self) {}
}

#[tokio::test]
async fn what_was_sent_to_a_node_that_did_not_listen_comes_before_what_is_sent_later() {
    let server = Redis::shared();
    let config = config(&server.url());
    let connection = Connection::open_apart(&config, config.url.as_ref().unwrap())
        .await
        .unwrap();
    let live = compose(&connection, "one", true);
    let arrival = Arrival {
        peer_id: "ann".to_owned(),
        node: "deaf".to_owned(),
        identity: "player:ann".to_owned(),
        token: "t".to_owned(),
        presented: None,
        ticket: 1,
    };
    let Connected::Done(place) = live.fleet.connect(&arrival).await.unwrap() else {
        panic!("in use")
    };
    let seen = live.fleet.endings("s").await.unwrap();
    live.fleet.join("ann", place.generation, "s", seen).await.unwrap();
    let send = async |number| {
        let parcel = Parcel {
            frame: "{}".to_owned(),
            at: 0,
            origin: "one".to_owned(),
            number,
            receipt: None,
        };
        let item = Dispatch::Signal {
            to: "ann".to_owned(),
            session_id: "s".to_owned(),
            parcel,
        };
        // The connection for what goes in order opens by itself.
        crate::ports::contract::until(|| async {
            let sent = live.fleet.dispatch("one", std::slice::from_ref(&item)).await.ok();
            sent.and_then(|sent| sent.first().copied())
        })
        .await
    };
    assert_eq!(send(1).await, Sent::Queued);
    assert_eq!(send(2).await, Sent::Queued);
    let numbers = Arc::new(Numbers::default());
    let events: std::sync::Weak<Numbers> = Arc::downgrade(&numbers);
    live.fleet.enter("deaf", events).await.unwrap();
    assert_eq!(send(3).await, Sent::Queued, "it must not overtake the others");
    let peer = Announced {
        peer_id: "ann".to_owned(),
        generation: place.generation,
        identity: "player:ann".to_owned(),
        token: "t".to_owned(),
        session_id: Some("s".to_owned()),
        alone: false,
    };
    live.fleet.announce("deaf", 0, &[peer], &[]).await.unwrap();
    assert_eq!(send(4).await, Sent::Done);
    let all = async {
        while numbers.seen.lock().len() < 4 {
            numbers.came.notified().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all four");
    assert_eq!(*numbers.seen.lock(), [1, 2, 3, 4]);
}
