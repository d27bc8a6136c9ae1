//! Questions and answers as JSON: they come back as they were, they are written as documented, and a component and the
//! native default answer them alike.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::plugins::engine::PolicyEngine;
use crate::plugins::instance::Source;
use crate::plugins::loader::Loader;

fn bundled<W: World>(settings: &[(String, String)]) -> Instance<W> {
    let loader = Loader {
        engine: PolicyEngine::start().unwrap(),
        cache: None,
        settings: settings.to_vec().into(),
        trial: false,
    };
    let (_, instance) = loader
        .load::<W>(Source::Bundled, W::SLOT.bundled(), &mut |_| {})
        .unwrap();
    instance
}

fn through_json<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// A component of the slot answers each sample as the native default does, also after a way through JSON.
fn assert_alike<W: World>(settings: &[(String, String)]) {
    let mut instance = bundled::<W>(settings);
    let samples = W::samples();
    assert!(samples.len() >= 3);
    for question in samples {
        let text = serde_json::to_value(&question).unwrap();
        let native = W::native(&question, settings);
        let again: W::Question = through_json(&question);
        assert_eq!(serde_json::to_value(&again).unwrap(), text);
        let component = instance.ask(&again).unwrap();
        assert!(
            component == native,
            "{text}\n{}",
            serde_json::to_value(&native).unwrap()
        );
        assert!(through_json(&component) == component);
    }
}

#[test]
fn components_and_native_defaults_answer_every_sample_alike() {
    assert_alike::<host_selection::Bound>(&[]);
    assert_alike::<npc_transform::Bound>(&[]);
    assert_alike::<rate_limit::Bound>(&[]);
    let settings = ("RATE_LIMIT_API_REQUESTS".to_owned(), "7".to_owned());
    assert_alike::<rate_limit::Bound>(std::slice::from_ref(&settings));
    let question: rate_limit::Question = serde_json::from_value(json!({"surface": "api"})).unwrap();
    let answer = serde_json::to_value(rate_limit::Bound::native(&question, &[settings])).unwrap();
    assert_eq!(answer["limited"]["capacity"], 7);
}

fn native_answer<W: World>(question: Value) -> Value {
    let question: W::Question = serde_json::from_value(question).unwrap();
    serde_json::to_value(W::native(&question, &[])).unwrap()
}

#[test]
fn host_selection_is_asked_and_answers_as_documented() {
    let host = json!({"host_id": "near", "quality_score": 81.25, "network_mbps": 500, "bandwidth_usage_mbps": 40.0,
        "latency_ms": 20.5, "max_players": 8, "region": "eu-west", "labels": {"tier": "home"}});
    let far = json!({"host_id": "far", "quality_score": 90.0, "network_mbps": 500, "latency_ms": 180.0});
    let rank = json!({"rank": {"zone_id": "zone-1", "min_quality_score": 50.0, "min_bandwidth_mbps": 100.0,
        "max_latency_ms": 100.0, "players": 4, "now_ms": 1_750_000_000_000_u64, "seed": u64::MAX,
        "candidates": [far, host]}});
    assert_eq!(
        native_answer::<host_selection::Bound>(rank),
        json!({"rank": [{"host_id": "near", "score": 81.25, "reason": "score 81.25, latency 21 ms, 460 Mbit/s free"}]})
    );
    let score = json!({"score": {"cpu_cores": 4, "memory_mb": 8192, "network_mbps": 100, "max_players": 10}});
    assert_eq!(native_answer::<host_selection::Bound>(score), json!({"score": 100.0}));
}

#[test]
fn rate_limit_is_asked_and_answers_as_documented() {
    assert_eq!(
        native_answer::<rate_limit::Bound>(json!({"surface": "websocket", "caller": "player", "size": 512,
            "now_ms": 1, "ip": "192.0.2.1", "player_id": "p", "message_type": "offer", "session_id": "s"})),
        json!({"limited": {"scope": "connection", "bucket": 0, "capacity": 1000, "window_seconds": 60, "cost": 1}})
    );
    assert_eq!(
        native_answer::<rate_limit::Bound>(json!({"surface": "exempt"})),
        json!("unlimited")
    );
    let draw = rate_limit::Draw {
        scope: rate_limit::Scope::Everyone,
        bucket: 3,
        capacity: 2,
        window_seconds: 1,
        cost: 1,
    };
    let everyone = json!({"scope": "everyone", "bucket": 3, "capacity": 2, "window_seconds": 1, "cost": 1});
    for (answer, text) in [
        (rate_limit::Answer::Deny("no".to_owned()), json!({"deny": "no"})),
        (
            rate_limit::Answer::LimitedByAll(vec![draw]),
            json!({"limited_by_all": [everyone]}),
        ),
    ] {
        assert_eq!(serde_json::to_value(&answer).unwrap(), text);
        assert_eq!(through_json(&answer), answer);
    }
}

#[test]
fn npc_transform_is_asked_and_answers_as_documented() {
    let npcs = json!([{"npc_id": "a", "_plan": 1, "mood": "calm", "internal": ["mood"]}, {"npc_id": "b"}]);
    assert_eq!(
        native_answer::<npc_transform::Bound>(json!({"zone_id": "z", "tick": 3, "now_ms": 1, "npcs": npcs})),
        json!({"npcs": [{"npc_id": "a"}, {"npc_id": "b"}]})
    );
}

#[test]
fn a_misspelt_member_of_a_question_is_told() {
    let error = serde_json::from_value::<host_selection::Question>(json!({"score": {"latency": 3}})).unwrap_err();
    assert!(error.to_string().contains("latency_ms"), "{error}");
    let error = serde_json::from_value::<rate_limit::Question>(json!({"surface": "api", "adress": 3})).unwrap_err();
    assert!(error.to_string().contains("adress"), "{error}");
}

#[test]
fn the_service_and_the_question_make_the_same_request() {
    let candidates: Vec<_> = (0..50).map(host_selection::sample_candidate).collect();
    let request = host_selection::sample_request();
    let question = host_selection::Question::rank(&request, &candidates);
    let host_selection::Question::Rank(rank) = &question else {
        panic!("no rank")
    };
    let (again, candidates) = rank.to_domain();
    assert_eq!(host_selection::Question::rank(&again, &candidates), question);
    let candidate = &Arc::new(candidates)[17];
    let score = host_selection::Question::score(&candidate.host);
    assert_eq!(
        score,
        host_selection::Question::score(&host_selection::sample_candidate(17).host)
    );
}
