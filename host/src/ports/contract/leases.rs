//! Contract of `Leases`.

use std::time::Duration;

use crate::ports::live::{Fence, Live};

/// Longer than any check takes.
const LONG: Duration = Duration::from_secs(60);
/// Ends while a check waits for it.
const SHORT: Duration = Duration::from_millis(50);

async fn acquire(live: &Live, holder: &str, ttl: Duration) -> Option<Fence> {
    live.leases.acquire("work", holder, ttl).await.unwrap()
}

/// Waits until the lease is free and `holder` gets it.
async fn acquire_late(live: &Live, holder: &str) -> Fence {
    loop {
        if let Some(fence) = acquire(live, holder, LONG).await {
            return fence;
        }
        tokio::time::sleep(SHORT / 10).await;
    }
}

pub(crate) async fn one_holder_at_a_time(live: &Live) {
    let fence = acquire(live, "a", LONG).await.unwrap();
    assert_eq!(acquire(live, "b", LONG).await, None);
    assert_eq!(acquire(live, "a", LONG).await, Some(fence), "the holder takes it on");
    assert!(live.leases.acquire("other work", "b", LONG).await.unwrap().is_some());
    assert!(live.leases.renew("work", fence, LONG).await.unwrap());
    assert!(!live.leases.renew("work", Fence(fence.0 + 1), LONG).await.unwrap());
    assert!(!live.leases.renew("unknown", fence, LONG).await.unwrap());
}

pub(crate) async fn a_release_makes_room_at_once(live: &Live) {
    let first = acquire(live, "a", LONG).await.unwrap();
    assert!(live.leases.release("work", first).await.unwrap());
    assert!(!live.leases.release("work", first).await.unwrap());
    assert!(!live.leases.renew("work", first, LONG).await.unwrap());
    let second = acquire(live, "b", LONG).await.unwrap();
    assert!(second > first);
    assert!(!live.leases.release("work", first).await.unwrap());
    assert_eq!(acquire(live, "a", LONG).await, None, "who lost it cannot give it up");
}

pub(crate) async fn leases_end_by_themselves(live: &Live) {
    let first = acquire(live, "a", SHORT).await.unwrap();
    let second = acquire_late(live, "b").await;
    assert!(second > first);
    assert!(!live.leases.renew("work", first, LONG).await.unwrap());
    assert_eq!(acquire(live, "a", LONG).await, None);
}

pub(crate) async fn renewals_keep_a_lease(live: &Live) {
    let fence = acquire(live, "a", SHORT).await.unwrap();
    assert!(live.leases.renew("work", fence, LONG).await.unwrap());
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(acquire(live, "b", LONG).await, None);
    assert_eq!(acquire(live, "a", LONG).await, Some(fence));
}

pub(crate) async fn holders_race(live: &Live) {
    let holders: Vec<_> = (0..16)
        .map(|number| {
            let live = live.clone();
            tokio::spawn(async move { acquire(&live, &format!("holder-{number}"), LONG).await })
        })
        .collect();
    let mut winners = 0;
    for holder in holders {
        winners += usize::from(holder.await.unwrap().is_some());
    }
    assert_eq!(winners, 1);
}
