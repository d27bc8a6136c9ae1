//! Contract of `Fleet`.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::fleet::{
    Announced, Arrival, Arrived, Connected, Dispatch, Event, HOLD, Joined, MAILBOX_PARCELS, NodeEvents, Outcome,
    Parcel, Sent,
};
use super::super::live::Live;

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

pub(crate) async fn the_newest_connection_counts(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    assert_eq!(live.fleet.find("ann").await.unwrap(), None);
    let first = connect(live, &one, "ann", "one").await;
    let other = connect(live, &one, "bob", "one").await;
    assert!(other > first);
    let second = connect(live, &two, "ann", "two").await;
    assert!(second > other);
    let replaced = Event::Replaced {
        peer_id: "ann".to_owned(),
        generation: first,
        resumed: false,
    };
    assert_eq!(one.next().await, replaced);
    let found = live.fleet.find("ann").await.unwrap().unwrap();
    assert_eq!((found.generation, found.node.as_deref()), (second, Some("two")));
    assert_eq!(live.fleet.disconnect("ann", first).await.unwrap(), None);
    assert!(
        live.fleet.find("ann").await.unwrap().is_some(),
        "a late disconnect removes nothing newer"
    );
    live.fleet.disconnect("ann", second).await.unwrap();
    assert_eq!(live.fleet.find("ann").await.unwrap(), None);
    one.quiet(live, "one").await;
    two.quiet(live, "two").await;
}

pub(crate) async fn another_identity_is_refused(live: &Live) {
    let one = node(live, "one").await;
    let generation = connect(live, &one, "ann", "one").await;
    let mut wrong = arrival("ann", "one", "t", Some("token-of-ann"));
    wrong.identity = "player:mallory".to_owned();
    assert_eq!(live.fleet.connect(&wrong).await.unwrap(), Connected::InUse);
    live.fleet.park("ann", generation, HOLD, true).await.unwrap();
    assert_eq!(
        live.fleet.connect(&wrong).await.unwrap(),
        Connected::InUse,
        "nor while it is away"
    );
    wrong.identity = "operator".to_owned();
    assert!(matches!(live.fleet.connect(&wrong).await.unwrap(), Connected::Done(_)));
}

pub(crate) async fn joins_one_session_at_a_time(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let ann = connect(live, &one, "ann", "one").await;
    let bob = connect(live, &two, "bob", "two").await;
    assert_eq!(join(live, "ann", ann, "s1").await, Joined::Done { left: None });
    assert_eq!(one.next().await, entered("ann", ann, "s1", &[], true));
    join(live, "bob", bob, "s1").await;
    assert_eq!(two.next().await, entered("bob", bob, "s1", &["ann"], true));
    let joined = Event::Joined {
        session_id: "s1".to_owned(),
        peer_id: "bob".to_owned(),
    };
    assert_eq!(one.next().await, joined);
    join(live, "bob", bob, "s1").await;
    assert_eq!(two.next().await, entered("bob", bob, "s1", &["ann"], false));
    let Joined::Done { left: Some(departure) } = join(live, "bob", bob, "s2").await else {
        panic!("it left a session")
    };
    assert_eq!(
        (&*departure.session_id, departure.remaining),
        ("s1", vec!["ann".to_owned()])
    );
    assert_eq!(one.next().await, left("bob", bob, "s1", false));
    assert_eq!(two.next().await, left("bob", bob, "s1", false));
    assert_eq!(two.next().await, entered("bob", bob, "s2", &[], true));
    assert_eq!(live.fleet.members("s1").await.unwrap(), ["ann"]);
    assert_eq!(live.fleet.members("s2").await.unwrap(), ["bob"]);
    assert_eq!(join(live, "ann", ann - 1, "s2").await, Joined::Gone);
    assert_eq!(live.fleet.counts().await.unwrap(), (2, 2));
    let departure = live.fleet.leave("bob", bob).await.unwrap().unwrap();
    assert_eq!((&*departure.session_id, departure.remaining.len()), ("s2", 0));
    assert_eq!(live.fleet.leave("bob", bob).await.unwrap(), None);
    assert!(
        live.fleet.find("bob").await.unwrap().is_some(),
        "leaving is not disconnecting"
    );
    assert_eq!(live.fleet.counts().await.unwrap(), (2, 1));
}

pub(crate) async fn messages_reach_whoever_is_in_the_session(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let ann = connect(live, &one, "ann", "one").await;
    let bob = connect(live, &two, "bob", "two").await;
    join(live, "ann", ann, "s").await;
    join(live, "bob", bob, "s").await;
    one.next().await;
    one.next().await;
    two.next().await;
    let items: Vec<_> = (1..=100).map(|number| signal("bob", "s", number)).collect();
    let sent = live.fleet.dispatch("one", &items).await.unwrap();
    assert!(sent.iter().all(|sent| *sent == Sent::Done), "{sent:?}");
    for number in 1..=100 {
        let expected = Event::Signal {
            to: "bob".to_owned(),
            parcel: parcel(number),
        };
        assert_eq!(two.next().await, expected);
    }
    assert_eq!(send(live, signal("ann", "s", 101)).await, Sent::Here);
    assert!(matches!(one.next().await, Event::Signal { .. }));
    assert_eq!(send(live, signal("bob", "other", 102)).await, Sent::NotThere);
    assert_eq!(send(live, signal("eve", "s", 103)).await, Sent::NotThere);
    let push = Dispatch::Push {
        session_id: "s".to_owned(),
        parcel: parcel(104),
        fresh: false,
        host: None,
    };
    assert_eq!(send(live, push).await, Sent::Done);
    assert!(matches!(two.next().await, Event::Push { parcel: p, .. } if p == parcel(104)));
    one.quiet(live, "one").await;
    two.quiet(live, "two").await;
}

