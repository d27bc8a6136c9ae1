//! Traces as a collector gets them, and what a bad collector does: nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use p2p_coordinator_tests::shapes::{host, session, zone};
use p2p_coordinator_tests::{Options, Server, Ws, eventually};
use prost::Message as _;
use reqwest::Method;
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const HEADERS: &str = "authorization=Bearer%20secret-of-the-collector,x-scope-orgid=games";

/// One span, its numbers in hex and its attributes as text.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    trace: String,
    id: String,
    parent: String,
    kind: SpanKind,
    failed: bool,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
    headers: HeaderMap,
}

impl Seen {
    fn says(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// A collector that keeps what it gets.
struct Collector {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Collector {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = seen.clone();
        let take = post(move |headers: HeaderMap, body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            keep.lock().unwrap().extend(spans(&request, &headers));
        });
        let url = serve(Router::new().route("/tenant/v1/traces", take)).await;
        let url = format!("{url}/tenant");
        Self { url, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The first span that is right, once it is there.
    async fn find(&self, what: &str, right: impl Fn(&Seen) -> bool) -> Seen {
        eventually(what, || async { self.seen().into_iter().find(&right) }).await
    }

    async fn named(&self, name: &str) -> Seen {
        self.find(name, |seen| seen.name == name).await
    }

    /// The span of this name that is a part of another one.
    async fn part_of(&self, whole: &Seen, name: &str) -> Seen {
        let part = self
            .find(name, |seen| seen.name == name && seen.parent == whole.id)
            .await;
        assert_eq!(part.trace, whole.trace, "{name}");
        part
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn spans(request: &ExportTraceServiceRequest, headers: &HeaderMap) -> Vec<Seen> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut seen = Vec::new();
    for of in &request.resource_spans {
        let resource = texts(&of.resource.as_ref().unwrap().attributes);
        for span in of.scope_spans.iter().flat_map(|scope| &scope.spans) {
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
            seen.push(Seen {
                name: span.name.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                kind: span.kind(),
                failed: span.status.is_some(),
                attributes: texts(&span.attributes),
                resource: resource.clone(),
                headers: headers.clone(),
            });
        }
    }
    seen
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pairs = attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)));
    pairs.collect()
}

fn exporting(url: &str, share: &str) -> Options {
    Options::default()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .env("OTEL_TRACES_SAMPLER_ARG", share)
        .env("RATE_LIMIT_ENABLED", "true")
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// Ends the server in good order: what is queued is sent.
fn stop(mut server: Server) -> String {
    server.terminate();
    assert!(server.wait().success());
    server.log()
}

#[tokio::test]
async fn a_sampled_request_arrives_with_what_it_asked_of_policies_and_storage() {
    let collector = Collector::start().await;
    let server = exporting(&collector.url, "0")
        .env("OTEL_EXPORTER_OTLP_HEADERS", HEADERS)
        .env("OTEL_SERVICE_NAME", "coordinator-eu")
        .env("ENVIRONMENT", "testing")
        .env("LOG_LEVEL", "trace")
        .start();
    let _ = server.operator().post("/zones/", &zone("unseen")).await.ok(201);
    let unsampled = server
        .operator()
        .with_header("traceparent", &sampled().replace("-01", "-00"));
    let _ = unsampled.get("/zones/unseen").await.ok(200);
    let traced = server.operator().with_header("traceparent", &sampled());
    let answer = traced.post("/hosts/register", &host("traced", "alice")).await;
    assert_eq!(answer.status, 201, "{answer}");

    let request = collector.named("POST /api/v1/hosts/register").await;
    assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, PARENT));
    assert_eq!(request.kind, SpanKind::Server);
    assert!(!request.failed);
    for (key, text) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/hosts/register"),
        ("http.response.status_code", "201"),
        ("request_id", answer.headers["x-request-id"].to_str().unwrap()),
    ] {
        assert_eq!(request.says(key), text, "{request:?}");
    }
    for (key, text) in [
        ("service.name", "coordinator-eu"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment", "testing"),
    ] {
        assert_eq!(request.resource[key], text);
    }
    assert!(request.resource["service.instance.id"].starts_with("node-"));
    assert_eq!(request.headers["authorization"], "Bearer secret-of-the-collector");
    assert_eq!(request.headers["x-scope-orgid"], "games");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");

    for slot in ["rate-limit", "host-selection"] {
        let policy = collector.part_of(&request, &format!("policy {slot}")).await;
        for (key, text) in [
            ("policy.slot", slot),
            ("policy.source", "component"),
            ("policy.rung", "component"),
            ("policy.outcome", "answered"),
        ] {
            assert_eq!(policy.says(key), text, "{policy:?}");
        }
        assert!(!policy.says("policy.release").is_empty(), "{policy:?}");
    }
    collector.part_of(&request, "storage write").await;

    let log = stop(server);
    for seen in collector.seen() {
        assert_eq!(seen.trace, TRACE, "only what is sampled is exported: {seen:?}");
        assert_ne!(seen.says("http.route"), "/api/v1/zones/{zone_id}");
    }
    assert!(!log.contains("secret-of-the-collector"), "{log}");
}

