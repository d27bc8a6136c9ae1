//! Classes, what they get, and what is wrong with settings.

use super::*;

fn settings(classes: &str) -> Settings {
    Settings::read([("POLICY_PLAYER_CLASSES", classes)]).unwrap()
}

fn of_player(settings: &Settings, id: &str) -> (u32, u32) {
    let decision = decide(settings, Surface::Api, Caller::Player, || Some(id.to_owned()));
    match decision {
        Decision::Both(own, shared) => {
            assert_eq!((own.scope, shared.scope), (Scope::Player, Scope::Ip));
            (own.capacity, shared.capacity)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_class_gets_what_it_is_worth() {
    let settings = settings("gold-:5, gold-team-:8, silver-:2");
    assert_eq!(of_player(&settings, "gold-1"), (500, 5000));
    assert_eq!(
        of_player(&settings, "gold-team-1"),
        (800, 8000),
        "the longest beginning holds"
    );
    assert_eq!(of_player(&settings, "silver-1"), (200, 2000));
    assert_eq!(of_player(&settings, "somebody"), (100, 1000));
}

#[test]
fn messages_are_limited_by_class_too() {
    let decision = decide(&settings("gold-:5"), Surface::Websocket, Caller::Player, || {
        Some("gold-1".to_owned())
    });
    assert!(matches!(
        decision,
        Decision::One(Draw {
            scope: Scope::Connection,
            capacity: 5000,
            ..
        })
    ));
}

#[test]
fn who_is_no_player_is_asked_for_no_class() {
    let never = || panic!("asked for a player");
    let anonymous = decide(&Settings::DEFAULT, Surface::Api, Caller::Anonymous, never);
    assert!(matches!(
        anonymous,
        Decision::One(Draw {
            scope: Scope::Ip,
            capacity: 100,
            ..
        })
    ));
    assert_eq!(
        decide(&Settings::DEFAULT, Surface::Api, Caller::Operator, never),
        Decision::Unlimited
    );
    assert_eq!(
        decide(&Settings::DEFAULT, Surface::Exempt, Caller::Player, never),
        Decision::Unlimited
    );
    let token = decide(&Settings::DEFAULT, Surface::Auth, Caller::Anonymous, never);
    assert!(matches!(
        token,
        Decision::One(Draw {
            scope: Scope::Ip,
            capacity: 10,
            ..
        })
    ));
}

#[test]
fn no_bucket_is_larger_than_one_may_be() {
    let settings = Settings::read([
        ("RATE_LIMIT_API_REQUESTS", "1000000"),
        ("POLICY_PLAYER_CLASSES", "gold-:1000"),
    ])
    .unwrap();
    assert_eq!(of_player(&settings, "gold-1"), (1_000_000, 1_000_000));
}

#[test]
fn a_bad_setting_is_named_with_what_would_be_right() {
    for bad in ["gold", "gold-:0", "gold-:1001", "gold-:many", ":"] {
        let error = Settings::read([("POLICY_PLAYER_CLASSES", bad)]).unwrap_err();
        assert!(
            error.contains("POLICY_PLAYER_CLASSES") && error.contains(bad),
            "{error}"
        );
    }
    let many = "a:1,".repeat(17);
    assert!(Settings::read([("POLICY_PLAYER_CLASSES", many.as_str())]).is_err());
    let error = Settings::read([("RATE_LIMIT_WS_REQUESTS", "0")]).unwrap_err();
    assert!(error.ends_with("from 1 to 1000000 is needed"), "{error}");
    assert_eq!(Settings::read([("POLICY_OTHER", "x")]).unwrap(), Settings::DEFAULT);
}
