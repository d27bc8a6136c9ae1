//! Request bodies that the service accepts as they are. Tests change what they care about.

use serde_json::{Value, json};

use crate::client::Client;

/// A registration of a decent host.
#[must_use]
pub fn host(host_id: &str, player_id: &str) -> Value {
    json!({
        "host_id": host_id,
        "player_id": player_id,
        "player_name": format!("Player {player_id}"),
        "ip_address": "192.0.2.10",
        "port": 7777,
        "cpu_cores": 8,
        "cpu_frequency_mhz": 3600,
        "memory_mb": 16384,
        "network_speed_mbps": 1000,
    })
}

/// A heartbeat of a host that does well.
#[must_use]
pub fn heartbeat() -> Value {
    json!({
        "latency_ms": 20.0,
        "packet_loss_percent": 0.0,
        "bandwidth_usage_mbps": 10.0,
        "current_players": 0,
        "current_zones": 0,
    })
}

/// A zone with the default settings.
#[must_use]
pub fn zone(zone_id: &str) -> Value {
    json!({
        "zone_id": zone_id,
        "zone_name": zone_id,
        "zone_display_name": format!("Zone {zone_id}"),
        "map_name": "prontera",
    })
}

/// The same object with other members. `null` takes a member away.
#[must_use]
pub fn with(mut value: Value, changes: &Value) -> Value {
    if let (Some(object), Some(changes)) = (value.as_object_mut(), changes.as_object()) {
        for (name, change) in changes {
            if change.is_null() {
                object.remove(name);
            } else {
                object.insert(name.clone(), change.clone());
            }
        }
    }
    value
}

/// A host, a zone and an active session with these players on it; returns the session. The host belongs to `owner`.
pub async fn session(operator: &Client, name: &str, owner: &str, players: &[&str]) -> Value {
    let (host_id, zone_id) = (format!("host-{name}"), format!("zone-{name}"));
    let _ = operator.post("/hosts/register", &host(&host_id, owner)).await.ok(201);
    let _ = operator.post("/zones/", &zone(&zone_id)).await.ok(201);
    let wanted = json!({ "host_id": host_id, "zone_id": zone_id, "player_ids": players });
    let created = operator.post("/sessions/", &wanted).await.ok(201);
    let id = created["session_id"].as_str().unwrap_or_default().to_owned();
    let _ = operator.poke(&format!("/sessions/{id}/activate")).await.ok(200);
    operator.get(&format!("/sessions/{id}")).await.ok(200)
}

/// A name that no other test of this run uses.
#[must_use]
pub fn unique(stem: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    format!("{stem}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