#[tokio::test]
async fn the_headers_are_in_no_report() {
    let options = exporting("http://collector:4318", "2").env("OTEL_EXPORTER_OTLP_HEADERS", HEADERS);
    let (status, said) = options.run(&["check-config"]);
    assert!(!status.success());
    assert!(said.contains("OTEL_TRACES_SAMPLER_ARG is \"2\""), "{said}");
    assert!(
        said.contains("OTEL_EXPORTER_OTLP_HEADERS") && !said.contains("secret-of"),
        "{said}"
    );
}

#[tokio::test]
async fn a_share_of_the_other_requests_begins_traces_of_its_own() {
    let collector = Collector::start().await;
    let server = exporting(&collector.url, "1").env("POLICY_MODE", "native").start();
    assert_eq!(server.operator().get("/hosts/nobody").await.status, 404);
    assert_eq!(server.anonymous().get("/no/such/route").await.status, 404);
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    let named = server.operator().with_header("traceparent", &unsampled);
    let _ = named.get("/zones/").await.status_is(200);

    let missing = collector.named("GET /api/v1/hosts/{host_id}").await;
    assert_eq!(missing.parent, "", "nobody asked for it: {missing:?}");
    assert_eq!(
        (missing.trace.len(), missing.says("http.response.status_code")),
        (32, "404")
    );
    assert!(!missing.failed, "what the client got wrong is no failure");
    let policy = collector.part_of(&missing, "policy rate-limit").await;
    assert_eq!(
        (policy.says("policy.source"), policy.says("policy.rung")),
        ("native", "native")
    );
    let nowhere = collector.named("GET").await;
    assert_eq!(
        (nowhere.says("http.route"), nowhere.says("http.response.status_code")),
        ("", "404")
    );
    let named = collector.named("GET /api/v1/zones").await;
    assert_eq!((named.trace.as_str(), named.parent.as_str()), (TRACE, PARENT));
    // Each run of a task is a trace of its own.
    for task in ["heartbeat-flush", "releases"] {
        let run = collector.named(&format!("task {task}")).await;
        assert_eq!((run.parent.as_str(), run.failed), ("", false));
        assert_ne!(run.trace, missing.trace);
    }
}

#[tokio::test]
async fn the_ai_service_is_asked_in_the_trace_of_the_run() {
    let collector = Collector::start().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = asked.clone();
    let npcs = get(move |headers: HeaderMap| async move {
        let trace = headers["traceparent"].to_str().unwrap().to_owned();
        note.lock().unwrap().push(trace);
        Json(json!([{ "npc_id": 1, "position": { "x": 1 } }]))
    });
    let ai = serve(Router::new().route("/api/world/zones/{zone}/npcs", npcs)).await;
    let server = exporting(&collector.url, "1")
        .env("AI_SERVICE_ENABLED", "true")
        .env("AI_SERVICE_URL", ai)
        .env("NPC_BROADCAST_INTERVAL", "0.2")
        .start();
    let made = session(&server.operator(), "npc", "alice", &["p1"]).await;
    let mut peer = Ws::joined(&server, "p1", made["session_id"].as_str().unwrap()).await;
    let _ = peer.wait_for("npc-state").await;
    let fetch = collector.named("GET /api/world/zones/{zone_id}/npcs").await;
    assert_eq!(
        (fetch.kind, fetch.says("http.response.status_code")),
        (SpanKind::Client, "200")
    );
    assert_eq!(fetch.says("server.address"), "127.0.0.1");
    let header = format!("00-{}-{}-01", fetch.trace, fetch.id);
    assert!(asked.lock().unwrap().contains(&header), "{header}");
    let run = collector
        .find("the run", |seen| seen.id == fetch.parent && seen.trace == fetch.trace)
        .await;
    assert_eq!(run.name, "task npc-broadcast");
    collector.part_of(&run, "policy npc-transform").await;
}

