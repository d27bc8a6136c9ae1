//! The collector of spans: one request to it and what its answer means (OTLP 1, protobuf over HTTP). Every request has one
//! deadline, every answer a size limit. Does not retry.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};

use crate::config::TracesConfig;
use crate::outbound;

/// Longest time of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause that the collector may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Largest part of an answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
const PROTOBUF: &str = "application/x-protobuf";

/// The collector at one URL.
pub(super) struct Collector {
    client: Client,
    url: Url,
}

/// Why the collector did not take a batch.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may take it later, not before this time is over.
    Later { pause: Duration, why: String },
    /// It never will.
    Never { why: String },
}

impl Collector {
    /// A client for the collector at `endpoint`. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// When the URL is `https` and the machine has no certificate authorities.
    pub(super) fn new(config: &TracesConfig, endpoint: &Url) -> anyhow::Result<Self> {
        let mut url = endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", "traces"]);
        }
        let client = outbound::client(&url)
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .no_proxy()
            .default_headers(config.headers.clone())
            .build()
            .context("OTEL_EXPORTER_OTLP_ENDPOINT: cannot set up TLS; are CA certificates installed?")?;
        Ok(Self { client, url })
    }

    /// Sends one batch. Answers how many of its spans the collector did not want.
    ///
    /// # Errors
    ///
    /// When it did not take the batch.
    pub(super) async fn send(&self, batch: Bytes) -> Result<u64, Failure> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, PROTOBUF);
        let answer = request.body(batch).send().await.map_err(broken)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(rejected(answer).await);
        }
        let why = format!("status {}", status.as_u16());
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Later {
                pause: pause(&answer),
                why,
            }),
            _ => Err(Failure::Never { why }),
        }
    }
}

fn broken(error: reqwest::Error) -> Failure {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the request failed"
    };
    Failure::Later {
        pause: Duration::ZERO,
        why: format!("{what} ({:#})", anyhow::Error::new(error.without_url())),
    }
}

/// What the collector asks for in `Retry-After`, as seconds.
fn pause(answer: &Response) -> Duration {
    let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Duration::from_secs(asked.and_then(|text| text.trim().parse().ok()).unwrap_or(0)).min(MAX_PAUSE)
}

/// Spans that the collector says it did not keep. An answer that is no such message says nothing: it has the batch.
async fn rejected(mut answer: Response) -> u64 {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if body.len() + chunk.len() > MAX_ANSWER {
            return 0;
        }
        body.extend_from_slice(&chunk);
    }
    let said = ExportTraceServiceResponse::decode(body.as_slice()).unwrap_or_default();
    let partial = said.partial_success.unwrap_or_default();
    u64::try_from(partial.rejected_spans).unwrap_or(0)
}
