//! The formula, its limits, and the order of the ranking.

use super::*;

const BEST: HostFacts = HostFacts {
    cpu_cores: 8,
    memory_mb: 16_384,
    network_mbps: 1000,
    latency_ms: 0.0,
    packet_loss_percent: 0.0,
    current_players: 0,
    max_players: 50,
};

const NEEDS: Request = Request {
    min_quality_score: 7.0,
    min_bandwidth_mbps: 100.0,
    max_latency_ms: 100.0,
    max_picks: 8,
};

fn candidate(quality_score: f64) -> Candidate {
    Candidate {
        quality_score,
        latency_ms: 0.0,
        free_mbps: 1000.0,
    }
}

fn order(picks: &[Pick]) -> Vec<u32> {
    picks.iter().map(|pick| pick.candidate).collect()
}

#[test]
fn a_fresh_strong_host_scores_one_hundred() {
    assert_eq!(score(&BEST), 100.0);
}

#[test]
fn each_part_of_the_formula_counts() {
    let with = |change: fn(&mut HostFacts)| {
        let mut facts = BEST;
        change(&mut facts);
        score(&facts)
    };
    assert_eq!(with(|h| h.latency_ms = 50.0), 95.0);
    assert_eq!(with(|h| h.latency_ms = 5000.0), 70.0);
    assert_eq!(with(|h| h.packet_loss_percent = 2.5), 95.0);
    assert_eq!(with(|h| h.packet_loss_percent = 100.0), 80.0);
    assert_eq!(with(|h| h.current_players = 25), 87.5);
    assert_eq!(with(|h| h.cpu_cores = 2), 95.0);
    assert_eq!(with(|h| h.memory_mb = 4096), 95.0);
    assert_eq!(with(|h| h.network_mbps = 50), 97.5);
    // 30 − 3.333 + 20 + 25 + 25
    assert_eq!(with(|h| h.latency_ms = 33.33), 96.67);
}

#[test]
fn the_score_never_leaves_its_range() {
    let overfull = HostFacts {
        cpu_cores: 1,
        memory_mb: 1,
        network_mbps: 1,
        latency_ms: 1e9,
        packet_loss_percent: 100.0,
        current_players: u32::MAX,
        max_players: 1,
    };
    assert_eq!(score(&overfull), 0.0);
    assert_eq!(score(&HostFacts { max_players: 0, ..BEST }), 75.0);
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let facts = HostFacts {
            latency_ms: odd,
            packet_loss_percent: odd,
            ..BEST
        };
        assert!((0.0..=100.0).contains(&score(&facts)), "{odd}");
    }
}

#[test]
fn rounding_is_exact() {
    assert_eq!(two_decimals(2.675), 2.67, "2.675 is stored a little below");
    assert_eq!(two_decimals(1.005), 1.0, "1.005 is stored a little below");
    assert_eq!(two_decimals(0.125), 0.12, "a true tie goes to the even neighbour");
    assert_eq!(two_decimals(0.375), 0.38);
    let mut number = 0.0;
    while number < 100.0 {
        assert_eq!(
            two_decimals(number).to_string(),
            format!("{number:.2}").parse::<f64>().unwrap().to_string()
        );
        number += 0.0137;
    }
}

#[test]
fn the_best_comes_first_and_ties_keep_their_order() {
    let picks = rank(&NEEDS, [50.0, 90.0, 70.0, 90.0].map(candidate));
    assert_eq!(order(&picks), [1, 3, 2, 0]);
    assert_eq!(picks[0].score, 90.0);
    assert_eq!(picks[0].reason, "score 90.00, latency 0 ms, 1000 Mbit/s free");
}

#[test]
fn only_the_wanted_number_of_picks_is_given() {
    let many: Vec<Candidate> = (0..500).map(|n| candidate(f64::from(n * 7919 % 500) / 5.0)).collect();
    let all = rank(
        &Request {
            max_picks: 500,
            ..NEEDS
        },
        many.iter().copied(),
    );
    let few = rank(&NEEDS, many.iter().copied());
    assert_eq!(few, all[..8]);
    assert!(all.is_sorted_by(|a, b| a.score >= b.score));
    assert!(rank(&Request { max_picks: 0, ..NEEDS }, many).is_empty());
}

#[test]
fn hosts_that_miss_a_need_of_the_zone_are_left_out() {
    let good = candidate(99.0);
    let candidates = [
        Candidate {
            latency_ms: 100.5,
            ..good
        },
        Candidate {
            free_mbps: 99.5,
            ..good
        },
        Candidate {
            quality_score: 6.99,
            ..good
        },
        Candidate {
            quality_score: f64::NAN,
            ..good
        },
        Candidate {
            quality_score: 7.0,
            latency_ms: 100.0,
            free_mbps: 100.0,
        },
    ];
    assert_eq!(order(&rank(&NEEDS, candidates)), [4]);
    assert!(rank(&NEEDS, []).is_empty());
}
