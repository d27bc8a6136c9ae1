//! Compares an answer with what a vector promises: members may be left out, `{"any":true}` takes anything, `{"absent":true}`
//! takes nothing at all, and numbers may differ a little.

use serde_json::{Map, Value};

/// How far numbers may lie apart: this much, or this share of the larger one.
const TOLERANCE: f64 = 1e-6;

/// Where the two differ, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch(pub String);

/// Compares `given` with `expected`.
pub(super) fn compare(expected: &Value, given: &Value) -> Result<(), Mismatch> {
    at(&mut String::new(), expected, given)
}

/// Compares two whole answers: nothing may be left out and nothing is a mark, but numbers may differ as little as in vectors.
///
/// # Errors
///
/// The first difference.
pub fn same(recorded: &Value, given: &Value) -> Result<(), Mismatch> {
    whole(&mut String::new(), recorded, given)
}

fn whole(path: &mut String, recorded: &Value, given: &Value) -> Result<(), Mismatch> {
    match (recorded, given) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, recorded) in before {
                within(path, &format!(".{name}"), |path| match after.get(name) {
                    Some(given) => whole(path, recorded, given),
                    None => Err(differs(path, recorded, &"no such member")),
                })?;
            }
            match after.iter().find(|(name, _)| !before.contains_key(*name)) {
                Some((name, given)) => within(path, &format!(".{name}"), |path| {
                    Err(differs(path, &"no such member", given))
                }),
                None => Ok(()),
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (recorded, given)) in before.iter().zip(after).enumerate() {
                within(path, &format!("[{index}]"), |path| whole(path, recorded, given))?;
            }
            Ok(())
        }
        (Value::Object(_), _) => Err(differs(path, recorded, given)),
        _ => at(path, recorded, given),
    }
}

fn at(path: &mut String, expected: &Value, given: &Value) -> Result<(), Mismatch> {
    match (expected, given) {
        (Value::Object(wanted), _) if is_mark(wanted, "any") => Ok(()),
        (Value::Object(wanted), Value::Object(members)) => {
            for (name, wanted) in wanted {
                within(path, &format!(".{name}"), |path| {
                    let absent = wanted.as_object().is_some_and(|mark| is_mark(mark, "absent"));
                    match (absent, members.get(name)) {
                        (true, None) => Ok(()),
                        (true, Some(given)) => Err(differs(path, &"no such member", given)),
                        (false, Some(given)) => at(path, wanted, given),
                        (false, None) => Err(differs(path, wanted, &"no such member")),
                    }
                })?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(elements)) => {
            for (index, (wanted, given)) in wanted.iter().zip(elements).enumerate() {
                within(path, &format!("[{index}]"), |path| at(path, wanted, given))?;
            }
            if wanted.len() == elements.len() {
                Ok(())
            } else {
                let counts = (format!("{} elements", wanted.len()), elements.len());
                Err(differs(path, &counts.0, &counts.1))
            }
        }
        (Value::Number(wanted), Value::Number(number)) if is_near(wanted, number) => Ok(()),
        _ if expected == given => Ok(()),
        _ => Err(differs(path, expected, given)),
    }
}

fn within(
    path: &mut String,
    step: &str,
    compare: impl FnOnce(&mut String) -> Result<(), Mismatch>,
) -> Result<(), Mismatch> {
    let length = path.len();
    path.push_str(step);
    let outcome = compare(path);
    path.truncate(length);
    outcome
}

fn differs(path: &str, expected: &dyn std::fmt::Display, given: &dyn std::fmt::Display) -> Mismatch {
    let place = match path.trim_start_matches('.') {
        "" => "the answer",
        place => place,
    };
    Mismatch(format!("at {place}: expected {expected}, given {given}"))
}

fn is_mark(object: &Map<String, Value>, name: &str) -> bool {
    object.len() == 1 && object.get(name) == Some(&Value::Bool(true))
}

fn is_near(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_may_be_anything() {
        for (expected, given) in [
            (json!({}), json!({"a": 1})),
            (json!({"any": true}), json!([1, 2])),
            (json!({"a": {"any": true}}), json!({"a": null})),
            (json!({"a": {"absent": true}}), json!({"b": 1})),
            (json!([{"b": 2}, {"any": true}]), json!([{"a": 1, "b": 2}, "x"])),
            (json!(81.25), json!(81.250_000_5)),
            (json!(1), json!(1.0)),
            (json!("x"), json!("x")),
        ] {
            assert_eq!(compare(&expected, &given), Ok(()), "{expected} {given}");
        }
    }

    #[test]
    fn whole_answers_are_compared_whole() {
        for (recorded, given, is_same) in [
            (
                json!({"a": [1, {"b": 2.0}]}),
                json!({"a": [1.0, {"b": 2.000_000_1}]}),
                true,
            ),
            (json!({}), json!({"a": 1}), false),
            (json!({"a": 1}), json!({}), false),
            (json!({"a": [1]}), json!({"a": [1, 2]}), false),
            (json!({"a": {"any": true}}), json!({"a": {"any": true}}), true),
            (json!({"x": 1}), json!({"x": {"any": true}}), false),
            (json!({"any": true}), json!(1), false),
            (json!("x"), json!("y"), false),
        ] {
            assert_eq!(same(&recorded, &given).is_ok(), is_same, "{recorded} {given}");
        }
    }

    #[test]
    fn a_difference_is_told_with_its_place() {
        for (expected, given, text) in [
            (
                json!({"rank": [{"host_id": "near"}]}),
                json!({"rank": [{"host_id": "far"}]}),
                "at rank[0].host_id: expected \"near\", given \"far\"",
            ),
            (json!([1, 2]), json!([1]), "at the answer: expected 2 elements, given 1"),
            (json!({"a": 1}), json!({}), "at a: expected 1, given no such member"),
            (
                json!({"a": {"absent": true}}),
                json!({"a": 1}),
                "at a: expected no such member, given 1",
            ),
            (
                json!("unlimited"),
                json!({"deny": "x"}),
                "at the answer: expected \"unlimited\", given {\"deny\":\"x\"}",
            ),
            (json!(1.0), json!(1.001), "at the answer: expected 1.0, given 1.001"),
        ] {
            assert_eq!(compare(&expected, &given), Err(Mismatch(text.to_owned())));
        }
    }
}
