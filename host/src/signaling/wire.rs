//! Messages on the wire: reads only what is routed, and builds outgoing frames in one allocation each.
//!
//! `sdp` and `candidate` are never looked into: their bytes go from one frame to the other. No I/O and no state here.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::dialect::Dialect;
use super::quick;
use crate::domain::clock::Timestamp;
use crate::domain::identity::MAX_PEER_ID;
use crate::ports::fleet::Outcome;

/// Longest `id` of a message, in bytes of its JSON.
pub const MAX_MESSAGE_ID: usize = 128;
/// Longest message of a client, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// What a client's message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Join,
    Leave,
    Offer,
    Answer,
    IceCandidate,
    CreateSession,
    Other,
}

impl Kind {
    /// Every kind, in the order of the metric's labels.
    pub const ALL: [Self; 7] = [
        Self::Join,
        Self::Leave,
        Self::Offer,
        Self::Answer,
        Self::IceCandidate,
        Self::CreateSession,
        Self::Other,
    ];

    /// Reads a type in either spelling.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "join" | "join-session" | "join_session" => Self::Join,
            "leave" | "leave-session" | "leave_session" => Self::Leave,
            "offer" => Self::Offer,
            "answer" => Self::Answer,
            "ice-candidate" | "ice_candidate" => Self::IceCandidate,
            "create_session" | "create-session" => Self::CreateSession,
            _ => Self::Other,
        }
    }

    /// The name in metrics and for policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::IceCandidate => "ice-candidate",
            Self::CreateSession => "create-session",
            Self::Other => "other",
        }
    }
}

/// Text of a message, borrowed from it where nothing is escaped.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The members of a client's message that are routed. Everything else is checked to be JSON and not kept.
#[derive(Debug, Default, Deserialize)]
pub struct Incoming<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub to: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub session_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub peer_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub zone: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub token: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "unless_null")]
    pub(super) id: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub(super) sdp: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    pub(super) candidate: Option<&'a str>,
}

/// Reads a value that is there as it stands, `null` included.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|value| Some(value.get()))
}

/// Reads a value as it stands; `null` is none.
fn unless_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    Ok(even_null(deserializer)?.filter(|value| *value != "null"))
}

impl<'a> Incoming<'a> {
    /// Reads a message; the error is for the client.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(text: &'a str) -> Result<Self, String> {
        quick::read(text).map_or_else(|| Self::read_whole(text), Ok)
    }

    /// As `read`, whatever form the message has.
    pub(super) fn read_whole(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                format!("The message is not understood: {error}")
            } else {
                "The message is not JSON".to_owned()
            }
        })
    }

    /// What the message is about.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::parse(&self.kind)
    }

    /// The type as the client wrote it, cut to 64 characters.
    #[must_use]
    pub fn kind_text(&self) -> String {
        self.kind.chars().take(64).collect()
    }

    /// The `id` under which the sender wants to hear what became of the message, as JSON.
    ///
    /// # Errors
    /// A sentence for the client when it is neither a string nor a number, or too long.
    pub fn id(&self) -> Result<Option<&'a str>, String> {
        let Some(id) = self.id else {
            return Ok(None);
        };
        match id.as_bytes().first() {
            Some(b'"' | b'-' | b'0'..=b'9') if id.len() <= MAX_MESSAGE_ID => Ok(Some(id)),
            _ => Err(format!(
                "id must be a string or a number of at most {MAX_MESSAGE_ID} bytes"
            )),
        }
    }

    /// The member to pass on, unread: `sdp` of an offer or answer, `candidate` of a candidate.
    ///
    /// # Errors
    /// A sentence for the client when it is missing, or neither a string nor an object (a candidate may be null: the last).
    pub fn payload(&self, kind: Kind) -> Result<(&'static str, &'a str), String> {
        let (name, value) = match kind {
            Kind::IceCandidate => ("candidate", self.candidate),
            _ => ("sdp", self.sdp),
        };
        let raw = value.ok_or_else(|| format!("{name} is required"))?;
        match raw.as_bytes().first() {
            Some(b'"' | b'{') => Ok((name, raw)),
            Some(b'n') if kind == Kind::IceCandidate => Ok((name, raw)),
            _ => Err(format!("{name} must be a string or an object")),
        }
    }
}

/// Checks a name that a client gives: 1 to `max` bytes, printable.
///
/// # Errors
/// A sentence for the client.
pub fn check_name(member: &str, text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(format!("{member} must be 1 to {max} bytes without control characters"));
    }
    Ok(())
}

/// A text as a JSON string, with its quotes.
#[must_use]
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The relayed frame. `from` is a JSON string with its quotes, `value` any JSON.
#[must_use]
pub fn relayed(dialect: Dialect, kind: Kind, from: &str, member: &str, value: &str, now: Timestamp) -> String {
    let kind = match (kind, dialect) {
        (Kind::IceCandidate, Dialect::Underscore) => "ice_candidate",
        (kind, _) => kind.as_str(),
    };
    let timestamp = now.stamp();
    let parts = [
        "{\"type\":\"",
        kind,
        "\",\"from\":",
        from,
        ",\"",
        member,
        "\":",
        value,
        ",\"timestamp\":\"",
        timestamp.as_str(),
        "\"}",
    ];
    // The exact length: the frame becomes shared bytes without being copied.
    let mut frame = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        frame.push_str(part);
    }
    frame
}

