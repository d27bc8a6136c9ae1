//! `/hosts`: every route, good and bad.

use p2p_coordinator_tests::Server;
use p2p_coordinator_tests::shapes::{heartbeat, host, unique, with};
use serde_json::{Value, json};

fn near(value: &Value, wanted: f64) -> bool {
    value.as_f64().is_some_and(|v| (v - wanted).abs() < 0.011)
}

#[tokio::test]
async fn a_registration_answers_the_whole_host() {
    let server = Server::shared();
    let id = unique("host");
    let body = with(
        host(&id, "alice"),
        &json!({
            "public_ip": "203.0.113.7",
            "ice_servers": [{ "urls": ["stun:stun.example.org:3478"], "x-further": 1 }],
            "max_players": 20,
            "max_zones": 3,
            "region": "eu-west",
            "labels": { "tier": "gold" },
        }),
    );
    let made = server.operator().post("/hosts/register", &body).await.ok(201);
    for (name, wanted) in body.as_object().unwrap() {
        assert_eq!(&made[name], wanted, "{name}: {made}");
    }
    assert!(made["id"].is_i64(), "{made}");
    assert_eq!(made["status"], "online");
    for zero in [
        "latency_ms",
        "packet_loss_percent",
        "bandwidth_usage_mbps",
        "current_players",
        "current_zones",
    ] {
        assert_eq!(made[zero].as_f64(), Some(0.0), "{zero}: {made}");
    }
    // 30 latency, 20 loss, 25 free, 10 cores, 10 memory, 5 network.
    assert!(near(&made["quality_score"], 100.0), "{made}");
    for moment in ["created_at", "updated_at", "last_heartbeat"] {
        let text = made[moment].as_str().unwrap_or_else(|| panic!("{moment}: {made}"));
        assert!(text.ends_with('Z') && text.as_bytes()[10] == b'T', "{moment}: {text}");
    }
    assert_eq!(
        server.operator().get(&format!("/hosts/{id}")).await.ok(200)["host_id"],
        json!(id)
    );
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let server = Server::shared();
    let made = server
        .operator()
        .post("/hosts/register", &host(&unique("host"), "alice"))
        .await
        .ok(201);
    assert_eq!(made["max_players"], 50);
    assert_eq!(made["max_zones"], 5);
    assert!(
        made["public_ip"].is_null() && made["region"].is_null() && made["ice_servers"].is_null(),
        "{made}"
    );
}

#[tokio::test]
async fn the_same_host_again_is_updated_and_comes_online() {
    let server = Server::shared();
    let operator = server.operator();
    let id = unique("host");
    let first = operator.post("/hosts/register", &host(&id, "alice")).await.ok(201);
    let path = format!("/hosts/{id}/heartbeat");
    let _ = operator
        .post(&path, &with(heartbeat(), &json!({ "latency_ms": 80.0 })))
        .await
        .ok(200);
    let again = with(host(&id, "alice"), &json!({ "port": 9999, "cpu_cores": 2 }));
    let second = operator.post("/hosts/register", &again).await.ok(201);
    assert_eq!(first["id"], second["id"]);
    assert_eq!(first["created_at"], second["created_at"]);
    assert_eq!((&second["port"], &second["cpu_cores"]), (&json!(9999), &json!(2)));
    assert_eq!(second["status"], "online");
}

