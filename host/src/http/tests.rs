//! The whole router over SQLite, memory and the native policies.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::answer::Written;
use super::console::Console;
use super::error::PROBLEM_JSON;
use super::router::{router, table};
use super::service::Api;
use super::state::HttpState;
use crate::app::App;
use crate::app::auth::Authenticator;
use crate::app::limits::Limiter;
use crate::app::releases::Releases;
use crate::config::{self, Mode, Source};
use crate::domain::clock::{Clock, SystemClock};
use crate::plugins::PluginRuntime;
use crate::plugins::delivery::node::Node;
use crate::signaling::hub::{Hub, HubLimits};
use crate::telemetry::metrics::Metrics;

pub(super) const KEY: &str = "an-api-key-of-the-tests-0123456789abcdef";

pub(super) struct Service {
    router: Api,
    _dir: tempfile::TempDir,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if status >= 400 {
            assert_eq!(self.headers["content-type"], PROBLEM_JSON);
            assert_eq!(self.body["status"], status);
            assert!(self.body["detail"].is_string() && self.body["title"].is_string());
        }
        self.body
    }

    #[track_caller]
    fn bad_fields(self) -> Vec<String> {
        let body = self.expect(422);
        let errors = body["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Service {
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut environment = vec![
            ("DATA_DIR", dir.path().to_str().unwrap()),
            ("JWT_SECRET_KEY", "a-signing-key-of-the-tests-0123456789abcdef"),
            ("COORDINATOR_API_KEY", KEY),
            ("POLICY_MODE", "native"),
            ("RATE_LIMIT_ENABLED", "false"),
        ];
        environment.retain(|(name, _)| settings.iter().all(|(changed, _)| changed != name));
        environment.extend_from_slice(settings);
        let (config, report) = config::load(&Source::of(&environment, &[]), Mode::Check);
        let config = Arc::new(config.unwrap_or_else(|| panic!("{:?}", report.problems)));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let storage = crate::storage::sqlite::open(&dir.path().join("db"), 2).await.unwrap();
        let live = crate::live::memory::open();
        let plugins = PluginRuntime::start(&config.plugins, dir.path(), metrics.clone()).unwrap();
        let policies = plugins.policies();
        let hub = Hub::new(
            live.fleet.clone(),
            clock.clone(),
            &metrics,
            "node",
            HubLimits::default(),
        )
        .unwrap();
        hub.start().await.unwrap();
        let (limit, buckets) = (policies.rate_limit.clone(), live.buckets.clone());
        let limiter = Limiter::new(limit, buckets, clock.clone(), config.rate_limit.enabled, &metrics).unwrap();
        let app = Arc::new(App {
            config: config.clone(),
            clock: clock.clone(),
            started_at: clock.now(),
            storage,
            live,
            policies,
            releases: Releases::new(Arc::new(Node(plugins.clone())), "node".to_owned()),
            peers: hub.clone(),
            npcs: None,
            metrics,
            traces: Default::default(),
            readings: Default::default(),
        });
        let state = Arc::new(HttpState {
            console: Console::new(&config.security, clock.clone()),
            auth: Authenticator::new(&config.security, clock),
            app,
            limiter: Arc::new(limiter),
            hub,
            plugins,
            best: Written::default(),
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        Self {
            router: router(state).unwrap(),
            _dir: dir,
        }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()),
        }
    }

    async fn call(&self, credential: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = match credential {
            "" => request,
            KEY => request.header("x-api-key", KEY),
            token => request.header("authorization", format!("Bearer {token}")),
        };
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, credential: &str, path: &str) -> Answer {
        self.call(credential, Method::GET, path, None).await
    }

    async fn post(&self, credential: &str, path: &str, body: Value) -> Answer {
        self.call(credential, Method::POST, path, Some(body)).await
    }

    async fn token(&self, player: &str) -> String {
        let body = self
            .post("", "/api/v1/auth/token", json!({"player_id": player, "api_key": KEY}))
            .await
            .expect(200);
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn host(&self, credential: &str, host_id: &str, player: &str) -> Answer {
        let host = json!({
            "host_id": host_id, "player_id": player, "player_name": "P", "ip_address": "192.0.2.1", "port": 7777,
            "cpu_cores": 8, "cpu_frequency_mhz": 3600, "memory_mb": 16384, "network_speed_mbps": 1000
        });
        self.post(credential, "/api/v1/hosts/register", host).await
    }

    async fn zone(&self, zone_id: &str) -> Value {
        let zone = json!({"zone_id": zone_id, "zone_name": "z", "zone_display_name": "Z", "map_name": "m"});
        self.post(KEY, "/api/v1/zones/", zone).await.expect(201)
    }
}

/// `METHOD path` of every documented route, sorted by path.
fn documented() -> String {
    let (_, document) = table().split_for_parts();
    let document = serde_json::to_value(&document).unwrap();
    let mut lines = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            lines.push(format!("{:6} {path}", method.to_uppercase()));
        }
    }
    lines.sort_by(|a, b| a[7..].cmp(&b[7..]).then_with(|| a.cmp(b)));
    lines.join("\n") + "\n"
}

