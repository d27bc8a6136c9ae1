//! Reads the members of a request and checks each against its bounds.
//!
//! Every bad member is collected, so that one answer names them all. Values are checked here and nowhere else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::error::{AppError, FieldError};
use crate::domain::identity::MAX_ID;

/// Longest text in bytes, unless said otherwise.
pub const MAX_TEXT: usize = 255;
/// Largest whole number; fits a 32-bit column.
pub const MAX_INTEGER: u32 = i32::MAX as u32;
/// Largest measurement.
pub const MAX_NUMBER: f64 = 1e9;
/// Most labels of a host.
pub const MAX_LABELS: usize = 32;
/// Longest `ice_servers`, in bytes as JSON.
pub const MAX_ICE_SERVERS: usize = 8 * 1024;
/// Most players named in one request.
pub const MAX_PLAYERS: usize = 1000;

/// A request that is read from the members of a JSON object.
pub trait Request: Sized {
    /// Longest body in bytes.
    const MAX_BODY: usize = 64 * 1024;

    /// Whether no body is as good as one without members.
    const OPTIONAL: bool = false;

    /// Reads and checks the members.
    ///
    /// # Errors
    /// `Invalid` naming every bad member.
    fn read(body: Value) -> Result<Self, AppError>;
}

/// The members of one JSON object, and what was wrong with those read so far.
pub struct Members {
    object: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Members {
    /// The members of `body`.
    ///
    /// # Errors
    /// `Invalid` naming `body` when it is no object.
    pub fn of(body: Value) -> Result<Self, AppError> {
        match body {
            Value::Object(object) => Ok(Self {
                object,
                errors: Vec::new(),
            }),
            _ => Err(invalid("body", "must be a JSON object")),
        }
    }

    /// Notes that a member is bad.
    pub fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError {
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// `value`, unless a member was bad.
    ///
    /// # Errors
    /// `Invalid` naming every bad member.
    pub fn finish<T>(self, value: T) -> Result<T, AppError> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(AppError::Invalid(self.errors))
        }
    }

