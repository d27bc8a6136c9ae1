//! NPC state of one node, and a source of it that fares as a test wants.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::ports::npc_source::{NpcError, NpcSource};

/// Zones by name: `slow` never answers, `held` when the test lets it, `broken` fails, all others have one NPC at once.
#[derive(Default)]
pub(super) struct TestSource {
    pub asked: Mutex<HashMap<String, usize>>,
    pub slow: AtomicUsize,
    pub held: tokio::sync::Notify,
}

#[async_trait]
impl NpcSource for TestSource {
    async fn zone_npcs(&self, zone_id: &str) -> Result<Vec<NpcRecord>, NpcError> {
        *self.asked.lock().entry(zone_id.to_owned()).or_default() += 1;
        match zone_id {
            "slow" => {
                self.slow.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
            "broken" => Err(NpcError::Unavailable("status 500".into())),
            "held" => {
                self.held.notified().await;
                Ok(Vec::new())
            }
            _ => Ok(vec![NpcRecord::from_iter([("id".to_owned(), 1.into())])]),
        }
    }

    async fn healthy(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_slow_or_failing_zone_does_not_hold_up_others() {
    let mut fixture = Fixture::new().await;
    for zone in ["slow", "broken", "good"] {
        fixture.session(&format!("session-{zone}"), zone).await;
    }
    let source = Arc::new(TestSource::default());
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let task = npcs::NpcBroadcast::new(
        fixture.app.clone(),
        source.clone(),
        "node",
        tracker.clone(),
        shutdown.clone(),
    )
    .unwrap();
    for tick in 1..=3 {
        task.run().await.unwrap();
        let push = fixture.sent.recv().await.unwrap();
        assert_eq!(push["type"], "npc-state");
        assert_eq!(push["session_id"], "session-good");
        assert_eq!(push["tick"], tick);
        assert_eq!(push["npcs"], serde_json::json!([{"id": 1, "seen": true}]));
        all_but_the_slow_one(&tracker).await;
    }
    assert_eq!(source.asked.lock()["slow"], 1, "an attempt under way is not doubled");
    assert_eq!(source.asked.lock()["broken"], 1, "a failing zone waits");
    fixture.clock.forward(1);
    task.run().await.unwrap();
    all_but_the_slow_one(&tracker).await;
    shutdown.cancel();
    tracker.close();
    tracker.wait().await;
    assert_eq!(source.asked.lock()["broken"], 2);
}

#[tokio::test]
async fn the_age_is_that_of_the_zone_that_waits_longest() {
    let mut fixture = Fixture::new().await;
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let source = Arc::new(TestSource::default());
    let task = npcs::NpcBroadcast::new(fixture.app.clone(), source, "node", tracker.clone(), shutdown).unwrap();
    let registry = &fixture.app.metrics.registry;
    let age = || {
        let families = registry.gather();
        let of = families
            .iter()
            .find(|family| family.name() == "p2p_npc_tick_age_seconds");
        of.unwrap().get_metric()[0].get_gauge().get_value()
    };
    let is = |expected: f64| assert!((age() - expected).abs() < 1e-9, "{} is not {expected}", age());
    is(0.0);
    fixture.session("session-good", "good").await;
    task.run().await.unwrap();
    assert_eq!(fixture.sent.recv().await.unwrap()["type"], "npc-state");
    while !tracker.is_empty() {
        tokio::task::yield_now().await;
    }
    fixture.clock.forward(1);
    is(60.0);
    fixture.session("session-broken", "broken").await;
    task.run().await.unwrap();
    while !tracker.is_empty() {
        tokio::task::yield_now().await;
    }
    is(0.0);
    fixture.clock.forward(2);
    task.run().await.unwrap();
    while !tracker.is_empty() {
        tokio::task::yield_now().await;
    }
    is(120.0);
    fixture.peers.close_session("session-broken");
    task.run().await.unwrap();
    is(0.0);
}

/// Waits for the attempts of a tick.
async fn all_but_the_slow_one(tracker: &TaskTracker) {
    while tracker.len() > 1 {
        tokio::task::yield_now().await;
    }
}