#[test]
fn the_document_lists_exactly_these_routes() {
    assert_eq!(documented(), include_str!("routes.txt"));
}

#[test]
fn the_matrix_names_every_route() {
    let matrix = include_str!("../../../docs/authorization.md");
    for line in documented().lines() {
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.trim().trim_start_matches("/api/v1");
        let cell = format!("| `{method} {path}` |");
        assert!(matrix.contains(&cell), "docs/authorization.md lacks {cell}");
    }
}

#[tokio::test]
async fn errors_of_the_router_are_problems_too() {
    let service = Service::start(&[]).await;
    service.get("", "/nowhere").await.expect(404);
    service.get(KEY, "/api/v1/hosts/none").await.expect(404);
    service.get(KEY, "/api/v1/hosts/%ff").await.expect(400);
    let wrong_method = service.call("", Method::DELETE, "/api/v1/auth/token", None).await;
    assert_eq!(wrong_method.headers["allow"], "POST");
    wrong_method.expect(405);
    let huge = json!({"player_id": "x".repeat(70_000)});
    service.post("", "/api/v1/auth/token", huge).await.expect(413);
    let form = Request::post("/api/v1/auth/token")
        .header("content-type", "text/plain")
        .body(Body::from("{}"));
    service.send(form.unwrap()).await.expect(415);
    let malformed = Request::post("/api/v1/auth/token")
        .body(Body::from("{\"player_id\":"))
        .unwrap();
    assert_eq!(service.send(malformed).await.bad_fields(), ["body"]);
    let deep = Request::post("/api/v1/auth/token")
        .body(Body::from("[".repeat(60_000)))
        .unwrap();
    assert_eq!(service.send(deep).await.bad_fields(), ["body"]);
    let bad_query = "/api/v1/hosts/?status_filter=odd&min_quality_score=nan&limit=0";
    assert_eq!(
        service.get(KEY, bad_query).await.bad_fields(),
        ["status_filter", "min_quality_score", "limit"]
    );
}

#[tokio::test]
async fn every_spelling_of_a_path_answers() {
    let service = Service::start(&[]).await;
    service.zone("z").await;
    for path in [
        "/api/v1/zones",
        "/api/v1/zones/",
        "/api/zones",
        "/api/zones/?p2p_enabled=true",
    ] {
        let answer = service.get(KEY, path).await;
        assert_eq!(answer.headers["x-total-count"], "1", "{path}");
        answer.expect(200);
    }
    for path in [
        "/",
        "/health/",
        "/api/health",
        "/api/v1/openapi.json",
        "/docs/",
        "/api/monitoring/dashboard",
    ] {
        service.get("", path).await.expect(200);
    }
}

