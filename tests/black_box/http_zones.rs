//! `/zones`: every route, good and bad.

use p2p_coordinator_tests::Server;
use p2p_coordinator_tests::shapes::{unique, with, zone};
use serde_json::{Value, json};

#[tokio::test]
async fn a_definition_answers_the_whole_zone_with_defaults() {
    let server = Server::shared();
    let id = unique("zone");
    let made = server.operator().post("/zones/", &zone(&id)).await.ok(201);
    let defaults = json!({
        "zone_id": id, "zone_name": id, "map_name": "prontera", "max_players": 100, "recommended_players": 50,
        "p2p_enabled": true, "p2p_priority": 1, "fallback_enabled": true, "status": "enabled",
        "total_sessions": 0, "active_sessions": 0, "total_players_served": 0,
    });
    for (name, wanted) in defaults.as_object().unwrap() {
        assert_eq!(&made[name], wanted, "{name}: {made}");
    }
    for (name, wanted) in [
        ("min_host_quality_score", 7.0),
        ("min_bandwidth_mbps", 100.0),
        ("max_latency_ms", 100.0),
    ] {
        assert_eq!(made[name].as_f64(), Some(wanted), "{name}: {made}");
    }
    assert!(made["id"].is_i64(), "{made}");
    assert!(
        made["created_at"].is_string() && made["updated_at"].is_string(),
        "{made}"
    );
    assert_eq!(server.operator().get(&format!("/zones/{id}")).await.ok(200), made);
}

#[tokio::test]
async fn the_same_zone_again_is_updated() {
    let server = Server::shared();
    let operator = server.operator();
    let id = unique("zone");
    let first = operator.post("/zones/", &zone(&id)).await.ok(201);
    let changes = json!({ "zone_display_name": "Other", "max_players": 8, "recommended_players": 4, "p2p_priority": 10,
                          "description": "A town" });
    let second = operator.post("/zones/", &with(zone(&id), &changes)).await.ok(201);
    assert_eq!(first["id"], second["id"]);
    assert_eq!(first["created_at"], second["created_at"]);
    for (name, wanted) in changes.as_object().unwrap() {
        assert_eq!(&second[name], wanted, "{name}: {second}");
    }
}

#[tokio::test]
async fn a_bad_definition_names_every_bad_field() {
    let server = Server::shared();
    let operator = server.operator();
    for missing in ["zone_id", "zone_name", "zone_display_name", "map_name"] {
        let body = with(zone(&unique("zone")), &json!({ missing: null }));
        operator.post("/zones/", &body).await.names_fields(&[missing]);
    }
    let bad = [
        ("zone_id", json!("")),
        ("max_players", json!(0)),
        ("max_players", json!("many")),
        ("p2p_priority", json!(0)),
        ("p2p_priority", json!(11)),
        ("p2p_enabled", json!("maybe")),
        ("min_host_quality_score", json!(-1)),
        ("min_host_quality_score", json!(100.5)),
        ("min_bandwidth_mbps", json!(-1)),
        ("max_latency_ms", json!(-1)),
    ];
    for (field, value) in bad {
        let body = with(zone(&unique("zone")), &json!({ field: value }));
        operator.post("/zones/", &body).await.names_fields(&[field]);
    }
}

#[tokio::test]
async fn an_unknown_zone_is_404_everywhere() {
    let server = Server::shared();
    let operator = server.operator();
    for answer in [
        operator.get("/zones/nowhere").await,
        operator.poke("/zones/nowhere/enable-p2p").await,
        operator.poke("/zones/nowhere/disable-p2p").await,
        operator.patch("/zones/nowhere/status?new_status=disabled", None).await,
    ] {
        assert_eq!(answer.problem(404)["detail"], "Zone not found: nowhere");
    }
}

#[tokio::test]
async fn switches_and_status_change_the_zone() {
    let server = Server::shared();
    let operator = server.operator();
    let id = unique("zone");
    let _ = operator.post("/zones/", &zone(&id)).await.ok(201);
    let _ = operator.poke(&format!("/zones/{id}/disable-p2p")).await.ok(200);
    assert_eq!(
        operator.get(&format!("/zones/{id}")).await.ok(200)["p2p_enabled"],
        false
    );
    let _ = operator.poke(&format!("/zones/{id}/enable-p2p")).await.ok(200);
    assert_eq!(operator.get(&format!("/zones/{id}")).await.ok(200)["p2p_enabled"], true);
    for (asked, wanted) in [
        ("MAINTENANCE", "maintenance"),
        ("Disabled", "disabled"),
        ("enabled", "enabled"),
    ] {
        let _ = operator
            .patch(&format!("/zones/{id}/status?new_status={asked}"), None)
            .await
            .ok(200);
        assert_eq!(operator.get(&format!("/zones/{id}")).await.ok(200)["status"], wanted);
    }
    operator
        .patch(&format!("/zones/{id}/status?new_status=broken"), None)
        .await
        .names_fields(&["new_status"]);
    operator
        .patch(&format!("/zones/{id}/status"), None)
        .await
        .names_fields(&["new_status"]);
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|z| z["zone_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn lists_are_ordered_and_filtered() {
    let server = Server::start();
    let operator = server.operator();
    assert_eq!(operator.get("/zones/").await.ok(200), json!([]));
    for (id, changes) in [
        ("b-plain", json!({})),
        ("a-plain", json!({})),
        ("first", json!({ "p2p_priority": 10 })),
        ("server-only", json!({ "p2p_enabled": false, "p2p_priority": 5 })),
    ] {
        let _ = operator.post("/zones/", &with(zone(id), &changes)).await.ok(201);
    }
    let _ = operator
        .patch("/zones/b-plain/status?new_status=maintenance", None)
        .await
        .ok(200);
    let list = |query: &'static str| {
        let operator = operator.clone();
        async move { operator.get(query).await.ok(200) }
    };
    assert_eq!(
        names(&list("/zones/").await),
        ["first", "server-only", "a-plain", "b-plain"]
    );
    assert_eq!(names(&list("/zones/?p2p_enabled=false").await), ["server-only"]);
    assert_eq!(
        names(&list("/zones/?p2p_enabled=true").await),
        ["first", "a-plain", "b-plain"]
    );
    assert_eq!(names(&list("/zones/?status_filter=Maintenance").await), ["b-plain"]);
    assert_eq!(
        names(&list("/zones/?p2p_enabled=true&status_filter=enabled").await),
        ["first", "a-plain"]
    );
    assert_eq!(names(&list("/zones/p2p/enabled").await), ["first", "a-plain"]);
    operator
        .get("/zones/?status_filter=lost")
        .await
        .names_fields(&["status_filter"]);
    operator
        .get("/zones/?p2p_enabled=perhaps")
        .await
        .names_fields(&["p2p_enabled"]);
}