pub(crate) async fn sessions_close_and_players_are_put_out(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let phone = connect(live, &one, "ann:phone", "one").await;
    let bob = connect(live, &two, "bob", "two").await;
    join(live, "ann:phone", phone, "s").await;
    join(live, "bob", bob, "s").await;
    one.next().await;
    one.next().await;
    two.next().await;
    let seen = live.fleet.endings("s").await.unwrap();
    let evict = Dispatch::Evict {
        session_id: "s".to_owned(),
        player_id: "ann".to_owned(),
    };
    send(live, evict).await;
    assert_eq!(one.next().await, left("ann:phone", phone, "s", true));
    assert_eq!(two.next().await, left("ann:phone", phone, "s", true));
    assert_eq!(
        live.fleet.join("ann:phone", phone, "s", seen).await.unwrap(),
        Joined::Again,
        "the right to join is older than the end"
    );
    let close = Dispatch::Close {
        session_id: "s".to_owned(),
    };
    send(live, close).await;
    assert!(matches!(two.next().await, Event::Closed { .. }));
    assert!(live.fleet.members("s").await.unwrap().is_empty());
    assert_eq!(live.fleet.counts().await.unwrap(), (2, 0));
    assert_eq!(send(live, signal("bob", "s", 1)).await, Sent::NotThere);
    one.quiet(live, "one").await;
}

pub(crate) async fn a_place_is_kept_with_what_is_sent_meanwhile(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let ann = connect(live, &one, "ann", "one").await;
    join(live, "ann", ann, "s").await;
    one.next().await;
    assert!(!live.fleet.park("ann", ann + 1, HOLD, true).await.unwrap());
    assert!(live.fleet.park("ann", ann, HOLD, true).await.unwrap());
    let parked = Event::Parked {
        peer_id: "ann".to_owned(),
        generation: ann,
    };
    assert_eq!(one.next().await, parked);
    assert_eq!(live.fleet.find("ann").await.unwrap().unwrap().node, None);
    assert_eq!(live.fleet.members("s").await.unwrap(), ["ann"]);
    assert_eq!(send(live, signal("ann", "s", 3)).await, Sent::Queued);
    live.fleet
        .leave_behind("ann", ann, vec![parcel(1), parcel(2)])
        .await
        .unwrap();
    let push = Dispatch::Push {
        session_id: "s".to_owned(),
        parcel: parcel(4),
        fresh: false,
        host: None,
    };
    send(live, push).await;
    let arriving = arrival("ann", "two", "next", Some("token-of-ann"));
    let Connected::Done(place) = live.fleet.connect(&arriving).await.unwrap() else {
        panic!("in use")
    };
    let Arrived {
        generation,
        session_id,
        resumed,
        mailbox,
        owed,
    } = place;
    assert!(generation > ann && resumed && !owed);
    assert_eq!(session_id.as_deref(), Some("s"));
    assert_eq!(mailbox, [parcel(1), parcel(2), parcel(3), parcel(4)]);
    assert!(matches!(two.next().await, Event::Arrived { resumed: true, .. }));
    assert_eq!(send(live, signal("ann", "s", 5)).await, Sent::Done);
    assert!(matches!(two.next().await, Event::Signal { .. }));
    one.quiet(live, "one").await;
}

pub(crate) async fn leftovers_follow_a_peer_that_was_faster(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let ann = connect(live, &one, "ann", "one").await;
    // It comes back before its old node has seen the end.
    let arriving = arrival("ann", "two", "next", Some("token-of-ann"));
    let Connected::Done(place) = live.fleet.connect(&arriving).await.unwrap() else {
        panic!("in use")
    };
    assert!(place.resumed && place.owed);
    two.next().await;
    let replaced = Event::Replaced {
        peer_id: "ann".to_owned(),
        generation: ann,
        resumed: true,
    };
    assert_eq!(one.next().await, replaced);
    live.fleet.leave_behind("ann", ann, vec![parcel(1)]).await.unwrap();
    let leftovers = Event::Leftovers {
        peer_id: "ann".to_owned(),
        parcels: vec![parcel(1)],
    };
    assert_eq!(two.next().await, leftovers);
    live.fleet.leave_behind("ann", ann, vec![parcel(2)]).await.unwrap();
    two.quiet(live, "two").await;
}

