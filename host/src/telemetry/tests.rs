//! The export against a collector that answers as it is told, over HTTP.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span as Told;
use parking_lot::Mutex;
use prometheus::Registry;
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::export::{self, Export, Traces};
use super::request::RequestId;
use super::span::{Span, SpanKind};
use super::trace::Trace;
use crate::config::{Environment, ServiceConfig, TracesConfig};

/// What the collector answers next. After the last it takes everything.
enum Next {
    Refuse(StatusCode),
    Reject(i64),
    Hang,
}

struct Setup {
    traces: Traces,
    export: Export,
    registry: Registry,
    /// Batches as they come, those that are refused too.
    batches: UnboundedReceiver<Vec<Told>>,
}

impl Setup {
    async fn new(share: f64, next: Vec<Next>) -> Self {
        let (sender, batches) = unbounded_channel();
        let next = Arc::new(Mutex::new(VecDeque::from(next)));
        let take = post(move |body: Bytes| async move {
            let mut request = ExportTraceServiceRequest::decode(body).unwrap();
            let _ = sender.send(request.resource_spans.remove(0).scope_spans.remove(0).spans);
            let next = next.lock().pop_front();
            answer(next).await
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = TracesConfig {
            endpoint: Some(url.parse().unwrap()),
            headers: HeaderMap::new(),
            share,
            service_name: "test".to_owned(),
        };
        let service = ServiceConfig {
            name: String::new(),
            version: "1".to_owned(),
            environment: Environment::Testing,
            debug: false,
            data_dir: Default::default(),
        };
        let registry = Registry::new();
        let (traces, export) = export::start(&config, &service, "node-1", &registry).unwrap();
        let export = export.unwrap();
        Self {
            traces,
            export,
            registry,
            batches,
        }
    }

    fn span(&self, name: &str) {
        drop(Span::of(&self.traces.fresh(), SpanKind::Internal, || name.to_owned()));
    }

    /// Sends what is queued. Returns spans that were exported, had no room, failed and were rejected.
    async fn end(self) -> [u64; 4] {
        self.export.stop(Duration::from_secs(20)).await;
        let family = self.registry.gather().remove(0);
        ["exported", "no_room", "failed", "rejected"].map(|result| {
            let mut metrics = family.get_metric().iter();
            let metric = metrics.find(|metric| metric.get_label()[0].value() == result);
            metric.map_or(0, |metric| metric.get_counter().get_value() as u64)
        })
    }
}

async fn answer(next: Option<Next>) -> Response {
    match next {
        None => StatusCode::OK.into_response(),
        Some(Next::Refuse(status)) => status.into_response(),
        Some(Next::Hang) => std::future::pending().await,
        Some(Next::Reject(rejected_spans)) => {
            let partial_success = Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: String::new(),
            });
            ExportTraceServiceResponse { partial_success }
                .encode_to_vec()
                .into_response()
        }
    }
}

fn headers(flags: &str) -> HeaderMap {
    let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    HeaderMap::from_iter([("traceparent".parse().unwrap(), HeaderValue::try_from(value).unwrap())])
}

#[tokio::test]
async fn a_sampled_parent_goes_before_the_share_and_nothing_is_exported_without_an_endpoint() {
    let exported = |traces: &Traces, headers: &HeaderMap| traces.enter(headers).map(|trace| trace.is_exported());
    let count = |traces: &Traces, headers: &HeaderMap| {
        let exported = (0..2000).filter(|_| exported(traces, headers) == Some(true));
        exported.count()
    };
    let off = Traces::default();
    assert_eq!(exported(&off, &headers("01")), Some(false), "it is passed on");
    assert_eq!(exported(&off, &HeaderMap::new()), None);
    assert!(!off.fresh().is_exported());

    let none = Setup::new(0.0, Vec::new()).await.traces;
    assert_eq!(exported(&none, &headers("01")), Some(true));
    assert_eq!(exported(&none, &headers("00")), Some(false));
    assert_eq!(count(&none, &HeaderMap::new()), 0);
    assert!(!none.fresh().is_exported());

    let some = Setup::new(0.1, Vec::new()).await.traces;
    assert_eq!(count(&some, &headers("01")), 2000);
    assert!((100..400).contains(&count(&some, &headers("00"))));
    assert!((100..400).contains(&count(&some, &HeaderMap::new())));

    let all = Setup::new(1.0, Vec::new()).await.traces;
    assert_eq!(count(&all, &HeaderMap::new()), 2000);
    let trace = all.enter(&headers("00")).unwrap();
    assert!(trace.header().ends_with("-01"), "who is asked in it records it too");
}

