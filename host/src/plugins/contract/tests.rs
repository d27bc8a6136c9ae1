//! A released contract stays as it was, and components that were built for it go on serving.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;
use crate::plugins::engine::PolicyEngine;
use crate::plugins::instance::Source;
use crate::plugins::loader::{Loader, digest};
use crate::plugins::slot_name::SlotName;
use crate::plugins::worlds::{host_selection, npc_transform, rate_limit};

pub(super) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// SHA-256 over the contract of each generation. A line is added with a release and never changed.
fn released(generation: Generation) -> &'static str {
    match generation {
        Generation::V1_0 => "4d4f719c3356057bdbeb78664c826220dd0aee10dce2e43462d5cf476c922a58",
    }
}

/// Components of a generation, with their digests.
fn components(generation: Generation) -> [(SlotName, &'static str); 3] {
    match generation {
        Generation::V1_0 => [
            (
                SlotName::HostSelection,
                "e46a1cd7ee2a9c602706f7602571e1c3218127bf33ec4858edd80336a2b7697b",
            ),
            (
                SlotName::RateLimit,
                "f4e9c20ed9c17813841aac9f13fa3db655ee95b83a058a01b78ba4f599b2ee54",
            ),
            (
                SlotName::NpcTransform,
                "b93d66e7aa0203346215082d7330a1c21df0e919d9916a8b9c90a0ecde372e11",
            ),
        ],
    }
}

/// The WIT files of a folder, by name.
fn wit(folder: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|file| file.path().extension().is_some_and(|end| end == "wit"))
        .map(|file| {
            let text = std::fs::read_to_string(file.path()).unwrap().replace("\r\n", "\n");
            (file.file_name().into_string().unwrap(), text)
        })
        .collect()
}

#[test]
fn a_released_contract_never_changes() {
    for generation in Generation::ALL {
        let folder = top().join("wit").join(generation.version());
        let mut hash = Sha256::new();
        for (name, text) in wit(&folder) {
            hash.update(format!("{name}\0{}\0{text}", text.len()));
        }
        assert_eq!(
            hex::encode(hash.finalize()),
            released(generation),
            "{} is released and must stay as it was: put it back, and change the contract in wit/ with a new version",
            folder.display()
        );
    }
}

#[test]
fn the_contract_in_hand_is_the_released_one_or_has_a_version_of_its_own() {
    let hand = wit(&top().join("wit"));
    let version = WIT_VERSION;
    for (name, text) in &hand {
        let package = format!("package p2p-coordinator:policy@{version};");
        assert!(text.lines().any(|line| line == package), "{name} is not of {package}");
    }
    let frozen = top().join("wit").join(version);
    if frozen.is_dir() {
        assert!(
            wit(&frozen) == hand,
            "wit/ differs from wit/{version}, which is released: give it a new version"
        );
    }
}

fn ask<W: World>(generation: Generation, bytes: &[u8]) {
    let setting = |value: &str| ("POLICY_FIXTURE".to_owned(), value.to_owned());
    // Once the plain answers, once those that need the imports.
    for behaviour in ["good", "ask"] {
        let loader = Loader {
            engine: PolicyEngine::start().unwrap(),
            cache: None,
            settings: [setting(behaviour)].into(),
            trial: true,
        };
        let (release, mut instance) = loader.load::<W>(Source::Bundled, bytes, &mut |_| {}).unwrap();
        assert_eq!(release.about.wit_version, generation.version());
        for question in W::samples() {
            instance.ask(&question).unwrap();
        }
    }
}

#[test]
fn components_of_every_released_contract_still_serve() {
    for generation in Generation::ALL {
        for (slot, known) in components(generation) {
            let path = top()
                .join(format!("tests/fixtures/dist/wit-{}", generation.version()))
                .join(slot.file());
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(digest(&bytes), known, "{} must stay as it was", path.display());
            match slot {
                SlotName::HostSelection => ask::<host_selection::Bound>(generation, &bytes),
                SlotName::RateLimit => ask::<rate_limit::Bound>(generation, &bytes),
                SlotName::NpcTransform => ask::<npc_transform::Bound>(generation, &bytes),
            }
        }
    }
}

#[test]
fn the_newest_generation_that_a_policy_may_know_is_chosen() {
    assert_eq!(Generation::of("1.0.0"), Some(Generation::V1_0));
    assert_eq!(Generation::of("1.0.9"), Some(Generation::V1_0));
    assert_eq!(Generation::of("1.7.0"), Some(Generation::V1_0));
    for stranger in ["0.9.0", "2.0.0", "1", "1.0", "x.0.0", ""] {
        assert_eq!(Generation::of(stranger), None, "{stranger}");
    }
    let newest = Generation::ALL.last().map(|newest| newest.version());
    assert!(newest <= Some(WIT_VERSION));
}