pub(crate) async fn a_mailbox_is_bounded(live: &Live) {
    let one = node(live, "one").await;
    for (peer_id, mail) in [("ann", true), ("bob", false)] {
        let generation = connect(live, &one, peer_id, "one").await;
        join(live, peer_id, generation, "s").await;
        live.fleet.park(peer_id, generation, HOLD, mail).await.unwrap();
        one.next().await;
        one.next().await;
    }
    assert_eq!(send(live, signal("bob", "s", 1)).await, Sent::NotThere);
    for number in 0..MAILBOX_PARCELS as u64 {
        assert_eq!(send(live, signal("ann", "s", number)).await, Sent::Queued);
    }
    assert_eq!(send(live, signal("ann", "s", 9999)).await, Sent::Full);
}

pub(crate) async fn who_does_not_come_back_is_reaped(live: &Live) {
    let one = node(live, "one").await;
    let ann = connect(live, &one, "ann", "one").await;
    let bob = connect(live, &one, "bob", "one").await;
    join(live, "ann", ann, "s").await;
    join(live, "bob", bob, "s").await;
    one.next().await;
    one.next().await;
    live.fleet
        .park("ann", ann, Duration::from_millis(20), true)
        .await
        .unwrap();
    one.next().await;
    send(live, signal("ann", "s", 1)).await;
    let gone = super::until(|| async {
        let gone = live.fleet.reap(100).await.unwrap();
        (!gone.is_empty()).then_some(gone)
    })
    .await;
    assert_eq!(gone.len(), 1);
    assert_eq!((&*gone[0].peer_id, &*gone[0].session_id), ("ann", "s"));
    assert_eq!(gone[0].remaining, ["bob"]);
    assert_eq!(gone[0].undelivered, [parcel(1)]);
    assert_eq!(one.next().await, left("ann", ann, "s", false));
    assert_eq!(live.fleet.find("ann").await.unwrap(), None);
    assert!(live.fleet.reap(100).await.unwrap().is_empty());
}

pub(crate) async fn nodes_live_while_they_say_so(live: &Live) {
    assert_eq!(live.fleet.renew("one").await.unwrap(), None);
    let one = node(live, "one").await;
    assert!(live.fleet.renew("one").await.unwrap().is_some());
    let ann = connect(live, &one, "ann", "one").await;
    live.fleet.exit("one").await.unwrap();
    assert!(
        live.fleet.renew("one").await.unwrap().is_some(),
        "it is reaped with its peers, as a silent one"
    );
    assert_eq!(live.fleet.find("ann").await.unwrap().unwrap().generation, ann);
    live.fleet.disconnect("ann", ann).await.unwrap();
    live.fleet.exit("one").await.unwrap();
    assert_eq!(live.fleet.renew("one").await.unwrap(), None);
}

pub(crate) async fn a_node_announces_what_it_has(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let gone = connect(live, &one, "gone", "one").await;
    let moved = connect(live, &one, "moved", "one").await;
    let watcher = connect(live, &two, "watcher", "two").await;
    join(live, "gone", gone, "s").await;
    join(live, "watcher", watcher, "s").await;
    one.next().await;
    one.next().await;
    two.next().await;
    connect(live, &two, "moved", "two").await;
    one.next().await;
    let announced = |peer_id: &str, generation, session_id: Option<&str>| Announced {
        peer_id: peer_id.to_owned(),
        generation,
        identity: format!("player:{peer_id}"),
        token: "t".to_owned(),
        session_id: session_id.map(str::to_owned),
        alone: false,
    };
    let peers = [
        announced("moved", moved, None),
        announced("back", moved + 50, Some("s")),
    ];
    let asof = live.fleet.renew("one").await.unwrap().unwrap();
    let young = connect(live, &one, "young", "one").await;
    let superseded = live.fleet.announce("one", asof, &peers, &[]).await.unwrap();
    assert_eq!(superseded, ["moved"]);
    assert_eq!(two.next().await, left("gone", gone, "s", false));
    let joined = Event::Joined {
        session_id: "s".to_owned(),
        peer_id: "back".to_owned(),
    };
    assert_eq!(two.next().await, joined);
    assert_eq!(live.fleet.find("gone").await.unwrap(), None);
    let found = live.fleet.find("young").await.unwrap().unwrap();
    assert_eq!(found.generation, young, "it came while the others were counted");
    let mut members = live.fleet.members("s").await.unwrap();
    members.sort();
    assert_eq!(members, ["back", "watcher"]);
    let found = live.fleet.find("back").await.unwrap().unwrap();
    assert_eq!((found.generation, found.node.as_deref()), (moved + 50, Some("one")));
    let later = connect(live, &two, "later", "two").await;
    assert!(later > moved + 50, "generations grow past what was announced");
    assert_eq!(send(live, signal("back", "s", 1)).await, Sent::Here);
}

pub(crate) async fn joins_race(live: &Live) {
    let one = node(live, "one").await;
    let ann = connect(live, &one, "ann", "one").await;
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let live = live.clone();
            tokio::spawn(async move { join(&live, "ann", ann, &format!("s{number}")).await })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Joined::Done { .. }));
    }
    let mut found = 0;
    for number in 0..20 {
        found += live.fleet.members(&format!("s{number}")).await.unwrap().len();
    }
    assert_eq!(found, 1);
}
