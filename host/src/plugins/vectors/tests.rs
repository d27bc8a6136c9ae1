//! Vectors in components: the bundled ones hold, one that does not refuses the policy, and what cannot be read is told.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::plugins::engine::PolicyEngine;
use crate::plugins::instance::Source;
use crate::plugins::loader::{Loader, Passed};

/// Loads `component` with `vectors` in it. Answers what was told of the step.
fn load<W: World>(component: &[u8], vectors: &Value, settings: &[(String, String)]) -> Result<Option<String>, Refusal> {
    let mut component = component.to_vec();
    source::append(&mut component, source::VECTORS, vectors.to_string().as_bytes());
    let loader = Loader {
        engine: PolicyEngine::start().unwrap(),
        cache: None,
        settings: settings.to_vec().into(),
        trial: true,
    };
    let mut told = None;
    let mut watch = |passed: Passed| {
        if passed.step == Step::Vectors {
            told = Some(passed.detail);
        }
    };
    loader.load::<W>(Source::Bundled, &component, &mut watch)?;
    Ok(told)
}

#[test]
fn every_bundled_policy_carries_vectors_of_its_slot() {
    for slot in SlotName::ALL {
        let vectors = embedded(slot.bundled()).unwrap().unwrap();
        assert!(vectors.vectors.len() >= 3, "{}", slot.as_str());
        vectors.check(slot).unwrap();
    }
}

#[test]
fn vectors_are_asked_with_their_own_settings_and_no_others() {
    let bundled = SlotName::RateLimit.bundled();
    let question = json!({"surface": "api"});
    let vectors = json!({"vectors": [
        {"name": "default", "question": question, "answer": {"limited": {"capacity": 100}}},
        {"name": "set", "settings": {"RATE_LIMIT_API_REQUESTS": 7}, "question": question,
            "answer": {"limited": {"capacity": 7, "scope": "ip"}}},
    ]});
    let operators = ("RATE_LIMIT_API_REQUESTS".to_owned(), "55".to_owned());
    let told = load::<rate_limit::Bound>(bundled, &vectors, &[operators]).unwrap();
    assert_eq!(told.as_deref(), Some("2 golden vectors"));
}

#[test]
fn a_vector_that_does_not_hold_refuses_the_policy() {
    let vectors = json!({"vectors": [
        {"name": "good", "question": {"score": {"cpu_cores": 8}}, "answer": {"any": true}},
        {"name": "a strong host", "question": {"score": {"cpu_cores": 4, "latency_ms": 0}}, "answer": {"score": 99}},
    ]});
    let refusal = load::<host_selection::Bound>(SlotName::HostSelection.bundled(), &vectors, &[]).unwrap_err();
    assert_eq!(refusal.step, Step::Vectors);
    assert_eq!(
        refusal.reason,
        "vector \"a strong host\": at score: expected 99, given 60.0; expected {\"score\":99}, given {\"score\":60.0}"
    );
}

#[test]
fn a_policy_that_fails_a_vector_is_refused_with_the_failure() {
    let fixture =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/dist/rate-limit.wasm")).unwrap();
    let vectors = json!({"vectors": [{"name": "a trap", "settings": {"POLICY_FIXTURE": "panic"},
        "question": {"surface": "api"}, "answer": {"any": true}}]});
    let refusal = load::<rate_limit::Bound>(&fixture, &vectors, &[]).unwrap_err();
    assert_eq!(refusal.step, Step::Vectors);
    assert!(
        refusal.reason.starts_with("vector \"a trap\": no answer: trap: "),
        "{refusal}"
    );
}

#[test]
fn vectors_that_cannot_be_used_are_told() {
    let bundled = SlotName::RateLimit.bundled();
    for (vectors, text) in [
        (json!([]), "are not {\"vectors\":["),
        (json!({"vectors": [{"name": "a"}]}), "missing field `question`"),
        (
            json!({"vectors": [{"name": "a", "question": {"score": {}}, "answer": 1}]}),
            "vector \"a\": its question is none of the slot rate-limit: unknown field `score`",
        ),
    ] {
        let refusal = load::<rate_limit::Bound>(bundled, &vectors, &[]).unwrap_err();
        assert_eq!(refusal.step, Step::Vectors);
        assert!(refusal.reason.contains(text), "{refusal}");
    }
    let many = vec![json!({"name": "", "question": {"surface": "api"}, "answer": 1}); limits::VECTORS + 1];
    let error = Vectors::parse(json!({"vectors": many}).to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().starts_with("1001 golden vectors"), "{error}");
}

#[test]
fn a_project_with_a_bad_vector_is_not_built() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(of_project(folder.path(), SlotName::RateLimit).unwrap(), None);
    let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
    write("{ \"vectors\": [] }\n");
    let compact = of_project(folder.path(), SlotName::RateLimit).unwrap().unwrap();
    assert_eq!(compact, b"{\"vectors\":[]}");
    write("{\"vectors\": [{\"name\": \"a\", \"question\": {\"surface\": \"phone\"}, \"answer\": {}}]}");
    let error = of_project(folder.path(), SlotName::RateLimit).unwrap_err().to_string();
    assert!(
        error.contains("vectors.json: vector \"a\"") && error.contains("phone"),
        "{error}"
    );
}
