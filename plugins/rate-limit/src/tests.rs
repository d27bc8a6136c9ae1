//! The defaults, the settings and their errors.

use super::*;

fn limited(decision: Decision) -> (Scope, u32, u32, u32) {
    match decision {
        Decision::Limited(draw) => (draw.scope, draw.capacity, draw.window_seconds, draw.cost),
        Decision::Unlimited => panic!("unlimited"),
    }
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let limits = Limits::from_settings([]).unwrap();
    assert_eq!(limits, Limits::default());
    assert_eq!(limited(limits.decide(Surface::Api)), (Scope::Ip, 100, 60, 1));
    assert_eq!(limited(limits.decide(Surface::Auth)), (Scope::Ip, 10, 60, 1));
    assert_eq!(
        limited(limits.decide(Surface::Websocket)),
        (Scope::Connection, 1000, 60, 1)
    );
    assert_eq!(limits.decide(Surface::Exempt), Decision::Unlimited);
}

#[test]
fn every_setting_is_heard_and_unknown_ones_are_not() {
    let limits = Limits::from_settings([
        ("RATE_LIMIT_API_REQUESTS", "1"),
        ("RATE_LIMIT_API_WINDOW", "2"),
        ("RATE_LIMIT_AUTH_REQUESTS", "3"),
        ("RATE_LIMIT_AUTH_WINDOW", " 4 "),
        ("RATE_LIMIT_WS_REQUESTS", "1000000"),
        ("RATE_LIMIT_WS_WINDOW", "86400"),
        ("RATE_LIMIT_ENABLED", "true"),
        ("POLICY_ANYTHING", "-5"),
    ])
    .unwrap();
    assert_eq!(limited(limits.decide(Surface::Api)), (Scope::Ip, 1, 2, 1));
    assert_eq!(limited(limits.decide(Surface::Auth)), (Scope::Ip, 3, 4, 1));
    assert_eq!(
        limited(limits.decide(Surface::Websocket)),
        (Scope::Connection, 1_000_000, 86_400, 1)
    );
}

#[test]
fn a_bad_value_is_named_with_what_would_be_right() {
    for bad in ["0", "-1", "1.5", "", "many", "1000001", "99999999999999999999"] {
        let error = Limits::from_settings([("RATE_LIMIT_WS_REQUESTS", bad)]).unwrap_err();
        assert_eq!(
            error,
            format!("RATE_LIMIT_WS_REQUESTS is '{bad}': a whole number from 1 to 1000000 is needed")
        );
    }
    let error = Limits::from_settings([("RATE_LIMIT_API_WINDOW", "86401")]).unwrap_err();
    assert!(error.ends_with("from 1 to 86400 is needed"), "{error}");
}
