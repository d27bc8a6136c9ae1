//! Contract of `ZoneRepository`.

use super::{NOW, a_zone, definition};
use crate::domain::zone::ZoneStatus;
use crate::ports::storage::{Storage, ZoneFilter};

pub(crate) async fn defines_and_redefines(store: &Storage) {
    let first = store.zones.define(&definition("plaza"), NOW).await.unwrap();
    assert_eq!(
        (first.zone_name.as_str(), first.max_players, first.max_latency_ms),
        ("name of plaza", 20, 99.5)
    );
    assert_eq!(
        (first.status, first.p2p_enabled, first.description.as_deref()),
        (ZoneStatus::Enabled, true, None)
    );
    assert_eq!(
        (first.total_sessions, first.active_sessions, first.total_players_served),
        (0, 0, 0)
    );
    assert_eq!((first.created_at, first.updated_at), (NOW, NOW));
    assert_eq!(store.zones.get("plaza").await.unwrap(), Some(first.clone()));
    assert_eq!(store.zones.get("nowhere").await.unwrap(), None);

    store
        .zones
        .set_status("plaza", ZoneStatus::Maintenance, NOW)
        .await
        .unwrap();
    let later = NOW.plus_seconds(9);
    let mut again = definition("plaza");
    again.description = Some("a place".to_owned());
    again.max_players = 7;
    again.p2p_enabled = false;
    let second = store.zones.define(&again, later).await.unwrap();
    assert_eq!(
        (second.id, second.created_at, second.updated_at),
        (first.id, NOW, later)
    );
    assert_eq!(
        (second.status, second.p2p_enabled, second.max_players),
        (ZoneStatus::Maintenance, false, 7)
    );
    assert_eq!(second.description.as_deref(), Some("a place"));
}

pub(crate) async fn lists_by_priority(store: &Storage) {
    for (name, priority) in [("b", 1), ("a", 1), ("c", 10)] {
        let mut zone = definition(name);
        zone.p2p_priority = priority;
        store.zones.define(&zone, NOW).await.unwrap();
    }
    store.zones.set_p2p("a", false, NOW).await.unwrap();
    store.zones.set_status("c", ZoneStatus::Disabled, NOW).await.unwrap();
    for (p2p_enabled, status, expected) in [
        (None, None, vec!["c", "a", "b"]),
        (Some(true), None, vec!["c", "b"]),
        (Some(false), None, vec!["a"]),
        (None, Some(ZoneStatus::Enabled), vec!["a", "b"]),
        (Some(true), Some(ZoneStatus::Enabled), vec!["b"]),
        (None, Some(ZoneStatus::Maintenance), vec![]),
    ] {
        let zones = store.zones.list(ZoneFilter { p2p_enabled, status }).await.unwrap();
        let names: Vec<_> = zones.iter().map(|zone| zone.zone_id.as_str()).collect();
        assert_eq!(names, expected, "{p2p_enabled:?} {status:?}");
    }
}

pub(crate) async fn switches(store: &Storage) {
    a_zone(store, "plaza").await;
    let later = NOW.plus_seconds(1);
    let off = store.zones.set_p2p("plaza", false, later).await.unwrap().unwrap();
    assert!(!off.p2p_enabled);
    assert_eq!(off.updated_at, later);
    for status in ZoneStatus::ALL {
        let zone = store.zones.set_status("plaza", status, later).await.unwrap().unwrap();
        assert_eq!((zone.status, zone.p2p_enabled), (status, false));
        assert_eq!(store.zones.get("plaza").await.unwrap(), Some(zone));
    }
    assert_eq!(store.zones.set_p2p("nowhere", true, NOW).await.unwrap(), None);
    assert_eq!(
        store
            .zones
            .set_status("nowhere", ZoneStatus::Enabled, NOW)
            .await
            .unwrap(),
        None
    );
}
