//! A policy call as a part of an exported trace. Knows nothing of what is asked.

use super::ladder::{Answered, Skipped};
use super::slot::Slot;
use super::worlds::World;
use crate::ports::policies::Rung;
use crate::telemetry::span::{Span, SpanKind};

/// A call that somebody is told of.
pub struct PolicySpan(Span);

impl<W: World> Slot<W> {
    /// The span of the call that begins now; none unless the work in hand is exported.
    #[inline]
    pub fn span(&self) -> Option<PolicySpan> {
        let mut span = Span::part(SpanKind::Internal, || format!("policy {}", W::SLOT.as_str()))?;
        span.text("policy.slot", W::SLOT.as_str());
        Some(PolicySpan(span))
    }
}

impl PolicySpan {
    /// Ends with who answered. A release that failed on the way makes it a failure, whoever answered in its place.
    pub fn answered(mut self, by: &Answered<()>) {
        let source = match by.rung {
            Rung::Candidate | Rung::Component | Rung::Previous => "component",
            Rung::Native => "native",
            Rung::Static => "static",
        };
        self.0.text("policy.source", source);
        self.0.text("policy.rung", by.rung.as_str());
        if let Some(release) = by.release {
            self.0.text("policy.release", release.as_str());
        }
        let outcome = by.skipped.map_or("answered", |skipped| skipped.as_str());
        self.0.text("policy.outcome", outcome);
        if let Some(Skipped::Failed(kind)) = by.skipped {
            self.0.fail(kind.as_str());
        }
    }
}
