//! The two spellings of the protocol: hyphens (`peer-joined`), and the underscores of the game DLL (`peer_joined`).
//!
//! Only names of message types differ; members are the same. A connection keeps the dialect it opened with.

use std::borrow::Cow;

/// How a connection spells message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `ice-candidate`: connections that name their peer in the query.
    Hyphen,
    /// `ice_candidate`: connections that open with `create_session`.
    Underscore,
}

impl Dialect {
    /// The spelling of a type that is written with hyphens.
    #[must_use]
    pub fn spell(self, kind: &str) -> Cow<'_, str> {
        match self {
            Self::Underscore if kind.contains('-') => Cow::Owned(kind.replace('-', "_")),
            Self::Hyphen | Self::Underscore => Cow::Borrowed(kind),
        }
    }

    /// The frame in this dialect. `frame` is a JSON object that opens with its `type`, spelled with hyphens.
    #[must_use]
    pub fn respell(self, frame: &str) -> Option<String> {
        const HEAD: &str = "{\"type\":\"";
        if self == Self::Hyphen {
            return None;
        }
        let end = HEAD.len() + frame.strip_prefix(HEAD)?.find('"')?;
        Some(format!(
            "{HEAD}{}{}",
            frame[HEAD.len()..end].replace('-', "_"),
            &frame[end..]
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_type_is_respelled() {
        let frame = r#"{"type":"peer-joined","peer_id":"a-b"}"#;
        assert_eq!(Dialect::Hyphen.respell(frame), None);
        let other = Dialect::Underscore.respell(frame);
        assert_eq!(other.as_deref(), Some(r#"{"type":"peer_joined","peer_id":"a-b"}"#));
    }
}
