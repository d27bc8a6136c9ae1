//! Who is asked, in which order: the candidate for its share of the keys, the active release, the previous good one. What
//! comes after them, the native default and the static decision, is with each world.

use std::sync::Arc;

use super::failure::FailureKind;
use super::instance::{Release, Tag};
use super::worlds::World;
use crate::ports::policies::Rung;

/// Parts of a share: a hundredth of a percent.
pub const PARTS: u64 = 10_000;

/// The releases that a slot asks. One pointer holds all of them, so that a change is one exchange.
pub struct Ladder<W: World> {
    pub canary: Option<Canary<W>>,
    pub active: Option<Arc<Release<W>>>,
    /// Asked when the active release fails or is held back.
    pub previous: Option<Arc<Release<W>>>,
}

/// A release that answers a share of the keys.
pub struct Canary<W: World> {
    pub release: Arc<Release<W>>,
    /// How many of `PARTS` it answers.
    pub share: u64,
    /// Different for every rollout, so that each one meets other keys first.
    pub salt: u64,
}

/// An answer, and who gave it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<R> {
    pub answer: R,
    pub rung: Rung,
    /// The release, none when no release answered.
    pub release: Option<Tag>,
    /// Why the first release that was to answer did not; none when it did, or there is none.
    pub skipped: Option<Skipped>,
}

/// Why a release did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It was asked and failed, or nobody was free to ask it.
    Failed(FailureKind),
    /// It failed before, and is not asked at the moment.
    HeldBack,
}

impl Skipped {
    /// The name in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.as_str(),
            Self::HeldBack => "held_back",
        }
    }
}

impl<R> Answered<R> {
    /// Who gave it, without it.
    pub const fn by(&self) -> Answered<()> {
        Answered {
            answer: (),
            rung: self.rung,
            release: self.release,
            skipped: self.skipped,
        }
    }
}

impl<W: World> Default for Ladder<W> {
    fn default() -> Self {
        Self {
            canary: None,
            active: None,
            previous: None,
        }
    }
}

impl<W: World> Canary<W> {
    /// Whether the candidate answers for this key. The same key has the same answer on every node and at every time.
    pub fn takes(&self, key: u64) -> bool {
        mixed(key ^ self.salt) % PARTS < self.share
    }
}

impl<W: World> Ladder<W> {
    /// Whether the release has a place here.
    pub fn has(&self, release: &Arc<Release<W>>) -> bool {
        self.releases().any(|ours| Arc::ptr_eq(ours, release))
    }

    /// The releases, first asked first.
    pub fn releases(&self) -> impl Iterator<Item = &Arc<Release<W>>> {
        let canary = self.canary.as_ref().map(|canary| &canary.release);
        canary.into_iter().chain(&self.active).chain(&self.previous)
    }
}

/// A number for a key, the same in every build (FNV-1a).
#[must_use]
pub fn key(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Spreads neighbouring numbers over all (the finisher of SplitMix64).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_evenly_and_stay_where_they_are() {
        assert_eq!(key(&[b"zone-1"]), key(&[b"zone-", b"1"]));
        for salt in [0, 7, u64::MAX] {
            let taken = (0..20_000_u32)
                .filter(|number| mixed(key(&[format!("zone-{number}").as_bytes()]) ^ salt) % PARTS < 500)
                .count();
            assert!((800..1200).contains(&taken), "{taken} of 20000 at 5 %");
        }
    }
}