#[tokio::test]
async fn spans_are_parts_of_each_other_and_say_what_came_of_them() {
    let mut setup = Setup::new(0.0, Vec::new()).await;
    assert!(Span::part(SpanKind::Internal, || unreachable!()).is_none());
    let trace = setup.traces.enter(&headers("01")).unwrap();
    let id = RequestId::next();
    let whole = Span::of_request(&trace, &Method::from_bytes(b"MADE-UP").unwrap(), Some("/a/{b}"), id).unwrap();
    trace
        .clone()
        .run(tracing::Span::none(), async {
            let mut part = Span::part(SpanKind::Internal, || "part".to_owned()).unwrap();
            part.fail("broken");
        })
        .await;
    whole.answered(StatusCode::SERVICE_UNAVAILABLE);
    let [part, whole] = &setup.batches.recv().await.unwrap()[..] else {
        panic!("two spans")
    };
    assert_eq!(part.trace_id, whole.trace_id);
    assert_eq!((&part.parent_span_id, part.flags), (&whole.span_id, 0x101));
    assert_eq!(hex::encode(&whole.parent_span_id), "00f067aa0ba902b7");
    assert_eq!((whole.name.as_str(), whole.flags), ("HTTP /a/{b}", 0x301));
    assert_eq!(part.status.as_ref().unwrap().message, "broken");
    assert_eq!(whole.status.as_ref().unwrap().message, "Service Unavailable");
    assert!(whole.attributes.iter().any(|attribute| attribute.key == "error.type"));
    assert_eq!(setup.end().await, [2, 0, 0, 0]);
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let mut busy = Setup::new(1.0, vec![Next::Refuse(StatusCode::SERVICE_UNAVAILABLE)]).await;
    busy.span("again");
    assert_eq!(busy.batches.recv().await.unwrap(), busy.batches.recv().await.unwrap());
    assert_eq!(busy.end().await, [1, 0, 0, 0]);

    let mut refusing = Setup::new(1.0, vec![Next::Refuse(StatusCode::UNAUTHORIZED)]).await;
    refusing.span("refused");
    let _ = refusing.batches.recv().await.unwrap();
    refusing.span("taken");
    assert_eq!(refusing.batches.recv().await.unwrap()[0].name, "taken");
    assert_eq!(refusing.end().await, [1, 0, 1, 0]);

    let picky = Setup::new(1.0, vec![Next::Reject(2)]).await;
    for name in ["one", "two", "three"] {
        picky.span(name);
    }
    assert_eq!(picky.end().await, [1, 0, 0, 2]);
}

#[tokio::test]
async fn what_comes_faster_than_the_collector_takes_it_is_dropped_and_the_end_waits_for_nobody() {
    let mut setup = Setup::new(1.0, vec![Next::Hang]).await;
    for _ in 0..512 {
        setup.span("stuck");
    }
    let _ = setup.batches.recv().await.unwrap();
    // The collector has a batch and hangs; all others wait.
    for _ in 0..super::queue::ROOM + 100 {
        setup.span("waiting");
    }
    let dropped = || {
        let family = setup.registry.gather().remove(0);
        let mut metrics = family.get_metric().iter();
        let metric = metrics.find(|metric| metric.get_label()[0].value() == "no_room");
        metric.map(|metric| metric.get_counter().get_value() as u64)
    };
    assert_eq!(dropped(), Some(100));
    let started = Instant::now();
    setup.export.stop(Duration::from_millis(100)).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_end_sends_all_that_is_queued_in_batches() {
    let mut setup = Setup::new(1.0, Vec::new()).await;
    for _ in 0..1200 {
        setup.span("queued");
    }
    setup.export.stop(Duration::from_secs(20)).await;
    let mut sizes = Vec::new();
    while let Ok(batch) = setup.batches.try_recv() {
        sizes.push(batch.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 1200, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    assert!(!Trace::fresh().is_exported());
}