#[tokio::test]
async fn credentials_decide() {
    let service = Service::start(&[]).await;
    let (alice, bob) = (service.token("alice").await, service.token("bob").await);
    let anonymous = service.host("", "h", "alice").await;
    assert!(anonymous.headers.contains_key("www-authenticate"));
    anonymous.expect(401);
    service.host("not.a.token", "h", "alice").await.expect(401);
    service.host(&bob, "h", "alice").await.expect(403);
    service.host(&alice, "h", "alice").await.expect(201);
    service.host(&bob, "h", "bob").await.expect(403);
    let beat = json!({"latency_ms": 10, "packet_loss_percent": 0, "bandwidth_usage_mbps": 1, "current_players": 0,
        "current_zones": 0});
    service
        .post(&bob, "/api/v1/hosts/h/heartbeat", beat.clone())
        .await
        .expect(403);
    let host = service
        .post(&alice, "/api/v1/hosts/h/heartbeat", beat)
        .await
        .expect(200);
    assert_eq!(host["latency_ms"], 10.0);
    service.get(&bob, "/api/v1/hosts/available/best").await.expect(200);
    service.post(&alice, "/api/v1/zones", json!({})).await.expect(403);
    service.get(&alice, "/api/v1/plugins").await.expect(403);
    service.get(KEY, "/api/v1/plugins").await.expect(200);
    service.zone("z").await;
    let on_hers = json!({"zone_id": "z", "host_id": "h", "player_ids": ["alice", "bob"]});
    service
        .post(&bob, "/api/v1/sessions", on_hers.clone())
        .await
        .expect(403);
    let session = service.post(&alice, "/api/v1/sessions", on_hers).await.expect(201);
    let path = format!("/api/v1/sessions/{}", session["id"]);
    service
        .post(&bob, &format!("{path}/activate"), Value::Null)
        .await
        .expect(403);
    service
        .post(&alice, &format!("{path}/activate"), Value::Null)
        .await
        .expect(200);
    service
        .post(&alice, &format!("{path}/activate"), Value::Null)
        .await
        .expect(400);
    let leave = format!("{path}/players/bob");
    service
        .call(&service.token("carol").await, Method::DELETE, &leave, None)
        .await
        .expect(403);
    service.call(&bob, Method::DELETE, &leave, None).await.expect(200);
    service.call(&bob, Method::DELETE, &leave, None).await.expect(400);
    for others in [json!(["alice", "bob"]), json!(["alice"]), json!([])] {
        let body = json!({"zone_id": "z", "player_ids": others});
        service.post(&bob, "/api/v1/sessions", body).await.expect(403);
    }
    service
        .post(&bob, "/api/v1/sessions", json!({"zone_id": "z", "player_ids": ["bob"]}))
        .await
        .expect(201);
}

#[tokio::test]
async fn bad_members_are_all_named() {
    let service = Service::start(&[]).await;
    let answer = service
        .post(
            KEY,
            "/api/v1/hosts/register",
            json!({"host_id": "h", "port": 0, "labels": 3}),
        )
        .await;
    assert_eq!(
        answer.bad_fields(),
        [
            "player_id",
            "player_name",
            "ip_address",
            "port",
            "cpu_cores",
            "cpu_frequency_mhz",
            "memory_mb",
            "network_speed_mbps",
            "labels"
        ]
    );
    let token = json!({"player_id": "a:b", "api_key": KEY});
    assert_eq!(
        service.post("", "/api/v1/auth/token", token).await.bad_fields(),
        ["player_id"]
    );
}

#[tokio::test]
async fn refresh_tokens_are_spent_once() {
    let service = Service::start(&[]).await;
    service
        .post("", "/api/v1/auth/token", json!({"peer_id": "p"}))
        .await
        .expect(401);
    service
        .post("", "/api/v1/auth/token", json!({"peer_id": "p", "api_key": "wrong"}))
        .await
        .expect(401);
    let first = service
        .post(KEY, "/api/v1/auth/token", json!({"peer_id": "p"}))
        .await
        .expect(200);
    assert_eq!(first["token"], first["access_token"]);
    assert_eq!(
        (&first["token_type"], &first["expires_in"]),
        (&json!("bearer"), &json!(3600))
    );
    let spend = |pair: &Value| json!({"refresh_token": pair["refresh_token"]});
    let wrong_type = json!({"refresh_token": first["access_token"]});
    service.post("", "/api/v1/auth/refresh", wrong_type).await.expect(401);
    let second = service
        .post("", "/api/v1/auth/refresh", spend(&first))
        .await
        .expect(200);
    service
        .post("", "/api/v1/auth/refresh", spend(&first))
        .await
        .expect(401);
    service
        .post("", "/api/v1/auth/refresh", spend(&second))
        .await
        .expect(401);
    let refresh_token = first["refresh_token"].as_str().unwrap();
    service.get(refresh_token, "/api/v1/zones").await.expect(401);
}

