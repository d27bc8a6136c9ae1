//! What is kept of a question until somebody reads it: its numbers, and its texts in one piece of memory.

use std::net::IpAddr;

use super::Question;
use crate::domain::clock::Timestamp;
use crate::plugins::decisions;
use crate::ports::policies::{Caller, LimitRequest, Surface};

/// Texts of a request.
const TEXTS: usize = 6;

/// A question of this slot.
pub struct Kept {
    surface: Surface,
    caller: Caller,
    size: u32,
    now: Timestamp,
    ip: IpAddr,
    text: Box<str>,
    /// Where each text ends; none for one that is not there, or that has no place in 64 KiB.
    ends: [Option<u16>; TEXTS],
}

impl Kept {
    /// Takes over a request.
    pub(super) fn of(request: &LimitRequest<'_>) -> Self {
        let texts = [
            request.player_id,
            request.user_id,
            request.method,
            request.route,
            request.message_type,
            request.session_id,
        ];
        let length = texts.iter().flatten().map(|text| text.len()).sum();
        let mut text = String::with_capacity(length);
        let ends = texts.map(|part| {
            let part = part?;
            let end = u16::try_from(text.len() + part.len()).ok()?;
            text.push_str(part);
            Some(end)
        });
        Self {
            surface: request.surface,
            caller: request.caller,
            size: request.size,
            now: request.now,
            ip: request.ip,
            text: text.into_boxed_str(),
            ends,
        }
    }

    fn text(&self, index: usize) -> Option<&str> {
        let end = usize::from((*self.ends.get(index)?)?);
        let before = self.ends.get(..index)?.iter().rev();
        let start = before.flatten().next().map_or(0, |start| usize::from(*start));
        self.text.get(start..end)
    }
}

impl decisions::Kept for Kept {
    type Question = Question;

    fn question(&self) -> Question {
        Question::of(&LimitRequest {
            surface: self.surface,
            caller: self.caller,
            size: self.size,
            now: self.now,
            ip: self.ip,
            player_id: self.text(0),
            user_id: self.text(1),
            method: self.text(2),
            route: self.text(3),
            message_type: self.text(4),
            session_id: self.text(5),
        })
    }

    fn weight(&self) -> usize {
        self.text.len()
    }

    fn session(&self) -> Option<&str> {
        self.text(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::decisions::Kept as _;

    #[test]
    fn a_kept_request_comes_back_as_it_was() {
        for surface in [Surface::Api, Surface::Websocket] {
            for caller in [Caller::Anonymous, Caller::Player] {
                let request = super::super::sample(surface, caller);
                let kept = Kept::of(&request);
                assert_eq!(kept.question(), Question::of(&request));
                assert_eq!(kept.session(), request.session_id);
            }
        }
    }
}
