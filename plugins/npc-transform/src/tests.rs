//! Which members stay behind, and how lists of names are read.

use super::*;

fn left_behind(members: &[&'static str], internal: Option<&str>) -> Vec<&'static str> {
    let list = || internal.map(str::to_owned);
    removed(members.iter().copied(), mark, |name| name, list)
}

#[test]
fn ordinary_members_pass_and_no_list_is_asked_for() {
    let members = [
        "npc_id",
        "position",
        "dialogue_state",
        "quest_status",
        "mood",
        "internals",
    ];
    let never = || panic!("asked for a list that is not there");
    assert!(removed(members.into_iter(), mark, |name| name, never).is_empty());
    assert!(left_behind(&[], None).is_empty());
}

#[test]
fn an_underscore_marks_a_member_internal() {
    assert_eq!(left_behind(&["_seed", "position", "_", "a_b"], None), ["_seed", "_"]);
}

#[test]
fn the_list_and_what_it_names_stay_behind() {
    let members = ["mood", "internal", "plan", "_seed", "position"];
    assert_eq!(
        left_behind(&members, Some(r#"["plan", "absent", "mood"]"#)),
        ["mood", "internal", "plan", "_seed"]
    );
    assert_eq!(left_behind(&members, Some("[]")), ["internal", "_seed"]);
}

#[test]
fn a_list_that_is_none_stays_behind_alone() {
    for no_list in [
        None,
        Some("null"),
        Some("true"),
        Some(r#""mood""#),
        Some(r#"{"mood": "mood"}"#),
        Some(""),
    ] {
        assert_eq!(left_behind(&["mood", "internal"], no_list), ["internal"], "{no_list:?}");
    }
}

#[test]
fn names_are_read_as_json_means_them() {
    assert_eq!(
        parse_names(r#" [ "a" , "b\"c\\d" ,"\n\u00e9\ud83d\ude00" ] "#),
        ["a", "b\"c\\d", "\né😀"]
    );
    assert_eq!(parse_names(r#"[1, "a", ["no"], {"no": "no"}, null, "b"]"#), ["a", "b"]);
    assert_eq!(parse_names(r#"["\ud83dx", "\udc00"]"#), ["\u{FFFD}x", "\u{FFFD}"]);
    assert!(parse_names("[]").is_empty());
}

#[test]
fn broken_text_gives_fewer_names_and_never_fails() {
    for broken in [
        "",
        "[",
        r#"["a"#,
        r#"["a\"#,
        r#"["\u12"#,
        r#"["\ud83d\u"#,
        "]]]",
        "[}}}",
    ] {
        assert!(parse_names(broken).is_empty(), "{broken}");
    }
}
