//! NPC state from the AI service to the peers, and what a bad AI service does: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use p2p_coordinator_tests::shapes::session;
use p2p_coordinator_tests::{Options, Server, Ws, eventually};
use serde_json::{Value, json};

const FINE: u8 = 0;
const FAILING: u8 = 1;
const NONSENSE: u8 = 2;
const HANGING: u8 = 3;
const HUGE: u8 = 4;

#[derive(Default)]
struct Behaviour {
    mode: AtomicU8,
    asked: AtomicU64,
}

/// A double of the AI service.
pub struct AiService {
    address: String,
    behaviour: Arc<Behaviour>,
}

impl AiService {
    /// Starts one that works.
    pub async fn start() -> Self {
        let behaviour = Arc::new(Behaviour::default());
        let router = Router::new()
            .route("/health", get(|| async { Json(json!({ "status": "healthy" })) }))
            .route("/api/world/zones/{zone_id}/npcs", get(zone_npcs))
            .with_state(Arc::clone(&behaviour));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, behaviour }
    }

    /// Its address as `AI_SERVICE_URL` wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn become_(&self, mode: u8) {
        self.behaviour.mode.store(mode, Ordering::SeqCst);
    }

    fn asked(&self) -> u64 {
        self.behaviour.asked.load(Ordering::SeqCst)
    }
}

async fn zone_npcs(State(behaviour): State<Arc<Behaviour>>, Path(zone_id): Path<String>) -> Response {
    behaviour.asked.fetch_add(1, Ordering::SeqCst);
    match behaviour.mode.load(Ordering::SeqCst) {
        FAILING => (StatusCode::INTERNAL_SERVER_ERROR, "broken").into_response(),
        NONSENSE => "{\"npcs\": 7".into_response(),
        HANGING => std::future::pending().await,
        HUGE => vec![b' '; 64 * 1024 * 1024].into_response(),
        _ => Json(npcs(&zone_id)).into_response(),
    }
}

fn npcs(zone_id: &str) -> Value {
    json!([
        {
            "npc_id": "guard", "x": 12.5, "y": -3.0, "zone_id": zone_id,
            "position": { "x": 12.5, "y": -3.0, "zone_id": zone_id },
            "dialogue_state": "greeting", "quest_status": "available",
            "mood": "gruff", "_seed": 77, "plan": ["patrol"], "internal": ["plan"],
        },
        { "npc_id": "cat", "position": { "x": 0, "y": 0 } },
    ])
}

/// Checks that a frame carries what is public and nothing internal.
pub fn check_public(state: &Value) {
    let npcs = state["npcs"].as_array().unwrap_or_else(|| panic!("{state}"));
    assert_eq!(npcs.len(), 2, "{state}");
    let guard = &npcs[0];
    for member in ["npc_id", "position", "dialogue_state", "quest_status", "mood", "x"] {
        assert!(!guard[member].is_null(), "{member}: {state}");
    }
    for member in ["_seed", "plan", "internal"] {
        assert!(guard.get(member).is_none(), "{member}: {state}");
    }
}

fn with_ai(url: &str) -> Options {
    Options::default()
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", url)
        .env("AI_SERVICE_TIMEOUT_SECONDS", 1)
        .env("NPC_BROADCAST_INTERVAL", 1)
}

#[tokio::test]
async fn peers_of_active_sessions_get_npc_state_without_internal_members() {
    let ai = AiService::start().await;
    let server = with_ai(&ai.url()).start();
    let operator = server.operator();
    let made = session(&operator, "npc", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut one = Ws::joined(&server, "p1", id).await;
    let mut two = Ws::joined(&server, "p2", id).await;
    let mut last_tick = 0;
    for _ in 0..2 {
        let state = one.wait_for("npc-state").await;
        check_public(&state);
        assert_eq!(
            (&state["zone_id"], &state["session_id"]),
            (&json!("zone-npc"), &json!(id))
        );
        assert!(state["timestamp"].is_string(), "{state}");
        let tick = state["tick"].as_u64().unwrap();
        assert!(tick > last_tick, "{state}");
        last_tick = tick;
    }
    check_public(&two.wait_for("npc-state").await);
}

#[tokio::test]
async fn a_zone_without_an_active_session_is_not_asked_for() {
    let ai = AiService::start().await;
    let server = with_ai(&ai.url()).start();
    let operator = server.operator();
    let made = session(&operator, "npc", "alice", &["p1"]).await;
    let _peer = Ws::joined(&server, "p1", made["session_id"].as_str().unwrap()).await;
    eventually("the AI service is asked", || async { (ai.asked() > 0).then_some(()) }).await;
    let _ = operator.poke(&format!("/sessions/{}/end", made["id"])).await.ok(200);
    // One question may be under way. Then the number stands still for as long as three ticks.
    let mut pace = tokio::time::interval(Duration::from_millis(1500));
    pace.tick().await;
    pace.tick().await;
    let asked = ai.asked();
    pace.tick().await;
    pace.tick().await;
    assert_eq!(ai.asked(), asked);
}

/// Nothing else may notice: requests are fast, peers talk.
async fn all_is_well(server: &Server, one: &mut Ws, two: &mut Ws) {
    for n in 0..20 {
        let started = Instant::now();
        let _ = server.operator().get("/hosts/").await.status_is(200);
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "a request took {:?}",
            started.elapsed()
        );
        one.send(&json!({ "type": "offer", "to": "p2", "sdp": n.to_string() }))
            .await;
        assert_eq!(two.wait_for("offer").await["sdp"], json!(n.to_string()));
    }
    let health = server
        .anonymous()
        .absolute(reqwest::Method::GET, "/health", None)
        .await
        .ok(200);
    assert_eq!(health["status"], "healthy", "the AI service is no part of our health");
}