#[tokio::test]
async fn a_bad_registration_names_every_bad_field() {
    let server = Server::shared();
    let operator = server.operator();
    for missing in [
        "host_id",
        "player_id",
        "player_name",
        "ip_address",
        "port",
        "cpu_cores",
        "cpu_frequency_mhz",
        "memory_mb",
        "network_speed_mbps",
    ] {
        let body = with(host(&unique("host"), "alice"), &json!({ missing: null }));
        operator.post("/hosts/register", &body).await.names_fields(&[missing]);
    }
    let bad = [
        ("port", json!(0)),
        ("port", json!(65536)),
        ("port", json!(-1)),
        ("port", json!("7777x")),
        ("cpu_cores", json!(0)),
        ("cpu_frequency_mhz", json!(0)),
        ("memory_mb", json!(0)),
        ("network_speed_mbps", json!(0)),
        ("max_players", json!(0)),
        ("max_zones", json!(0)),
        ("host_id", json!("")),
        ("player_id", json!("")),
        ("player_id", json!("alice:phone")),
        ("host_id", json!("x".repeat(5000))),
        ("cpu_cores", json!(1e300)),
        ("labels", json!([1])),
    ];
    for (field, value) in bad {
        let body = with(host(&unique("host"), "alice"), &json!({ field: value }));
        operator.post("/hosts/register", &body).await.names_fields(&[field]);
    }
    let two = with(host(&unique("host"), "alice"), &json!({ "port": 0, "cpu_cores": 0 }));
    operator
        .post("/hosts/register", &two)
        .await
        .names_fields(&["port", "cpu_cores"]);
}

#[tokio::test]
async fn a_heartbeat_answers_the_host_with_its_new_score() {
    let server = Server::shared();
    let operator = server.operator();
    let id = unique("host");
    let body = with(
        host(&id, "alice"),
        &json!({ "cpu_cores": 2, "memory_mb": 4096, "network_speed_mbps": 50, "max_players": 10 }),
    );
    let _ = operator.post("/hosts/register", &body).await.ok(201);
    let beat = json!({ "latency_ms": 50.0, "packet_loss_percent": 2.5, "bandwidth_usage_mbps": 3.5, "current_players": 4,
                       "current_zones": 1 });
    let answer = operator.post(&format!("/hosts/{id}/heartbeat"), &beat).await.ok(200);
    // 25 latency, 15 loss, 15 free, 5 cores, 5 memory, 2.5 network.
    assert!(near(&answer["quality_score"], 67.5), "{answer}");
    for (name, wanted) in beat.as_object().unwrap() {
        assert_eq!(answer[name].as_f64(), wanted.as_f64(), "{name}: {answer}");
    }
    assert_eq!(
        operator.get(&format!("/hosts/{id}")).await.ok(200)["quality_score"],
        answer["quality_score"]
    );
    let worst = json!({ "latency_ms": 100_000.0, "packet_loss_percent": 100, "bandwidth_usage_mbps": 0,
                        "current_players": 10, "current_zones": 0 });
    let answer = operator.post(&format!("/hosts/{id}/heartbeat"), &worst).await.ok(200);
    assert!(near(&answer["quality_score"], 12.5), "hardware alone: {answer}");
}

#[tokio::test]
async fn a_bad_heartbeat_names_the_field() {
    let server = Server::shared();
    let operator = server.operator();
    let id = unique("host");
    let _ = operator.post("/hosts/register", &host(&id, "alice")).await.ok(201);
    let path = format!("/hosts/{id}/heartbeat");
    let bad = [
        ("latency_ms", json!(-1)),
        ("packet_loss_percent", json!(-0.1)),
        ("packet_loss_percent", json!(100.1)),
        ("bandwidth_usage_mbps", json!(-1)),
        ("current_players", json!(-1)),
        ("current_zones", json!(-1)),
        ("current_zones", json!(1.5)),
        ("latency_ms", json!("fast")),
    ];
    for (field, value) in bad {
        operator
            .post(&path, &with(heartbeat(), &json!({ field: value })))
            .await
            .names_fields(&[field]);
    }
    let unknown = unique("nobody");
    let problem = operator
        .post(&format!("/hosts/{unknown}/heartbeat"), &heartbeat())
        .await
        .problem(404);
    assert_eq!(problem["detail"], json!(format!("Host not found: {unknown}")));
}

#[tokio::test]
async fn an_unknown_host_is_404_by_name() {
    let server = Server::shared();
    let operator = server.operator();
    let path = "/hosts/no-such-host";
    for answer in [operator.get(path).await, operator.delete(path).await] {
        assert_eq!(answer.problem(404)["detail"], "Host not found: no-such-host");
    }
}

