//! Time as a value that is passed in, so that every rule can be tested at any moment. How a moment is written is decided
//! here, once.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC, in milliseconds since the Unix epoch. RFC 3339 in JSON, an integer in SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `millis` milliseconds later.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The moment `seconds` seconds later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_millis(seconds.saturating_mul(1000))
    }

    /// The moment `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Milliseconds from `earlier` to this moment, 0 when it lies ahead.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// Whole seconds since the Unix epoch, as JWT and `reset_time` want them.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// RFC 3339 in UTC with milliseconds, for example `2025-11-09T12:00:00.000Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.stamp().as_str().to_owned()
    }

    /// As `rfc3339`, without an allocation. The part up to the second is worked out once a second and thread.
    #[must_use]
    pub fn stamp(self) -> Stamp {
        thread_local! {
            static SECOND: Cell<(i64, [u8; 19])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
        }
        let (second, millis) = (self.0.div_euclid(1000), self.0.rem_euclid(1000));
        let (cached, mut prefix) = SECOND.get();
        if cached != second {
            let text = OffsetDateTime::from_unix_timestamp(second)
                .ok()
                .and_then(|moment| moment.format(&Rfc3339).ok());
            prefix = text
                .and_then(|text| text.as_bytes().first_chunk().copied())
                .unwrap_or(*b"1970-01-01T00:00:00");
            SECOND.set((second, prefix));
        }
        let mut out = *b"0000-00-00T00:00:00.000Z";
        out[..19].copy_from_slice(&prefix);
        for (index, divisor) in [(20, 100), (21, 10), (22, 1)] {
            out[index] = b'0' + u8::try_from(millis / divisor % 10).unwrap_or(0);
        }
        Stamp(out)
    }
}

/// A moment as RFC 3339 text with three digits of milliseconds. Years beyond 9999 are written as 1970.
#[derive(Clone, Copy, Debug)]
pub struct Stamp([u8; 24]);

impl Stamp {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("1970-01-01T00:00:00.000Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.stamp().as_str())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock as the application passes it around.
pub type SharedClock = Arc<dyn Clock>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_do_not_overflow() {
        assert_eq!(Timestamp(5000).minus(Duration::from_secs(6)), Timestamp(-1000));
        assert_eq!(Timestamp(-2).minus(Duration::MAX), Timestamp(i64::MIN));
        assert_eq!(Timestamp(i64::MAX).plus_seconds(i64::MAX), Timestamp(i64::MAX));
    }

    #[test]
    fn milliseconds_have_three_digits() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_762_689_600_000, "2025-11-09T12:00:00.000Z"),
            (1_762_689_600_070, "2025-11-09T12:00:00.070Z"),
            (1_762_689_659_999, "2025-11-09T12:00:59.999Z"),
            (i64::MAX, "1970-01-01T00:00:00.807Z"),
        ] {
            assert_eq!(Timestamp(millis).rfc3339(), text);
        }
        let read: Timestamp = serde_json::from_str("\"2025-11-09T13:00:00.07+01:00\"").unwrap();
        assert_eq!(read, Timestamp(1_762_689_600_070));
    }
}
