//! The tasks over an embedded database, with a clock that the test moves: what each changes, tells and leaves alone.

mod fleet;
mod npcs_alone;

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::*;
use crate::app::hosts;
use crate::app::releases::Releases;
use crate::app::releases::idle::Idle;
use crate::config::{Mode, Source, load};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::host::{Host, HostStatus, Measurements, Registration};
use crate::domain::session::{Session, SessionKey, SessionStatus};
use crate::domain::zone::ZoneDefinition;
use crate::ports::live::Live;
use crate::ports::npc_source::NpcRecord;
use crate::ports::peers::{PeerNotifier, Push};
use crate::ports::policies::*;
use crate::ports::storage::{Changed, NewSession, Opened, Registered, Storage};
use crate::telemetry::metrics::Metrics;

struct TestClock(AtomicI64);

impl TestClock {
    fn forward(&self, minutes: i64) {
        self.0.fetch_add(minutes * 60_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct TestPolicies;

#[async_trait]
impl HostSelection for TestPolicies {
    fn score(&self, _: &Host) -> f64 {
        50.0
    }

    async fn rank(&self, _: HostRequest, _: Vec<HostCandidate>) -> (Vec<HostPick>, Rung) {
        (Vec::new(), Rung::Native)
    }
}

impl RateLimiting for TestPolicies {
    fn decide(&self, _: &LimitRequest<'_>) -> LimitDecision {
        LimitDecision::Unlimited
    }
}

#[async_trait]
impl NpcTransforming for TestPolicies {
    async fn transform(&self, mut frame: NpcFrame) -> Vec<NpcRecord> {
        for npc in &mut frame.npcs {
            npc.insert("seen".to_owned(), true.into());
        }
        frame.npcs
    }
}

/// Peers that are connected to the given sessions; what they are sent comes out of the channel.
struct TestPeers {
    connected: Mutex<Vec<String>>,
    sent: mpsc::UnboundedSender<serde_json::Value>,
}

impl PeerNotifier for TestPeers {
    fn notify_session(&self, _: &str, push: &Push) -> usize {
        self.sent.send(serde_json::to_value(push).unwrap()).ok();
        1
    }

    fn close_session(&self, session_id: &str) {
        self.connected.lock().retain(|connected| connected != session_id);
    }

    fn evict(&self, _: &str, _: &str) {}

    fn sessions(&self) -> Vec<String> {
        self.connected.lock().clone()
    }
}

struct Fixture {
    app: Arc<App>,
    clock: Arc<TestClock>,
    peers: Arc<TestPeers>,
    sent: mpsc::UnboundedReceiver<serde_json::Value>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = crate::storage::sqlite::open(&dir.path().join("test.db"), 2)
            .await
            .unwrap();
        let fixture = Self::node(storage, crate::live::memory::open(), dir);
        fixture.register_host().await;
        fixture
    }

    /// One node over the given stores.
    fn node(storage: Storage, live: Live, dir: tempfile::TempDir) -> Self {
        let (config, report) = load(&Source::of(&[("NPC_BROADCAST_INTERVAL", "1")], &[]), Mode::Check);
        let config = Arc::new(config.unwrap_or_else(|| panic!("{:?}", report.problems)));
        let clock = Arc::new(TestClock(AtomicI64::new(1_700_000_000_000)));
        let (sender, sent) = mpsc::unbounded_channel();
        let peers = Arc::new(TestPeers {
            connected: Mutex::default(),
            sent: sender,
        });
        let policies = Arc::new(TestPolicies);
        let app = Arc::new(App {
            config,
            started_at: clock.now(),
            clock: clock.clone(),
            storage,
            live,
            policies: Policies {
                host_selection: policies.clone(),
                rate_limit: policies.clone(),
                npc_transform: policies,
            },
            releases: Releases::new(Arc::new(Idle), "node".to_owned()),
            peers: peers.clone(),
            npcs: None,
            metrics: Arc::new(Metrics::new("test").unwrap()),
            traces: Default::default(),
            readings: Default::default(),
        });
        Self {
            app,
            clock,
            peers,
            sent,
            _dir: dir,
        }
    }

    async fn register_host(&self) {
        let registration = Registration {
            host_id: "h".into(),
            player_id: "p".into(),
            player_name: "P".into(),
            ip_address: "10.0.0.1".into(),
            port: 1,
            public_ip: None,
            ice_servers: None,
            cpu_cores: 1,
            cpu_frequency_mhz: 1,
            memory_mb: 1,
            network_speed_mbps: 1,
            max_players: 50,
            max_zones: 50,
            region: None,
            labels: Default::default(),
        };
        let registered = self
            .app
            .storage
            .hosts
            .register(&registration, 50.0, None, self.clock.now())
            .await
            .unwrap();
        let Registered::Done(host) = registered else {
            panic!("{registered:?}");
        };
        self.app.live.hosts.put(host);
    }

    fn beat(&self) {
        let beat = self
            .app
            .live
            .hosts
            .beat("h", &Measurements::default(), self.clock.now(), &|_| 60.0);
        assert!(beat.is_some());
    }

    /// An active session with a connected peer, in a zone of its own.
    async fn session(&self, session_id: &str, zone: &str) -> Session {
        let zone_definition = ZoneDefinition {
            zone_id: zone.into(),
            zone_name: zone.into(),
            zone_display_name: zone.into(),
            map_name: zone.into(),
            description: None,
            max_players: 10,
            recommended_players: 5,
            p2p_enabled: true,
            p2p_priority: 1,
            fallback_enabled: true,
            min_host_quality_score: 0.0,
            min_bandwidth_mbps: 0.0,
            max_latency_ms: 100.0,
        };
        let (storage, now) = (&self.app.storage, self.clock.now());
        storage.zones.define(&zone_definition, now).await.unwrap();
        let new = NewSession {
            session_id: session_id.into(),
            host: "h".into(),
            zone: zone.into(),
            players: vec!["a".into()],
        };
        let opened = storage.sessions.open(&new, now).await.unwrap();
        assert!(matches!(opened, Opened::Done(_)), "{opened:?}");
        let Changed::Done(session) = storage.sessions.activate(&key(session_id), now).await.unwrap() else {
            panic!("not activated");
        };
        self.peers.connected.lock().push(session_id.to_owned());
        session
    }

    async fn status(&self, session_id: &str) -> SessionStatus {
        self.app
            .storage
            .sessions
            .get(&key(session_id))
            .await
            .unwrap()
            .unwrap()
            .status
    }
}

fn key(session_id: &str) -> SessionKey {
    SessionKey::SessionId(session_id.to_owned())
}

#[tokio::test]
async fn heartbeats_reach_storage_or_go_back() {
    let fixture = Fixture::new().await;
    fixture.clock.forward(1);
    fixture.beat();
    heartbeats::flush(&fixture.app).await.unwrap();
    let stored = fixture.app.storage.hosts.get("h").await.unwrap().unwrap();
    assert_eq!(stored.last_heartbeat, Some(fixture.clock.now()));
    assert!(fixture.app.live.hosts.take_unsaved(10).is_empty());
    fixture.clock.forward(1);
    fixture.beat();
    fixture.app.storage.health.close().await;
    assert!(heartbeats::flush(&fixture.app).await.is_err());
    assert_eq!(fixture.app.live.hosts.take_unsaved(10).len(), 1);
}

#[tokio::test]
async fn silent_hosts_go_offline_and_their_sessions_fall_back() {
    let mut fixture = Fixture::new().await;
    fixture.session("session-1", "z").await;
    let task = host_timeout::HostTimeout::new(fixture.app.clone());
    fixture.clock.forward(4);
    fixture.beat();
    fixture.clock.forward(3);
    task.run().await.unwrap();
    let status = || fixture.app.live.hosts.get("h").unwrap().status;
    assert_eq!(
        status(),
        HostStatus::Online,
        "the last heartbeat counts although storage had not seen it"
    );
    fixture.clock.forward(3);
    task.run().await.unwrap();
    assert_eq!(status(), HostStatus::Offline);
    assert_eq!(fixture.status("session-1").await, SessionStatus::Failed);
    assert_eq!(fixture.sent.recv().await.unwrap()["type"], "fallback");
}

#[tokio::test]
async fn a_removed_host_does_not_come_back_on_the_board() {
    let fixture = Fixture::new().await;
    let (app, operator) = (&*fixture.app, crate::domain::identity::Identity::Operator);
    let copy = app.storage.hosts.get("h").await.unwrap().unwrap();
    hosts::show(app, copy.clone()).await.unwrap();
    assert!(app.live.hosts.get("h").is_some());
    hosts::delete(app, &operator, "h").await.unwrap();
    hosts::show(app, copy).await.unwrap();
    assert!(app.live.hosts.get("h").is_none());
    let late = hosts::heartbeat(app, &operator, "h", &Measurements::default()).await;
    assert!(late.is_err(), "{late:?}");
}

#[tokio::test]
async fn hosts_get_one_timeout_after_a_start() {
    let fixture = Fixture::new().await;
    fixture.clock.forward(60);
    let app = Arc::into_inner(fixture.app).unwrap();
    let app = Arc::new(App {
        started_at: fixture.clock.now(),
        ..app
    });
    let task = host_timeout::HostTimeout::new(app.clone());
    task.run().await.unwrap();
    assert_eq!(app.live.hosts.get("h").unwrap().status, HostStatus::Online);
    fixture.clock.forward(5);
    task.run().await.unwrap();
    assert_eq!(app.live.hosts.get("h").unwrap().status, HostStatus::Offline);
}

#[tokio::test]
async fn sessions_end_without_activity_but_not_with_a_connected_peer() {
    let mut fixture = Fixture::new().await;
    fixture.session("session-1", "z").await;
    fixture.session("session-2", "z").await;
    fixture.peers.close_session("session-2");
    fixture.clock.forward(31);
    let task = session_health::SessionHealth {
        app: fixture.app.clone(),
    };
    task.run().await.unwrap();
    assert_eq!(fixture.status("session-1").await, SessionStatus::Active);
    assert_eq!(fixture.status("session-2").await, SessionStatus::Ended);
    let push = fixture.sent.recv().await.unwrap();
    assert_eq!(
        (push["type"].as_str(), push["reason"].as_str()),
        (Some("session-ended"), Some("timeout"))
    );
}

#[tokio::test]
async fn peers_of_sessions_that_are_over_are_let_go() {
    let fixture = Fixture::new().await;
    fixture.session("session-1", "z").await;
    fixture.peers.connected.lock().push("session-unknown".into());
    let now = fixture.clock.now();
    fixture
        .app
        .storage
        .sessions
        .finish(&key("session-1"), SessionStatus::Ended, None, now)
        .await
        .unwrap();
    fixture.session("session-2", "z").await;
    session_health::SessionPeers {
        app: fixture.app.clone(),
    }
    .run()
    .await
    .unwrap();
    assert_eq!(fixture.peers.sessions(), ["session-2"]);
}

#[tokio::test]
async fn old_sessions_are_removed() {
    let fixture = Fixture::new().await;
    fixture.session("session-1", "z").await;
    let now = fixture.clock.now();
    fixture
        .app
        .storage
        .sessions
        .finish(&key("session-1"), SessionStatus::Ended, None, now)
        .await
        .unwrap();
    let task = cleanup::Cleanup {
        app: fixture.app.clone(),
    };
    let found = async || {
        fixture
            .app
            .storage
            .sessions
            .get(&key("session-1"))
            .await
            .unwrap()
            .is_some()
    };
    fixture.clock.forward(6 * 24 * 60);
    task.run().await.unwrap();
    assert!(found().await);
    fixture.clock.forward(2 * 24 * 60);
    task.run().await.unwrap();
    assert!(!found().await);
}
