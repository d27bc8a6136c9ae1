//! The way to a live server: its address, the API key, and problem documents as text. Knows no command.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use super::answer;
use crate::cli::progress::Progress;
use crate::cli::{BAD_SETTINGS, FAILED, NO_SERVER, fail};
use crate::config::Source;
use crate::outbound;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take as a rule.
const REQUEST: Duration = Duration::from_secs(30);
/// How long a request may take that has the server compile a policy.
pub(super) const COMPILING: Duration = Duration::from_secs(300);
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 16 << 20;

/// Which server, and who asks.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// The server.
    #[arg(long, env = "COORDINATOR_URL", default_value = "http://localhost:8001")]
    url: Url,
    /// The API key of the server. Without it, COORDINATOR_API_KEY of the env file.
    #[arg(long, env = "COORDINATOR_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// Why the server gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{url} cannot be reached: {error}")]
    Away { url: Url, error: String },
    #[error("{url} does not let you in: {detail}; give its API key with --api-key or COORDINATOR_API_KEY")]
    NotAllowed { url: Url, detail: String },
    #[error("no API key: give it with --api-key or COORDINATOR_API_KEY")]
    NoKey,
    #[error("{0}")]
    Problem(String),
}

impl ServerError {
    /// Says it on standard error; answers the exit status.
    pub(super) fn tell(&self) -> ExitCode {
        let status = match self {
            Self::Away { .. } | Self::NotAllowed { .. } => NO_SERVER,
            Self::NoKey => BAD_SETTINGS,
            Self::Problem(_) => FAILED,
        };
        fail(status, &self.to_string())
    }
}

impl Server {
    /// A connection to it, none opened yet.
    ///
    /// # Errors
    ///
    /// When there is no key, or no TLS.
    pub(super) fn connect(&self, source: &Source) -> Result<Connection, ServerError> {
        let key = self.api_key.clone().filter(|key| !key.is_empty());
        let key = key.or_else(|| source.get("COORDINATOR_API_KEY").map(|(key, _)| key.to_owned()));
        let key = key.filter(|key| !key.is_empty()).ok_or(ServerError::NoKey)?;
        let away = |error: &dyn std::fmt::Display| ServerError::Away {
            url: self.url.clone(),
            error: error.to_string(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| away(&error))?;
        Ok(Connection {
            shown: !self.json,
            client: outbound::client(&self.url)
                .connect_timeout(CONNECT)
                .build()
                .map_err(|error| away(&error))?,
            runtime,
            url: self.url.clone(),
            key,
        })
    }
}

/// A client for one command.
pub struct Connection {
    /// Whether people are told what is waited for.
    shown: bool,
    client: Client,
    runtime: tokio::runtime::Runtime,
    url: Url,
    key: String,
}

impl Connection {
    /// What the server says below `/api/v1/plugins`.
    ///
    /// # Errors
    ///
    /// Why it says nothing good.
    pub(super) fn get(&self, path: &[&str]) -> Result<Value, ServerError> {
        self.runtime.block_on(self.ask(Method::GET, path, None, REQUEST))
    }

    /// What the server says to this below `/api/v1/plugins`, within `most`.
    ///
    /// # Errors
    ///
    /// Why it says nothing good.
    pub(super) fn post(&self, path: &[&str], body: &Value, most: Duration) -> Result<Value, ServerError> {
        let mut progress = Progress::new(self.shown);
        progress.step("waiting for the server");
        self.runtime.block_on(self.ask(Method::POST, path, Some(body), most))
    }