#[tokio::test]
async fn a_connection_and_its_messages_are_in_the_trace_of_its_handshake() {
    let collector = Collector::start().await;
    let server = exporting(&collector.url, "0").start();
    let made = session(&server.operator(), "ws", "alice", &["alice", "bob"]).await;
    let id = made["session_id"].as_str().unwrap();
    let mut quiet = Ws::joined(&server, "bob", id).await;
    let api_key = p2p_coordinator_tests::server::API_KEY;
    let headers = [("x-api-key", api_key), ("traceparent", &sampled())];
    let mut traced = Ws::open(&server, "peer_id=alice", &headers).await;
    traced.join(id).await;
    traced
        .send(&json!({ "type": "offer", "to": "bob", "sdp": "v=0" }))
        .await;
    let _ = quiet.wait_for("offer").await;
    traced.send_text("nonsense").await;
    let _ = traced.wait_for("error").await;
    quiet
        .send(&json!({ "type": "answer", "to": "alice", "sdp": "v=0" }))
        .await;
    let _ = traced.wait_for("answer").await;
    for _ in 0..300 {
        traced
            .send(&json!({ "type": "offer", "to": "bob", "sdp": "v=0" }))
            .await;
        let _ = quiet.wait_for("offer").await;
    }
    traced.close().await;

    let handshake = collector.named("GET /api/v1/signaling/ws").await;
    assert_eq!((handshake.trace.as_str(), handshake.parent.as_str()), (TRACE, PARENT));
    assert_eq!(handshake.says("http.response.status_code"), "101");
    let connection = collector.part_of(&handshake, "signaling connection").await;
    assert_eq!(
        (connection.says("peer_id"), connection.says("signaling.messages")),
        ("alice", "303")
    );
    assert!(!connection.says("signaling.close.reason").is_empty(), "{connection:?}");
    for (kind, outcome) in [("offer", "done"), ("join", "done"), ("other", "refused")] {
        let message = collector.part_of(&connection, &format!("message {kind}")).await;
        assert_eq!(message.says("signaling.outcome"), outcome, "{message:?}");
        collector.part_of(&message, "policy rate-limit").await;
        if kind == "join" {
            collector.part_of(&message, "storage read").await;
        }
    }
    stop(server);
    let seen = collector.seen();
    assert!(seen.iter().all(|seen| seen.trace == TRACE), "{seen:?}");
    assert!(seen.iter().all(|seen| seen.name != "message answer"), "{seen:?}");
    let of = |start: &str| seen.iter().filter(|seen| seen.name.starts_with(start)).count();
    // The handshake asks the rate limit too.
    assert_eq!(
        (of("message "), of("policy rate-limit")),
        (256, 257),
        "there is an end to what one client can fill"
    );
}

async fn failed_spans(server: &Server) -> Option<u64> {
    let metrics = server.anonymous().absolute(Method::GET, "/metrics", None).await.body;
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("p2p_trace_spans_total{result=\"failed\"} "));
    count?.parse().ok()
}

/// Requests are served as ever; returns how long the end took and what was logged.
async fn all_is_well(server: Server) -> (Duration, String) {
    for _ in 0..50 {
        let started = Instant::now();
        let _ = server.operator().get("/hosts/").await.status_is(200);
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    let health = server.anonymous().absolute(Method::GET, "/health", None).await;
    assert_eq!(health.status, 200, "the collector is no part of our health: {health}");
    let started = Instant::now();
    let log = stop(server);
    (started.elapsed(), log)
}

#[tokio::test]
async fn a_collector_that_is_away_disturbs_nothing_and_its_spans_are_counted() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = exporting(&url, "1").env("RATE_LIMIT_ENABLED", "false").start();
    let _ = server.operator().get("/hosts/").await.status_is(200);
    eventually("spans are dropped", || async {
        failed_spans(&server).await.filter(|failed| *failed > 0)
    })
    .await;
    let (took, log) = all_is_well(server).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(log.matches("spans of traces are dropped").count(), 1, "{log}");
}

#[tokio::test]
async fn a_collector_that_hangs_disturbs_nothing() {
    let hang = post(|| async { std::future::pending::<()>().await });
    let url = serve(Router::new().route("/v1/traces", hang)).await;
    let server = exporting(&url, "1").env("RATE_LIMIT_ENABLED", "false").start();
    let (took, log) = all_is_well(server).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(log.contains("the last spans were not exported in time"), "{log}");
}
