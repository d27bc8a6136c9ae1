//! Attempts to get in without a sign-in, and what a session does not open.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::same_origin;
use super::session::{LONGEST_SECONDS, SESSION_SECONDS, Session, Sessions};
use crate::config::SecurityConfig;
use crate::domain::clock::{Clock, Timestamp};
use crate::http::tests::{Answer, KEY, Service};

/// A browser that is signed in: its cookie and its token.
struct Operator<'a> {
    service: &'a Service,
    cookie: String,
    token: String,
}

const OWN_PAGE: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

impl<'a> Operator<'a> {
    async fn sign_in(service: &'a Service) -> Self {
        let answer = post(service, "/console/sign-in", &OWN_PAGE, json!({ "api_key": KEY })).await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
        let token = answer.expect(200)["token"].as_str().unwrap().to_owned();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self { service, cookie, token }
    }

    /// With the cookie, the token, and these headers over them; an empty value takes a header away.
    async fn ask(&self, method: Method, path: &str, over: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut headers = vec![
            ("cookie", self.cookie.as_str()),
            ("x-console-token", self.token.as_str()),
            OWN_PAGE[0],
        ];
        headers.retain(|(name, _)| over.iter().all(|(other, _)| other != name));
        headers.extend(over.iter().filter(|(_, value)| !value.is_empty()));
        request(self.service, method, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }
}

async fn request(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "console.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    service.send(request.body(body).unwrap()).await
}

async fn post(service: &Service, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
    request(service, Method::POST, path, headers, Some(body)).await
}

const HALT: &str = "/console/api/plugins/rate-limit/halt";

#[tokio::test]
async fn the_key_opens_a_session_and_signing_out_ends_it() {
    let service = Service::start(&[]).await;
    let before = request(&service, Method::GET, "/console/session", &OWN_PAGE, None).await;
    assert_eq!(before.expect(200), Value::Null);
    let operator = Operator::sign_in(&service).await;
    let view = operator.get("/console/session").await.expect(200);
    assert_eq!(view["token"], operator.token.as_str());
    operator.get("/console/api/plugins").await.expect(200);
    operator.get("/console/api/hosts?limit=5").await.expect(200);
    // Nothing runs, so there is nothing to halt; but it was let through.
    operator.ask(Method::POST, HALT, &[], None).await.expect(400);
    let renewed = operator.ask(Method::POST, "/console/session/renew", &[], None).await;
    assert!(renewed.headers.contains_key("set-cookie"));
    renewed.expect(200);
    let out = operator.ask(Method::DELETE, "/console/session", &[], None).await;
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    out.expect(204);
    operator.get("/console/api/plugins").await.expect(401);
    assert_eq!(operator.get("/console/session").await.expect(200), Value::Null);
}

#[tokio::test]
async fn the_cookie_is_out_of_reach() {
    let service = Service::start(&[]).await;
    let key = json!({ "api_key": KEY });
    let plain = post(&service, "/console/sign-in", &OWN_PAGE, key.clone()).await;
    let cookie = plain.headers["set-cookie"].to_str().unwrap();
    for part in ["Path=/console;", "HttpOnly", "SameSite=Strict", "Max-Age=3600"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(!cookie.contains("Secure"), "over plain HTTP in development: {cookie}");
    assert!(!cookie.contains(KEY) && !plain.body.to_string().contains(KEY));
    assert_eq!(plain.headers["cache-control"], "no-store");
    let proxied = [OWN_PAGE[0], ("x-forwarded-proto", "https")];
    let proxied = post(&service, "/console/sign-in", &proxied, key).await;
    assert!(proxied.headers["set-cookie"].to_str().unwrap().ends_with("; Secure"));
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_guesses_are_limited() {
    let service = Service::start(&[("RATE_LIMIT_ENABLED", "true"), ("RATE_LIMIT_AUTH_REQUESTS", "3")]).await;
    for guess in ["wrong", "", KEY.trim_end_matches('f')] {
        let answer = post(&service, "/console/sign-in", &OWN_PAGE, json!({ "api_key": guess })).await;
        assert!(!answer.headers.contains_key("set-cookie"));
        answer.expect(if guess.is_empty() { 422 } else { 401 });
    }
    let limited = post(&service, "/console/sign-in", &OWN_PAGE, json!({ "api_key": KEY })).await;
    limited.expect(429);
    // The same bucket that requests for tokens draw on.
    post(&service, "/api/v1/auth/token", &[], json!({ "player_id": "p" }))
        .await
        .expect(429);
}

#[tokio::test]
async fn other_pages_get_nothing_with_the_cookie() {
    let service = Service::start(&[]).await;
    let operator = Operator::sign_in(&service).await;
    let strangers: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", ""), ("origin", "https://evil.test")],
        &[("sec-fetch-site", ""), ("origin", "null")],
        &[("sec-fetch-site", ""), ("origin", "http://console.test.evil.test")],
    ];
    for stranger in strangers {
        for (method, path) in [
            (Method::GET, "/console/api/plugins"),
            (Method::GET, "/console/events"),
            (Method::POST, HALT),
            (Method::POST, "/console/session/renew"),
            (Method::DELETE, "/console/session"),
        ] {
            let answer = operator.ask(method, path, stranger, None).await;
            assert!(!answer.headers.contains_key("set-cookie"), "{path} {stranger:?}");
            answer.expect(403);
        }
        assert_eq!(
            operator
                .ask(Method::GET, "/console/session", stranger, None)
                .await
                .expect(200),
            Value::Null
        );
        post(&service, "/console/sign-in", stranger, json!({ "api_key": KEY }))
            .await
            .expect(403);
    }
    // Over plain HTTP browsers send `Origin` alone.
    let plain = [("sec-fetch-site", ""), ("origin", "http://console.test")];
    operator.ask(Method::POST, HALT, &plain, None).await.expect(400);
    // Without a word of where it comes from, nothing is changed.
    let silent = [("sec-fetch-site", "")];
    operator.ask(Method::POST, HALT, &silent, None).await.expect(403);
    operator
        .ask(Method::GET, "/console/api/plugins", &silent, None)
        .await
        .expect(200);
}

#[tokio::test]
async fn changes_need_the_token_of_the_session() {
    let service = Service::start(&[]).await;
    let (operator, other) = (Operator::sign_in(&service).await, Operator::sign_in(&service).await);
    for token in ["", "guess", other.token.as_str(), &operator.token[..63]] {
        let answer = operator
            .ask(Method::POST, HALT, &[("x-console-token", token)], None)
            .await;
        answer.expect(403);
    }
    operator
        .ask(Method::GET, "/console/api/plugins", &[("x-console-token", "")], None)
        .await
        .expect(200);
}

#[tokio::test]
async fn forged_cookies_open_nothing() {
    let service = Service::start(&[]).await;
    let operator = Operator::sign_in(&service).await;
    let (text, seal) = operator.cookie.rsplit_once('.').unwrap();
    let (start, expires) = text.rsplit_once('.').unwrap();
    let longer = format!("{start}.{}.{seal}", expires.parse::<i64>().unwrap() + 1);
    let long = format!("p2p_console={}", "a".repeat(5000));
    let forged = [
        "p2p_console=",
        "p2p_console=1",
        "p2p_console=1...",
        longer.as_str(),
        long.as_str(),
        &operator.cookie[..operator.cookie.len() - 1],
        &format!("{text}.{}", "0".repeat(64)),
        &format!("xp2p_console={}", text),
    ];
    for cookie in forged {
        for path in ["/console/api/plugins", "/console/events"] {
            operator
                .ask(Method::GET, path, &[("cookie", cookie)], None)
                .await
                .expect(401);
        }
    }
    operator
        .ask(Method::GET, "/console/events", &[("cookie", "")], None)
        .await
        .expect(401);
    let other = Service::start(&[("COORDINATOR_API_KEY", "another-api-key-0123456789-0123456789abcd")]).await;
    let with_cookie = [OWN_PAGE[0], ("cookie", operator.cookie.as_str())];
    request(&other, Method::GET, "/console/api/plugins", &with_cookie, None)
        .await
        .expect(401);
}

#[tokio::test]
async fn a_session_counts_for_the_console_alone() {
    let service = Service::start(&[]).await;
    let operator = Operator::sign_in(&service).await;
    for path in ["/api/v1/plugins", "/api/plugins", "/api/v1/hosts", "/api/v1/zones"] {
        operator.get(path).await.expect(401);
    }
    let token = json!({ "player_id": "p" });
    operator
        .ask(Method::POST, "/api/v1/auth/token", &[], Some(token.clone()))
        .await
        .expect(401);
    for (method, path) in [
        (Method::POST, "/console/api/auth/token"),
        (Method::POST, "/console/api/hosts/register"),
        (Method::DELETE, "/console/api/hosts/h"),
        (Method::POST, "/console/api/sessions"),
        (Method::GET, "/console/api/signaling/ws?peer_id=p"),
        (Method::GET, "/console/api/../api/v1/plugins"),
    ] {
        operator.ask(method, path, &[], Some(token.clone())).await.expect(404);
    }
    // And other credentials do not count for the console.
    let with_key = [OWN_PAGE[0], ("x-api-key", KEY)];
    request(&service, Method::GET, "/console/api/plugins", &with_key, None)
        .await
        .expect(401);
    let open = Service::start(&[("API_KEY_VALIDATION_ENABLED", "false")]).await;
    request(&open, Method::GET, "/console/api/plugins", &OWN_PAGE, None)
        .await
        .expect(401);
}

#[tokio::test]
async fn what_only_reads_changes_nothing() {
    let service = Service::start(&[]).await;
    let operator = Operator::sign_in(&service).await;
    for path in [
        HALT,
        "/console/sign-in",
        "/console/session/renew",
        "/console/api/plugins/rate-limit/rollback",
    ] {
        operator.get(path).await.expect(405);
    }
}

#[tokio::test]
async fn browsers_get_a_page_and_programs_the_same_json_as_ever() {
    let service = Service::start(&[]).await;
    let ask = |accept: &'static str| request_accepting(&service, accept);
    let page = ask("text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.expect(200).as_str().unwrap().contains("href=\"/console\""));
    for accept in ["*/*", "application/json", ""] {
        let answer = ask(accept).await;
        assert_eq!(answer.headers["content-type"], "application/json", "{accept}");
        assert_eq!(answer.expect(200)["docs"], "/docs");
    }
}

async fn request_accepting(service: &Service, accept: &str) -> Answer {
    let headers: &[(&str, &str)] = if accept.is_empty() { &[] } else { &[("accept", accept)] };
    request(service, Method::GET, "/", headers, None).await
}

#[tokio::test]
async fn every_part_of_the_page_is_served_under_the_policy() {
    let service = Service::start(&[]).await;
    let page = request(&service, Method::GET, "/console/", &[], None).await.expect(200);
    let page = page.as_str().unwrap();
    assert!(!page.contains("https://") && !page.contains("<style") && !page.contains(" style="));
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/console")).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        let path = match name.as_str() {
            "index.html" => "/console".to_owned(),
            "front.html" => continue,
            other => format!("/console/{other}"),
        };
        let answer = request(&service, Method::GET, &path, &[], None).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap().to_owned();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        answer.expect(200);
    }
}