    /// Takes a member out; absent and `null` are the same.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    fn required<T>(&mut self, field: &str, value: Option<T>, had_errors: usize) -> Option<T> {
        if value.is_none() && self.errors.len() == had_errors {
            self.refuse(field, "is required");
        }
        value
    }

    /// A text of 1 to `max` bytes without control characters, if it is there.
    pub fn optional_text(&mut self, field: &str, max: usize) -> Option<String> {
        let text = match self.take(field)? {
            Value::String(text) => text,
            _ => {
                self.refuse(field, "must be a string");
                return None;
            }
        };
        match check_text(&text, max) {
            Ok(()) => Some(text),
            Err(message) => {
                self.refuse(field, message);
                None
            }
        }
    }

    /// A text that must be there.
    pub fn text(&mut self, field: &str) -> String {
        self.long_text(field, MAX_TEXT)
    }

    /// A text of at most `max` bytes that must be there.
    pub fn long_text(&mut self, field: &str, max: usize) -> String {
        let had = self.errors.len();
        let text = self.optional_text(field, max);
        self.required(field, text, had).unwrap_or_default()
    }

    /// The id of a host, zone or session, which also is a segment of a path, if it is there.
    pub fn optional_id(&mut self, field: &str) -> Option<String> {
        let id = self.optional_text(field, MAX_ID)?;
        match check_id(&id) {
            Ok(()) => Some(id),
            Err(message) => {
                self.refuse(field, message);
                None
            }
        }
    }

    /// An id that must be there.
    pub fn id(&mut self, field: &str) -> String {
        let had = self.errors.len();
        let id = self.optional_id(field);
        self.required(field, id, had).unwrap_or_default()
    }

    /// A `player_id`, if it is there.
    pub fn optional_player(&mut self, field: &str) -> Option<String> {
        let id = self.optional_text(field, MAX_ID)?;
        match check_player(&id) {
            Ok(()) => Some(id),
            Err(message) => {
                self.refuse(field, message);
                None
            }
        }
    }

    /// A `player_id` that must be there.
    pub fn player(&mut self, field: &str) -> String {
        let had = self.errors.len();
        let id = self.optional_player(field);
        self.required(field, id, had).unwrap_or_default()
    }

    /// An IP address or a host name, if it is there.
    pub fn optional_address(&mut self, field: &str) -> Option<String> {
        let address = self.optional_text(field, 253)?;
        if is_address(&address) {
            return Some(address);
        }
        self.refuse(field, "must be an IP address or a host name");
        None
    }

    /// An address that must be there.
    pub fn address(&mut self, field: &str) -> String {
        let had = self.errors.len();
        let address = self.optional_address(field);
        self.required(field, address, had).unwrap_or_default()
    }

    /// A whole number within bounds, if it is there. `8.0` counts as 8.
    pub fn optional_integer(&mut self, field: &str, min: u32, max: u32) -> Option<u32> {
        let value = self.take(field)?;
        let number = value.as_u64().or_else(|| {
            let float = value.as_f64()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be whole and in range"
            )]
            (float.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&float)).then_some(float as u64)
        });
        match number
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| (min..=max).contains(n))
        {
            Some(number) => Some(number),
            None => {
                self.refuse(field, format!("must be a whole number from {min} to {max}"));
                None
            }
        }
    }

    /// A whole number that must be there.
    pub fn integer(&mut self, field: &str, min: u32, max: u32) -> u32 {
        let had = self.errors.len();
        let number = self.optional_integer(field, min, max);
        self.required(field, number, had).unwrap_or_default()
    }

    /// A number within bounds, if it is there.
    pub fn optional_number(&mut self, field: &str, min: f64, max: f64) -> Option<f64> {
        let number = self.take(field)?.as_f64();
        match number.filter(|n| n.is_finite() && (min..=max).contains(n)) {
            Some(number) => Some(number),
            None => {
                self.refuse(field, format!("must be a number from {min} to {max}"));
                None
            }
        }
    }

    /// A number that must be there.
    pub fn number(&mut self, field: &str, min: f64, max: f64) -> f64 {
        let had = self.errors.len();
        let number = self.optional_number(field, min, max);
        self.required(field, number, had).unwrap_or_default()
    }

    /// `true` or `false`, `default` when it is not there.
    pub fn flag(&mut self, field: &str, default: bool) -> bool {
        match self.take(field) {
            None => default,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.refuse(field, "must be true or false");
                default
            }
        }
    }

    /// Texts by name, empty when the member is not there.
    pub fn labels(&mut self, field: &str) -> BTreeMap<String, String> {
        let object = match self.take(field) {
            None => return BTreeMap::new(),
            Some(Value::Object(object)) if object.len() <= MAX_LABELS => object,
            Some(_) => {
                self.refuse(field, format!("must be an object of at most {MAX_LABELS} strings"));
                return BTreeMap::new();
            }
        };
        let mut labels = BTreeMap::new();
        for (name, value) in object {
            match value {
                Value::String(text) if check_text(&name, MAX_TEXT).is_ok() && is_label(&text) => {
                    labels.insert(name, text);
                }
                _ => {
                    let limit = format!(
                        "names and values must be strings of at most {MAX_TEXT} bytes without control characters"
                    );
                    self.refuse(field, limit);
                    break;
                }
            }
        }
        labels
    }

    /// ICE servers, passed through unread: an object or a list of limited size.
    pub fn ice_servers(&mut self, field: &str) -> Option<Value> {
        let value = self.take(field)?;
        let fits = matches!(value, Value::Object(_) | Value::Array(_))
            && serde_json::to_string(&value).is_ok_and(|text| text.len() <= MAX_ICE_SERVERS);
        if fits {
            return Some(value);
        }
        self.refuse(
            field,
            format!("must be an object or a list of at most {MAX_ICE_SERVERS} bytes"),
        );
        None
    }

    /// A list of players that must be there; it may be empty. Who is named twice counts once.
    pub fn players(&mut self, field: &str) -> Vec<String> {
        let list = match self.take(field) {
            Some(Value::Array(list)) => list,
            None => {
                self.refuse(field, "is required");
                return Vec::new();
            }
            Some(_) => {
                self.refuse(field, "must be a list of strings");
                return Vec::new();
            }
        };
        if list.len() > MAX_PLAYERS {
            self.refuse(field, format!("must name at most {MAX_PLAYERS} players"));
            return Vec::new();
        }
        let mut seen = std::collections::HashSet::with_capacity(list.len());
        let mut players = Vec::with_capacity(list.len());
        for (index, item) in list.into_iter().enumerate() {
            let name = format!("{field}.{index}");
            let Value::String(player) = item else {
                self.refuse(&name, "must be a string");
                continue;
            };
            if let Err(message) = check_player(&player) {
                self.refuse(&name, message);
            } else if seen.insert(player.clone()) {
                players.push(player);
            }
        }
        players
    }
}

