//! How much of an NPC passes where, and what is wrong with settings.

use super::*;

fn settings() -> Settings {
    Settings::read([("POLICY_INTEREST_AREAS", "town:0,0,10; town:100,0,20; wood:5,5,1")]).unwrap()
}

fn seen(x: f64, quest: Option<&str>) -> View {
    view(&settings().of("town"), x, 0.0, quest)
}

#[test]
fn the_nearest_place_says_how_much_passes() {
    assert_eq!(seen(10.0, None), View::Whole);
    assert_eq!(seen(10.5, None), View::Far);
    assert_eq!(seen(20.5, None), View::Hidden);
    assert_eq!(seen(85.0, Some("none")), View::Whole, "of the second place");
    assert_eq!(seen(65.0, Some("none")), View::Far);
    assert_eq!(seen(f64::NAN, None), View::Hidden);
}

#[test]
fn a_quest_and_a_zone_without_places_let_everything_pass() {
    assert_eq!(seen(1000.0, Some("offered")), View::Whole);
    assert_eq!(view(&settings().of("desert"), 1000.0, 0.0, None), View::Whole);
}

#[test]
fn private_members_stay_behind_wherever_the_npc_is() {
    let members = ["npc_id", "position", "mood", "_plan", "internal", "health"];
    let left = |view| {
        removed(
            view,
            members.into_iter(),
            |name| name,
            || Some(r#"["mood"]"#.to_owned()),
        )
    };
    assert_eq!(left(View::Whole), ["mood", "_plan", "internal"]);
    assert_eq!(left(View::Far), ["mood", "_plan", "internal", "health"]);
}

#[test]
fn a_list_that_is_not_there_is_not_asked_for() {
    let never = || panic!("asked for a list");
    assert!(removed(View::Whole, ["npc_id", "mood"].into_iter(), |name| name, never).is_empty());
}

#[test]
fn a_bad_place_is_named() {
    for bad in [
        "town",
        "town:1,2",
        "town:1,2,0",
        "town:1,2,x",
        "town:1,2,3,4",
        ":1,2,3",
        "town:1,inf,3",
    ] {
        let error = Settings::read([("POLICY_INTEREST_AREAS", bad)]).unwrap_err();
        assert!(error.contains(bad), "{error}");
    }
    let many = "town:1,2,3;".repeat(257);
    assert!(Settings::read([("POLICY_INTEREST_AREAS", many.as_str())]).is_err());
    assert_eq!(Settings::read([("OTHER", "x")]).unwrap(), Settings::default());
}
