//! Contract of `RefreshRepository`.

use super::NOW;
use crate::domain::clock::Timestamp;
use crate::ports::storage::{RefreshFamily, Rotated, Storage};

const END: Timestamp = NOW.plus_seconds(100);

async fn start(store: &Storage) -> RefreshFamily {
    let family = RefreshFamily {
        family_id: "family".to_owned(),
        player_id: "player".to_owned(),
        user_id: Some("user".to_owned()),
        current_jti: "jti-0".to_owned(),
        expires_at: END,
    };
    store.refresh.start(&family, NOW).await.unwrap();
    family
}

pub(crate) async fn rotates(store: &Storage) {
    let mut family = start(store).await;
    assert!(store.refresh.start(&family, NOW).await.is_err(), "a family starts once");
    for number in 1..4 {
        let later = END.plus_seconds(number);
        let (spent, next) = (format!("jti-{}", number - 1), format!("jti-{number}"));
        family.current_jti = next.clone();
        family.expires_at = later;
        let answer = store.refresh.rotate("family", &spent, &next, later, NOW).await.unwrap();
        assert_eq!(answer, Rotated::Done(family.clone()));
    }
}

pub(crate) async fn reuse_revokes_the_family(store: &Storage) {
    start(store).await;
    let answer = store
        .refresh
        .rotate("family", "jti-0", "jti-1", END, NOW)
        .await
        .unwrap();
    assert!(matches!(answer, Rotated::Done(_)));
    assert_eq!(
        store
            .refresh
            .rotate("family", "jti-0", "jti-x", END, NOW)
            .await
            .unwrap(),
        Rotated::Reused
    );
    for token in ["jti-0", "jti-1", "jti-x"] {
        assert_eq!(
            store.refresh.rotate("family", token, "jti-2", END, NOW).await.unwrap(),
            Rotated::Refused
        );
    }
}

pub(crate) async fn refuses_expired_and_unknown(store: &Storage) {
    start(store).await;
    assert_eq!(
        store.refresh.rotate("other", "jti-0", "jti-1", END, NOW).await.unwrap(),
        Rotated::Refused
    );
    assert_eq!(
        store
            .refresh
            .rotate("family", "jti-0", "jti-1", END, END)
            .await
            .unwrap(),
        Rotated::Refused
    );
    let answer = store
        .refresh
        .rotate("family", "jti-0", "jti-1", END, NOW)
        .await
        .unwrap();
    assert!(matches!(answer, Rotated::Done(_)), "a refusal changes nothing");
}

pub(crate) async fn presentations_race(store: &Storage) {
    start(store).await;
    let tasks = (0..10).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .refresh
                .rotate("family", "jti-0", &format!("next-{number}"), END, NOW)
                .await
                .unwrap()
        })
    });
    let (mut done, mut reused, mut refused) = (Vec::new(), 0, 0);
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Rotated::Done(family) => done.push(family),
            Rotated::Reused => reused += 1,
            Rotated::Refused => refused += 1,
        }
    }
    assert_eq!((done.len(), reused, refused), (1, 1, 8));
    let good = &done[0].current_jti;
    assert_eq!(
        store.refresh.rotate("family", good, "later", END, NOW).await.unwrap(),
        Rotated::Refused
    );
}

pub(crate) async fn purges(store: &Storage) {
    start(store).await;
    assert_eq!(store.refresh.purge(END).await.unwrap(), 0);
    assert_eq!(store.refresh.purge(END.plus_millis(1)).await.unwrap(), 1);
    assert_eq!(store.refresh.purge(END.plus_millis(1)).await.unwrap(), 0);
    assert_eq!(
        store
            .refresh
            .rotate("family", "jti-0", "jti-1", END, NOW)
            .await
            .unwrap(),
        Rotated::Refused
    );
}
