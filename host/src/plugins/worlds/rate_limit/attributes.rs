//! What the slot's import answers: texts about the request in hand.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::bindings::p2p_coordinator::policy::attributes;
use crate::plugins::state::GuestState;
use crate::ports::policies::LimitRequest;

/// The texts of the request in hand, copied once into memory that is kept.
#[derive(Default)]
pub struct Attributes {
    text: String,
    /// Ends of the texts in `text`, in the order of the WIT enum without the address; none for an absent one.
    ends: [Option<usize>; 6],
    ip: Option<IpAddr>,
}

impl Attributes {
    /// Takes over the texts of `request`.
    pub(super) fn fill(&mut self, request: &LimitRequest<'_>) {
        self.text.clear();
        let texts = [
            request.player_id,
            request.user_id,
            request.method,
            request.route,
            request.message_type,
            request.session_id,
        ];
        for (end, text) in self.ends.iter_mut().zip(texts) {
            *end = text.map(|text| {
                self.text.push_str(text);
                self.text.len()
            });
        }
        self.ip = Some(request.ip);
    }

    fn text(&self, index: usize) -> Option<String> {
        let end = (*self.ends.get(index)?)?;
        let start = self.ends.get(..index)?.iter().rev().find_map(|end| *end).unwrap_or(0);
        self.text.get(start..end).map(str::to_owned)
    }
}

impl attributes::Host for GuestState<Attributes> {
    fn get(&mut self, attribute: attributes::Attribute) -> Option<String> {
        use attributes::Attribute;
        let index = match attribute {
            Attribute::Ip => {
                let mut text = String::new();
                write!(text, "{}", self.call.ip?).ok()?;
                return Some(text);
            }
            Attribute::PlayerId => 0,
            Attribute::UserId => 1,
            Attribute::Method => 2,
            Attribute::Route => 3,
            Attribute::MessageType => 4,
            Attribute::SessionId => 5,
        };
        self.call.text(index)
    }
}
