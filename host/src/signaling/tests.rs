//! The hub with peers that have no sockets: who gets what, who takes over, and what is left behind.

use std::sync::Arc;

use super::close::CloseReason;
use super::dialect::Dialect;
use super::hub::{Hub, HubLimits, Joined, Refusal};
use super::room::{Peer, SessionHost};
use crate::domain::clock::SystemClock;
use crate::domain::identity::Identity;
use crate::ports::live::Live;
use crate::ports::peers::{PeerNotifier as _, Push};
use crate::telemetry::metrics::Metrics;

fn hub() -> (Arc<Hub>, Live) {
    let live = crate::live::memory::open();
    let metrics = Metrics::new("test").unwrap();
    let hub = Hub::new(
        live.presence.clone(),
        Arc::new(SystemClock),
        &metrics,
        "node",
        HubLimits::default(),
    );
    (hub.unwrap(), live)
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

async fn connect(hub: &Hub, peer_id: &str, dialect: Dialect) -> Arc<Peer> {
    let identity = player(crate::domain::identity::player_of(peer_id));
    hub.connect(peer_id, &identity, dialect).await.unwrap()
}

async fn join(hub: &Hub, peer: &Arc<Peer>, session_id: &str) -> Joined {
    let answer = |others: &[Arc<Peer>]| others.iter().map(|other| &*other.peer_id).collect::<Vec<_>>().join(",");
    hub.join(peer, session_id, &host(), hub.endings(), &answer).await
}

/// What waits for the peer, and the reason it is closed for.
fn received(peer: &Peer) -> (Vec<String>, Option<CloseReason>) {
    peer.outbox.take()
}

#[tokio::test]
async fn joins_and_leaves_are_told_in_the_dialect_of_each() {
    let (hub, live) = hub();
    let (a, b) = (
        connect(&hub, "a", Dialect::Hyphen).await,
        connect(&hub, "b", Dialect::Underscore).await,
    );
    join(&hub, &a, "s").await;
    join(&hub, &b, "s").await;
    assert_eq!(received(&a).0, ["", r#"{"type":"peer-joined","peer_id":"b"}"#]);
    assert_eq!(received(&b).0, ["a"]);
    assert_eq!(live.presence.members("s").await.unwrap().len(), 2);
    let left = hub.leave(&a).await.unwrap();
    assert_eq!((&*left.session_id, left.lost_host), ("s", None));
    assert_eq!(received(&b).0, [r#"{"type":"peer_left","peer_id":"a"}"#]);
    assert_eq!(hub.leave(&a).await, None);
    assert!(hub.depart(&b).is_some());
    hub.forget("b", b.generation, true).await;
    assert!(hub.sessions().is_empty());
    assert!(live.presence.members("s").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_same_identity_takes_over_with_its_place_and_another_is_refused() {
    let (hub, live) = hub();
    let (old, other) = (
        connect(&hub, "a", Dialect::Hyphen).await,
        connect(&hub, "b", Dialect::Hyphen).await,
    );
    join(&hub, &old, "s").await;
    join(&hub, &other, "s").await;
    received(&other);
    assert_eq!(
        hub.connect("a", &player("mallory"), Dialect::Hyphen).await.err(),
        Some(Refusal::InUse)
    );
    assert_eq!(received(&old).1, None);
    let new = connect(&hub, "a", Dialect::Hyphen).await;
    assert_eq!(received(&old).1, Some(CloseReason::Replaced));
    assert_eq!(hub.depart(&old), None);
    hub.forget("a", old.generation, false).await;
    assert!(received(&other).0.is_empty());
    assert!(Arc::ptr_eq(&other.room().unwrap().member("a").unwrap(), &new));
    assert!(live.presence.find("a").await.unwrap().is_some());
    join(&hub, &new, "s").await;
    assert_eq!(received(&other).0, [r#"{"type":"peer-joined","peer_id":"a"}"#]);
    assert!(matches!(join(&hub, &old, "s").await, Joined::Gone));
}

#[tokio::test]
async fn a_host_is_lost_with_the_last_socket_of_its_player() {
    let (hub, _) = hub();
    let (phone, pc) = (
        connect(&hub, "hosting:phone", Dialect::Hyphen).await,
        connect(&hub, "hosting", Dialect::Hyphen).await,
    );
    let guest = connect(&hub, "guest", Dialect::Hyphen).await;
    for peer in [&phone, &pc, &guest] {
        join(&hub, peer, "s").await;
    }
    assert_eq!(hub.depart(&pc).unwrap().lost_host, None);
    assert_eq!(hub.depart(&phone).unwrap().lost_host, Some(host()));
    assert_eq!(hub.depart(&guest).unwrap().lost_host, None);
}

#[tokio::test]
async fn a_session_that_is_over_lets_its_peers_go_and_nobody_slips_in() {
    let (hub, live) = hub();
    let (a, b) = (
        connect(&hub, "a", Dialect::Hyphen).await,
        connect(&hub, "b", Dialect::Hyphen).await,
    );
    join(&hub, &a, "s").await;
    let seen = hub.endings();
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
    assert!(matches!(
        hub.join(&b, "s", &host(), seen, &|_| String::new()).await,
        Joined::Again
    ));
    assert!(!live.presence.members("s").await.unwrap().contains(&"b".to_owned()));
    join(&hub, &a, "t").await;
    hub.drain(std::time::Duration::from_secs(5)).await;
    assert_eq!(received(&a).1, Some(CloseReason::Restart));
    assert_eq!(live.presence.members("t").await.unwrap(), ["a"]);
}

#[tokio::test]
async fn who_comes_while_the_node_drains_is_sent_away_too() {
    let (hub, _) = hub();
    hub.drain(std::time::Duration::from_secs(5)).await;
    let late = connect(&hub, "a", Dialect::Hyphen).await;
    let (frames, closed) = received(&late);
    assert_eq!(frames, [r#"{"type":"server-draining","reconnect_after_ms":0}"#]);
    assert_eq!(closed, Some(CloseReason::Restart));
    assert!(hub.admit().is_none());
}

#[tokio::test]
async fn an_evicted_player_is_told_and_the_others_too() {
    let (hub, _) = hub();
    let (a, b) = (
        connect(&hub, "a:pc", Dialect::Hyphen).await,
        connect(&hub, "b", Dialect::Hyphen).await,
    );
    join(&hub, &a, "s").await;
    join(&hub, &b, "s").await;
    received(&a);
    hub.evict("s", "a");
    assert_eq!(received(&a).0, [r#"{"type":"session-left","session_id":"s"}"#]);
    assert_eq!(
        received(&b).0.last().unwrap(),
        r#"{"type":"peer-left","peer_id":"a:pc"}"#
    );
    assert!(b.room().unwrap().member("a:pc").is_none());
}
