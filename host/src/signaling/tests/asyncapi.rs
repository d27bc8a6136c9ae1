//! The AsyncAPI document against what is read and written.

use serde_json::{Value, json};

use crate::domain::clock::Timestamp;
use crate::ports::fleet::Outcome;
use crate::ports::peers::Push;
use crate::signaling::asyncapi::document;
use crate::signaling::close::CloseReason;
use crate::signaling::dialect::Dialect;
use crate::signaling::wire::{self, Incoming, Kind};

fn parsed() -> Value {
    serde_json::from_str(&document("1.2.3").unwrap()).unwrap()
}

/// The message of the kind a client sends.
fn message_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Join => Some("join"),
        Kind::Leave => Some("leave"),
        Kind::Offer => Some("offer"),
        Kind::Answer => Some("answer"),
        Kind::IceCandidate => Some("iceCandidate"),
        Kind::CreateSession => Some("createSession"),
        Kind::Other => None,
    }
}

/// The message that the service sends by itself.
fn message_of_push(push: &Push) -> &'static str {
    match push {
        Push::NpcState { .. } => "npcState",
        Push::HostChanged { .. } => "hostChanged",
        Push::SessionEnded { .. } => "sessionEnded",
        Push::Fallback { .. } => "fallback",
        Push::ServerDraining { .. } => "serverDraining",
    }
}

/// Every frame that the service writes, with the name of its message.
fn written() -> Vec<(&'static str, String)> {
    let (now, s) = (Timestamp(1_762_689_600_007), || "session-1".to_owned());
    let npcs = serde_json::value::RawValue::from_string("[{\"npc_id\":\"a\"}]".to_owned()).unwrap();
    let pushes = [
        Push::NpcState {
            zone_id: "z".to_owned(),
            session_id: s(),
            tick: 3,
            timestamp: now.rfc3339(),
            npcs,
        },
        Push::HostChanged {
            session_id: s(),
            host_id: "h".to_owned(),
            peer_id: "p".to_owned(),
            reason: "host_timeout".to_owned(),
        },
        Push::SessionEnded {
            session_id: s(),
            reason: "normal".to_owned(),
        },
        Push::Fallback {
            session_id: s(),
            mode: "server",
            reason: "no_suitable_host".to_owned(),
        },
        Push::ServerDraining { reconnect_after_ms: 1 },
    ];
    let mut frames = Vec::new();
    for push in &pushes {
        let frame = serde_json::to_string(push).unwrap();
        frames.extend(
            Dialect::Underscore
                .respell(&frame)
                .map(|other| (message_of_push(push), other)),
        );
        frames.push((message_of_push(push), frame));
    }
    for dialect in [Dialect::Hyphen, Dialect::Underscore] {
        let mut relayed = |name, kind, member, value| {
            frames.push((name, wire::relayed(dialect, kind, "\"a\"", member, value, now)));
        };
        relayed("relayedOffer", Kind::Offer, "sdp", "{\"x\":1}");
        relayed("relayedAnswer", Kind::Answer, "sdp", "\"v=0\"");
        relayed("relayedIceCandidate", Kind::IceCandidate, "candidate", "null");
        frames.push(("peerJoined", wire::peer(dialect, "peer-joined", "\"a\"")));
        frames.push(("peerLeft", wire::peer(dialect, "peer-left", "\"a\"")));
        for resumed in [true, false] {
            let peers = ["\"b\""].into_iter();
            frames.push(("sessionJoined", wire::session_joined(dialect, "s", peers, "t", resumed)));
        }
        frames.push(("sessionLeft", wire::session_left(dialect, "s")));
    }
    frames.push(("sessionCreated", wire::session_created("s", "h")));
    frames.push(("error", wire::error("no", "")));
    frames.push(("error", wire::error("no", ",\"retry_after\":1")));
    for outcome in [Outcome::Delivered, Outcome::Queued, Outcome::Expired, Outcome::Refused] {
        frames.push(("outcome", wire::outcome("7", outcome, None)));
    }
    frames.push(("outcome", wire::outcome("\"x\"", Outcome::Refused, Some("why"))));
    frames
}

