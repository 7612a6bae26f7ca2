//! Moments, and how states are dated.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

/// The last millisecond that RFC 3339 can write, 9999-12-31T23:59:59.999Z.
const LAST_TIMESTAMP_MILLIS: u64 = 253_402_300_799_999;

/// The millisecond of dates that are ahead of the clock on purpose.
const AHEAD_MILLISECOND: u64 = 999;

/// A moment in UTC, in whole milliseconds since 1970, shown as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z; what RFC 3339 cannot write becomes the last
    /// moment that it can.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(LAST_TIMESTAMP_MILLIS))
    }

    /// When a state is written at `now` whose key's last state was written at `before`, if it had one.
    ///
    /// A client that has the date of a state must not take the next one for the same. After the clock was
    /// set back that would come about as soon as it is the same time again, so the next state is dated a
    /// second after the one before. Dates show whole seconds, and none that is still to come: while the
    /// clock is behind, no client sees that date, so the states that follow keep it. They are known by
    /// their millisecond, which no other date has.
    #[must_use]
    pub fn of_write(now: Self, before: Option<Self>) -> Self {
        match before {
            Some(before) if now < before && before.is_ahead() => before,
            Some(before) if now < before => {
                Self::from_millis((before.seconds() + 1) * 1000 + AHEAD_MILLISECOND)
            }
            _ if now.is_ahead() => Self(now.0 - 1),
            _ => now,
        }
    }

    fn is_ahead(self) -> bool {
        self.0 % 1000 == AHEAD_MILLISECOND
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970, which is what an HTTP date can say (RFC 9110 §5.6.7).
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis((*self).into()).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text).map(Self::from)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_rfc_3339_with_milliseconds_and_comes_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_763_805_600_120, "2025-11-22T10:00:00.120Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let timestamp = Timestamp::from_millis(millis);
            assert_eq!(timestamp.to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), timestamp);
        }
    }
}
