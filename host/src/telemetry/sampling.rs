//! Which calls are looked at: a share of them, decided without a lock and without memory.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

/// A share of the calls. None at first.
#[derive(Debug, Default)]
pub struct Share(AtomicU32);

impl Share {
    /// Takes this share, 0 to 1, from now on.
    pub fn set(&self, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the whole range"
        )]
        let parts = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        self.0.store(parts, Ordering::Relaxed);
    }

    /// Whether this call is one of them.
    #[must_use]
    pub fn takes(&self) -> bool {
        let share = self.0.load(Ordering::Relaxed);
        share != 0 && random() <= share
    }
}

/// A number that is good enough to sample by, without a lock (a linear congruential generator per thread).
fn random() -> u32 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(getrandom::u64().unwrap_or(1));
    }
    let next = STATE
        .get()
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    STATE.set(next);
    u32::try_from(next >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_calls_is_taken() {
        let share = Share::default();
        let taken = |share: &Share| (0..20_000).filter(|_| share.takes()).count();
        assert_eq!(taken(&share), 0);
        share.set(0.1);
        assert!((1500..2500).contains(&taken(&share)));
        share.set(1.0);
        assert_eq!(taken(&share), 20_000);
    }
}
