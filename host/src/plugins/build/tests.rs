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

/// With `REBUILD_COMPONENTS=1` the component is built again first, which needs a toolchain for WebAssembly.
fn assert_built_from(source: &str, component: &str) {
    if std::env::var_os("REBUILD_COMPONENTS").is_some() {
        let dir = top().join(source);
        let compiled = rust::compile(&dir, &Toolchain::find(&dir).unwrap()).unwrap();
        // Not every guest fills a slot, and so each is written as it is.
        let mut bytes = compiled.bytes;
        source::append(&mut bytes, source::SECTION, compiled.source_digest.as_bytes());
        if let Some(vectors) = vectors_of(&dir) {
            source::append(&mut bytes, source::VECTORS, &vectors);
        }
        write(&top().join(component), &bytes).unwrap();
    }
    let bytes = fs::read(top().join(component)).unwrap();
    assert_eq!(
        source::embedded(&bytes),
        Some(source::digest(&top().join(source), "Cargo.toml").unwrap()),
        "{component} was not built from {source} as it is: run `REBUILD_COMPONENTS=1 cargo test -p p2p-coordinator --lib plugins::build`"
    );
    assert_eq!(
        source::section(&bytes, source::VECTORS),
        vectors_of(&top().join(source)).as_deref(),
        "{component} does not carry the vectors of {source}"
    );
}

fn vectors_of(dir: &Path) -> Option<Vec<u8>> {
    let slot = SlotName::parse(dir.file_name()?.to_str()?)?;
    vectors::of_project(dir, slot).unwrap()
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

/// A crate and the contract, in a folder of its own.
fn crate_with(line_end: &str, extra: &[(&str, &str)]) -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    let files = [
        ("wit/policy.wit", "/// Text.\npackage p2p-coordinator:policy@1.0.0;\n"),
        ("policy/Cargo.toml", "[package]\nname = \"a\"\n"),
        ("policy/src/lib.rs", "//! Text.\nmod deeper;\n"),
        ("policy/src/deeper/mod.rs", "fn f() {}\n"),
    ];
    for (name, text) in files.iter().chain(extra) {
        let path = top.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace('\n', line_end)).unwrap();
    }
    top
}

fn digest_of(top: &tempfile::TempDir) -> String {
    source::digest(&top.path().join("policy"), "Cargo.toml").unwrap()
}

#[test]
fn a_digest_depends_on_the_sources_and_on_nothing_else() {
    let plain = digest_of(&crate_with("\n", &[]));
    assert_eq!(plain.len(), 64);
    assert_eq!(plain, digest_of(&crate_with("\r\n", &[])));
    let beside = [
        ("policy/README.md", "a"),
        ("policy/src/.lib.rs.swp", "a"),
        ("Cargo.lock", "a"),
    ];
    assert_eq!(plain, digest_of(&crate_with("\n", &beside)));
    for changed in [
        "policy/Cargo.toml",
        "policy/src/deeper/mod.rs",
        "policy/src/new.rs",
        "wit/new.wit",
    ] {
        assert_ne!(plain, digest_of(&crate_with("\n", &[(changed, "other")])), "{changed}");
    }
}

#[test]
fn a_crate_without_the_contract_has_no_digest() {
    let top = crate_with("\n", &[("wit/policy.wit", "package another:one;\n")]);
    let error = source::digest(&top.path().join("policy"), "Cargo.toml").unwrap_err();
    assert!(matches!(error, SourceError::NoContract(_)), "{error}");
}

#[test]
fn the_digest_in_a_component_is_found_again() {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    assert_eq!(source::embedded(&component), None);
    source::append(&mut component, source::SECTION, b"abc");
    assert_eq!(source::embedded(&component), Some("abc".to_owned()));
    component.pop();
    assert_eq!(source::embedded(&component), None, "cut short");
    assert_eq!(source::embedded(b"no component"), None);
}

#[test]
fn a_section_is_taken_out_without_a_trace() {
    let plain = SlotName::RateLimit.bundled();
    let bare = source::without(plain, source::VECTORS);
    assert_eq!(source::section(&bare, source::VECTORS), None);
    assert_eq!(
        source::embedded(&bare),
        source::embedded(plain),
        "the other section stays"
    );
    for length in [0, 10, 300, 70_000] {
        let mut with = bare.clone();
        source::append(&mut with, source::VECTORS, &vec![b'x'; length]);
        source::append(&mut with, "another", b"stays");
        let without = source::without(&with, source::VECTORS);
        assert_eq!(source::section(&without, "another"), Some(&b"stays"[..]), "{length}");
        assert!(without.starts_with(&bare), "{length}");
    }
}

#[test]
fn a_folder_without_a_crate_is_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let error = build(folder.path(), None, &Tools::default(), &mut |_| {})
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("holds no Cargo.toml and no policy.json"), "{error}");
}

#[test]
fn a_crate_that_is_no_cdylib_is_refused_with_words() {
    let top = crate_with(
        "\n",
        &[(
            "policy/Cargo.toml",
            "[package]\nname = \"a\"\nedition = \"2024\"\n[workspace]\n",
        )],
    );
    let error = rust::compile(&top.path().join("policy"), &Toolchain::of_cargo("cargo"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("crate-type"), "{error}");
}
