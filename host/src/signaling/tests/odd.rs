//! Events that are late, doubled or lost, and more than may wait.

use std::collections::BTreeSet;
use std::sync::Weak;

use super::*;
use crate::ports::fleet::{Event, HOLD, NodeEvents, Parcel};

/// Takes a node's events and does nothing.
struct Deaf;

impl NodeEvents for Deaf {
    fn apply(&self, _: Event) {}

    fn listening(&self) {}
}

/// From here on the node hears nothing.
async fn deafen(live: &Live, node: &str) -> Arc<Deaf> {
    let deaf = Arc::new(Deaf);
    let events: Weak<Deaf> = Arc::downgrade(&deaf);
    live.fleet.enter(node, events).await.unwrap();
    deaf
}

fn parcel(number: u64) -> Parcel {
    Parcel {
        frame: format!("{{\"type\":\"m{number}\"}}"),
        at: i64::MAX,
        origin: "elsewhere".to_owned(),
        number,
        receipt: None,
    }
}

#[tokio::test]
async fn a_late_leave_removes_nobody_newer() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let (old, other) = (connect(&one, "a").await, connect(&one, "b").await);
    join(&one, &old, "s").await;
    join(&one, &other, "s").await;
    // The old connection has left, the peer is back at the other node, and only now does the node come to it.
    let (new, _) = arrive(&two, "a", &player("a"), None).await.unwrap();
    join(&two, &new, "s").await;
    received(&other);
    one.left_here("s", &old, false);
    assert!(other.room().unwrap().has_elsewhere("a"));
    assert!(received(&other).0.is_empty());
    // Nor does a newer connection at the same node leave.
    let (newest, _) = arrive(&one, "a", &player("a"), None).await.unwrap();
    join(&one, &newest, "s").await;
    received(&other);
    one.left_here("s", &old, false);
    assert!(other.room().unwrap().member("a").is_some());
    assert!(received(&other).0.is_empty());
}

#[tokio::test]
async fn parcels_to_different_peers_may_come_in_any_order_and_each_once() {
    let (hub, _) = hub().await;
    let (a, b) = (connect(&hub, "a").await, connect(&hub, "b").await);
    for (to, number) in [("a", 5), ("b", 3), ("a", 5), ("a", 4), ("a", 6), ("b", 3), ("b", 7)] {
        hub.signal(to, parcel(number));
    }
    assert_eq!(
        (types(&a), types(&b)),
        (
            vec!["m5".to_owned(), "m6".to_owned()],
            vec!["m3".to_owned(), "m7".to_owned()]
        )
    );
}

#[tokio::test]
async fn what_comes_during_a_handover_is_bounded() {
    let (hub, _) = hub().await;
    let b = connect_resumable(&hub, "b").await;
    join(&hub, &b, "s").await;
    hub.depart(&b, true).await;
    let (resumed, place) = arrive(&hub, "b", &player("b"), Some(&b.resume_token)).await.unwrap();
    assert!(place.resumed);
    let most = hub.limits.outbox.frames as u64;
    for number in 1..=most {
        hub.signal("b", parcel(number));
    }
    assert_eq!(received(&resumed), (Vec::new(), None));
    hub.signal("b", parcel(most + 1));
    assert_eq!(resumed.handover.lock().as_ref().unwrap().held.len() as u64, most);
    assert_eq!(received(&resumed).1, Some(CloseReason::SlowReader));
}

#[tokio::test]
async fn lost_events_leave_nothing_behind() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let (gone, moved) = (connect_resumable(&one, "gone").await, connect(&one, "moved").await);
    join(&one, &gone, "s").await;
    join(&one, &moved, "s").await;
    let _deaf = deafen(&live, "one").await;
    // Its place is kept, and the node takes it out although the event does not come.
    assert_eq!(one.depart(&gone, true).await, None);
    assert!(!one.is_current(&gone));
    assert_eq!(live.fleet.find("gone").await.unwrap().unwrap().node, None);
    // A newer connection is elsewhere: this one gets into no session any more, and nothing is announced for it.
    connect(&two, "moved").await;
    assert!(one.is_current(&moved));
    assert_eq!(join(&one, &moved, "t").await, Joined::Gone);
    assert!(!one.sessions().contains(&"t".to_owned()));
    // A newer connection at this node takes the older one's place, though nobody told.
    let (newer, _) = arrive(&one, "moved", &player("moved"), None).await.unwrap();
    assert!(one.is_current(&newer));
    assert_eq!(received(&moved).1, Some(CloseReason::Replaced));
    assert!(one.arrivals.lock().is_empty());
}

#[tokio::test]
async fn an_older_view_of_a_session_changes_nothing() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let a = connect(&one, "a").await;
    join(&one, &a, "s").await;
    let room = a.room().unwrap();
    let before = room.members.read().changes;
    let b = connect(&two, "b").await;
    join(&two, &b, "s").await;
    received(&a);
    assert!(!one.adjust(&room, before, &BTreeSet::from(["a"]), true));
    assert!(room.has_elsewhere("b"));
    let now = room.members.read().changes;
    assert!(one.adjust(&room, now, &BTreeSet::from(["a"]), true));
    assert_eq!(types(&a), ["peer-left"]);
}

#[tokio::test]
async fn a_receiver_that_is_not_announced_yet_holds_up_nobody_else() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let (a, b, c) = (
        connect(&one, "a").await,
        connect(&two, "b").await,
        connect(&two, "c").await,
    );
    join(&one, &a, "s").await;
    join(&two, &c, "s").await;
    received(&c);
    one.courier.unsettle();
    for (to, number) in [("b", 1), ("c", 2), ("b", 3)] {
        let frame = format!("{{\"type\":\"m{number}\"}}");
        assert!(one.courier.signal(&a, to, "s", frame, one.now().0, None));
    }
    while types(&c) != ["m2"] {
        tokio::task::yield_now().await;
    }
    join(&two, &b, "s").await;
    one.courier.settled().await;
    assert_eq!(types(&b), ["session-joined", "m1", "m3"]);
}

#[tokio::test]
async fn a_place_of_a_peer_that_was_put_out_meanwhile_is_gone() {
    let (hub, live) = hub().await;
    let b = connect_resumable(&hub, "b").await;
    join(&hub, &b, "s").await;
    live.fleet.park("b", b.generation(), HOLD, true).await.unwrap();
    hub.evict("s", "b");
    hub.courier.settled().await;
    let (resumed, place) = arrive(&hub, "b", &player("b"), Some(&b.resume_token)).await.unwrap();
    assert_eq!(place.session_id, None);
    hub.hand_over(&resumed, Vec::new(), false).await;
    assert!(resumed.room().is_none());
    assert!(live.fleet.members("s").await.unwrap().is_empty());
}
