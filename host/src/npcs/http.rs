//! NPC state over HTTP. Each request has one deadline, each answer a size limit. No retry here: the next tick is the retry.

use anyhow::Context as _;
use async_trait::async_trait;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::Value;

use crate::config::AiServiceConfig;
use crate::outbound;
use crate::ports::npc_source::{NpcError, NpcRecord, NpcSource};
use crate::telemetry::span::Span;
use crate::telemetry::trace::{TRACEPARENT, Trace};

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The AI service at one URL.
pub struct HttpNpcSource {
    client: Client,
    base: Url,
}

impl HttpNpcSource {
    /// A client for the configured service. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// When the URL is `https` and the machine has no certificate authorities.
    pub fn new(config: &AiServiceConfig) -> anyhow::Result<Self> {
        let base = Url::parse(&config.url).with_context(|| format!("AI_SERVICE_URL is {:?}", config.url))?;
        let client = outbound::client(&base)
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .no_proxy()
            .build()
            .context("AI_SERVICE_URL: cannot set up TLS; are CA certificates installed?")?;
        Ok(Self { client, base })
    }

    /// Whether the service says that it is well, and why not.
    ///
    /// # Errors
    ///
    /// It is away, too slow, or answers with an error.
    pub async fn check(&self) -> Result<(), NpcError> {
        self.fetch(self.url(&["health"]), "/health").await.map(drop)
    }

    /// The URL of a path, each segment encoded.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// `template` is the path without what is particular about this request.
    async fn fetch(&self, url: Url, template: &str) -> Result<Vec<u8>, NpcError> {
        let mut span = Span::to_service(&Method::GET, template, url.host_str().unwrap_or_default());
        let trace = match &span {
            Some(span) => span.trace().header(),
            None => Trace::current().header(),
        };
        let fetched = self.ask(url, trace, span.as_mut()).await;
        if let (Some(span), Err(error)) = (&mut span, &fetched) {
            span.fail(error.to_string());
        }
        fetched
    }

    async fn ask(&self, url: Url, trace: String, span: Option<&mut Span>) -> Result<Vec<u8>, NpcError> {
        let request = self.client.get(url).header(TRACEPARENT, trace);
        let answer = request.send().await.map_err(unavailable)?;
        if let Some(span) = span {
            span.got(answer.status());
        }
        if answer.status() != StatusCode::OK {
            return Err(NpcError::Unavailable(format!("status {}", answer.status().as_u16())));
        }
        read(answer).await
    }
}

#[async_trait]
impl NpcSource for HttpNpcSource {
    async fn zone_npcs(&self, zone_id: &str) -> Result<Vec<NpcRecord>, NpcError> {
        // Dots alone would be taken for steps in the path.
        if matches!(zone_id, "" | "." | "..") {
            return Err(NpcError::Unusable(format!(
                "zone_id {zone_id:?} cannot stand in a path"
            )));
        }
        let body = self
            .fetch(
                self.url(&["api", "world", "zones", zone_id, "npcs"]),
                "/api/world/zones/{zone_id}/npcs",
            )
            .await?;
        records(&body)
    }

    async fn healthy(&self) -> bool {
        self.check().await.is_ok()
    }
}

fn unavailable(error: reqwest::Error) -> NpcError {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the request failed"
    };
    NpcError::Unavailable(format!("{what} ({:#})", anyhow::Error::new(error.without_url())))
}

async fn read(mut answer: Response) -> Result<Vec<u8>, NpcError> {
    let too_large = || NpcError::Unusable(format!("more than {MAX_ANSWER} bytes"));
    if answer.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A list of objects, or an object whose member `npcs` is one.
fn records(body: &[u8]) -> Result<Vec<NpcRecord>, NpcError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| NpcError::Unusable(format!("no JSON: {error}")))?;
    let list = match value {
        Value::Array(list) => list,
        Value::Object(mut members) => match members.remove("npcs") {
            Some(Value::Array(list)) => list,
            _ => return Err(NpcError::Unusable("no list of NPCs".to_owned())),
        },
        _ => return Err(NpcError::Unusable("no list of NPCs".to_owned())),
    };
    list.into_iter()
        .map(|item| match item {
            Value::Object(record) => Ok(record),
            _ => Err(NpcError::Unusable("an NPC that is no object".to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::extract::Path;
    use axum::routing::get;

    use super::*;

    async fn source(router: Router, timeout: Duration) -> HttpNpcSource {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        HttpNpcSource::new(&AiServiceConfig {
            enabled: true,
            url,
            timeout,
        })
        .unwrap()
    }

    const ROUTE: &str = "/api/world/zones/{zone}/npcs";

    #[tokio::test]
    async fn a_list_is_read_and_the_zone_is_encoded() {
        let router = Router::new().route("/health", get(|| async { "{}" })).route(
            ROUTE,
            get(|Path(zone): Path<String>| async move { format!(r#"[{{"id":1,"zone":"{zone}"}}]"#) }),
        );
        let source = source(router, Duration::from_secs(5)).await;
        let npcs = source.zone_npcs("a/../b c?x=1#y%").await.unwrap();
        assert_eq!(npcs[0]["zone"], "a/../b c?x=1#y%");
        assert!(source.healthy().await);
        assert!(source.zone_npcs("..").await.is_err());
    }

    #[tokio::test]
    async fn errors_are_told_apart() {
        let router = Router::new().route(
            ROUTE,
            get(|Path(zone): Path<String>| async move {
                match zone.as_str() {
                    "wrapped" => Ok(r#"{"npcs":[{"a":1}],"total":1}"#.to_owned()),
                    "text" => Ok("hello".to_owned()),
                    "numbers" => Ok("[1]".to_owned()),
                    "huge" => Ok(" ".repeat(MAX_ANSWER + 1)),
                    "slow" => std::future::pending().await,
                    _ => Err(StatusCode::NOT_FOUND),
                }
            }),
        );
        let source = source(router, Duration::from_millis(300)).await;
        assert_eq!(source.zone_npcs("wrapped").await.unwrap().len(), 1);
        for zone in ["text", "numbers", "huge"] {
            assert!(
                matches!(source.zone_npcs(zone).await, Err(NpcError::Unusable(_))),
                "{zone}"
            );
        }
        for zone in ["slow", "none"] {
            assert!(
                matches!(source.zone_npcs(zone).await, Err(NpcError::Unavailable(_))),
                "{zone}"
            );
        }
        assert!(!source.healthy().await);
    }
}
