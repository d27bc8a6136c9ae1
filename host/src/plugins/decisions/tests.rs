//! The log of a slot: what is kept, what is dropped, what is written, and that nothing waits.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::plugins::ladder::Answered;
use crate::plugins::slot_name::SlotName;
use crate::plugins::tests::empty_slot;
use crate::plugins::worlds::World;
use crate::plugins::worlds::host_selection::{self, HostChoice};
use crate::plugins::worlds::rate_limit::{self, RateLimit};
use crate::ports::policies::{Caller, HostSelection as _, RateLimiting as _, Surface};

fn all() -> Filter {
    Filter {
        session_id: None,
        limit: usize::MAX,
    }
}

#[test]
fn ids_are_read_as_they_are_written() {
    for slot in SlotName::ALL {
        let id = DecisionId {
            origin: 0x2a,
            slot,
            number: 17,
        };
        assert_eq!(DecisionId::parse(&id.to_string()), Some(id));
    }
    for text in [
        "",
        "0000002a",
        "0000002a-17",
        "0000002a-x17",
        "2a-h17",
        "0000002a-hx",
        "ü-h1",
    ] {
        assert_eq!(DecisionId::parse(text), None, "{text}");
    }
}

#[test]
fn a_ring_keeps_the_latest_and_counts_what_the_file_missed() {
    let slot = empty_slot::<rate_limit::Bound>();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    let request = rate_limit::sample(Surface::Websocket, Caller::Player);
    let _ = policy.decide(&request);
    assert!(slot.log.find(&all()).is_empty(), "it is off at first");

    slot.log.open(0x2a, 8, 1.0, true);
    for _ in 0..20 {
        let _ = policy.decide(&request);
    }
    let kept = slot.log.find(&all());
    assert_eq!(kept.len(), 8);
    assert_eq!(kept.first().map(|newest| newest.id.as_str()), Some("0000002a-r20"));
    assert_eq!(
        (
            kept[0].rung.as_str(),
            kept[0].release.as_ref(),
            kept[0].session_id.as_deref()
        ),
        ("native", None, request.session_id)
    );
    let mut lines = Vec::new();
    assert_eq!(slot.log.write_to(&mut lines), 8);
    assert_eq!(slot.log.write_to(&mut lines), 0, "each is written once");
    let counts = slot.log.counts();
    assert_eq!((counts.recorded, counts.dropped), (20, 12));
    let first: LoggedDecision = serde_json::from_slice(lines.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(Some(first), kept.last().cloned(), "what is written is what is shown");
    assert_eq!(slot.log.get(DecisionId::parse("0000002a-r1").unwrap()), None);
    assert!(slot.log.get(DecisionId::parse("0000002a-r20").unwrap()).is_some());

    slot.log.open(0x2a, 8, 0.0, true);
    let _ = policy.decide(&request);
    assert_eq!(slot.log.counts(), counts, "not sampled");
}

#[tokio::test]
async fn scores_do_not_push_out_choices() {
    let slot = empty_slot::<host_selection::Bound>();
    let policy = HostChoice::new(Arc::clone(&slot));
    slot.log.open(1, 4, 1.0, false);
    let candidates: Vec<_> = (0..3).map(host_selection::sample_candidate).collect();
    let request = crate::ports::policies::HostRequest {
        session_id: Some("session-1".to_owned()),
        ..host_selection::sample_request()
    };
    let _ = policy.rank(request, candidates.clone()).await;
    for _ in 0..100 {
        let _ = policy.score(&candidates[0].host);
    }
    let filter = Filter {
        session_id: Some("session-1".to_owned()),
        ..all()
    };
    let found = slot.log.find(&filter);
    assert_eq!(found.len(), 1);
    assert!(found[0].question["rank"]["candidates"].is_array(), "{:?}", found[0]);
    // It is a question that can be asked again.
    let question = serde_json::from_value(found[0].question.clone()).unwrap();
    let again = host_selection::Bound::native(&question, &[]);
    assert_eq!(serde_json::to_value(again).unwrap(), found[0].answer);
}

#[test]
fn no_address_and_no_token_leaves_with_a_decision() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwMSJ9.c2lnbmF0dXJlLW9mLXRoaXM";
    let slot = empty_slot::<rate_limit::Bound>();
    let policy = RateLimit::new(Arc::clone(&slot), &[]);
    slot.log.open(1, 8, 1.0, true);
    let mut request = rate_limit::sample(Surface::Api, Caller::Player);
    request.user_id = Some(jwt);
    for ip in ["192.0.2.77", "2001:db8:1:2::77"] {
        request.ip = ip.parse().unwrap();
        let _ = policy.decide(&request);
    }
    let mut lines = Vec::new();
    slot.log.write_to(&mut lines);
    let text = String::from_utf8(lines).unwrap();
    for secret in ["192.0.2.77", "::77", "2001:db8:1:2", jwt, "eyJ", "c2lnbmF0"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(text.contains("192.0.2.0") && text.contains("2001:db8:1::"), "{text}");
    // Masked questions are questions still.
    for line in text.lines() {
        let logged: LoggedDecision = serde_json::from_str(line).unwrap();
        let _: rate_limit::Question = serde_json::from_value(logged.question).unwrap();
    }
}

#[test]
fn heavy_decisions_are_bounded_in_bytes() {
    let slot = empty_slot::<host_selection::Bound>();
    slot.log.open(1, 100_000, 1.0, false);
    let candidates = Arc::new((0..1000).map(host_selection::sample_candidate).collect::<Vec<_>>());
    let request = Arc::new(host_selection::sample_request());
    for _ in 0..500 {
        slot.log.keep(Arc::new(Record {
            id: slot.log.next_id(),
            at: request.now,
            took: Duration::ZERO,
            request: None,
            by: Answered {
                answer: (),
                rung: crate::ports::policies::Rung::Native,
                release: None,
                skipped: None,
            },
            kept: <host_selection::Bound as World>::Kept::Rank(Arc::clone(&request), Arc::clone(&candidates)),
            answer: host_selection::Answer::Rank(Vec::new()),
        }));
    }
    let kept = Arc::strong_count(&candidates) - 1;
    assert!((1..40).contains(&kept), "{kept} of 500");
    assert!(slot.log.find(&all()).len() < 8, "one answer shows few of them");
}
