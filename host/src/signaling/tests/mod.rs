//! The hub with peers that have no sockets: who gets what, who takes over, and what is left behind. What happens when things come
//! late, twice or not at all is in `odd`.

mod asyncapi;
mod odd;

use std::sync::Arc;

use super::arrivals::{Arriving, Refusal};
use super::close::CloseReason;
use super::dialect::Dialect;
use super::hub::{Hub, HubLimits};
use super::membership::Joined;
use super::room::{JoinAnswer, Peer, SessionHost};
use crate::domain::clock::SystemClock;
use crate::domain::identity::Identity;
use crate::ports::fleet::Arrived;
use crate::ports::live::Live;
use crate::ports::peers::{PeerNotifier as _, Push};
use crate::telemetry::metrics::Metrics;

async fn node(live: &Live, name: &str) -> Arc<Hub> {
    let metrics = Metrics::new("test").unwrap();
    let hub = Hub::new(
        live.fleet.clone(),
        Arc::new(SystemClock),
        &metrics,
        name,
        HubLimits::default(),
    )
    .unwrap();
    hub.start().await.unwrap();
    hub
}

async fn hub() -> (Arc<Hub>, Live) {
    let live = crate::live::memory::open();
    (node(&live, "node").await, live)
}

fn player(name: &str) -> Identity {
    Identity::Player {
        player_id: name.into(),
        user_id: None,
    }
}

fn host() -> SessionHost {
    SessionHost {
        host_id: "h".to_owned(),
        player_id: "hosting".to_owned(),
    }
}

async fn arrive(
    hub: &Hub,
    peer_id: &str,
    identity: &Identity,
    resume: Option<&str>,
) -> Result<(Arc<Peer>, Arrived), Refusal> {
    hub.connect(Arriving {
        peer_id,
        identity,
        dialect: Dialect::Hyphen,
        resumable: resume.is_some(),
        resume_token: resume.filter(|token| !token.is_empty()),
    })
    .await
}

async fn connect(hub: &Hub, peer_id: &str) -> Arc<Peer> {
    let identity = player(crate::domain::identity::player_of(peer_id));
    arrive(hub, peer_id, &identity, None).await.unwrap().0
}

/// A peer that asks for its place to be kept.
async fn connect_resumable(hub: &Hub, peer_id: &str) -> Arc<Peer> {
    arrive(hub, peer_id, &player(peer_id), Some("")).await.unwrap().0
}

async fn enter(hub: &Hub, peer: &Arc<Peer>, session_id: &str, answer: JoinAnswer) -> Joined {
    hub.join(peer, session_id, &host(), hub.endings(session_id).await, answer)
        .await
}

async fn join(hub: &Hub, peer: &Arc<Peer>, session_id: &str) -> Joined {
    enter(hub, peer, session_id, JoinAnswer::Joined).await
}

/// Sends a frame as a connection does, and waits until it has left.
async fn send(hub: &Hub, from: &Arc<Peer>, to: &str, text: &str) {
    let room = from.room().unwrap();
    let frame = format!("{{\"type\":\"{text}\",\"from\":{}}}", from.json);
    match room.member(to).filter(|receiver| hub.may_reach(receiver)) {
        Some(receiver) => {
            hub.send(&receiver, frame.into(), super::queue::Worth::Keep);
        }
        None => {
            assert!(hub.courier.signal(from, to, &room.session_id, frame, hub.now().0, None));
            hub.courier.settled().await;
        }
    }
}

/// The types of what waits for the peer.
fn types(peer: &Peer) -> Vec<String> {
    let kind = |frame: &String| serde_json::from_str::<serde_json::Value>(frame).unwrap()["type"].clone();
    let frames = received(peer).0;
    frames
        .iter()
        .map(|frame| kind(frame).as_str().unwrap().to_owned())
        .collect()
}

/// What waits for the peer, and the reason it is closed for.
fn received(peer: &Peer) -> (Vec<String>, Option<CloseReason>) {
    peer.outbox.take()
}

