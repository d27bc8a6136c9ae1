//! Resuming: the private token, and what of the messages that waited is still worth delivering. Pure; no state.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::ports::fleet::Parcel;

/// A token that nobody guesses: 128 random bits in hex.
#[must_use]
pub fn new_token() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness the token is not handed out as one that works: its digest fits nothing.
    match getrandom::fill(&mut bytes) {
        Ok(()) => hex::encode(bytes),
        Err(_) => String::new(),
    }
}

/// What the fleet keeps of a token, so that reading the fleet's state resumes nothing.
#[must_use]
pub fn digest(token: &str) -> String {
    if token.is_empty() {
        return "none".to_owned();
    }
    hex::encode(&Sha256::digest(token.as_bytes())[..16])
}

/// The members of a relayed frame that matter here.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    from: Option<String>,
}

/// Parts what a resumed peer gets from what it does not: parcels that are too old, and candidates that belong to an offer which
/// the same sender has replaced by a later one. Of one that came twice the second is in neither part.
#[must_use]
pub fn still_worth(parcels: Vec<Parcel>, now: i64, age: Duration) -> (Vec<Parcel>, Vec<Parcel>) {
    let oldest = now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let mut numbers: HashSet<(String, u64)> = HashSet::new();
    let parcels: Vec<Parcel> = parcels
        .into_iter()
        .filter(|parcel| numbers.insert((parcel.origin.clone(), parcel.number)))
        .collect();
    let heads: Vec<Option<Head>> = parcels
        .iter()
        .map(|parcel| serde_json::from_str(&parcel.frame).ok())
        .collect();
    let mut last_offer: HashMap<&str, usize> = HashMap::new();
    for (index, head) in heads.iter().enumerate() {
        if let Some(Head { kind, from: Some(from) }) = head
            && kind == "offer"
        {
            last_offer.insert(from, index);
        }
    }
    let keep: Vec<bool> = parcels
        .iter()
        .zip(&heads)
        .enumerate()
        .map(|(index, (parcel, head))| {
            let superseded = head.as_ref().is_some_and(|head| {
                head.kind == "ice-candidate"
                    && head
                        .from
                        .as_deref()
                        .and_then(|from| last_offer.get(from))
                        .is_some_and(|&offer| offer > index)
            });
            parcel.at >= oldest && !superseded
        })
        .collect();
    let mut keep = keep.into_iter();
    parcels.into_iter().partition(|_| keep.next().unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(number: u64, kind: &str, from: &str, at: i64) -> Parcel {
        Parcel {
            frame: format!("{{\"type\":\"{kind}\",\"from\":\"{from}\"}}"),
            at,
            origin: "n".to_owned(),
            number,
            receipt: None,
        }
    }

    #[test]
    fn old_and_superseded_parcels_are_dropped_and_doubled_ones_once() {
        let parcels = vec![
            parcel(1, "offer", "a", 10),
            parcel(2, "offer", "a", 100),
            parcel(3, "ice-candidate", "a", 101),
            parcel(4, "ice-candidate", "b", 102),
            parcel(5, "offer", "a", 103),
            parcel(6, "ice-candidate", "a", 104),
            parcel(6, "ice-candidate", "a", 104),
            parcel(7, "peer-joined", "", 105),
        ];
        let (kept, dropped) = still_worth(parcels, 120, Duration::from_millis(50));
        let numbers = |parcels: &[Parcel]| parcels.iter().map(|parcel| parcel.number).collect::<Vec<_>>();
        assert_eq!(numbers(&kept), [2, 4, 5, 6, 7]);
        assert_eq!(numbers(&dropped), [1, 3]);
    }

    #[test]
    fn tokens_differ_and_are_not_what_is_kept() {
        let (a, b) = (new_token(), new_token());
        assert_ne!(a, b);
        assert_eq!((a.len(), digest(&a).len()), (32, 32));
        assert_ne!(digest(&a), a);
    }
}