/// One bad member.
#[must_use]
pub fn invalid(field: &str, message: impl Into<String>) -> AppError {
    AppError::Invalid(vec![FieldError {
        field: field.to_owned(),
        message: message.into(),
    }])
}

fn check_text(text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > max {
        return Err(format!("must be 1 to {max} bytes long"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".to_owned());
    }
    Ok(())
}

/// Whether a text can be an id, which also is a segment of a path.
fn check_id(text: &str) -> Result<(), String> {
    check_text(text, MAX_ID)?;
    if text.contains('/') || text == "." || text == ".." {
        return Err("must not contain '/' nor be '.' or '..'".to_owned());
    }
    Ok(())
}

/// Whether a text can be a `player_id`. A `:` would separate it from a device name.
///
/// # Errors
/// What is wrong with it.
pub fn check_player(text: &str) -> Result<(), String> {
    check_id(text)?;
    if text.contains(':') {
        return Err("must not contain ':'".to_owned());
    }
    Ok(())
}

fn is_label(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

fn is_address(text: &str) -> bool {
    let is_name = || {
        text.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        }) && text.bytes().any(|b| b.is_ascii_alphabetic())
    };
    text.parse::<IpAddr>().is_ok() || is_name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn errors(outcome: Result<(), AppError>) -> Vec<String> {
        match outcome {
            Err(AppError::Invalid(errors)) => errors.into_iter().map(|e| e.field).collect(),
            other => panic!("expected Invalid, got {other:?}"),
        }
    }

    #[test]
    fn every_bad_member_is_named() {
        let mut members = Members::of(json!({
            "port": 70000, "host_id": "a/b", "player_id": "p:1", "ip_address": "not an address", "labels": {"a": 1},
            "player_ids": ["a", "a", 3], "flag": "yes", "latency": -1
        }))
        .unwrap();
        members.integer("port", 1, 65535);
        members.id("host_id");
        members.player("player_id");
        members.address("ip_address");
        members.labels("labels");
        members.players("player_ids");
        members.flag("flag", true);
        members.number("latency", 0.0, 100.0);
        members.text("missing");
        assert_eq!(
            errors(members.finish(())),
            [
                "port",
                "host_id",
                "player_id",
                "ip_address",
                "labels",
                "player_ids.2",
                "flag",
                "latency",
                "missing"
            ]
        );
    }

    #[test]
    fn ids_have_one_bound() {
        for (length, good) in [(MAX_ID, true), (MAX_ID + 1, false)] {
            let text = "x".repeat(length);
            let mut members =
                Members::of(json!({"zone_id": text, "player_id": text, "player_ids": [text], "name": text})).unwrap();
            members.id("zone_id");
            members.player("player_id");
            members.players("player_ids");
            members.text("name");
            let outcome = members.finish(());
            if good {
                assert!(outcome.is_ok(), "{outcome:?}");
            } else {
                assert_eq!(errors(outcome), ["zone_id", "player_id", "player_ids.0"]);
            }
        }
    }

    #[test]
    fn whole_floats_and_null_are_accepted() {
        let mut members = Members::of(json!({"cores": 8.0, "region": null})).unwrap();
        assert_eq!(members.integer("cores", 1, 100), 8);
        assert_eq!(members.optional_text("region", 10), None);
        assert!(members.finish(()).is_ok());
    }

    #[test]
    fn addresses() {
        for good in ["10.0.0.1", "::1", "game.example.org", "localhost"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["999.1.1.1", "a b", "-x.org", "", "a..b"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
