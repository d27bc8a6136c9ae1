//! `/auth` and what a credential is worth: tokens, rotation, reuse, tampering, the switches of the field.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p2p_coordinator_tests::server::{API_KEY, JWT_SECRET};
use p2p_coordinator_tests::shapes::{host, unique, zone};
use p2p_coordinator_tests::{Answer, Options, Server};
use serde_json::{Value, json};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The claims of a token, without looking at its signature.
fn claims(token: &str) -> Value {
    let data = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap();
    assert_eq!(data.header.alg, Algorithm::HS256);
    data.claims
}

fn signed(claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

fn unauthorized(answer: &Answer) {
    let _ = answer.problem(401);
    assert!(!answer.header("www-authenticate").is_empty(), "{answer}");
}

#[tokio::test]
async fn a_token_comes_for_the_api_key_in_header_or_body() {
    let server = Server::shared();
    let in_header = server
        .operator()
        .post("/auth/token", &json!({ "player_id": "alice", "user_id": "u1" }))
        .await
        .ok(200);
    let body = json!({ "player_id": "alice", "api_key": API_KEY });
    let in_body = server.anonymous().post("/auth/token", &body).await.ok(200);
    for answer in [&in_header, &in_body] {
        assert_eq!(answer["token_type"], "bearer");
        assert_eq!(answer["expires_in"], 3600);
        assert_eq!(answer["token"], answer["access_token"], "the DLL reads `token`");
    }
    let access = claims(in_header["access_token"].as_str().unwrap());
    assert_eq!(
        (&access["sub"], &access["player_id"]),
        (&json!("alice"), &json!("alice"))
    );
    assert_eq!((&access["type"], &access["user_id"]), (&json!("access"), &json!("u1")));
    assert!(access["jti"].is_string(), "{access}");
    let lives = access["exp"].as_u64().unwrap() - access["iat"].as_u64().unwrap();
    assert_eq!(lives, 3600);
    assert!(access["iat"].as_u64().unwrap().abs_diff(now()) <= 5);
    let refresh = claims(in_header["refresh_token"].as_str().unwrap());
    assert_eq!(refresh["type"], "refresh");
    assert_eq!(
        refresh["exp"].as_u64().unwrap() - refresh["iat"].as_u64().unwrap(),
        7 * 24 * 3600
    );
    assert!(
        claims(in_body["access_token"].as_str().unwrap())
            .get("user_id")
            .is_none_or(Value::is_null)
    );
}

#[tokio::test]
async fn the_dll_names_its_player_peer_id() {
    let server = Server::shared();
    let answer = server
        .operator()
        .post("/auth/token", &json!({ "peer_id": "alice" }))
        .await
        .ok(200);
    assert_eq!(claims(answer["access_token"].as_str().unwrap())["player_id"], "alice");
}

#[tokio::test]
async fn no_key_or_a_wrong_one_gets_no_token() {
    let server = Server::shared();
    let anonymous = server.anonymous();
    unauthorized(&anonymous.post("/auth/token", &json!({ "player_id": "alice" })).await);
    unauthorized(
        &anonymous
            .post("/auth/token", &json!({ "player_id": "alice", "api_key": "wrong" }))
            .await,
    );
    let wrong = anonymous.clone().with_api_key("wrong");
    unauthorized(&wrong.post("/auth/token", &json!({ "player_id": "alice" })).await);
    unauthorized(&wrong.get("/hosts/").await);
    let nearly = anonymous.with_api_key(&API_KEY[..API_KEY.len() - 1]);
    unauthorized(&nearly.post("/auth/token", &json!({ "player_id": "alice" })).await);
    let player = server.player("alice").await;
    let refused = player.post("/auth/token", &json!({ "player_id": "bob" })).await;
    assert!(matches!(refused.status, 401 | 403), "{refused}");
}

#[tokio::test]
async fn a_bad_token_request_names_the_field() {
    let server = Server::shared();
    let operator = server.operator();
    operator
        .post("/auth/token", &json!({}))
        .await
        .names_fields(&["player_id"]);
    operator
        .post("/auth/token", &json!({ "player_id": "" }))
        .await
        .names_fields(&["player_id"]);
    operator
        .post("/auth/token", &json!({ "player_id": "a:b" }))
        .await
        .names_fields(&["player_id"]);
    operator
        .post("/auth/token", &json!({ "player_id": ["a"] }))
        .await
        .names_fields(&["player_id"]);
    server
        .anonymous()
        .post("/auth/refresh", &json!({}))
        .await
        .names_fields(&["refresh_token"]);
}

#[tokio::test]
async fn a_refresh_token_is_spent_once_and_reuse_revokes_the_family() {
    let server = Server::shared();
    let anonymous = server.anonymous();
    let refresh = |token: &Value| {
        let (anonymous, body) = (anonymous.clone(), json!({ "refresh_token": token }));
        async move { anonymous.post("/auth/refresh", &body).await }
    };
    let request = json!({ "player_id": "alice", "user_id": "u7" });
    let first = server.operator().post("/auth/token", &request).await.ok(200);
    let other = server.operator().post("/auth/token", &request).await.ok(200);
    let second = refresh(&first["refresh_token"]).await.ok(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let access = claims(second["access_token"].as_str().unwrap());
    assert_eq!(
        (&access["player_id"], &access["user_id"]),
        (&json!("alice"), &json!("u7"))
    );
    let third = refresh(&second["refresh_token"]).await.ok(200);
    assert_eq!(third["expires_in"], 3600);
    // A spent one comes back: someone stole it. Nobody goes on from this sign-in.
    unauthorized(&refresh(&first["refresh_token"]).await);
    unauthorized(&refresh(&third["refresh_token"]).await);
    // Another sign-in of the same player is untouched.
    let _ = refresh(&other["refresh_token"]).await.ok(200);
}

#[tokio::test]
async fn of_many_refreshes_at_once_one_wins() {
    let server = Server::shared();
    let first = server
        .operator()
        .post("/auth/token", &json!({ "player_id": "alice" }))
        .await
        .ok(200);
    let body = json!({ "refresh_token": first["refresh_token"] });
    let answers = futures_util::future::join_all((0..10).map(|_| {
        let (anonymous, body) = (server.anonymous(), body.clone());
        async move { anonymous.post("/auth/refresh", &body).await.status }
    }))
    .await;
    assert_eq!(answers.iter().filter(|s| **s == 200).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|s| **s == 401).count(), 9, "{answers:?}");
}

#[tokio::test]
async fn a_tampered_token_is_worth_nothing() {
    let server = Server::shared();
    let operator = server.operator();
    let issued = operator
        .post("/auth/token", &json!({ "player_id": "alice" }))
        .await
        .ok(200);
    let good = issued["access_token"].as_str().unwrap();
    let refresh = issued["refresh_token"].as_str().unwrap();
    let id = unique("host");
    let register = |token: String| {
        let (client, body) = (server.anonymous().with_bearer(&token), host(&id, "alice"));
        async move { client.post("/hosts/register", &body).await }
    };
    let _ = register(good.to_owned()).await.ok(201);

    let claims = claims(good);
    let parts: Vec<&str> = good.split('.').collect();
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let change = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let mut without_expiry = claims.clone();
    without_expiry.as_object_mut().unwrap().remove("exp");
    let hs512 = jsonwebtoken::encode(
        &Header::new(Algorithm::HS512),
        &claims,
        &EncodingKey::from_secret(JWT_SECRET.as_bytes()),
    )
    .unwrap();
    let bad = [
        ("alg none", format!("{none}.{}.", parts[1])),
        ("alg none, old signature", format!("{none}.{}.{}", parts[1], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        (
            "wrong key",
            signed(&claims, "another-secret-that-is-long-enough-0123456789"),
        ),
        ("the API key as key", signed(&claims, API_KEY)),
        ("another algorithm", hs512),
        ("expired", signed(&change("exp", json!(now() - 120)), JWT_SECRET)),
        ("no expiry", signed(&without_expiry, JWT_SECRET)),
        ("refresh as access", refresh.to_owned()),
        ("unknown type", signed(&change("type", json!("other")), JWT_SECRET)),
        ("cut", good[..good.len() - 4].to_owned()),
        ("no token", "x".to_owned()),
        ("dots", "..".to_owned()),
        ("long", "a".repeat(6000)),
    ];
    for (what, token) in bad {
        let answer = register(token).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        unauthorized(&answer);
    }
    let swapped = format!(
        "{}.{}.{}",
        parts[0],
        signed(&change("player_id", json!("bob")), "x")
            .split('.')
            .nth(1)
            .unwrap(),
        parts[2]
    );
    unauthorized(&register(swapped).await);

    // And an access token refreshes nothing.
    unauthorized(
        &server
            .anonymous()
            .post("/auth/refresh", &json!({ "refresh_token": good }))
            .await,
    );
    unauthorized(
        &server
            .anonymous()
            .post("/auth/refresh", &json!({ "refresh_token": "x.y.z" }))
            .await,
    );
    let basic = server
        .anonymous()
        .with_header("authorization", "Basic YWxpY2U6c2VjcmV0");
    unauthorized(&basic.post("/hosts/register", &host(&id, "alice")).await);
}

#[tokio::test]
async fn validation_can_be_switched_off_outside_production_only() {
    let server = Options::default().env("JWT_VALIDATION_ENABLED", "false").start();
    let _ = server
        .anonymous()
        .post("/hosts/register", &host("h1", "alice"))
        .await
        .ok(201);
    unauthorized(&server.anonymous().post("/zones/", &zone("z1")).await);
    drop(server);

    let server = Options::default().env("API_KEY_VALIDATION_ENABLED", "false").start();
    let _ = server.anonymous().post("/zones/", &zone("z1")).await.ok(201);
    let _ = server
        .anonymous()
        .post("/auth/token", &json!({ "player_id": "alice" }))
        .await
        .ok(200);
    drop(server);

    for name in ["JWT_VALIDATION_ENABLED", "API_KEY_VALIDATION_ENABLED"] {
        let options = Options::default()
            .env("ENVIRONMENT", "production")
            .env("CORS_ORIGINS", "https://game.example");
        let (status, said) = options.env(name, "false").run(&[]);
        assert!(!status.success());
        assert!(said.contains(name), "{said}");
    }
}

#[tokio::test]
async fn tokens_outlive_a_restart() {
    let server = Server::start();
    let issued = server
        .operator()
        .post("/auth/token", &json!({ "player_id": "alice" }))
        .await
        .ok(200);
    let server = server.restart();
    let player = server.anonymous().with_bearer(issued["access_token"].as_str().unwrap());
    let _ = player.post("/hosts/register", &host("h1", "alice")).await.ok(201);
}
