//! Places of peers whose connection broke: kept for a while, with what is sent meanwhile, and given to whoever has the token.

use super::*;
use crate::ports::fleet::{Arrived, HOLD, MAILBOX_BYTES, MAILBOX_PARCELS};

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
    let gone = crate::ports::contract::until(|| async {
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

pub(crate) async fn a_mailbox_that_was_emptied_has_room_again(live: &Live) {
    let one = node(live, "one").await;
    let mut generation = connect(live, &one, "ann", "one").await;
    join(live, "ann", generation, "s").await;
    let large = |number| Dispatch::Signal {
        to: "ann".to_owned(),
        session_id: "s".to_owned(),
        parcel: Parcel {
            frame: "x".repeat(MAILBOX_BYTES * 2 / 5),
            ..parcel(number)
        },
    };
    let mut token = "token-of-ann".to_owned();
    for round in 0..3_u64 {
        live.fleet.park("ann", generation, HOLD, true).await.unwrap();
        assert_eq!(send(live, large(10 * round)).await, Sent::Queued);
        assert_eq!(send(live, large(10 * round + 1)).await, Sent::Queued);
        assert_eq!(send(live, large(10 * round + 2)).await, Sent::Full);
        let next = format!("token-{round}");
        let arriving = arrival("ann", "one", &next, Some(&token));
        let Connected::Done(place) = live.fleet.connect(&arriving).await.unwrap() else {
            panic!("in use")
        };
        assert_eq!((place.resumed, place.mailbox.len()), (true, 2));
        (generation, token) = (place.generation, next);
    }
}

pub(crate) async fn a_token_works_once(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let ann = connect(live, &one, "ann", "one").await;
    join(live, "ann", ann, "s").await;
    live.fleet.park("ann", ann, HOLD, true).await.unwrap();
    assert!(!live.fleet.park("ann", ann, HOLD, true).await.unwrap(), "it is away");
    assert_eq!(send(live, signal("ann", "s", 1)).await, Sent::Queued);
    // Two connections with the same token, at once.
    let first = arrival("ann", "two", "first", Some("token-of-ann"));
    let second = arrival("ann", "two", "second", Some("token-of-ann"));
    let (first, second) = tokio::join!(live.fleet.connect(&first), live.fleet.connect(&second));
    let mut places = Vec::new();
    for connected in [first, second] {
        let Connected::Done(place) = connected.unwrap() else {
            panic!("in use")
        };
        places.push(place);
    }
    places.sort_by_key(|place| place.generation);
    let got: Vec<_> = places
        .iter()
        .map(|place| (place.resumed, place.mailbox.len()))
        .collect();
    assert_eq!(got, [(true, 1), (false, 0)]);
    assert!(places.iter().all(|place| place.session_id.as_deref() == Some("s")));
    assert!(matches!(two.next().await, Event::Arrived { resumed: true, .. }));
    let replaced = Event::Replaced {
        peer_id: "ann".to_owned(),
        generation: places[0].generation,
        resumed: false,
    };
    assert_eq!(two.next().await, replaced);
    assert!(matches!(two.next().await, Event::Arrived { resumed: false, .. }));
    // A place that the session lost meanwhile is none.
    live.fleet.park("ann", places[1].generation, HOLD, true).await.unwrap();
    let close = Dispatch::Close {
        session_id: "s".to_owned(),
    };
    send(live, close).await;
    let arriving = arrival("ann", "one", "third", Some("second"));
    let Connected::Done(place) = live.fleet.connect(&arriving).await.unwrap() else {
        panic!("in use")
    };
    assert_eq!((place.resumed, place.session_id), (true, None));
}