#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed) * 1000)
    }
}

fn keys(current: &str, previous: Option<&str>) -> SecurityConfig {
    SecurityConfig {
        jwt_secret_key: SecretString::default(),
        jwt_secret_key_previous: None,
        coordinator_api_key: SecretString::from(current),
        coordinator_api_key_previous: previous.map(SecretString::from),
        cors_origins: Vec::new(),
        jwt_validation_enabled: true,
        api_key_validation_enabled: true,
    }
}

#[test]
fn sessions_end_with_the_key_that_they_were_made_with() {
    let sessions = Sessions::new(&keys("first", None), Arc::new(Hands::default()));
    let session = sessions.open().unwrap();
    let (cookie, token) = (sessions.signed(&session), sessions.token(&session));
    sessions.replace(&keys("second", Some("first")));
    assert_eq!(sessions.verify(&cookie), Some(session.clone()));
    assert!(sessions.is_token_of(&session, &token));
    let renewed = sessions.signed(&session);
    assert_ne!(renewed, cookie, "it is signed with the new key");
    sessions.replace(&keys("second", None));
    assert_eq!(sessions.verify(&cookie), None);
    assert!(!sessions.is_token_of(&session, &token));
    assert_eq!(sessions.verify(&renewed), Some(session));
}

#[test]
fn a_session_ends_by_itself() {
    let clock = Arc::new(Hands::default());
    let sessions = Sessions::new(&keys("key", None), clock.clone());
    let first = sessions.open().unwrap();
    let cookie = sessions.signed(&first);
    assert_eq!(sessions.verify(&cookie), Some(first.clone()));
    assert_eq!(first.id.len(), 64);
    clock.0.store(SESSION_SECONDS, Ordering::Relaxed);
    assert_eq!(sessions.verify(&cookie), None);
    // Renewed again and again, it ends all the same.
    let mut session: Session = first;
    while clock.0.load(Ordering::Relaxed) < LONGEST_SECONDS {
        session = sessions.renewed(&session);
        assert!(sessions.verify(&sessions.signed(&session)).is_some());
        clock.0.fetch_add(SESSION_SECONDS / 2, Ordering::Relaxed);
    }
    assert_eq!(sessions.verify(&sessions.signed(&sessions.renewed(&session))), None);
}

#[test]
fn a_sign_out_holds_for_every_renewal_of_the_session() {
    let clock = Arc::new(Hands::default());
    let sessions = Sessions::new(&keys("key", None), clock.clone());
    let session = sessions.open().unwrap();
    let later = sessions.renewed(&session);
    sessions.end(&session);
    assert_eq!(sessions.verify(&sessions.signed(&later)), None);
    for _ in 0..5000 {
        sessions.end(&sessions.open().unwrap());
    }
}

#[test]
fn the_host_that_was_asked_is_the_origin() {
    let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    };
    let own = headers(&[("origin", "https://Game.test:8443"), ("host", "game.test:8443")]);
    assert!(same_origin(&Method::POST, &own));
    let port = headers(&[("origin", "https://game.test:8444"), ("host", "game.test:8443")]);
    assert!(!same_origin(&Method::GET, &port));
    assert!(!same_origin(&Method::GET, &headers(&[("origin", "https://game.test")])));
    assert!(same_origin(&Method::GET, &headers(&[])));
    assert!(!same_origin(&Method::POST, &headers(&[])));
}