#[tokio::test]
async fn joins_and_leaves_are_told_in_the_dialect_of_each() {
    let (hub, live) = hub().await;
    let a = connect(&hub, "a").await;
    let arriving = Arriving {
        peer_id: "b",
        identity: &player("b"),
        dialect: Dialect::Underscore,
        resumable: false,
        resume_token: None,
    };
    let (b, _) = hub.connect(arriving).await.unwrap();
    join(&hub, &a, "s").await;
    enter(&hub, &b, "s", JoinAnswer::Created).await;
    let frames = received(&a).0;
    assert!(frames[0].starts_with(r#"{"type":"session-joined","session_id":"s","peers":[],"resume_token":""#));
    assert_eq!(frames[1], r#"{"type":"peer-joined","peer_id":"b"}"#);
    assert_eq!(
        received(&b).0,
        [r#"{"type":"session_created","session_id":"s","host_id":"h"}"#]
    );
    assert_eq!(live.fleet.members("s").await.unwrap().len(), 2);
    let left = hub.leave(&a).await.unwrap();
    assert_eq!((&*left.session_id, left.lost_host), ("s", None));
    assert_eq!(received(&b).0, [r#"{"type":"peer_left","peer_id":"a"}"#]);
    assert_eq!(hub.leave(&a).await, None);
    assert!(hub.depart(&b, false).await.is_some());
    assert!(hub.sessions().is_empty());
    assert!(live.fleet.members("s").await.unwrap().is_empty());
    assert_eq!(live.fleet.find("b").await.unwrap(), None);
}

#[tokio::test]
async fn the_same_identity_takes_over_with_its_place_and_another_is_refused() {
    let (hub, live) = hub().await;
    let (old, other) = (connect(&hub, "a").await, connect(&hub, "b").await);
    join(&hub, &old, "s").await;
    join(&hub, &other, "s").await;
    received(&other);
    assert_eq!(
        arrive(&hub, "a", &player("mallory"), None).await.err(),
        Some(Refusal::InUse)
    );
    assert_eq!(received(&old).1, None);
    let (new, place) = arrive(&hub, "a", &player("a"), None).await.unwrap();
    assert_eq!((place.session_id.as_deref(), place.resumed), (Some("s"), false));
    assert_eq!(received(&old).1, Some(CloseReason::Replaced));
    enter(&hub, &new, "s", JoinAnswer::Silent).await;
    assert_eq!(hub.depart(&old, false).await, None);
    assert!(received(&other).0.is_empty());
    assert!(Arc::ptr_eq(&other.room().unwrap().member("a").unwrap(), &new));
    assert!(live.fleet.find("a").await.unwrap().is_some());
    join(&hub, &new, "s").await;
    assert_eq!(received(&other).0, [r#"{"type":"peer-joined","peer_id":"a"}"#]);
    assert!(matches!(join(&hub, &old, "s").await, Joined::Gone));
}

#[tokio::test]
async fn a_host_is_lost_with_the_last_socket_of_its_player() {
    let (hub, _) = hub().await;
    let (phone, pc) = (connect(&hub, "hosting:phone").await, connect(&hub, "hosting").await);
    let guest = connect(&hub, "guest").await;
    for peer in [&phone, &pc, &guest] {
        join(&hub, peer, "s").await;
    }
    assert_eq!(hub.depart(&pc, false).await.unwrap().lost_host, None);
    assert_eq!(hub.depart(&phone, false).await.unwrap().lost_host, Some(host()));
    assert_eq!(hub.depart(&guest, false).await.unwrap().lost_host, None);
}

#[tokio::test]
async fn a_session_that_is_over_lets_its_peers_go_and_nobody_slips_in() {
    let (hub, live) = hub().await;
    let (a, b) = (connect(&hub, "a").await, connect(&hub, "b").await);
    join(&hub, &a, "s").await;
    let seen = hub.endings("s").await;
    let ended = Push::SessionEnded {
        session_id: "s".to_owned(),
        reason: "over".to_owned(),
    };
    assert_eq!(hub.notify_session("s", &ended), 1);
    hub.close_session("s");
    assert_eq!(
        received(&a).0.last().unwrap(),
        r#"{"type":"session-ended","session_id":"s","reason":"over"}"#
    );
    assert!(a.room().is_none());
    let late = hub.join(&b, "s", &host(), seen, JoinAnswer::Joined).await;
    assert_eq!(late, Joined::Again { left: None });
    hub.courier.settled().await;
    assert!(live.fleet.members("s").await.unwrap().is_empty());
    join(&hub, &a, "t").await;
    hub.drain(std::time::Duration::from_secs(5)).await;
    assert_eq!(received(&a).1, Some(CloseReason::Restart));
    assert_eq!(live.fleet.members("t").await.unwrap(), ["a"]);
}

#[tokio::test]
async fn who_comes_while_the_node_drains_is_sent_away_too() {
    let (hub, _) = hub().await;
    hub.drain(std::time::Duration::from_secs(5)).await;
    let late = connect(&hub, "a").await;
    let (frames, closed) = received(&late);
    assert_eq!(frames, [r#"{"type":"server-draining","reconnect_after_ms":0}"#]);
    assert_eq!(closed, Some(CloseReason::Restart));
    assert!(hub.admit().is_none());
}

#[tokio::test]
async fn an_evicted_player_is_told_and_the_others_too() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let (a, b) = (connect(&one, "a:pc").await, connect(&two, "b").await);
    join(&one, &a, "s").await;
    join(&two, &b, "s").await;
    received(&a);
    two.evict("s", "a");
    two.courier.settled().await;
    assert_eq!(received(&a).0, [r#"{"type":"session-left","session_id":"s"}"#]);
    assert_eq!(
        received(&b).0.last().unwrap(),
        r#"{"type":"peer-left","peer_id":"a:pc"}"#
    );
    assert!(!b.room().unwrap().has_elsewhere("a:pc"));
}

#[tokio::test]
async fn peers_on_two_nodes_meet() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let (a, b) = (connect(&one, "a").await, connect(&two, "b").await);
    join(&one, &a, "s").await;
    join(&two, &b, "s").await;
    assert_eq!(types(&a), ["session-joined", "peer-joined"]);
    assert!(received(&b).0[0].contains(r#""peers":["a"]"#));
    send(&one, &a, "b", "offer").await;
    send(&two, &b, "a", "answer").await;
    assert_eq!(
        (types(&a), types(&b)),
        (vec!["answer".to_owned()], vec!["offer".to_owned()])
    );
    let ended = Push::SessionEnded {
        session_id: "s".to_owned(),
        reason: "over".to_owned(),
    };
    one.notify_session("s", &ended);
    one.close_session("s");
    one.courier.settled().await;
    assert_eq!(
        (types(&a), types(&b)),
        (vec!["session-ended".to_owned()], vec!["session-ended".to_owned()])
    );
    assert!(two.sessions().is_empty());
    // The newest connection counts, wherever the older one is.
    let (moved, _) = arrive(&two, "a", &player("a"), None).await.unwrap();
    assert_eq!(received(&a).1, Some(CloseReason::Replaced));
    assert_eq!(
        arrive(&one, "a", &player("mallory"), None).await.err(),
        Some(Refusal::InUse)
    );
    assert!(two.is_current(&moved));
}

#[tokio::test]
async fn a_resumed_peer_gets_everything_in_order_and_nobody_saw_it_leave() {
    let live = crate::live::memory::open();
    let (one, two) = (node(&live, "one").await, node(&live, "two").await);
    let (a, b) = (connect(&one, "a").await, connect_resumable(&one, "b").await);
    join(&one, &a, "s").await;
    join(&one, &b, "s").await;
    received(&a);
    received(&b);
    // Written by nobody any more: the socket broke, and the node has not seen it yet.
    send(&one, &a, "b", "m1").await;
    assert_eq!(one.depart(&b, true).await, None);
    assert_eq!(live.fleet.find("b").await.unwrap().unwrap().node, None);
    send(&one, &a, "b", "m2").await;
    send(&one, &a, "b", "m3").await;
    assert!(!two.is_current(&b));
    let wrong = arrive(&two, "b", &player("mallory"), Some(&b.resume_token)).await;
    assert_eq!(wrong.err(), Some(Refusal::InUse));
    let (resumed, place) = arrive(&two, "b", &player("b"), Some(&b.resume_token)).await.unwrap();
    assert!(place.resumed);
    send(&one, &a, "b", "m4").await;
    assert!(
        received(&resumed).0.is_empty(),
        "nothing comes before the place is taken"
    );
    enter(&two, &resumed, "s", JoinAnswer::Resumed).await;
    two.hand_over(&resumed, place.mailbox, place.owed).await;
    send(&one, &a, "b", "m5").await;
    assert_eq!(types(&resumed), ["session-joined", "m1", "m2", "m3", "m4", "m5"]);
    assert!(received(&a).0.is_empty(), "nobody saw it leave");
    // Each token works once.
    let (_, place) = arrive(&two, "b", &player("b"), Some(&b.resume_token)).await.unwrap();
    assert!(!place.resumed);
}

#[tokio::test]
async fn a_place_is_not_kept_for_ever() {
    let live = crate::live::memory::open();
    let metrics = Metrics::new("test").unwrap();
    let limits = HubLimits {
        hold: std::time::Duration::ZERO,
        ..HubLimits::default()
    };
    let hub = Hub::new(live.fleet.clone(), Arc::new(SystemClock), &metrics, "node", limits).unwrap();
    hub.start().await.unwrap();
    let (a, b) = (connect(&hub, "a").await, connect_resumable(&hub, "b").await);
    join(&hub, &a, "s").await;
    join(&hub, &b, "s").await;
    received(&a);
    received(&b);
    hub.depart(&b, true).await;
    send(&hub, &a, "b", "m1").await;
    let gone = live.fleet.reap(10).await.unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!((&*gone[0].peer_id, gone[0].undelivered.len()), ("b", 1));
    assert_eq!(types(&a), ["peer-left"]);
    let (_, place) = arrive(&hub, "b", &player("b"), Some(&b.resume_token)).await.unwrap();
    assert_eq!((place.resumed, place.session_id), (false, None));
}

#[tokio::test]
async fn what_waits_in_outboxes_is_counted_when_somebody_asks() {
    let live = crate::live::memory::open();
    let metrics = Metrics::new("test").unwrap();
    let hub = Hub::new(
        live.fleet.clone(),
        Arc::new(SystemClock),
        &metrics,
        "node",
        HubLimits::default(),
    )
    .unwrap();
    hub.start().await.unwrap();
    let (a, b) = (connect(&hub, "a").await, connect(&hub, "b").await);
    for (peer, frames) in [(&a, 1), (&b, 3)] {
        for _ in 0..frames {
            assert!(hub.send(peer, "four".into(), super::queue::Worth::Keep));
        }
    }
    let families = metrics.registry.gather();
    let value = |name: &str| {
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric()[0].get_gauge().get_value()
    };
    let seen = ["frames", "bytes", "deepest_frames"].map(|what| value(&format!("p2p_signaling_outbox_{what}")));
    assert!(seen == [4.0, 16.0, 3.0], "{seen:?}");
}
