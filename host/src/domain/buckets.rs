//! The token buckets of one node, by key. A plain table: it knows nothing of requests and takes the time as a value.
//!
//! The table is split into shards with a lock each. A draw on several buckets locks their shards in order, so it takes all
//! or none and cannot deadlock. The number of buckets is bounded: a shard that is full drops its buckets that are
//! full again (they say nothing), and when there are none, the fullest of a few. Whoever has drawn most stays limited.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use parking_lot::{Mutex, MutexGuard};

use super::bucket::{Bucket, BucketAnswer, BucketDraw};
use super::clock::Timestamp;

/// Most buckets of a node; some 40 MB.
pub const MOST: usize = 262_144;

/// A power of two, far above the number of cores.
const SHARDS: usize = 64;

/// How many buckets of a full shard are compared to find one to drop.
const COMPARED: usize = 8;

/// How often a full shard is searched for buckets that are full again.
const SEARCH_EVERY_MS: u64 = 1000;

/// The table.
pub struct Buckets {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    most_per_shard: usize,
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<String, Kept>,
    searched_at: Timestamp,
}

/// A bucket with the terms it was last drawn on.
#[derive(Clone, Copy)]
struct Kept {
    bucket: Bucket,
    capacity: u32,
    window_seconds: u32,
}

impl Buckets {
    /// An empty table for about `most` buckets.
    pub fn new(most: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most_per_shard: most.div_ceil(SHARDS).max(1),
        }
    }

    /// Draws on all of them or on none. None when `draws` is empty.
    pub fn draw(&self, draws: &[BucketDraw], now: Timestamp) -> Option<BucketAnswer> {
        match draws {
            [draw] => self.draw_one(draw, now),
            draws => self.draw_all(draws, now),
        }
    }

    /// Forgets buckets that are full again; returns how many.
    pub fn sweep(&self, now: Timestamp) -> u64 {
        self.shards.iter().map(|shard| shard.lock().drop_full(now)).sum()
    }

    fn shard_of(&self, key: &str) -> usize {
        // The lowest bits: RandomState spreads all of them.
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }

    fn draw_one(&self, draw: &BucketDraw, now: Timestamp) -> Option<BucketAnswer> {
        let mut shard = self.shards.get(self.shard_of(&draw.key))?.lock();
        let mut bucket = shard.find(draw, now);
        let answer = bucket.draw(draw.capacity, draw.window_seconds, draw.cost, now);
        shard.keep(draw, bucket, now, self.most_per_shard);
        Some(answer)
    }

    fn draw_all(&self, draws: &[BucketDraw], now: Timestamp) -> Option<BucketAnswer> {
        let places: Vec<usize> = draws.iter().map(|draw| self.shard_of(&draw.key)).collect();
        let mut needed = places.clone();
        needed.sort_unstable();
        needed.dedup();
        let mut locked: Vec<(usize, MutexGuard<'_, Shard>)> = needed
            .into_iter()
            .filter_map(|place| Some((place, self.shards.get(place)?.lock())))
            .collect();

        // Drawn on copies first; a key that comes twice goes on with its copy.
        let mut drawn: Vec<(&BucketDraw, usize, Bucket)> = Vec::with_capacity(draws.len());
        let mut answer: Option<BucketAnswer> = None;
        for (draw, place) in draws.iter().zip(places) {
            let earlier = drawn
                .iter()
                .rev()
                .find(|(other, _, _)| other.key == draw.key)
                .map(|(_, _, bucket)| *bucket);
            let mut bucket = match earlier {
                Some(bucket) => bucket,
                None => locked.iter().find(|(of, _)| *of == place)?.1.find(draw, now),
            };
            let this = bucket.draw(draw.capacity, draw.window_seconds, draw.cost, now);
            if answer.as_ref().is_none_or(|other| this.is_tighter_than(other)) {
                answer = Some(this);
            }
            drawn.push((draw, place, bucket));
        }
        if answer.is_some_and(|answer| answer.allowed) {
            for (draw, place, bucket) in drawn {
                if let Some((_, shard)) = locked.iter_mut().find(|(of, _)| *of == place) {
                    shard.keep(draw, bucket, now, self.most_per_shard);
                }
            }
        }
        answer
    }
}

impl Kept {
    fn level(&self, now: Timestamp) -> f64 {
        self.bucket.level(self.capacity, self.window_seconds, now)
    }

    fn is_full(&self, now: Timestamp) -> bool {
        self.level(now) >= f64::from(self.capacity)
    }

    /// How full, from 0 to 1.
    fn fullness(&self, now: Timestamp) -> f64 {
        self.level(now) / f64::from(self.capacity.max(1))
    }
}

impl Shard {
    fn find(&self, draw: &BucketDraw, now: Timestamp) -> Bucket {
        self.buckets
            .get(&draw.key)
            .map_or_else(|| Bucket::full(draw.capacity, now), |kept| kept.bucket)
    }

    fn keep(&mut self, draw: &BucketDraw, bucket: Bucket, now: Timestamp, most: usize) {
        let kept = Kept {
            bucket,
            capacity: draw.capacity,
            window_seconds: draw.window_seconds,
        };
        if let Some(place) = self.buckets.get_mut(&draw.key) {
            *place = kept;
            return;
        }
        if self.buckets.len() >= most {
            self.make_room(now, most);
        }
        self.buckets.insert(draw.key.clone(), kept);
    }

    fn make_room(&mut self, now: Timestamp, most: usize) {
        if now < self.searched_at || now.millis_since(self.searched_at) >= SEARCH_EVERY_MS {
            self.searched_at = now;
            self.drop_full(now);
        }
        if self.buckets.len() < most {
            return;
        }
        let fullest = self
            .buckets
            .iter()
            .take(COMPARED)
            .max_by(|(_, a), (_, b)| a.fullness(now).total_cmp(&b.fullness(now)))
            .map(|(key, _)| key.clone());
        if let Some(key) = fullest {
            self.buckets.remove(&key);
        }
    }

    fn drop_full(&mut self, now: Timestamp) -> u64 {
        let before = self.buckets.len();
        self.buckets.retain(|_, kept| !kept.is_full(now));
        if self.buckets.capacity() > self.buckets.len().saturating_mul(4).max(64) {
            self.buckets.shrink_to(self.buckets.len().saturating_mul(2));
        }
        before.saturating_sub(self.buckets.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(key: String, cost: u32) -> BucketDraw {
        BucketDraw {
            key,
            capacity: 10,
            window_seconds: 60,
            cost,
        }
    }

    #[test]
    fn memory_is_bounded_and_the_most_limited_stays() {
        let buckets = Buckets::new(SHARDS * 4);
        let now = Timestamp(5_000);
        let flooder = [draw("flooder".to_owned(), 10)];
        assert!(buckets.draw(&flooder, now).unwrap().allowed);
        for number in 0..10_000 {
            assert!(
                buckets
                    .draw(&[draw(format!("stranger-{number}"), 1)], now)
                    .unwrap()
                    .allowed
            );
        }
        let count: usize = buckets.shards.iter().map(|shard| shard.lock().buckets.len()).sum();
        assert!(count <= SHARDS * 4, "{count}");
        assert!(!buckets.draw(&flooder, now).unwrap().allowed);
    }

    #[test]
    fn no_draw_has_no_answer() {
        assert!(Buckets::new(1).draw(&[], Timestamp(0)).is_none());
    }
}
