//! The committed components belong to the sources beside them, and the digest means the same everywhere.

use std::path::PathBuf;

use super::*;

/// Crate folder and committed component, from the top of the repository.
const BUNDLED: [(&str, &str); 3] = [
    ("plugins/host-selection", "plugins/dist/host-selection.wasm"),
    ("plugins/npc-transform", "plugins/dist/npc-transform.wasm"),
    ("plugins/rate-limit", "plugins/dist/rate-limit.wasm"),
];

/// The guests of the tests, likewise.
const GUESTS: [(&str, &str); 5] = [
    (
        "tests/fixtures/guests/host-selection",
        "tests/fixtures/dist/host-selection.wasm",
    ),
    (
        "tests/fixtures/guests/npc-transform",
        "tests/fixtures/dist/npc-transform.wasm",
    ),
    (
        "tests/fixtures/guests/rate-limit",
        "tests/fixtures/dist/rate-limit.wasm",
    ),
    (
        "tests/fixtures/guests/unknown-import",
        "tests/fixtures/dist/unknown-import.wasm",
    ),
    (
        "tests/fixtures/guests/wrong-world",
        "tests/fixtures/dist/wrong-world.wasm",
    ),
];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn assert_built_from(source: &str, component: &str) {
    let bytes = fs::read(top().join(component)).unwrap();
    assert_eq!(
        source::embedded(&bytes),
        Some(source::digest(&top().join(source)).unwrap()),
        "{component} was not built from {source} as it is: run `cargo test -p p2p-coordinator --lib rebuild -- --ignored`"
    );
}

#[test]
fn bundled_components_are_built_from_the_sources_beside_them() {
    for (source, component) in BUNDLED {
        assert_built_from(source, component);
    }
}

#[test]
fn guests_of_the_tests_are_built_from_the_sources_beside_them() {
    for (source, component) in GUESTS {
        assert_built_from(source, component);
    }
}

/// Builds every committed component again.
#[test]
#[ignore = "needs a toolchain for WebAssembly and takes minutes"]
fn rebuild_committed_components() {
    for (source, component) in BUNDLED {
        build(&top().join(source), Some(&top().join(component))).unwrap();
        assert_built_from(source, component);
    }
    // Not all guests fill a slot, and so they are written as they are.
    for (source, component) in GUESTS {
        let dir = top().join(source);
        let compiled = compile(&dir, &Toolchain::find(&dir).unwrap()).unwrap();
        write(&top().join(component), &compiled.bytes).unwrap();
        assert_built_from(source, component);
    }
}
