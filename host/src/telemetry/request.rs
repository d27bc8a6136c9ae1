//! The request in hand: whoever handles one gives it a number, and whatever records something about it can ask for it. Knows
//! no protocol.

use std::fmt;
use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

tokio::task_local! {
    static CURRENT: RequestId;
}

/// A number for one request. Unlikely to be met twice in a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    /// The request that this task handles, none outside of one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|id| *id).ok()
    }

    /// Runs `work` as the handling of this request.
    pub fn handle<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The number of a request that comes now.
    #[must_use]
    pub fn next() -> Self {
        // Every process counts from somewhere else.
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(getrandom::u64().unwrap_or(1)));
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_known_inside_its_handling_alone() {
        assert_eq!(RequestId::current(), None);
        let seen = RequestId::next()
            .handle(async { (RequestId::current(), RequestId::current()) })
            .await;
        assert!(seen.0.is_some() && seen.0 == seen.1);
        let other = RequestId::next().handle(async { RequestId::current() }).await;
        assert_ne!(seen.0, other);
        assert_eq!(RequestId::current(), None);
        let id = RequestId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "0123456789abcdef");
    }
}
