//! One service of the tests: the whole router over SQLite, memory and the native policies, and what it answers.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::app::App;
use crate::app::auth::Authenticator;
use crate::app::limits::Limiter;
use crate::app::releases::Releases;
use crate::config::{self, Mode, Source};
use crate::domain::clock::{Clock, SystemClock};
use crate::http::answer::Written;
use crate::http::console::Console;
use crate::http::error::PROBLEM_JSON;
use crate::http::router::router;
use crate::http::service::Api;
use crate::http::state::HttpState;
use crate::http::trust::Trust;
use crate::plugins::PluginRuntime;
use crate::plugins::delivery::node::Node;
use crate::signaling::hub::{Hub, HubLimits};
use crate::telemetry::metrics::Metrics;

pub(in crate::http) const KEY: &str = "an-api-key-of-the-tests-0123456789abcdef";

pub(in crate::http) struct Service {
    router: Api,
    _dir: tempfile::TempDir,
}

pub(in crate::http) struct Answer {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) headers: HeaderMap,
    pub(in crate::http) body: Value,
}

impl Answer {
    #[track_caller]
    pub(in crate::http) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if status >= 400 {
            assert_eq!(self.headers["content-type"], PROBLEM_JSON);
            assert_eq!(self.body["status"], status);
            assert!(self.body["detail"].is_string() && self.body["title"].is_string());
        }
        self.body
    }

    #[track_caller]
    pub(in crate::http) fn bad_fields(self) -> Vec<String> {
        let body = self.expect(422);
        let errors = body["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Service {
    pub(in crate::http) async fn start(settings: &[(&str, &str)]) -> Self {
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
            trust: Trust::new(&config).unwrap(),
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

    pub(in crate::http) async fn send(&self, request: Request<Body>) -> Answer {
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

    pub(in crate::http) async fn call(
        &self,
        credential: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = match credential {
            "" => request,
            KEY => request.header("x-api-key", KEY),
            token => request.header("authorization", format!("Bearer {token}")),
        };
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub(in crate::http) async fn get(&self, credential: &str, path: &str) -> Answer {
        self.call(credential, Method::GET, path, None).await
    }

    pub(in crate::http) async fn post(&self, credential: &str, path: &str, body: Value) -> Answer {
        self.call(credential, Method::POST, path, Some(body)).await
    }

    pub(in crate::http) async fn token(&self, player: &str) -> String {
        let body = self
            .post("", "/api/v1/auth/token", json!({"player_id": player, "api_key": KEY}))
            .await
            .expect(200);
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(in crate::http) async fn host(&self, credential: &str, host_id: &str, player: &str) -> Answer {
        let host = json!({
            "host_id": host_id, "player_id": player, "player_name": "P", "ip_address": "192.0.2.1", "port": 7777,
            "cpu_cores": 8, "cpu_frequency_mhz": 3600, "memory_mb": 16384, "network_speed_mbps": 1000
        });
        self.post(credential, "/api/v1/hosts/register", host).await
    }

    pub(in crate::http) async fn zone(&self, zone_id: &str) -> Value {
        let zone = json!({"zone_id": zone_id, "zone_name": "z", "zone_display_name": "Z", "map_name": "m"});
        self.post(KEY, "/api/v1/zones/", zone).await.expect(201)
    }
}
