//! Releases that are shown to live calls first: gates, the halt, the promotion, and whom a canary answers.

use super::*;

/// Many requests of one address; each must be answered well.
async fn calls(server: &Server, count: usize) {
    let anonymous = server.anonymous();
    for _ in 0..count {
        let _ = anonymous.get("/").await.status_is(200);
        let _ = server.operator().get("/zones/").await.status_is(200);
    }
}

#[tokio::test]
async fn a_release_that_fails_under_live_calls_is_halted_without_one_failed_request() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", 1_000_000)
        .start();
    let operator = server.operator();
    let bad = push(&operator, LIMITS, &fixture(LIMITS, "live-panic"), "good in every test").await;
    for (mode, percent) in [("canary", 100), ("shadow", 0)] {
        let rollout = json!({ "release_id": bad, "mode": mode, "percent": percent, "sample_percent": 100,
            "gates": { "min_samples": 50, "max_failure_rate": 0.02, "promote_automatically": true } });
        let _ = act(&operator, LIMITS, "rollout", rollout).await;
        let halted = eventually("the gate halts it", || async {
            calls(&server, 5).await;
            let entry = audit(&operator, LIMITS).await.swap_remove(0);
            (entry["action"] == "halt").then_some(entry)
        })
        .await;
        assert!(halted["who"].as_str().unwrap().starts_with("gate node-"), "{halted}");
        let why = halted["why"].as_str().unwrap();
        assert!(why.starts_with(mode) && why.contains("failed"), "{halted}");
        assert_eq!(halted["release_id"], bad.as_str(), "{halted}");
        let report = slot(&operator, LIMITS).await;
        assert!(report["delivery"]["desired"]["rollout"].is_null(), "{report}");
        assert_eq!(report["policy"]["source"], "bundled", "{report}");
    }
    let report = slot(&operator, LIMITS).await;
    assert_eq!(
        report["rungs"]["native"], 0,
        "the active release answered what the candidate did not: {report}"
    );

    // Activated at once it is taken back: its calls are answered by the release before it.
    let _ = act(&operator, LIMITS, "activate", json!({ "release_id": bad })).await;
    let taken_back = eventually("it is taken back", || async {
        calls(&server, 5).await;
        let entry = audit(&operator, LIMITS).await.swap_remove(0);
        (entry["action"] == "rollback").then_some(entry)
    })
    .await;
    assert!(taken_back["who"].as_str().unwrap().starts_with("gate "), "{taken_back}");
    assert!(
        taken_back["why"].as_str().unwrap().contains("soon after"),
        "{taken_back}"
    );
    let report = slot(&operator, LIMITS).await;
    assert!(report["rungs"]["previous"].as_u64() > Some(0), "{report}");
    assert_eq!(
        (&report["rungs"]["native"], &report["rungs"]["static"]),
        (&json!(0), &json!(0)),
        "{report}"
    );
    assert_eq!(report["policy"]["source"], "bundled", "{report}");
}

#[tokio::test]
async fn a_release_that_keeps_to_its_gates_is_promoted_by_itself() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_API_REQUESTS", "1000000")
        .start();
    let operator = server.operator();
    let next = push(&operator, LIMITS, &variant(bundled(LIMITS), 1), "").await;
    let rollout = json!({ "release_id": next, "mode": "shadow", "sample_percent": 100,
        "gates": { "min_samples": 30, "max_difference_rate": 0, "promote_automatically": true } });
    let _ = act(&operator, LIMITS, "rollout", rollout).await;
    let promoted = eventually("it is promoted", || async {
        calls(&server, 5).await;
        let entry = audit(&operator, LIMITS).await.swap_remove(0);
        (entry["action"] == "promote").then_some(entry)
    })
    .await;
    assert!(
        promoted["why"].as_str().unwrap().contains("kept to its gates"),
        "{promoted}"
    );
    let state = slot(&operator, LIMITS).await["delivery"]["desired"].clone();
    assert_eq!(
        (state["active"].as_str(), &state["rollout"]),
        (Some(next.as_str()), &Value::Null)
    );

    // Another that differs is not.
    let different = push(&operator, LIMITS, &fixture(LIMITS, "good"), "").await;
    let rollout = json!({ "release_id": different, "mode": "shadow", "sample_percent": 100,
        "gates": { "min_samples": 30, "max_difference_rate": 0.1 } });
    let _ = act(&operator, LIMITS, "rollout", rollout).await;
    let halted = eventually("it is halted", || async {
        calls(&server, 5).await;
        let entry = audit(&operator, LIMITS).await.swap_remove(0);
        (entry["action"] == "halt").then_some(entry)
    })
    .await;
    assert!(halted["why"].as_str().unwrap().contains("differed"), "{halted}");
}

#[tokio::test]
async fn a_canary_answers_its_share_of_the_players_and_each_always_alike() {
    let server = Options::default()
        .env("RATE_LIMIT_ENABLED", "true")
        .env("RATE_LIMIT_AUTH_REQUESTS", "1000000")
        .env("RATE_LIMIT_API_REQUESTS", "1000")
        .start();
    let operator = server.operator();
    let candidate = push(&operator, LIMITS, &fixture(LIMITS, "good"), "").await;
    let rollout =
        json!({ "release_id": candidate, "mode": "canary", "percent": 40, "gates": { "max_failure_rate": null } });
    let _ = act(&operator, LIMITS, "rollout", rollout).await;
    let mut by_candidate = 0;
    for number in 0..60 {
        let player = server.player(&format!("player-{number}")).await;
        let first = player.get("/zones/").await.number("x-ratelimit-limit");
        for _ in 0..3 {
            assert_eq!(
                player.get("/hosts/").await.number("x-ratelimit-limit"),
                first,
                "player {number}"
            );
        }
        by_candidate += u32::from(first == 999_999);
    }
    assert!((10..40).contains(&by_candidate), "{by_candidate} of 60 at 40 %");
}
