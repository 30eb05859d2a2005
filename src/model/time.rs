//! Points in time, as stores and files carry them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A UTC time with nanoseconds: seconds may be negative (before 1970), `nanos` counts forward and is below 10⁹.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub struct Timestamp {
    /// Whole seconds since 1970.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Timestamp {
    /// A time of whole seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// Reads `2026-05-02T10:01:00.000Z`, `2026-05-02T10:01:00+00:00` or `2026-05-02 10:01:00[ UTC]`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(time.into());
        }
        let plain = text.trim_end_matches("UTC").trim_end().replacen(' ', "T", 1);
        format!("{plain}Z").parse::<jiff::Timestamp>().ok().map(Into::into)
    }

    /// `2026-05-02T10:01:00Z`, with a fraction when there is one.
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::new(self.secs, self.nanos.min(999_999_999) as i32)
            .map_or_else(|_| format!("@{}", self.secs), |time| time.to_string())
    }

    /// In this machine's time zone, by a `strftime` format.
    pub fn to_local(self, format: &str) -> String {
        let time = jiff::Timestamp::new(self.secs, 0).unwrap_or_default();
        time.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string()
    }

    /// Time passed since `earlier`; zero when that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = self.to_nanos() - earlier.to_nanos();
        u64::try_from(nanos.max(0)).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// This time and `span` more.
    pub fn plus(self, span: Duration) -> Self {
        Self::from_nanos(self.to_nanos() + span.as_nanos() as i128)
    }

    /// This time less `span`.
    pub fn minus(self, span: Duration) -> Self {
        Self::from_nanos(self.to_nanos() - span.as_nanos() as i128)
    }

    /// Nanoseconds since 1970, for a database column: saturates in the years 1677 and 2262.
    pub fn to_db(self) -> i64 {
        self.to_nanos().clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The reverse of [`Timestamp::to_db`].
    pub fn from_db(nanos: i64) -> Self {
        Self::from_nanos(i128::from(nanos))
    }

    fn to_nanos(self) -> i128 {
        i128::from(self.secs) * 1_000_000_000 + i128::from(self.nanos)
    }

    fn from_nanos(nanos: i128) -> Self {
        let secs = nanos
            .div_euclid(1_000_000_000)
            .clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        Self {
            secs,
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
        }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                secs: after.as_secs() as i64,
                nanos: after.subsec_nanos(),
            },
            Err(before) => Self::from_nanos(-(before.duration().as_nanos() as i128)),
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let whole = if time.secs >= 0 {
            UNIX_EPOCH + Duration::from_secs(time.secs as u64)
        } else {
            UNIX_EPOCH - Duration::from_secs(time.secs.unsigned_abs())
        };
        whole + Duration::from_nanos(u64::from(time.nanos))
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        Self::from_nanos(time.as_nanosecond())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_that_stores_send() {
        let want = Timestamp::from_secs(1_777_716_060);
        for text in [
            "2026-05-02T10:01:00.000Z",
            "2026-05-02T10:01:00Z",
            "2026-05-02T10:01:00+00:00",
            "2026-05-02 10:01:00 UTC",
            "2026-05-02 10:01:00",
        ] {
            assert_eq!(Timestamp::parse(text), Some(want), "{text}");
        }
        assert_eq!(Timestamp::parse("soon"), None);
    }

    #[test]
    fn survives_system_time_before_and_after_1970_and_past_2038() {
        for time in [
            Timestamp {
                secs: -2,
                nanos: 500_000_000,
            },
            Timestamp { secs: 0, nanos: 1 },
            Timestamp {
                secs: 4_294_967_297,
                nanos: 999_999_999,
            },
        ] {
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
            assert_eq!(Timestamp::from_db(time.to_db()), time);
        }
    }
}
