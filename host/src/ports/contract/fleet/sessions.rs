//! Whose connection counts, who is in which session, and what reaches them.

use super::*;
use crate::ports::fleet::HOLD;

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
