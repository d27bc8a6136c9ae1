//! What must not leave the process with a decision: whole addresses of players, and tokens. Works on JSON text, and leaves it
//! the JSON that it was.
//!
//! An IPv4 address keeps its first three numbers, an IPv6 address its first 48 bits, so both stay addresses. What looks like a
//! token becomes `masked-` and 8 digits, which are the same for the same token in the life of the process, and tell nothing of it.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// A word of letters and digits that is as long as this is no name: a UUID has 36 characters.
const LONGEST_NAME: usize = 39;
/// The shortest JSON Web Token there is has more characters.
const SHORTEST_TOKEN: usize = 20;
/// The shortest IPv4 address.
const SHORTEST_ADDRESS: usize = 2;

/// The text without what is not to be seen.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        if !is_word(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && is_word(bytes[at]) {
            at += 1;
        }
        if at - start < SHORTEST_ADDRESS {
            continue;
        }
        let (before, word) = (&text[..start], &text[start..at]);
        if let Some(instead) = replaced(before, word) {
            out.push_str(&text[copied..start]);
            out.push_str(&instead);
            copied = at;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// What addresses and tokens are made of. All of it is ASCII, so words end at characters.
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-' | b'_' | b'+' | b'=')
}

fn replaced(before: &str, word: &str) -> Option<String> {
    if is_credential(before) || is_jwt(word) {
        return Some(pseudonym(word));
    }
    let count = |wanted| word.bytes().filter(|byte| *byte == wanted).count();
    if count(b':') >= 2
        && let Some(address) = v6(word)
    {
        return Some(address);
    }
    let mut masked = if count(b'.') >= 3 { v4(word) } else { None };
    if word.len() > LONGEST_NAME {
        let whole = masked.as_deref().unwrap_or(word);
        let parts: Vec<Cow<'_, str>> = whole.split('.').map(part).collect();
        if parts.iter().any(|part| matches!(part, Cow::Owned(_))) {
            masked = Some(parts.join("."));
        }
    }
    masked
}

fn part(part: &str) -> Cow<'_, str> {
    let has = |wanted: fn(&u8) -> bool| part.as_bytes().iter().any(wanted);
    if part.len() > LONGEST_NAME && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) {
        Cow::Owned(pseudonym(part))
    } else {
        Cow::Borrowed(part)
    }
}

fn is_credential(before: &str) -> bool {
    let tail = before.as_bytes();
    [&b"bearer "[..], b"basic "]
        .iter()
        .any(|scheme| tail.len() >= scheme.len() && tail[tail.len() - scheme.len()..].eq_ignore_ascii_case(scheme))
}

/// `eyJ` is how every JSON object begins in base64.
fn is_jwt(word: &str) -> bool {
    word.len() >= SHORTEST_TOKEN && word.contains("eyJ")
}

fn pseudonym(token: &str) -> String {
    static KEY: LazyLock<[u8; 16]> = LazyLock::new(|| {
        let mut key = [0; 16];
        // Without randomness it still is no token.
        let _ = getrandom::fill(&mut key);
        key
    });
    let digest = Sha256::new().chain_update(*KEY).chain_update(token).finalize();
    format!("masked-{}", hex::encode(&digest[..4]))
}

/// The word with every IPv4 address in it cut to its first three numbers.
fn v4(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = word;
    let mut found = false;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (numbers, after) = rest.split_at(length);
        let mut parts: Vec<&str> = numbers.split('.').collect();
        let mut place = 0;
        while place + 4 <= parts.len() {
            if parts[place..place + 4].join(".").parse::<Ipv4Addr>().is_ok() {
                parts[place + 3] = "0";
                found = true;
                place += 3;
            }
            place += 1;
        }
        out.push_str(&parts.join("."));
        rest = after;
    }
    out.push_str(rest);
    found.then_some(out)
}

/// The word as an IPv6 address of its first 48 bits. A word that only begins or ends as one is masked whole.
fn v6(word: &str) -> Option<String> {
    let looks = word
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    match word.parse::<Ipv6Addr>() {
        Ok(address) => Some(match address.to_ipv4_mapped() {
            Some(mapped) => {
                let [a, b, c, _] = mapped.octets();
                Ipv4Addr::new(a, b, c, 0).to_ipv6_mapped().to_string()
            }
            None => {
                let [a, b, c, ..] = address.segments();
                Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
            }
        }),
        Err(_) if word.contains("::") || (looks && word.matches(':').count() >= 7) => Some(pseudonym(word)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_network_and_stay_addresses() {
        for (text, wanted) in [
            (r#"{"ip":"192.0.2.17"}"#, r#"{"ip":"192.0.2.0"}"#),
            (r#"{"ip":"2001:db8:1:2:3:4:5:6"}"#, r#"{"ip":"2001:db8:1::"}"#),
            (r#"{"ip":"2001:db8::17"}"#, r#"{"ip":"2001:db8::"}"#),
            (r#"{"ip":"::ffff:192.0.2.17"}"#, r#"{"ip":"::ffff:192.0.2.0"}"#),
            (
                "host-192.0.2.17:7777 and 10.1.2.3,",
                "host-192.0.2.0:7777 and 10.1.2.0,",
            ),
            ("[2001:db8::1]:7777", "[2001:db8::]:7777"),
        ] {
            assert_eq!(masked(text), wanted);
        }
        assert!(!masked("peer-2001:db8::17:x").contains("::17"));
    }

    #[test]
    fn tokens_leave_nothing_but_a_name() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwMSJ9.c2lnbmF0dXJl_-x";
        let key = "black-box-api-key-0123456789-0123456789-0123";
        for text in [
            format!("\"{jwt}\""),
            format!("\"token={jwt}\""),
            format!("\"{key}\""),
            "\"Bearer abc123\"".to_owned(),
        ] {
            let seen = masked(&text);
            assert!(seen.contains("masked-"), "{seen}");
            for piece in [jwt, "eyJ", "c2lnbmF0", key, "abc123"] {
                assert!(!seen.contains(piece), "{seen}");
            }
            assert_eq!(seen, masked(&text), "the same token has the same name");
        }
    }

    #[test]
    fn what_is_neither_stays() {
        let text = r#"{"id":"0f8fad5b-d9cb-469f-a165-70867728950e","session_id":"session-0123456789abcdef","at":
            "2025-11-09T12:00:00.000Z","route":"/hosts/{host_id}/heartbeat","score":98.25,"now_ms":1762689600000,"n":[1.5,2.5],
            "reason":"score 98.25, latency 20.5 ms","version":"1.2.3","ü":"12:30:45"}"#;
        assert!(matches!(masked(text), Cow::Borrowed(_)), "{}", masked(text));
    }
}
