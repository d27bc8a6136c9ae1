//! Nodes that say that they live and what they have.

use super::*;
use crate::ports::fleet::Announced;

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

fn announced(peer_id: &str, generation: u64, session_id: Option<&str>) -> Announced {
    Announced {
        peer_id: peer_id.to_owned(),
        generation,
        identity: format!("player:{peer_id}"),
        token: format!("token-of-{peer_id}"),
        session_id: session_id.map(str::to_owned),
        alone: false,
    }
}

pub(crate) async fn what_a_node_settled_alone_is_told_afterwards(live: &Live) {
    let (one, two) = (node(live, "one").await, node(live, "two").await);
    let ann = connect(live, &one, "ann", "one").await;
    let bob = connect(live, &two, "bob", "two").await;
    join(live, "bob", bob, "s").await;
    two.next().await;
    let asof = live.fleet.renew("one").await.unwrap().unwrap();
    let alone = Announced {
        alone: true,
        ..announced("ann", ann, Some("s"))
    };
    live.fleet.announce("one", asof, &[alone], &[]).await.unwrap();
    let joined = Event::Joined {
        session_id: "s".to_owned(),
        peer_id: "ann".to_owned(),
    };
    assert_eq!(two.next().await, joined);
    let mut members = live.fleet.members("s").await.unwrap();
    members.sort();
    assert_eq!(members, ["ann", "bob"]);
    let alone = Announced {
        alone: true,
        ..announced("ann", ann, None)
    };
    live.fleet.announce("one", asof, &[alone], &[]).await.unwrap();
    assert_eq!(two.next().await, left("ann", ann, "s", false));
    assert_eq!(one.next().await, left("ann", ann, "s", false));
    // Otherwise the node has missed something, and hears it now.
    live.fleet
        .announce("one", asof, &[announced("ann", ann, Some("s"))], &[])
        .await
        .unwrap();
    assert_eq!(one.next().await, left("ann", ann, "s", true));
    assert_eq!(live.fleet.members("s").await.unwrap(), ["bob"]);
    one.quiet(live, "one").await;
    two.quiet(live, "two").await;
}

pub(crate) async fn a_connection_is_known_by_its_token(live: &Live) {
    let one = node(live, "one").await;
    let own = connect(live, &one, "before", "one").await;
    live.fleet.disconnect("before", own).await.unwrap();
    let ann = connect(live, &one, "ann", "one").await;
    let asof = live.fleet.renew("one").await.unwrap().unwrap();
    assert!(own < ann);
    // The answer was lost, and the node chose a generation by itself.
    let peers = [announced("ann", own, None)];
    let newer = live.fleet.announce("one", asof, &peers, &[]).await.unwrap();
    assert!(newer.is_empty(), "{newer:?}");
    assert_eq!(live.fleet.find("ann").await.unwrap().unwrap().generation, own);
    assert_eq!(join(live, "ann", own, "s").await, Joined::Done { left: None });
    // Whoever is about to arrive is not taken for gone.
    let arriving = ["ann".to_owned()];
    live.fleet.announce("one", asof, &[], &arriving).await.unwrap();
    assert!(live.fleet.find("ann").await.unwrap().is_some());
    live.fleet.announce("one", asof, &[], &[]).await.unwrap();
    assert_eq!(live.fleet.find("ann").await.unwrap(), None);
}
