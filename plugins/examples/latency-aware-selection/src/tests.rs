//! The answers are spread, near the best, and the same for the same seed.

use std::collections::HashSet;

use super::*;

fn request(seed: u64) -> Request {
    Request {
        min_quality_score: 0.0,
        min_bandwidth_mbps: 10.0,
        max_latency_ms: 100.0,
        players: 4,
        seed,
        max_picks: 16,
    }
}

fn host(latency_ms: f64, sessions: u32) -> Candidate {
    Candidate {
        quality_score: 50.0,
        latency_ms,
        packet_loss_percent: 0.0,
        free_mbps: 100.0,
        free_players: 20,
        sessions,
        heartbeat_age_seconds: 5,
    }
}

fn order(seed: u64, hosts: &[Candidate]) -> Vec<u32> {
    let picks = rank(&Settings::DEFAULT, &request(seed), hosts);
    picks.into_iter().map(|pick| pick.candidate).collect()
}

#[test]
fn the_same_seed_gives_the_same_order_and_each_host_once() {
    let hosts: Vec<_> = (0..10).map(|number| host(f64::from(number), 0)).collect();
    let ranked = order(7, &hosts);
    assert_eq!(ranked, order(7, &hosts));
    assert_eq!(ranked.iter().collect::<HashSet<_>>().len(), 10);
    assert!(
        (0..20).any(|seed| order(seed, &hosts) != ranked),
        "another seed, another order"
    );
}

#[test]
fn the_first_places_are_spread_over_the_less_burdened_half() {
    let hosts: Vec<_> = (0..10).map(|number| host(10.0 * f64::from(number), 0)).collect();
    let firsts: Vec<u32> = (0..1000)
        .filter_map(|seed| order(seed, &hosts).first().copied())
        .collect();
    let near = firsts.iter().filter(|first| **first < 5).count();
    assert!(near > 700, "{near} of 1000 in the nearer half");
    let best = firsts.iter().filter(|first| **first == 0).count();
    assert!((100..300).contains(&best), "the best host got {best} of 1000: no rush");
    assert!(!firsts.contains(&9), "the worst host loses against every other");
}

#[test]
fn a_host_with_sessions_gives_way_to_one_without() {
    let (busy, idle) = (host(20.0, 3), host(30.0, 0));
    assert!(burden(&idle) < burden(&busy));
}

#[test]
fn what_does_not_suit_is_left_out() {
    let mut silent = host(1.0, 0);
    silent.heartbeat_age_seconds = 91;
    let mut full = host(1.0, 0);
    full.free_players = 3;
    let mut narrow = host(1.0, 0);
    narrow.free_mbps = 9.0;
    let unmeasured = host(f64::NAN, 0);
    let hosts = [silent, full, narrow, host(101.0, 0), unmeasured, host(50.0, 0)];
    assert_eq!(order(1, &hosts), [5]);
    assert!(order(1, &[]).is_empty());
}

#[test]
fn the_answer_is_no_longer_than_wanted() {
    let hosts = vec![host(1.0, 0); 40];
    assert_eq!(order(1, &hosts).len(), 16);
}

#[test]
fn a_score_has_its_bounds() {
    assert_eq!(score(0.0, 0.0), 100.0);
    assert_eq!(score(20.0, 1.0), 86.0);
    assert_eq!(score(1e6, 0.0), 0.0);
    assert_eq!(score(f64::NAN, 0.0), 0.0);
}

#[test]
fn a_bad_setting_is_named() {
    let read = |value| Settings::read([("OTHER", "x"), (MAX_AGE, value)]);
    assert_eq!(read(" 30 ").unwrap().max_age_seconds, 30);
    let error = read("soon").unwrap_err();
    assert!(error.contains(MAX_AGE) && error.contains("soon"), "{error}");
}
