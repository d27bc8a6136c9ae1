//! An HTTP client as a game or an operator would have it. Follows no redirect, reuses no connection between servers.

use std::fmt::Write as _;
use std::sync::{Arc, Once};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::wait::PATIENCE;

/// Makes the TLS library usable.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
}

/// A bare HTTP client with the tests' timeouts, over plain HTTP.
#[must_use]
pub fn http() -> reqwest::Client {
    // Reading the certificates of the machine is slow, and nothing here uses them.
    with_timeouts().tls_certs_only([]).build().expect("a client")
}

fn with_timeouts() -> reqwest::ClientBuilder {
    install_crypto();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .no_proxy()
}

/// A caller with at most one credential. Paths are below `/api/v1` unless a method says otherwise.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Scheme, host and port.
    base: Arc<str>,
    headers: HeaderMap,
}

impl Client {
    /// A caller without a credential.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            http: http(),
            base: format!("http://{address}").into(),
            headers: HeaderMap::new(),
        }
    }

    /// A caller by HTTPS that trusts this authority alone. Still without a credential.
    #[must_use]
    pub fn over_tls(address: &str, certificates: &Certificates) -> Self {
        let authority = std::fs::read(certificates.authority()).expect("a file");
        let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
        Self {
            http: with_timeouts().tls_certs_only([authority]).build().expect("a client"),
            base: format!("https://{address}").into(),
            headers: HeaderMap::new(),
        }
    }

    /// The same caller with another header on every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers
            .insert(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// The same caller with `X-API-Key`.
    #[must_use]
    pub fn with_api_key(self, key: &str) -> Self {
        self.with_header("x-api-key", key)
    }

    /// The same caller with `Authorization: Bearer`.
    #[must_use]
    pub fn with_bearer(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// The access token that this caller presents.
    #[must_use]
    pub fn bearer(&self) -> &str {
        let value = self.headers.get("authorization").expect("this caller has a token");
        value.to_str().unwrap().trim_start_matches("Bearer ")
    }

    /// Whatever was asked for, by its whole path.
    pub async fn absolute(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(|b| serde_json::to_vec(b).expect("JSON"));
        self.raw(method, path, bytes, Some("application/json")).await
    }

    /// A request with any body and content type.
    pub async fn raw(&self, method: Method, path: &str, body: Option<Vec<u8>>, content_type: Option<&str>) -> Answer {
        let what = format!("{method} {path}");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .headers(self.headers.clone());
        let mut shown = String::new();
        if let Some(body) = body {
            write!(shown, " {}", String::from_utf8_lossy(&body[..body.len().min(2000)])).ok();
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            request = request.body(body);
        }
        let what = format!("{what}{shown}");
        match request.send().await {
            Ok(response) => {
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                let body = response.bytes().await.unwrap_or_else(|e| panic!("{what}: body: {e}"));
                Answer {
                    request: what,
                    status,
                    headers,
                    body: String::from_utf8_lossy(&body).into_owned(),
                }
            }
            Err(error) => panic!("{what}: {error:?}"),
        }
    }

    /// The status, or none when the server is not there: for tests that kill it.
    pub async fn attempt(&self, method: Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self
            .http
            .request(method, format!("{}/api/v1{path}", self.base))
            .headers(self.headers.clone())
            .json(body);
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }

    /// The status of a whole path, none when the server does not answer.
    pub async fn status(&self, method: Method, path: &str) -> Option<u16> {
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .headers(self.headers.clone());
        Some(request.send().await.ok()?.status().as_u16())
    }

    /// Any method below `/api/v1`.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.absolute(method, &format!("/api/v1{path}"), body).await
    }

    /// GET below `/api/v1`.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// POST below `/api/v1`.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// POST without a body below `/api/v1`.
    pub async fn poke(&self, path: &str) -> Answer {
        self.send(Method::POST, path, None).await
    }

    /// PATCH below `/api/v1`.
    pub async fn patch(&self, path: &str, body: Option<&Value>) -> Answer {
        self.send(Method::PATCH, path, body).await
    }

    /// DELETE below `/api/v1`.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// A fresh access token of this player. The caller must hold the API key.
    pub async fn token(&self, player_id: &str) -> String {
        let answer = self
            .post("/auth/token", &json!({ "player_id": player_id }))
            .await
            .ok(200);
        answer["access_token"].as_str().expect("an access token").to_owned()
    }
}

/// What came back, with what was asked for, so that a failure tells all.
#[derive(Clone, Debug)]
pub struct Answer {
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{self}: no JSON: {e}"))
    }

    /// The JSON body of an answer with this status; null when there is no body. Panics on any other status.
    #[must_use]
    pub fn ok(&self, status: u16) -> Value {
        assert!(self.status == status, "wanted {status}: {self}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The same answer, which must have this status.
    pub fn status_is(self, status: u16) -> Self {
        assert!(self.status == status, "wanted {status}: {self}");
        self
    }

    /// The problem document of an answer with this status. Panics when it is none, or not well formed.
    #[must_use]
    pub fn problem(&self, status: u16) -> Value {
        assert!(self.status == status, "wanted {status}: {self}");
        assert!(
            self.header("content-type").starts_with("application/problem+json"),
            "content type: {self}"
        );
        let body = self.json();
        assert!(
            body["detail"].as_str().is_some_and(|d| !d.is_empty()),
            "`detail`: {self}"
        );
        assert!(body["title"].as_str().is_some_and(|t| !t.is_empty()), "`title`: {self}");
        assert!(body["status"] == status, "`status`: {self}");
        body
    }

    /// The problem document of a 422 that names exactly these fields.
    pub fn names_fields(&self, fields: &[&str]) -> Value {
        let problem = self.problem(422);
        let errors = problem["errors"]
            .as_array()
            .unwrap_or_else(|| panic!("`errors`: {self}"));
        let named: Vec<&str> = errors.iter().filter_map(|e| e["field"].as_str()).collect();
        for field in fields {
            assert!(named.contains(field), "`{field}` is not named: {self}");
        }
        assert!(
            errors
                .iter()
                .all(|e| e["message"].as_str().is_some_and(|m| !m.is_empty())),
            "{self}"
        );
        problem
    }

    /// A header's value, empty when it is missing. No answer says the same header twice.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        assert!(
            self.headers.get_all(name).iter().count() <= 1,
            "{name}: {:?}",
            self.headers
        );
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// A header's value as a number.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.header(name)
            .parse()
            .unwrap_or_else(|_| panic!("header `{name}`: {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} → {} {:?} {}", self.request, self.status, self.headers, self.body)
    }
}
