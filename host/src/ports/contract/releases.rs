//! Contract of `ReleaseRepository`.

use std::collections::BTreeMap;

use super::NOW;
use crate::domain::release::{ReleaseContent, ReleaseLimits, ReleaseRecord, ReleaseSignature};
use crate::domain::rollout::{AuditAction, AuditEntry, DesiredSlot, NodeReport, RolloutCounts};
use crate::domain::slot::SlotName;
use crate::ports::releases::{Decided, FORGET_NODES};
use crate::ports::storage::Storage;

const SLOT: SlotName = SlotName::RateLimit;

fn record(slot: SlotName, digest: &str, note: &str) -> ReleaseRecord {
    let content = ReleaseContent {
        slot,
        digest: digest.to_owned(),
        wit_version: "1.0.0".to_owned(),
        settings: BTreeMap::from([("NAME".to_owned(), "välue \"quoted\" \\ ☂".to_owned())]),
        limits: ReleaseLimits {
            deadline_ms: Some(2),
            memory_bytes: Some(1 << 20),
        },
        note: note.to_owned(),
    };
    ReleaseRecord::new(content, "operator", NOW, None)
}

fn entry(action: AuditAction, why: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        slot: SLOT,
        who: "operator".to_owned(),
        action,
        release_id: Some("abc".to_owned()),
        generation: None,
        why: why.to_owned(),
    }
}

async fn state(store: &Storage, slot: SlotName) -> DesiredSlot {
    let states = store.releases.desired().await.unwrap();
    states.into_iter().find(|state| state.slot == slot).unwrap()
}

async fn decided(store: &Storage, next: &DesiredSlot) -> DesiredSlot {
    match store
        .releases
        .decide(next, &entry(AuditAction::Activate, "why"))
        .await
        .unwrap()
    {
        Decided::Done(state) => state,
        Decided::Moved(state) => panic!("moved: {state:?}"),
    }
}

