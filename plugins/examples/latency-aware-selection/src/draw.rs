//! Numbers that look like chance and follow from a seed (SplitMix64). Not for secrets.

/// A sequence of draws.
pub struct Draw(u64);

impl Draw {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to one less than `most`; 0 when `most` is 0.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the upper half of 128 bits is below `most`"
    )]
    pub fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * most as u128) >> 64) as usize
    }
}
