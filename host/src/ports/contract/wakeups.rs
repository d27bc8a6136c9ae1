//! Contract of `Wakeups`.

use std::time::Duration;

use tokio::sync::watch;

use super::until;
use crate::ports::live::Live;

/// Wakes until the listener hears it: a channel may take a moment to be listened to.
async fn heard(live: &Live, topic: &str, listener: &watch::Receiver<u64>) {
    let before = *listener.borrow();
    until(|| async {
        live.wakeups.wake(topic).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        (*listener.borrow() != before).then_some(())
    })
    .await;
}

pub(crate) async fn wakes_who_listens(live: &Live) {
    live.wakeups.wake("nobody").await.unwrap();
    let (one, two) = (live.wakeups.listen("a"), live.wakeups.listen("a"));
    let other = live.wakeups.listen("b");
    heard(live, "b", &other).await;
    heard(live, "a", &one).await;
    heard(live, "a", &two).await;
    let before = *other.borrow();
    heard(live, "a", &one).await;
    assert_eq!(*other.borrow(), before, "topics are apart");
}

pub(crate) async fn wakes_are_not_lost_between_two_waits(live: &Live) {
    let mut listener = live.wakeups.listen("a");
    heard(live, "a", &listener).await;
    listener.mark_unchanged();
    live.wakeups.wake("a").await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(10), listener.changed()).await;
    woken.expect("the wake-up").unwrap();
}
