//! Which traces are exported, and the export: batches of spans to the collector, with retries that end. Whatever the collector
//! does, nothing else waits for it; what it cannot be told is dropped, counted, and logged once.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus::Registry;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Failure};
use super::queue::{Counts, Queue, ROOM};
use super::sampling::Share;
use super::span::attribute;
use super::trace::Trace;
use crate::config::{ServiceConfig, TracesConfig};

/// Spans of one request to the collector.
const BATCH: usize = 512;
/// What the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// Requests for one batch.
const ATTEMPTS: u32 = 4;
/// After this much time a batch is not tried again.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between the first two requests; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// For the answer to a batch without spans.
const CHECK: Duration = Duration::from_secs(3);
/// Between two lines of the log about dropped spans.
const QUIET: Duration = Duration::from_secs(60);

/// Which traces are exported, and where their spans go. By default none is.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    queue: Arc<Queue>,
    share: Share,
}

impl Traces {
    fn new(queue: Queue, share: f64) -> Self {
        let open = Open {
            queue: Arc::new(queue),
            share: Share::default(),
        };
        open.share.set(share);
        Self(Some(Arc::new(open)))
    }

    /// The trace of a request that comes now. One that a request names as sampled is exported, and of all others a share. None
    /// for a request that names none and is not exported.
    #[must_use]
    pub fn enter(&self, headers: &HeaderMap) -> Option<Trace> {
        let named = Trace::of(headers);
        let Some(open) = &self.0 else { return named };
        if named.as_ref().is_some_and(Trace::is_sampled) || open.share.takes() {
            let trace = named.unwrap_or_else(Trace::fresh);
            return Some(trace.into_exported(Arc::clone(&open.queue)));
        }
        named
    }

    /// A trace that begins here; a share of these is exported.
    #[must_use]
    pub fn fresh(&self) -> Trace {
        let trace = Trace::fresh();
        match &self.0 {
            Some(open) if open.share.takes() => trace.into_exported(Arc::clone(&open.queue)),
            _ => trace,
        }
    }
}

/// The running export.
#[must_use]
pub struct Export {
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

/// Starts the export that the settings ask for. Without an endpoint there is none, and no trace is exported.
///
/// # Errors
///
/// When the client cannot be set up, or a metric's name is taken.
pub fn start(
    config: &TracesConfig,
    service: &ServiceConfig,
    node: &str,
    registry: &Registry,
) -> anyhow::Result<(Traces, Option<Export>)> {
    let counts = Counts::register(registry)?;
    let Some(endpoint) = &config.endpoint else {
        return Ok((Traces::default(), None));
    };
    let (queue, spans) = Queue::new(ROOM, counts.clone());
    let stop = CancellationToken::new();
    let worker = Worker {
        collector: Collector::new(config, endpoint)?,
        resource: resource(config, service, node),
        counts,
        stop: stop.clone(),
        told: None,
        told_of: 0,
    };
    let worker = tokio::spawn(worker.run(spans));
    Ok((Traces::new(queue, config.share), Some(Export { stop, worker })))
}

impl Export {
    /// Sends what is queued, for this long at most, and ends.
    pub async fn stop(mut self, within: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(within, &mut self.worker).await.is_err() {
            self.worker.abort();
            tracing::warn!("the last spans were not exported in time");
        }
    }
}

/// Sends the collector a batch without spans. Answers where to, none when nothing is exported.
///
/// # Errors
///
/// Where to, and why it does not take them.
pub async fn check(config: &TracesConfig) -> Result<Option<String>, String> {
    let Some(endpoint) = &config.endpoint else {
        return Ok(None);
    };
    let mut shown = endpoint.clone();
    // Fail only for URLs that can have neither.
    let _ = (shown.set_username(""), shown.set_password(None));
    let sent = match Collector::new(config, endpoint) {
        Ok(collector) => tokio::time::timeout(CHECK, collector.send(Bytes::new())).await,
        Err(error) => return Err(format!("{error:#}")),
    };
    match sent {
        Ok(Ok(_)) => Ok(Some(shown.into())),
        Ok(Err(Failure::Later { why, .. } | Failure::Never { why })) => Err(format!("{shown}: {why}")),
        Err(_) => Err(format!("{shown}: no answer in time")),
    }
}

/// Who the spans are of.
fn resource(config: &TracesConfig, service: &ServiceConfig, node: &str) -> Resource {
    Resource {
        attributes: vec![
            attribute("service.name", config.service_name.as_str()),
            attribute("service.version", service.version.as_str()),
            attribute("service.instance.id", node),
            attribute("deployment.environment", service.environment.as_str()),
        ],
        ..Resource::default()
    }
}

struct Worker {
    collector: Collector,
    resource: Resource,
    counts: Counts,
    stop: CancellationToken,
    /// When the log last said that spans are dropped, and how many it has told of.
    told: Option<Instant>,
    told_of: u64,
}

impl Worker {
    async fn run(mut self, mut spans: mpsc::Receiver<Span>) {
        loop {
            let batch = self.gather(&mut spans).await;
            if batch.is_empty() {
                break;
            }
            let count = batch.len() as u64;
            let sent = self.deliver(self.encoded(batch)).await;
            let why = match sent {
                Ok(rejected) => {
                    let rejected = rejected.min(count);
                    self.counts.exported.inc_by(count - rejected);
                    self.counts.rejected.inc_by(rejected);
                    (rejected > 0).then(|| "the collector rejects some".to_owned())
                }
                Err(why) => {
                    self.counts.failed.inc_by(count);
                    Some(why)
                }
            };
            self.tell(
                why.as_deref()
                    .unwrap_or("they come faster than the collector takes them"),
            );
        }
    }

