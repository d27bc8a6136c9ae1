//! W3C trace context: taken from who asks, given to who is asked, and to every line that is logged on the way. Costs nothing for
//! what comes without one. Exports nothing.

use std::future::Future;

use axum::http::HeaderMap;
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// The header that carries it.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Trace;
}

/// Where a piece of work belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    /// What is done here.
    span: u64,
    sampled: bool,
}

impl Trace {
    /// A trace that begins here. Without randomness in the machine it has the number 1.
    #[must_use]
    pub fn fresh() -> Self {
        let mut bytes = [0_u8; 16];
        let random = getrandom::fill(&mut bytes).is_ok();
        Self {
            id: if random { u128::from_le_bytes(bytes).max(1) } else { 1 },
            span: number(),
            sampled: false,
        }
    }

    /// The trace of a request that names one, with what is done here as a new part of it.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).into_iter();
        let (first, None) = (given.next()?, given.next()) else {
            return None;
        };
        Self::parse(first.to_str().ok()?)
    }

    /// `version-trace_id-parent_id-flags`, all in lower-case hex.
    fn parse(text: &str) -> Option<Self> {
        let hex =
            |part: &str, length| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.trim().split('-');
        let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known = hex(version, 2) && version != "ff" && hex(id, 32) && hex(parent, 16) && hex(flags, 2);
        // Later versions may say more behind it; this one may not.
        if !known || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let id = u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)?;
        u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
        Some(Self {
            id,
            span: number(),
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        })
    }

    /// The one that this work is part of; a fresh one when it is part of none.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(|trace| *trace).unwrap_or_else(|_| Self::fresh())
    }

    /// The value of the header for a request to others.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.id, self.span, u8::from(self.sampled))
    }

    /// The number in lines of the log.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// Does the work as a part of this trace: its lines are logged with the span.
    pub fn run<F: Future>(self, span: tracing::Span, work: F) -> impl Future<Output = F::Output> {
        let work: Instrumented<F> = work.instrument(span);
        CURRENT.scope(self, work)
    }
}

fn number() -> u64 {
    let mut bytes = [0_u8; 8];
    let random = getrandom::fill(&mut bytes).is_ok();
    if random { u64::from_le_bytes(bytes).max(1) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_taken_over_with_a_part_of_its_own() {
        let trace = Trace::parse(GIVEN).unwrap();
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let passed_on = Trace::parse(&trace.header()).unwrap();
        assert_eq!((passed_on.id, passed_on.sampled), (trace.id, true));
        assert!(!trace.header().contains("00f067aa0ba902b7") && trace.header().ends_with("-01"));
        assert!(
            Trace::parse(&format!("cc{}-more", &GIVEN[2..])).is_some(),
            "a later version"
        );
        assert_ne!(Trace::fresh().id, Trace::fresh().id);
    }

    #[test]
    fn what_is_no_trace_is_passed_over() {
        let zeros = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let no_parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let upper = GIVEN.to_uppercase();
        let long = format!("{GIVEN}-more");
        let later = format!("ff{}", &GIVEN[2..]);
        for text in ["", "00", "a\nb", &zeros, &no_parent, &upper, &long, &later, &GIVEN[1..]] {
            assert_eq!(Trace::parse(text), None, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, GIVEN.parse().unwrap());
        assert!(Trace::of(&headers).is_some());
        headers.append(TRACEPARENT, GIVEN.parse().unwrap());
        assert_eq!(Trace::of(&headers), None, "two of them are none");
    }

    #[tokio::test]
    async fn work_knows_its_trace() {
        let trace = Trace::parse(GIVEN).unwrap();
        let seen = trace.run(tracing::Span::none(), async { Trace::current() }).await;
        assert_eq!(seen, trace);
        assert_ne!(Trace::current().id, trace.id);
    }
}
