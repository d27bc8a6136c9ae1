//! Steps and events as the scripts take and answer them. Pure.

use redis::FromRedisValue;

use crate::ports::fleet::{Departure, Dispatch, Event, Parcel};
use crate::ports::live::{LiveError, Result};

/// A departure as a script answers it.
pub(super) type Gone = (String, String, Vec<String>, Vec<String>);

/// Adds what the script takes of one item.
pub(super) fn write_item(item: &Dispatch, args: &mut Vec<String>) -> Result<()> {
    match item {
        Dispatch::Signal { to, session_id, parcel } => {
            args.extend(["S".to_owned(), to.clone(), session_id.clone(), write(parcel)?]);
        }
        Dispatch::Push {
            session_id,
            parcel,
            fresh,
            host,
        } => {
            let event = Event::Push {
                session_id: session_id.clone(),
                parcel: parcel.clone(),
                fresh: *fresh,
                host: host.clone(),
            };
            let fresh = if *fresh { "1" } else { "0" };
            args.extend([
                "P".to_owned(),
                session_id.clone(),
                write(parcel)?,
                fresh.to_owned(),
                write(&event)?,
            ]);
        }
        Dispatch::Close { session_id } => args.extend(["C".to_owned(), session_id.clone()]),
        Dispatch::Evict { session_id, player_id } => {
            args.extend(["E".to_owned(), session_id.clone(), player_id.clone()]);
        }
        Dispatch::Outcome { node, to, id, outcome } => {
            let event = Event::Outcome {
                to: to.clone(),
                id: id.clone(),
                outcome: *outcome,
            };
            args.extend(["O".to_owned(), node.clone(), write(&event)?]);
        }
    }
    Ok(())
}

pub(super) fn write(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| LiveError::Unavailable(error.into()))
}

pub(super) fn read(parcel: &str) -> Option<Parcel> {
    serde_json::from_str(parcel)
        .inspect_err(|error| tracing::warn!(%error, "a message that waited is not understood"))
        .ok()
}

pub(super) fn departure((peer_id, session_id, remaining, undelivered): Gone) -> Departure {
    Departure {
        session_id,
        peer_id,
        remaining,
        undelivered: undelivered.iter().filter_map(|parcel| read(parcel)).collect(),
    }
}

pub(super) fn typed<T: FromRedisValue>(value: redis::Value) -> Result<T> {
    redis::from_redis_value(value).map_err(|error| LiveError::Unavailable(error.into()))
}

pub(super) fn number(text: &str) -> Result<u64> {
    text.parse()
        .map_err(|_| LiveError::Unavailable(anyhow::anyhow!("{text:?} is no generation")))
}
