//! Contract of `TokenBuckets`.

use super::NOW;
use crate::ports::live::{BucketDraw, Live};

fn draw(key: &str, capacity: u32, cost: u32) -> BucketDraw {
    BucketDraw {
        key: key.to_owned(),
        capacity,
        window_seconds: 60,
        cost,
    }
}

pub(crate) async fn draws_and_refills(live: &Live) {
    for left in (0..10).rev() {
        let answer = live.buckets.draw(&[draw("a", 10, 1)], NOW).await.unwrap();
        assert!(answer.allowed);
        assert_eq!((answer.limit, answer.remaining, answer.window_seconds), (10, left, 60));
        assert_eq!(answer.retry_after_seconds, 0);
    }
    let refused = live.buckets.draw(&[draw("a", 10, 1)], NOW).await.unwrap();
    assert!(!refused.allowed);
    assert_eq!(
        (refused.remaining, refused.retry_after_seconds, refused.reset_at),
        (0, 6, NOW.plus_seconds(60))
    );
    assert!(
        live.buckets.draw(&[draw("b", 10, 10)], NOW).await.unwrap().allowed,
        "keys do not share"
    );
    assert!(
        !live
            .buckets
            .draw(&[draw("a", 10, 1)], NOW.plus_millis(5_900))
            .await
            .unwrap()
            .allowed
    );
    assert!(
        live.buckets
            .draw(&[draw("a", 10, 1)], NOW.plus_seconds(6))
            .await
            .unwrap()
            .allowed
    );
    let full = live
        .buckets
        .draw(&[draw("a", 10, 0)], NOW.plus_seconds(600))
        .await
        .unwrap();
    assert_eq!((full.remaining, full.reset_at), (10, NOW.plus_seconds(600)));
    let never = live
        .buckets
        .draw(&[draw("a", 10, 11)], NOW.plus_seconds(600))
        .await
        .unwrap();
    assert_eq!(
        (never.allowed, never.remaining, never.retry_after_seconds),
        (false, 10, 60)
    );
}

pub(crate) async fn draws_on_all_or_none(live: &Live) {
    let both = [draw("wide", 100, 1), draw("narrow", 2, 1)];
    let answer = live.buckets.draw(&both, NOW).await.unwrap();
    assert_eq!((answer.allowed, answer.limit, answer.remaining), (true, 2, 1));
    assert!(live.buckets.draw(&both, NOW).await.unwrap().allowed);
    let refused = live.buckets.draw(&both, NOW).await.unwrap();
    assert_eq!(
        (refused.allowed, refused.limit, refused.retry_after_seconds),
        (false, 2, 30)
    );
    let wide = live.buckets.draw(&[draw("wide", 100, 0)], NOW).await.unwrap();
    assert_eq!(wide.remaining, 98, "a refused draw takes nothing anywhere");
}

pub(crate) async fn the_same_key_twice(live: &Live) {
    let twice = [draw("a", 3, 1), draw("a", 3, 1)];
    assert!(live.buckets.draw(&twice, NOW).await.unwrap().allowed);
    assert!(!live.buckets.draw(&twice, NOW).await.unwrap().allowed);
    assert_eq!(live.buckets.draw(&[draw("a", 3, 0)], NOW).await.unwrap().remaining, 1);
}

pub(crate) async fn sweeps_full_ones(live: &Live) {
    live.buckets.draw(&[draw("a", 10, 1)], NOW).await.unwrap();
    live.buckets.draw(&[draw("b", 10, 10)], NOW).await.unwrap();
    let later = NOW.plus_seconds(30);
    live.buckets.sweep(later).await.unwrap();
    let half = live.buckets.draw(&[draw("b", 10, 0)], later).await.unwrap();
    assert_eq!(half.remaining, 5, "what is not full stays");
    let full = live.buckets.draw(&[draw("a", 10, 0)], later).await.unwrap();
    assert_eq!(full.remaining, 10);
}

pub(crate) async fn draws_race(live: &Live) {
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let live = live.clone();
            tokio::spawn(async move {
                let (one, other) = (draw("shared", 100, 1), draw("both", 150, 1));
                let mut passed = 0;
                for _ in 0..50 {
                    // Named in either order: neither a deadlock nor a token too many.
                    let draws = if number % 2 == 0 {
                        [one.clone(), other.clone()]
                    } else {
                        [other.clone(), one.clone()]
                    };
                    passed += u32::from(live.buckets.draw(&draws, NOW).await.unwrap().allowed);
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for task in tasks {
        passed += task.await.unwrap();
    }
    assert_eq!(passed, 100);
    assert_eq!(
        live.buckets.draw(&[draw("both", 150, 0)], NOW).await.unwrap().remaining,
        50
    );
}