    /// The next batch. Empty when there is none any more.
    async fn gather(&self, spans: &mut mpsc::Receiver<Span>) -> Vec<Span> {
        let mut batch = Vec::new();
        let mut end = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let linger = tokio::time::sleep_until(end.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    while batch.len() < BATCH && let Ok(span) = spans.try_recv() {
                        batch.push(span);
                    }
                    break;
                }
                received = spans.recv_many(&mut batch, room) => {
                    if received == 0 {
                        break;
                    }
                    end.get_or_insert_with(|| Instant::now() + LINGER);
                }
                () = linger, if end.is_some() => break,
            }
        }
        batch
    }

    fn encoded(&self, spans: Vec<Span>) -> Bytes {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = ScopeSpans {
            scope: Some(scope),
            spans,
            ..ScopeSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![spans],
                ..ResourceSpans::default()
            }],
        };
        request.encode_to_vec().into()
    }

    /// Sends a batch, again and again for a while. Once the service stops, what fails is not tried again.
    async fn deliver(&self, batch: Bytes) -> Result<u64, String> {
        let end = Instant::now() + PATIENCE;
        let mut backoff = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let (asked, why) = match self.collector.send(batch.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(Failure::Never { why }) => return Err(why),
                Err(Failure::Later { pause, why }) => (pause, why),
            };
            let next = Instant::now() + jittered(backoff.max(asked));
            if attempt == ATTEMPTS || next > end || self.stop.is_cancelled() {
                return Err(why);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.stop.cancelled() => {}
            }
            (attempt, backoff) = (attempt + 1, backoff * 2);
        }
    }

    /// Logs that spans are dropped, when they are: at once, then not more often than once in a while.
    fn tell(&mut self, why: &str) {
        let dropped = self.counts.dropped();
        if dropped == self.told_of || self.told.is_some_and(|told| told.elapsed() < QUIET) {
            return;
        }
        tracing::warn!(dropped = dropped - self.told_of, why, "spans of traces are dropped");
        (self.told, self.told_of) = (Some(Instant::now()), dropped);
    }
}

/// At least the span, and up to half as much again.
fn jittered(span: Duration) -> Duration {
    let part = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
    span.mul_f64(1.0 + part / 2.0)
}