    /// The whole id of a release that is given by its first digits, or as `latest`.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one.
    pub(super) fn release(&self, slot: &str, given: &str) -> Result<String, ServerError> {
        if given.len() == 64 {
            return Ok(given.to_owned());
        }
        let releases = self.get(&[slot, "releases"])?;
        let ids = releases
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|record| record["id"].as_str());
        let none = || ServerError::Problem(format!("the server has no release {given} of the slot {slot}"));
        if given == "latest" {
            return ids.map(str::to_owned).next().ok_or_else(none);
        }
        let mut found = ids.filter(|id| id.starts_with(given));
        let id = found.next().ok_or_else(none)?;
        match found.next() {
            None => Ok(id.to_owned()),
            Some(_) => Err(ServerError::Problem(format!(
                "more than one release of the slot {slot} begins with {given}: give more digits"
            ))),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        most: Duration,
    ) -> Result<Value, ServerError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1", "plugins"]).extend(path);
        }
        let mut request = self
            .client
            .request(method, url)
            .header("X-API-Key", &self.key)
            .timeout(most);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.away(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|_| ServerError::Problem(format!("{} answered {status} without JSON", self.url)))?;
        if status.is_success() {
            return Ok(value);
        }
        let detail = problem(&value, status);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ServerError::NotAllowed {
                url: self.url.clone(),
                detail,
            },
            _ => ServerError::Problem(detail),
        })
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ServerError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(&error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(ServerError::Problem(format!("{} says too much", self.url)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn away(&self, error: &reqwest::Error) -> ServerError {
        let mut text = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            error.to_string()
        };
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause {
            text = deeper.to_string();
            cause = deeper.source();
        }
        ServerError::Away {
            url: self.url.clone(),
            error: text,
        }
    }
}

/// A problem document as text: what is wrong, at which step and why, and what to do.
fn problem(document: &Value, status: StatusCode) -> String {
    let member = |name: &str| document[name].as_str();
    let mut text = member("detail").map_or_else(|| status.to_string(), str::to_owned);
    if let Some(step) = member("step") {
        text.push_str(&format!("\n  step    {step}"));
    }
    if let Some(reason) = member("reason") {
        text.push_str(&format!("\n  reason  {reason}"));
    }
    if let Some(mend) = member("mend") {
        text.push_str(&format!("\n  mend    {mend}"));
    }
    for error in document["errors"].as_array().into_iter().flatten() {
        text.push_str(&format!("\n  {error}"));
    }
    if let Some(number) = member("instance") {
        text.push_str(&format!("\n  in the server's log under {number}"));
    }
    text
}

/// Prints what a command brought, or why it brought nothing.
pub(super) fn said(
    server: &Server,
    outcome: Result<Value, ServerError>,
    text: impl FnOnce(&Value) -> String,
) -> ExitCode {
    match outcome {
        Ok(value) => answer(server.json.then(|| value.clone()), || text(&value), true),
        Err(error) => error.tell(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_says_step_reason_and_mend() {
        let document = json!({
            "status": 422, "detail": "The release is refused.", "step": "world", "reason": "it does not export `x`",
            "mend": "build it again",
        });
        let text = problem(&document, StatusCode::UNPROCESSABLE_ENTITY);
        for part in ["refused", "step    world", "export `x`", "mend    build it again"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(problem(&json!({}), StatusCode::BAD_GATEWAY).contains("502"));
    }

    #[test]
    fn a_server_that_is_not_there_is_told_from_one_that_refuses() {
        let server = Server {
            url: Url::parse("http://127.0.0.1:1").unwrap(),
            api_key: Some("key".to_owned()),
            json: false,
        };
        let connection = server.connect(&Source::of(&[], &[])).unwrap();
        let error = connection.get(&[]).unwrap_err();
        assert!(matches!(error, ServerError::Away { .. }), "{error}");
    }

    #[test]
    fn without_a_key_nothing_is_asked() {
        let server = Server {
            url: Url::parse("http://127.0.0.1:1").unwrap(),
            api_key: None,
            json: false,
        };
        assert!(matches!(server.connect(&Source::of(&[], &[])), Err(ServerError::NoKey)));
        let from_file = Source::of(&[], &[("COORDINATOR_API_KEY", "key")]);
        assert!(server.connect(&from_file).is_ok());
    }
}
