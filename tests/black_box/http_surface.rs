//! What holds for every route: prefixes, slashes, problem documents, CORS, the OpenAPI document and the docs page.

use p2p_coordinator_tests::server::API_KEY;
use p2p_coordinator_tests::shapes::{host, session, unique, zone};
use p2p_coordinator_tests::{Options, Server};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn both_prefixes_answer_with_and_without_a_trailing_slash() {
    let server = Server::shared();
    let operator = server.operator();
    let made = session(&operator, &unique("s"), "alice", &["p"]).await;
    let (id, host_id, zone_id) = (
        &made["id"],
        made["host"].as_str().unwrap(),
        made["zone"].as_str().unwrap(),
    );
    let paths = [
        format!("/hosts/{host_id}"),
        "/hosts".to_owned(),
        "/hosts/available/list".to_owned(),
        "/hosts/available/best".to_owned(),
        format!("/zones/{zone_id}"),
        "/zones".to_owned(),
        "/zones/p2p/enabled".to_owned(),
        format!("/sessions/{id}"),
        format!("/sessions/host/{host_id}/active"),
        format!("/sessions/zone/{zone_id}/active"),
        "/signaling/stats".to_owned(),
        "/monitoring/dashboard".to_owned(),
        "/monitoring/hosts/stats".to_owned(),
        "/monitoring/metrics".to_owned(),
        "/plugins".to_owned(),
        "/decisions".to_owned(),
    ];
    for path in paths {
        for prefix in ["/api/v1", "/api"] {
            for slash in ["", "/"] {
                let _ = operator
                    .absolute(Method::GET, &format!("{prefix}{path}{slash}"), None)
                    .await
                    .status_is(200);
                let with_query = format!("{prefix}{path}{slash}?limit=5");
                let _ = operator.absolute(Method::GET, &with_query, None).await.status_is(200);
            }
        }
    }
    for prefix in ["/api/v1", "/api"] {
        for slash in ["", "/"] {
            let path = format!("{prefix}/hosts/register{slash}");
            let _ = operator
                .absolute(Method::POST, &path, Some(&host(&unique("host"), "alice")))
                .await
                .ok(201);
            let path = format!("{prefix}/zones{slash}");
            let _ = operator
                .absolute(Method::POST, &path, Some(&zone(&unique("zone"))))
                .await
                .ok(201);
            let path = format!("{prefix}/auth/token{slash}");
            let _ = operator
                .absolute(Method::POST, &path, Some(&json!({ "player_id": "p" })))
                .await
                .ok(200);
        }
    }
    for path in ["/health", "/health/", "/metrics", "/metrics/"] {
        let _ = operator.absolute(Method::GET, path, None).await.status_is(200);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Server::shared();
    let operator = server.operator();
    for path in [
        "/nowhere",
        "/api/v1/nowhere",
        "/api/v1/hosts/a/b/c",
        "/api/v2/hosts/",
        "/%ff%fe",
    ] {
        let _ = operator.absolute(Method::GET, path, None).await.problem(404);
    }
    for (method, path) in [
        (Method::PUT, "/api/v1/hosts/register"),
        (Method::DELETE, "/api/v1/zones/"),
        (Method::POST, "/api/v1/monitoring/dashboard"),
        (Method::GET, "/api/v1/auth/token"),
    ] {
        let answer = operator.absolute(method, path, None).await;
        let _ = answer.problem(405);
        assert!(!answer.header("allow").is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn a_bad_body_is_a_problem() {
    let server = Server::shared();
    let operator = server.operator();
    let register = |body: &[u8], content_type: Option<&'static str>| {
        let (operator, body) = (operator.clone(), body.to_vec());
        async move {
            operator
                .raw(Method::POST, "/api/v1/hosts/register", Some(body), content_type)
                .await
        }
    };
    let json_type = Some("application/json");
    for bad in ["{", "", "nul", "{\"host_id\": \"a\",}", "\u{1}"] {
        let answer = register(bad.as_bytes(), json_type).await;
        assert!(matches!(answer.status, 400 | 422), "{answer}");
        let _ = answer.problem(answer.status);
    }
    for wrong_kind in ["[]", "null", "3", "\"text\""] {
        let answer = register(wrong_kind.as_bytes(), json_type).await;
        assert!(matches!(answer.status, 400 | 422), "{answer}");
        let _ = answer.problem(answer.status);
    }
    let answer = register(&[b'{', b'"', 0xff, 0xfe, b'"', b':', b'1', b'}'], json_type).await;
    assert!(matches!(answer.status, 400 | 422), "{answer}");
    let _ = answer.problem(answer.status);

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = register(deep.as_bytes(), json_type).await;
    assert!(matches!(answer.status, 400 | 413 | 422), "{}", answer.status);
    let _ = answer.problem(answer.status);

    let body = host(&unique("host"), "alice").to_string();
    let _ = register(body.as_bytes(), Some("text/plain")).await.problem(415);
    let _ = register(body.as_bytes(), Some("application/x-www-form-urlencoded"))
        .await
        .problem(415);
    let _ = register(body.as_bytes(), Some("application/json; charset=utf-8"))
        .await
        .ok(201);

    for length in [65 * 1024, 300 * 1024] {
        let large = format!("{{\"host_id\": \"{}\"}}", "x".repeat(length));
        let _ = register(large.as_bytes(), json_type).await.problem(413);
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::shared();
    let mut socket = server.connect().await;
    let head = format!(
        "POST /api/v1/hosts/register HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let (mut reader, mut writer) = tokio::io::split(socket);
    let sender = tokio::spawn(async move {
        let mut sent = 0_usize;
        while sent < 256 * 1024 * 1024 && writer.write_all(chunk.as_bytes()).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let mut answer = Vec::new();
    let _ = p2p_coordinator_tests::wait::within("an answer", reader.read_to_end(&mut answer)).await;
    let sent = p2p_coordinator_tests::wait::within("the server hangs up", sender)
        .await
        .unwrap();
    assert!(sent < 64 * 1024 * 1024, "{sent} bytes were taken");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413") || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    let _ = server.operator().get("/hosts/").await.status_is(200);
}

#[tokio::test]
async fn huge_headers_and_targets_are_refused() {
    let server = Server::shared();
    let big = server.operator().with_header("x-big", &"x".repeat(300 * 1024));
    let answer = big.get("/hosts/").await;
    assert!(matches!(answer.status, 400 | 413 | 431), "{}", answer.status);
    let long = server.operator().get(&format!("/hosts/{}", "x".repeat(20_000))).await;
    assert!(matches!(long.status, 404 | 414 | 422 | 431), "{}", long.status);
    let _ = server.operator().get("/hosts/").await.status_is(200);
}

#[tokio::test]
async fn cors_lets_named_origins_in() {
    let server = Options::default()
        .env("CORS_ORIGINS", "https://game.example,https://shop.example")
        .start();
    let preflight = |origin: &'static str| {
        let client = server
            .anonymous()
            .with_header("origin", origin)
            .with_header("access-control-request-method", "POST")
            .with_header("access-control-request-headers", "authorization,content-type,x-api-key");
        async move { client.absolute(Method::OPTIONS, "/api/v1/hosts/register", None).await }
    };
    for origin in ["https://game.example", "https://shop.example"] {
        let answer = preflight(origin).await;
        assert!(matches!(answer.status, 200 | 204), "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), origin, "{answer}");
        let allowed = answer.header("access-control-allow-headers").to_lowercase();
        for header in ["authorization", "content-type", "x-api-key"] {
            assert!(allowed.contains(header), "{answer}");
        }
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.contains("POST"), "{answer}");
    }
    let answer = preflight("https://evil.example").await;
    assert!(
        !answer.header("access-control-allow-origin").contains("evil"),
        "{answer}"
    );
    // Who is no page learns of none; what lies between must not give its answer to one.
    let other = server.operator().get("/hosts/").await;
    assert_eq!(other.header("access-control-allow-origin"), "", "{other}");
    assert_eq!(other.header("vary"), "origin", "{other}");
    let get = server
        .operator()
        .with_header("origin", "https://game.example")
        .get("/hosts/")
        .await;
    assert_eq!(get.header("access-control-allow-origin"), "https://game.example");
    assert!(get.header("vary").contains("origin"), "{get}");
    // An error is readable for the page, too.
    let bad = server
        .anonymous()
        .with_header("origin", "https://game.example")
        .poke("/zones/")
        .await;
    assert_eq!(
        bad.header("access-control-allow-origin"),
        "https://game.example",
        "{bad}"
    );
}

/// Every route of the contract, as the OpenAPI document must name it.
const ROUTES: &[(&str, &str)] = &[
    ("post", "/auth/token"),
    ("post", "/auth/refresh"),
    ("post", "/hosts/register"),
    ("post", "/hosts/{host_id}/heartbeat"),
    ("get", "/hosts/{host_id}"),
    ("get", "/hosts/"),
    ("get", "/hosts/available/list"),
    ("get", "/hosts/available/best"),
    ("delete", "/hosts/{host_id}"),
    ("post", "/zones/"),
    ("get", "/zones/{zone_id}"),
    ("get", "/zones/"),
    ("get", "/zones/p2p/enabled"),
    ("post", "/zones/{zone_id}/enable-p2p"),
    ("post", "/zones/{zone_id}/disable-p2p"),
    ("patch", "/zones/{zone_id}/status"),
    ("post", "/sessions/"),
    ("get", "/sessions/{id}"),
    ("post", "/sessions/{id}/activate"),
    ("post", "/sessions/{id}/end"),
    ("patch", "/sessions/{id}/metrics"),
    ("post", "/sessions/{id}/players"),
    ("delete", "/sessions/{id}/players/{player_id}"),
    ("get", "/sessions/host/{host_id}/active"),
    ("get", "/sessions/zone/{zone_id}/active"),
    ("post", "/sessions/cleanup"),
    ("get", "/signaling/ws"),
    ("get", "/signaling/stats"),
    ("get", "/monitoring/dashboard"),
    ("get", "/monitoring/hosts/stats"),
    ("get", "/monitoring/metrics"),
    ("get", "/plugins"),
    ("get", "/decisions"),
    ("get", "/decisions/{id}"),
];

/// A path without its prefix, its parameter names and its trailing slash.
fn bare(path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path).trim_end_matches('/');
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_openapi_document_names_every_route() {
    let server = Server::shared();
    let document = server
        .anonymous()
        .absolute(Method::GET, "/openapi.json", None)
        .await
        .ok(200);
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{}",
        document["openapi"]
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let paths = document["paths"].as_object().unwrap();
    for (method, route) in ROUTES {
        let operation = paths
            .iter()
            .find(|(path, _)| bare(path) == bare(route))
            .map(|(_, item)| &item[*method]);
        let operation = operation
            .filter(|o| o.is_object())
            .unwrap_or_else(|| panic!("{method} {route} is not described"));
        assert!(
            operation["responses"].as_object().is_some_and(|r| !r.is_empty()),
            "{method} {route}"
        );
        assert!(
            operation["summary"].is_string() || operation["description"].is_string(),
            "{method} {route}"
        );
    }
    check_references(&document, &document);
    check_identities(paths);
    let security = document["components"]["securitySchemes"].as_object().unwrap();
    assert!(security.len() >= 2, "the API key and the token: {security:?}");
}

/// Every `$ref` leads somewhere.
fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            map.values().for_each(|v| check_references(document, v));
        }
        Value::Array(list) => list.iter().for_each(|v| check_references(document, v)),
        _ => {}
    }
}

/// Operation ids are unique, and every path parameter is described.
fn check_identities(paths: &serde_json::Map<String, Value>) {
    let mut seen = std::collections::HashSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            if !operation.is_object() {
                continue;
            }
            if let Some(id) = operation["operationId"].as_str() {
                assert!(seen.insert(id.to_owned()), "operationId {id} twice");
            }
            for name in path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            {
                let both = [&operation["parameters"], &item["parameters"]];
                let described = both
                    .iter()
                    .filter_map(|p| p.as_array())
                    .flatten()
                    .any(|p| p["in"] == "path" && p["name"] == name);
                assert!(described, "{method} {path}: `{name}` is not described");
            }
        }
    }
}

#[tokio::test]
async fn the_docs_page_is_served_whole() {
    let server = Server::shared();
    let anonymous = server.anonymous();
    let mut page = anonymous.absolute(Method::GET, "/docs", None).await;
    let mut base = "/docs/".to_owned();
    if page.status / 100 == 3 {
        base = page.header("location").to_owned();
        page = anonymous.absolute(Method::GET, &base, None).await;
    }
    assert_eq!(page.status, 200, "{page}");
    assert!(page.header("content-type").starts_with("text/html"), "{page}");
    assert!(page.body.to_lowercase().contains("swagger"), "{page}");
    assert!(
        !page.body.contains("https://unpkg") && !page.body.contains("cdn."),
        "nothing is fetched from outside"
    );
    for quoted in page
        .body
        .split('"')
        .filter(|s| s.ends_with(".js") || s.ends_with(".css"))
    {
        let path = if quoted.starts_with('/') {
            quoted.to_owned()
        } else {
            format!("{}/{}", base.trim_end_matches('/'), quoted.trim_start_matches("./"))
        };
        let asset = anonymous.absolute(Method::GET, &path, None).await;
        assert_eq!(asset.status, 200, "{path}");
        assert!(!asset.body.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn fifty_readers_and_writers_at_once_are_all_served() {
    let server = Server::shared();
    let operator = server.operator();
    let names: Vec<String> = (0..50).map(|_| unique("host")).collect();
    let answers = futures_util::future::join_all(names.iter().map(|name| {
        let (operator, body) = (operator.clone(), host(name, "alice"));
        async move {
            let written = operator.post("/hosts/register", &body).await.status;
            let read = operator
                .get(&format!("/hosts/{}", body["host_id"].as_str().unwrap()))
                .await
                .status;
            (written, read)
        }
    }))
    .await;
    assert!(answers.iter().all(|a| *a == (201, 200)), "{answers:?}");
}