/// What of JSON Schema the document uses. Members that a schema does not name are a flaw: the document is to name all.
fn check(schema: &Value, value: &Value, at: &str) {
    for (word, rule) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "type" => is(rule.as_str().unwrap(), value),
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "oneOf" => {
                let kinds = rule.as_array().unwrap();
                kinds
                    .iter()
                    .filter(|kind| is(kind["type"].as_str().unwrap(), value))
                    .count()
                    == 1
            }
            "required" => {
                let names = rule.as_array().unwrap();
                names.iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, member) in value.as_object().unwrap() {
                    let inner = rule.get(name).unwrap_or_else(|| panic!("{at}.{name} is not named"));
                    check(inner, member, &format!("{at}.{name}"));
                }
                true
            }
            "items" => {
                value
                    .as_array()
                    .unwrap()
                    .iter()
                    .for_each(|entry| check(rule, entry, at));
                true
            }
            "minimum" => value.as_f64() >= rule.as_f64(),
            "minLength" | "maxLength" => true,
            "format" => rule == "date-time" && value.as_str().unwrap().ends_with('Z'),
            "description" => rule.as_str().is_some_and(|text| !text.is_empty()),
            other => panic!("{at}: the test does not know {other}"),
        };
        assert!(holds, "{at}: {value} is not {word} {rule}");
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    }
}

fn names(document: &Value, operation: &str) -> Vec<String> {
    let list = document["operations"][operation]["messages"].as_array().unwrap();
    list.iter()
        .map(|entry| entry["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect()
}

#[test]
fn whatever_is_written_is_in_the_document_and_nothing_else_is() {
    let document = parsed();
    assert_eq!(document["info"]["version"], "1.2.3");
    let mut seen: Vec<String> = Vec::new();
    for (name, frame) in written() {
        let schema = &document["components"]["messages"][name]["payload"];
        check(schema, &serde_json::from_str(&frame).unwrap(), name);
        seen.push(name.to_owned());
    }
    let mut told = names(&document, "toClients");
    told.sort();
    seen.sort();
    seen.dedup();
    assert_eq!(told, seen);
}

#[test]
fn whatever_is_read_is_in_the_document_and_nothing_else_is() {
    let document = parsed();
    let mut read: Vec<&str> = Kind::ALL.into_iter().filter_map(message_of).collect();
    let mut told = names(&document, "fromClients");
    read.sort_unstable();
    told.sort();
    assert_eq!(told, read);
    for kind in Kind::ALL {
        let Some(name) = message_of(kind) else { continue };
        let message = &document["components"]["messages"][name];
        let spelled = &message["payload"]["properties"]["type"];
        let spellings = spelled["enum"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![spelled["const"].clone()]);
        for spelling in spellings {
            assert_eq!(Kind::parse(spelling.as_str().unwrap()), kind, "{spelling}");
        }
        for example in message["examples"].as_array().unwrap() {
            let text = example["payload"].to_string();
            let message = Incoming::read(&text).unwrap();
            assert_eq!(message.kind(), kind);
            if matches!(kind, Kind::Offer | Kind::Answer | Kind::IceCandidate) {
                message.payload(kind).unwrap();
            }
        }
    }
}

#[test]
fn every_message_has_a_summary_and_examples_that_fit() {
    let document = parsed();
    let messages = document["components"]["messages"].as_object().unwrap();
    for (name, message) in messages {
        assert!(
            message["summary"].as_str().is_some_and(|text| !text.is_empty()),
            "{name}"
        );
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            check(&message["payload"], &example["payload"], name);
        }
        let listed = &document["channels"]["signaling"]["messages"][name];
        assert_eq!(listed, &json!({ "$ref": format!("#/components/messages/{name}") }));
    }
}

#[test]
fn every_close_is_told() {
    let document = parsed();
    let text = document["info"]["description"].as_str().unwrap();
    for reason in CloseReason::ALL {
        let row = format!("| {} | `{}` |", reason.code(), reason.as_str());
        assert!(text.contains(&row), "{row}");
    }
}
