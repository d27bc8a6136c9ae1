//! Contract of `Presence`.

use super::super::live::Live;

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}

pub(crate) async fn connects_and_replaces(live: &Live) {
    assert_eq!(live.presence.find("ann").await.unwrap(), None);
    let (first, replaced) = live.presence.connect("ann", "node-1").await.unwrap();
    assert_eq!((first.node.as_str(), replaced), ("node-1", None));
    let (other, _) = live.presence.connect("bob", "node-1").await.unwrap();
    assert!(other.generation > first.generation);
    let (second, replaced) = live.presence.connect("ann", "node-2").await.unwrap();
    assert_eq!(replaced, Some(first));
    assert!(second.generation > other.generation);
    assert_eq!(live.presence.find("ann").await.unwrap(), Some(second));
}

pub(crate) async fn only_the_newest_disconnects(live: &Live) {
    let (first, _) = live.presence.connect("ann", "node-1").await.unwrap();
    let (second, _) = live.presence.connect("ann", "node-1").await.unwrap();
    assert!(!live.presence.disconnect("ann", first.generation).await.unwrap());
    assert_eq!(live.presence.find("ann").await.unwrap(), Some(second.clone()));
    assert!(live.presence.disconnect("ann", second.generation).await.unwrap());
    assert!(!live.presence.disconnect("ann", second.generation).await.unwrap());
    assert_eq!(live.presence.find("ann").await.unwrap(), None);
}

pub(crate) async fn joins_one_session_at_a_time(live: &Live) {
    for peer in ["ann", "bob", "cid"] {
        live.presence.connect(peer, "node").await.unwrap();
    }
    assert!(live.presence.join("ann", "s1").await.unwrap().is_empty());
    assert_eq!(live.presence.join("bob", "s1").await.unwrap(), ["ann"]);
    assert_eq!(sorted(live.presence.join("cid", "s1").await.unwrap()), ["ann", "bob"]);
    assert_eq!(
        sorted(live.presence.join("cid", "s1").await.unwrap()),
        ["ann", "bob"],
        "joining again changes nothing"
    );
    assert_eq!(
        sorted(live.presence.members("s1").await.unwrap()),
        ["ann", "bob", "cid"]
    );
    assert!(live.presence.join("cid", "s2").await.unwrap().is_empty());
    assert_eq!(sorted(live.presence.members("s1").await.unwrap()), ["ann", "bob"]);
    assert_eq!(live.presence.members("s2").await.unwrap(), ["cid"]);
}

pub(crate) async fn leaves(live: &Live) {
    live.presence.connect("ann", "node").await.unwrap();
    assert_eq!(live.presence.leave("ann").await.unwrap(), None);
    live.presence.join("ann", "s1").await.unwrap();
    assert_eq!(live.presence.leave("ann").await.unwrap().as_deref(), Some("s1"));
    assert_eq!(live.presence.leave("ann").await.unwrap(), None);
    assert!(live.presence.members("s1").await.unwrap().is_empty());
    assert!(
        live.presence.find("ann").await.unwrap().is_some(),
        "leaving a session is not disconnecting"
    );
}

pub(crate) async fn counts(live: &Live) {
    assert_eq!(live.presence.counts().await.unwrap(), (0, 0));
    for peer in ["ann", "bob"] {
        live.presence.connect(peer, "node").await.unwrap();
        live.presence.join(peer, "s1").await.unwrap();
    }
    assert_eq!(live.presence.counts().await.unwrap(), (2, 1));
    let (newest, _) = live.presence.connect("ann", "node").await.unwrap();
    assert_eq!(
        live.presence.counts().await.unwrap(),
        (2, 1),
        "a replaced connection is not counted"
    );
    live.presence.join("ann", "s2").await.unwrap();
    assert_eq!(live.presence.counts().await.unwrap(), (2, 2));
    live.presence.leave("ann").await.unwrap();
    live.presence.disconnect("ann", newest.generation).await.unwrap();
    assert_eq!(live.presence.counts().await.unwrap(), (1, 1));
}

pub(crate) async fn joins_race(live: &Live) {
    live.presence.connect("ann", "node").await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let live = live.clone();
            tokio::spawn(async move { live.presence.join("ann", &format!("s{number}")).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_empty());
    }
    let mut found = 0;
    for number in 0..20 {
        found += live.presence.members(&format!("s{number}")).await.unwrap().len();
    }
    assert_eq!(found, 1);
}