#[tokio::test]
async fn a_slow_failing_or_absurd_ai_service_disturbs_nothing_and_comes_back() {
    let ai = AiService::start().await;
    let server = with_ai(&ai.url()).start();
    let operator = server.operator();
    let made = session(&operator, "npc", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut one = Ws::joined(&server, "p1", id).await;
    let mut two = Ws::joined(&server, "p2", id).await;
    check_public(&one.wait_for("npc-state").await);
    for mode in [FAILING, NONSENSE, HUGE, HANGING] {
        ai.become_(mode);
        let asked = ai.asked();
        eventually("the AI service is asked in this state", || async {
            (ai.asked() > asked).then_some(())
        })
        .await;
        all_is_well(&server, &mut one, &mut two).await;
        ai.become_(FINE);
        // Frames from before may still be queued: what counts is one that was asked for from now on.
        let asked = ai.asked();
        eventually("the AI service is asked again", || async {
            (ai.asked() > asked).then_some(())
        })
        .await;
        check_public(&one.wait_for("npc-state").await);
    }
}

#[tokio::test]
async fn an_absent_ai_service_disturbs_nothing() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = with_ai(&url).start();
    let made = session(&server.operator(), "npc", "alice", &["p1", "p2"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut one = Ws::joined(&server, "p1", id).await;
    let mut two = Ws::joined(&server, "p2", id).await;
    all_is_well(&server, &mut one, &mut two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_fetches_and_the_peers_of_all_nodes_are_told() {
    let ai = AiService::start().await;
    let options = Options::default()
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai.url())
        .env("NPC_BROADCAST_INTERVAL", 1);
    let mut fleet = p2p_coordinator_tests::Fleet::with(2, &options);
    let operator = fleet.nodes[0].operator();
    let made = session(&operator, "npc-fleet", "owner", &["a", "b"]).await;
    let id = made["session_id"].as_str().unwrap().to_owned();
    let mut a = Ws::joined(&fleet.nodes[0], "a", &id).await;
    let mut b = Ws::joined(&fleet.nodes[1], "b", &id).await;
    let first = a.wait_for("npc-state").await["tick"].as_u64().unwrap();
    b.wait_for("npc-state").await;
    let (before, started) = (ai.asked(), Instant::now());
    let mut last = first;
    for _ in 0..3 {
        let state = a.wait_for("npc-state").await;
        let tick = state["tick"].as_u64().unwrap();
        assert!(tick > last, "{tick} after {last}");
        last = tick;
        assert_eq!(b.wait_for("npc-state").await["npcs"], state["npcs"]);
    }
    // Two nodes that both fetch would ask about twice a second.
    let most = started.elapsed().as_secs() + 2;
    assert!(
        ai.asked() - before <= most,
        "{} fetches in {:?}",
        ai.asked() - before,
        started.elapsed()
    );
    // Whichever node it was, the other goes on when it is gone, and ticks still grow.
    drop(fleet.nodes.remove(0));
    let mut grown = 0;
    let end = Instant::now() + Duration::from_secs(60);
    while grown < 2 && Instant::now() < end {
        let tick = b.wait_for("npc-state").await["tick"].as_u64().unwrap();
        assert!(tick >= last, "{tick} after {last}");
        grown += u32::from(tick > last);
        last = tick;
    }
    assert_eq!(grown, 2);
}