#[tokio::test]
async fn a_deleted_host_is_gone() {
    let server = Server::shared();
    let operator = server.operator();
    let id = unique("host");
    let _ = operator.post("/hosts/register", &host(&id, "alice")).await.ok(201);
    let gone = operator.delete(&format!("/hosts/{id}")).await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    let _ = operator.get(&format!("/hosts/{id}")).await.problem(404);
    let _ = operator.delete(&format!("/hosts/{id}")).await.problem(404);
    let _ = operator
        .post(&format!("/hosts/{id}/heartbeat"), &heartbeat())
        .await
        .problem(404);
}

/// Three hosts with known scores on a server of their own.
async fn three(server: &Server) {
    let operator = server.operator();
    for (id, latency, players) in [("low", 300.0, 0), ("high", 0.0, 0), ("full", 10.0, 50)] {
        let _ = operator.post("/hosts/register", &host(id, id)).await.ok(201);
        let beat = with(
            heartbeat(),
            &json!({ "latency_ms": latency, "current_players": players }),
        );
        let _ = operator.post(&format!("/hosts/{id}/heartbeat"), &beat).await.ok(200);
    }
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|h| h["host_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn lists_are_ordered_filtered_and_paged() {
    let server = Server::start();
    three(&server).await;
    let operator = server.operator();
    // high 100, full 74, low 70.
    assert_eq!(names(&operator.get("/hosts/").await.ok(200)), ["high", "full", "low"]);
    assert_eq!(
        names(&operator.get("/hosts/?min_quality_score=72").await.ok(200)),
        ["high", "full"]
    );
    assert_eq!(
        names(&operator.get("/hosts/?status_filter=OnLine").await.ok(200)).len(),
        3
    );
    assert_eq!(
        names(&operator.get("/hosts/?status_filter=offline").await.ok(200)).len(),
        0
    );
    assert_eq!(names(&operator.get("/hosts/?limit=1&offset=1").await.ok(200)), ["full"]);
    operator
        .get("/hosts/?status_filter=asleep")
        .await
        .names_fields(&["status_filter"]);
    operator
        .get("/hosts/?min_quality_score=good")
        .await
        .names_fields(&["min_quality_score"]);
    operator
        .get("/hosts/?min_quality_score=101")
        .await
        .names_fields(&["min_quality_score"]);
    operator.get("/hosts/?limit=0").await.names_fields(&["limit"]);
    operator.get("/hosts/?limit=1000000").await.names_fields(&["limit"]);
    operator.get("/hosts/?offset=-1").await.names_fields(&["offset"]);
}

#[tokio::test]
async fn available_hosts_are_online_and_below_their_capacities() {
    let server = Server::start();
    let operator = server.operator();
    let _ = operator.get("/hosts/available/best").await.problem(404);
    assert_eq!(operator.get("/hosts/available/list").await.ok(200), json!([]));
    three(&server).await;
    assert_eq!(
        names(&operator.get("/hosts/available/list").await.ok(200)),
        ["high", "low"]
    );
    assert_eq!(
        names(&operator.get("/hosts/available/list?min_quality_score=90").await.ok(200)),
        ["high"]
    );
    assert_eq!(operator.get("/hosts/available/best").await.ok(200)["host_id"], "high");
    let _ = operator
        .get("/hosts/available/best?min_quality_score=100")
        .await
        .ok(200);
    let _ = operator.delete("/hosts/high").await.ok(204);
    assert_eq!(operator.get("/hosts/available/best").await.ok(200)["host_id"], "low");
    let _ = operator
        .get("/hosts/available/best?min_quality_score=71")
        .await
        .problem(404);
    let zones = with(heartbeat(), &json!({ "current_zones": 5 }));
    let _ = operator.post("/hosts/low/heartbeat", &zones).await.ok(200);
    let _ = operator.get("/hosts/available/best").await.problem(404);
}
