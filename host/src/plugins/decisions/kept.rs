//! What a slot keeps of a question until somebody reads it.

/// A question as the call had it: made without work, turned into the slot's JSON only when it is read.
pub trait Kept: Send + Sync + 'static {
    /// The question as JSON is made of it.
    type Question;

    /// The question.
    fn question(&self) -> Self::Question;

    /// Which of the slot's rings keeps it, below `RINGS`: frequent questions must not push out rare ones.
    fn ring(&self) -> usize {
        0
    }

    /// Bytes that it holds on to, about.
    fn weight(&self) -> usize;

    /// The session that it is about.
    fn session(&self) -> Option<&str> {
        None
    }
}

/// Rings of a slot.
pub const RINGS: usize = 2;