pub(crate) async fn stores_and_lists(store: &Storage) {
    let first = record(SLOT, "d1", "first");
    let added = store.releases.add(&first, b"\0bytes").await.unwrap();
    assert!(added.is_new);
    assert_eq!(added.record, first);
    let mut again = first.clone();
    again.created_at = NOW.plus_seconds(5);
    let added = store.releases.add(&again, b"\0bytes").await.unwrap();
    assert!(!added.is_new);
    assert_eq!(added.record, first, "what was stored first stays");

    let second = record(SLOT, "d1", "second");
    store.releases.add(&second, b"\0bytes").await.unwrap();
    store
        .releases
        .add(&record(SlotName::NpcTransform, "d2", ""), b"other")
        .await
        .unwrap();
    assert_eq!(store.releases.get(&first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.releases.get("nothing").await.unwrap(), None);
    assert_eq!(
        store.releases.list(SLOT, 9).await.unwrap(),
        [second.clone(), first.clone()]
    );
    assert_eq!(store.releases.list(SLOT, 1).await.unwrap(), [second]);
    assert!(
        store
            .releases
            .list(SlotName::HostSelection, 9)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.releases.component("d1").await.unwrap().as_deref(),
        Some(&b"\0bytes"[..])
    );
    assert_eq!(store.releases.component("d3").await.unwrap(), None);
}

pub(crate) async fn a_signature_may_follow(store: &Storage) {
    let plain = record(SLOT, "d", "n");
    store.releases.add(&plain, b"c").await.unwrap();
    let mut signed = plain.clone();
    signed.signature = Some(ReleaseSignature {
        key_id: "k".to_owned(),
        value: "v".to_owned(),
    });
    signed.created_by = "key:k".to_owned();
    assert_eq!(store.releases.add(&signed, b"c").await.unwrap().record, signed);
    assert_eq!(
        store.releases.add(&plain, b"c").await.unwrap().record,
        signed,
        "no signature takes none away"
    );
    assert_eq!(store.releases.get(&plain.id).await.unwrap(), Some(signed));
}

pub(crate) async fn components_are_shared_and_pruned(store: &Storage) {
    let records: Vec<_> = (0..5)
        .map(|number| record(SLOT, &format!("d{}", number / 2), &number.to_string()))
        .collect();
    for record in &records {
        store.releases.add(record, record.digest.as_bytes()).await.unwrap();
    }
    let other = record(SlotName::NpcTransform, "other", "");
    store.releases.add(&other, b"other").await.unwrap();
    decided(store, &DesiredSlot::untouched(SLOT).activated(&records[0].id, NOW)).await;
    assert_eq!(store.releases.prune(SLOT, 1).await.unwrap(), 3);
    assert_eq!(
        store.releases.list(SLOT, 9).await.unwrap(),
        [records[4].clone(), records[0].clone()]
    );
    for (digest, there) in [("d0", true), ("d1", false), ("d2", true), ("other", true)] {
        assert_eq!(
            store.releases.component(digest).await.unwrap().is_some(),
            there,
            "{digest}"
        );
    }
    assert_eq!(store.releases.prune(SLOT, 9).await.unwrap(), 0);
    assert_eq!(store.releases.prune(SlotName::HostSelection, 0).await.unwrap(), 0);
}

pub(crate) async fn one_change_wins(store: &Storage) {
    assert_eq!(
        store.releases.desired().await.unwrap(),
        SlotName::ALL.map(DesiredSlot::untouched)
    );
    assert_eq!(store.releases.generation().await.unwrap(), 0);
    let first = decided(store, &DesiredSlot::untouched(SLOT).activated("a", NOW)).await;
    assert_eq!((first.generation, first.active.as_deref()), (1, Some("a")));
    assert_eq!(state(store, SLOT).await, first);
    assert_eq!(store.releases.generation().await.unwrap(), 1);

    let late = DesiredSlot::untouched(SLOT).activated("b", NOW);
    let answer = store
        .releases
        .decide(&late, &entry(AuditAction::Activate, "late"))
        .await
        .unwrap();
    assert_eq!(answer, Decided::Moved(first.clone()));
    assert_eq!(state(store, SLOT).await, first);
    assert_eq!(store.releases.audit(SLOT, 9).await.unwrap().len(), 1);

    let second = decided(store, &first.activated("b", NOW)).await;
    assert_eq!((second.generation, second.previous()), (2, Some("a")));
    assert_eq!(state(store, SlotName::NpcTransform).await.generation, 0);
    assert_eq!(store.releases.generation().await.unwrap(), 2);
}

pub(crate) async fn changes_race(store: &Storage) {
    let racers = (0..8).map(|number| {
        let releases = store.releases.clone();
        tokio::spawn(async move {
            let next = DesiredSlot::untouched(SLOT).activated(&number.to_string(), NOW);
            releases
                .decide(&next, &entry(AuditAction::Activate, "race"))
                .await
                .unwrap()
        })
    });
    let mut done = 0;
    for racer in racers.collect::<Vec<_>>() {
        done += u32::from(matches!(racer.await.unwrap(), Decided::Done(_)));
    }
    assert_eq!(done, 1);
    assert_eq!(store.releases.audit(SLOT, 99).await.unwrap().len(), 1);
    assert_eq!(state(store, SLOT).await.generation, 1);
}

pub(crate) async fn audits(store: &Storage) {
    let upload = entry(AuditAction::Upload, "Ünïcode ☂");
    store.releases.note(&upload).await.unwrap();
    decided(store, &DesiredSlot::untouched(SLOT).activated("a", NOW)).await;
    let entries = store.releases.audit(SLOT, 9).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].generation, entries[0].why.as_str()), (Some(1), "why"));
    assert_eq!(entries[1], upload);
    assert_eq!(store.releases.audit(SLOT, 1).await.unwrap().len(), 1);
    assert!(
        store
            .releases
            .audit(SlotName::HostSelection, 9)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn nodes_report(store: &Storage) {
    let report = |node: &str, slot, seen_at| NodeReport {
        node: node.to_owned(),
        slot,
        generation: 3,
        desired: Some("a".to_owned()),
        active: None,
        previous: None,
        error: Some("refused".to_owned()),
        changed_at: NOW,
        seen_at,
        rollout: Some(RolloutCounts {
            samples: 7,
            p99_us: Some(1.5),
            ..RolloutCounts::default()
        }),
    };
    let (mine, other) = (report("n1", SLOT, NOW), report("n1", SlotName::NpcTransform, NOW));
    store.releases.report(&[other.clone(), mine.clone()]).await.unwrap();
    let later = report("n2", SLOT, NOW.plus_seconds(60));
    store.releases.report(std::slice::from_ref(&later)).await.unwrap();
    let mut all = store.releases.reports(NOW).await.unwrap();
    all.sort_by(|a, b| (&a.node, a.slot).cmp(&(&b.node, b.slot)));
    assert_eq!(all, [mine, other, later.clone()]);
    assert_eq!(
        store.releases.reports(NOW.plus_seconds(1)).await.unwrap(),
        std::slice::from_ref(&later)
    );
    let again = report("n1", SLOT, NOW.plus_seconds(61));
    store.releases.report(std::slice::from_ref(&again)).await.unwrap();
    assert_eq!(
        store.releases.reports(NOW.plus_seconds(1)).await.unwrap(),
        [again, later]
    );

    store.releases.withdraw("n2").await.unwrap();
    store.releases.report(&[]).await.unwrap();
    assert_eq!(store.releases.reports(NOW).await.unwrap().len(), 2);
    let much_later = report("n3", SLOT, NOW.plus_seconds(62 + FORGET_NODES));
    store.releases.report(std::slice::from_ref(&much_later)).await.unwrap();
    assert_eq!(store.releases.reports(NOW).await.unwrap(), [much_later]);
}
