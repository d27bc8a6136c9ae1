//! Spans: pieces of work that a collector is told of when they are over. Made only where the trace in hand is exported, so that
//! all other work pays for one look. Does not decide which traces those are: `Traces` in `export` does.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{self as proto, Status, status::StatusCode};

use super::trace::Trace;

/// Bits of `flags`: sampled; it is known whether the parent is elsewhere; it is.
const SAMPLED: u32 = 0x01;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A piece of work that is under way. It is over when this is dropped.
#[derive(Debug)]
pub struct Span(Box<Open>);

#[derive(Debug)]
struct Open {
    trace: Trace,
    name: String,
    kind: SpanKind,
    began: SystemTime,
    started: Instant,
    attributes: Vec<KeyValue>,
    failure: Option<String>,
}

impl Span {
    /// All of the work that `trace` is here; none when it is not exported.
    pub fn of(trace: &Trace, kind: SpanKind, name: impl FnOnce() -> String) -> Option<Self> {
        trace.is_exported().then(|| Self::open(trace.clone(), kind, name()))
    }

    /// A part of the work in hand; none when that is not exported.
    #[inline]
    pub fn part(kind: SpanKind, name: impl FnOnce() -> String) -> Option<Self> {
        Trace::exported().map(|trace| Self::open(trace.part(), kind, name()))
    }

    #[cold]
    fn open(trace: Trace, kind: SpanKind, name: String) -> Self {
        Self(Box::new(Open {
            trace,
            name,
            kind,
            began: SystemTime::now(),
            started: Instant::now(),
            attributes: Vec::new(),
            failure: None,
        }))
    }

    /// The trace, for work that is a part of this.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Tells a text.
    pub fn text(&mut self, key: &'static str, text: impl Into<String>) {
        self.0.attributes.push(attribute(key, text));
    }

    /// Tells a number.
    pub fn number(&mut self, key: &'static str, number: impl Into<i64>) {
        self.0.attributes.push(key_value(key, Value::IntValue(number.into())));
    }

    /// Says that the work failed, and why.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.0.failure = Some(why.into());
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let open = &mut *self.0;
        let Some(queue) = open.trace.queue() else { return };
        let nanoseconds = |since: std::time::Duration| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let began = nanoseconds(open.began.duration_since(UNIX_EPOCH).unwrap_or_default());
        let remote = if open.trace.came_from_elsewhere() { IS_REMOTE } else { 0 };
        let status = open.failure.take().map(|message| Status {
            message,
            code: StatusCode::Error.into(),
        });
        let (trace_id, span_id, parent) = open.trace.numbers();
        queue.push(proto::Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: parent.map(Vec::from).unwrap_or_default(),
            flags: SAMPLED | HAS_IS_REMOTE | remote,
            name: std::mem::take(&mut open.name),
            kind: open.kind.into(),
            start_time_unix_nano: began,
            // By the steady clock: the other one may have been set meanwhile.
            end_time_unix_nano: began.saturating_add(nanoseconds(open.started.elapsed())),
            attributes: std::mem::take(&mut open.attributes),
            status,
            ..proto::Span::default()
        });
    }
}

/// A text under a name.
pub(super) fn attribute(key: &str, text: impl Into<String>) -> KeyValue {
    key_value(key, Value::StringValue(text.into()))
}

fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