#[tokio::test]
async fn sessions_find_a_host_and_move_when_it_goes() {
    let service = Service::start(&[]).await;
    let wanted = json!({"zone_id": "z", "player_ids": ["p"]});
    let refused = service.post(KEY, "/api/v1/sessions", wanted.clone()).await.expect(400);
    assert_eq!(
        (&refused["mode"], &refused["reason"]),
        (&json!("server"), &json!("zone_unknown"))
    );
    service.zone("z").await;
    let refused = service.post(KEY, "/api/v1/sessions", wanted.clone()).await.expect(400);
    assert_eq!(refused["reason"], "no_suitable_host");
    let crowd: Vec<_> = (0..1000).map(|number| format!("p{number}")).collect();
    let crowd = json!({"zone_id": "z", "player_ids": crowd});
    let refused = service.post(KEY, "/api/v1/sessions", crowd).await.expect(400);
    assert_eq!(
        refused["reason"], "zone_capacity",
        "the zone's own limit comes before the search for hosts"
    );
    service.host(KEY, "one", "a").await.expect(201);
    let session = service.post(KEY, "/api/v1/sessions", wanted).await.expect(201);
    assert_eq!(session["host"], "one");
    let path = format!("/api/v1/sessions/{}", session["session_id"].as_str().unwrap());
    service.host(KEY, "two", "b").await.expect(201);
    service
        .call(KEY, Method::DELETE, "/api/v1/hosts/one", None)
        .await
        .expect(204);
    assert_eq!(service.get(KEY, &path).await.expect(200)["host"], "two");
    service
        .call(KEY, Method::DELETE, "/api/v1/hosts/two", None)
        .await
        .expect(204);
    assert_eq!(service.get(KEY, &path).await.expect(200)["status"], "failed");
    service
        .call(KEY, Method::DELETE, "/api/v1/hosts/two", None)
        .await
        .expect(404);
}

#[tokio::test]
async fn switched_off_means_the_game_server() {
    let service = Service::start(&[("P2P_ENABLED", "false")]).await;
    service.zone("z").await;
    service.host(KEY, "h", "p").await.expect(201);
    let refused = service
        .post(KEY, "/api/v1/sessions", json!({"zone_id": "z", "player_ids": ["p"]}))
        .await
        .expect(400);
    assert_eq!(
        (&refused["mode"], &refused["reason"]),
        (&json!("server"), &json!("p2p_disabled"))
    );
    assert_eq!(service.get("", "/").await.expect(200)["p2p_enabled"], false);
}

#[tokio::test]
async fn limits_are_told_and_kept() {
    let service = Service::start(&[("RATE_LIMIT_ENABLED", "true"), ("RATE_LIMIT_API_REQUESTS", "2")]).await;
    let first = service.get(KEY, "/api/v1/zones").await;
    assert_eq!(
        (
            &first.headers["x-ratelimit-limit"],
            &first.headers["x-ratelimit-remaining"]
        ),
        (&"2".parse().unwrap(), &"1".parse().unwrap())
    );
    service.get(KEY, "/api/v1/nowhere").await.expect(404);
    let limited = service.get(KEY, "/api/v1/zones").await;
    for name in [
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ] {
        assert!(limited.headers.contains_key(name), "{name}");
    }
    let body = limited.expect(429);
    assert_eq!(
        (&body["error"], &body["limit"]),
        (&json!("rate_limit_exceeded"), &json!(2))
    );
    assert!(body["message"].is_string() && body["window_seconds"].is_u64() && body["reset_time"].is_i64());
    service.get("", "/health").await.expect(200);
}

#[tokio::test]
async fn health_and_metrics_have_their_shapes() {
    let service = Service::start(&[]).await;
    service.zone("z").await;
    let health = service.get("", "/health").await.expect(200);
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        health["database"],
        json!({"postgres": "connected", "redis": "connected", "storage": "sqlite", "live": "memory"})
    );
    let text = service.get("", "/metrics").await.expect(200);
    let text = text.as_str().unwrap();
    for line in [
        "# TYPE p2p_hosts_total gauge",
        "p2p_hosts_total{status=\"active\"} 0",
        "p2p_zones_total{p2p_enabled=\"true\"} 1",
        "p2p_sessions_total{status=\"active\"} 0",
        "p2p_players_total 0",
        "p2p_average_latency_ms 0",
        "# TYPE p2p_uptime_seconds counter",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}");
    }
    let dashboard = service.get("", "/api/monitoring/dashboard").await.expect(200);
    assert_eq!(dashboard["zones"], json!({"total": 1, "enabled": 1, "disabled": 0}));
    let stats = service.get("", "/api/v1/monitoring/hosts/stats").await.expect(200);
    assert_eq!(stats["total_online"], 0);
}

#[tokio::test]
async fn the_documentation_is_complete() {
    let service = Service::start(&[]).await;
    let document = service.get("", "/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let create = &document["paths"]["/api/v1/sessions"]["post"]["responses"];
    for status in ["201", "400", "401", "403", "413", "415", "422", "429", "500", "503"] {
        assert!(create.get(status).is_some(), "{status}");
    }
    assert!(create["422"]["content"].get(PROBLEM_JSON).is_some());
    let page = service.get("", "/docs").await;
    assert!(page.headers.contains_key("content-security-policy"));
    assert!(!page.expect(200).as_str().unwrap().contains("https://"));
    service.get("", "/docs/swagger-ui-bundle.js").await.expect(200);
}
