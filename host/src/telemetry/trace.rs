//! W3C trace context: taken from who asks, given to who is asked, and to every line that is logged on the way. Costs nothing for
//! what comes without one. Knows where the spans of an exported trace go, and makes none.

use std::future::Future;
use std::sync::Arc;

use axum::http::HeaderMap;
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

use super::queue::Queue;

/// The header that carries it.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: Trace;
}

/// Where a piece of work belongs.
#[derive(Clone, Debug)]
pub struct Trace {
    id: u128,
    /// What is done here.
    span: u64,
    parent: Option<Parent>,
    sampled: bool,
    /// Where its spans go; none when it is not exported.
    queue: Option<Arc<Queue>>,
}

/// What this work is a part of.
#[derive(Clone, Copy, Debug)]
struct Parent {
    span: u64,
    /// Somebody else does it.
    elsewhere: bool,
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
            parent: None,
            sampled: false,
            queue: None,
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
        let parent = u64::from_str_radix(parent, 16).ok().filter(|parent| *parent != 0)?;
        Some(Self {
            id,
            span: number(),
            parent: Some(Parent {
                span: parent,
                elsewhere: true,
            }),
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
            queue: None,
        })
    }

    /// The one that this work is part of; a fresh one when it is part of none.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_else(|_| Self::fresh())
    }

    /// The one that this work is part of, if it is exported.
    #[inline]
    #[must_use]
    pub fn exported() -> Option<Self> {
        CURRENT
            .try_with(|trace| trace.is_exported().then(|| trace.clone()))
            .ok()
            .flatten()
    }

    /// A part of what is done here, with a number of its own.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            span: number(),
            parent: Some(Parent {
                span: self.span,
                elsewhere: false,
            }),
            ..self.clone()
        }
    }

    /// Whether who asked has it recorded, or it is exported here.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Whether its spans are exported.
    #[must_use]
    pub const fn is_exported(&self) -> bool {
        self.queue.is_some()
    }

    /// The same trace, with its spans going to this queue.
    pub(super) fn into_exported(self, queue: Arc<Queue>) -> Self {
        Self {
            sampled: true,
            queue: Some(queue),
            ..self
        }
    }

    /// Where its spans go.
    pub(super) fn queue(&self) -> Option<&Queue> {
        self.queue.as_deref()
    }

    /// The numbers as collectors take them: of the trace, of what is done here, of what that is a part of.
    pub(super) fn numbers(&self) -> ([u8; 16], [u8; 8], Option<[u8; 8]>) {
        let parent = self.parent.map(|parent| parent.span.to_be_bytes());
        (self.id.to_be_bytes(), self.span.to_be_bytes(), parent)
    }

    /// Whether it is somebody else's work that this is a part of.
    pub(super) fn came_from_elsewhere(&self) -> bool {
        self.parent.is_some_and(|parent| parent.elsewhere)
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

    /// Does short work as a part of this trace.
    pub fn during<R>(self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self, work)
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
            assert!(Trace::parse(text).is_none(), "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, GIVEN.parse().unwrap());
        assert!(Trace::of(&headers).is_some());
        headers.append(TRACEPARENT, GIVEN.parse().unwrap());
        assert!(Trace::of(&headers).is_none(), "two of them are none");
    }

    #[tokio::test]
    async fn work_knows_its_trace() {
        let trace = Trace::parse(GIVEN).unwrap();
        let seen = trace.clone().run(tracing::Span::none(), async { Trace::current() });
        assert_eq!(seen.await.header(), trace.header());
        assert_ne!(Trace::current().id, trace.id);
        let seen = trace.clone().during(Trace::current);
        assert_eq!(seen.header(), trace.header());
    }
}