/// `error` with its `message`, and further members as JSON (each with a leading comma).
#[must_use]
pub fn error(message: &str, further: &str) -> String {
    format!("{{\"type\":\"error\",\"message\":{}{further}}}", json_string(message))
}

/// `peer-joined` or `peer-left`.
#[must_use]
pub fn peer(dialect: Dialect, kind: &str, peer: &str) -> String {
    format!("{{\"type\":\"{}\",\"peer_id\":{peer}}}", dialect.spell(kind))
}

/// `session-joined` with the others in the session; `peers` are JSON strings with their quotes.
#[must_use]
pub fn session_joined<'a>(
    dialect: Dialect,
    session_id: &str,
    peers: impl Iterator<Item = &'a str>,
    resume_token: &str,
    resumed: bool,
) -> String {
    let mut frame = format!(
        "{{\"type\":\"{}\",\"session_id\":{},\"peers\":[",
        dialect.spell("session-joined"),
        json_string(session_id)
    );
    for (index, peer) in peers.enumerate() {
        if index > 0 {
            frame.push(',');
        }
        frame.push_str(peer);
    }
    frame.push_str("],\"resume_token\":\"");
    frame.push_str(resume_token);
    frame.push_str(if resumed { "\",\"resumed\":true}" } else { "\"}" });
    frame
}

/// `outcome` of a message with an `id` (JSON as the client wrote it), with a sentence when it was not taken.
#[must_use]
pub fn outcome(id: &str, outcome: Outcome, why: Option<&str>) -> String {
    let outcome = outcome.as_str();
    match why {
        Some(why) => {
            let why = json_string(why);
            format!("{{\"type\":\"outcome\",\"id\":{id},\"outcome\":\"{outcome}\",\"message\":{why}}}")
        }
        None => format!("{{\"type\":\"outcome\",\"id\":{id},\"outcome\":\"{outcome}\"}}"),
    }
}

/// The sentence for a receiver that is not there.
#[must_use]
pub fn not_in_session(peer_id: &str) -> String {
    format!("Peer {} is not in your session", shorten(peer_id))
}

/// A name in a sentence, not longer than names may be.
#[must_use]
pub fn shorten(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(MAX_PEER_ID).collect()
}

/// `session-left`.
#[must_use]
pub fn session_left(dialect: Dialect, session_id: &str) -> String {
    let kind = dialect.spell("session-left");
    format!("{{\"type\":\"{kind}\",\"session_id\":{}}}", json_string(session_id))
}

/// `session_created`, the answer to `create_session`.
#[must_use]
pub fn session_created(session_id: &str, host_id: &str) -> String {
    let (session_id, host_id) = (json_string(session_id), json_string(host_id));
    format!("{{\"type\":\"session_created\",\"session_id\":{session_id},\"host_id\":{host_id}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_passes_its_sdp_unread() {
        let text = r#"{"type":"offer","to":"bob","from":"mallory","sdp":{"a": [1, "\u00e9"]},"extra":{"to":1}}"#;
        let message = Incoming::read(text).unwrap();
        assert_eq!(message.kind(), Kind::Offer);
        let (member, value) = message.payload(Kind::Offer).unwrap();
        let frame = relayed(
            Dialect::Hyphen,
            Kind::Offer,
            "\"alice\"",
            member,
            value,
            Timestamp(1_762_689_600_007),
        );
        let expected =
            r#"{"type":"offer","from":"alice","sdp":{"a": [1, "\u00e9"]},"timestamp":"2025-11-09T12:00:00.007Z"}"#;
        assert_eq!(frame, expected);
        assert_eq!(frame.len(), frame.capacity());
    }

    #[test]
    fn candidates_may_be_null_and_sdp_may_not() {
        let text = r#"{"type":"ice_candidate","to":"b","candidate":null,"sdp":null}"#;
        let message = Incoming::read(text).unwrap();
        assert_eq!(message.kind(), Kind::IceCandidate);
        assert_eq!(message.payload(Kind::IceCandidate).unwrap(), ("candidate", "null"));
        assert!(message.payload(Kind::Offer).is_err());
        assert!(
            Incoming::read(r#"{"type":"offer"}"#)
                .unwrap()
                .payload(Kind::Offer)
                .is_err()
        );
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        for bad in [
            "",
            "nonsense",
            "[]",
            "1",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"offer","to":7}"#,
            "{\"type\":\"a\"} x",
        ] {
            assert!(Incoming::read(bad).is_err(), "{bad}");
        }
        let deep = format!("{{\"type\":\"offer\",\"x\":{}", "[".repeat(60_000));
        assert!(Incoming::read(&deep).is_err());
    }

    #[test]
    fn names_are_escaped() {
        let frame = peer(Dialect::Hyphen, "peer-left", &json_string("a\"b"));
        assert_eq!(frame, r#"{"type":"peer-left","peer_id":"a\"b"}"#);
        assert!(check_name("peer_id", "a\u{7}b", MAX_PEER_ID).is_err());
        assert!(check_name("peer_id", &"x".repeat(MAX_PEER_ID), MAX_PEER_ID).is_ok());
        assert!(check_name("peer_id", &"x".repeat(MAX_PEER_ID + 1), MAX_PEER_ID).is_err());
    }
}
