//! Points of the past, as they are typed: `KEY@41`, `KEY@2h`, `KEY@2026-11-23T10:00:00Z`. Pure but for the clock.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::text::shell_quoted;
use crate::model::{Key, Timestamp};

/// What a moment can be, for messages.
const KINDS: &str = "a revision (41), a time (2026-11-23T10:00:00Z) or a time ago (2h)";

/// How keys and moments are typed, for the help of commands.
pub const HELP: &str = "A moment is a revision (41, see `ifmatch log KEY`), a time (2026-11-23T10:00:00Z) or a time \
                        ago (2h). The last @ counts: to name a key with an @, put another after it: \
                        ann@kv.example@ is the current entry of ann@kv.example.";

/// A point of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// The state at this revision.
    Revision(u64),
    /// The state at this time, as RFC 3339 writes it. The service checks it.
    Time(String),
    /// The state so long ago.
    Ago(Duration),
}

impl Moment {
    /// The parameter that asks the service for the state of then.
    pub fn query(&self) -> (&'static str, String) {
        match self {
            Self::Revision(revision) => ("revision", revision.to_string()),
            Self::Time(time) => ("at", time.clone()),
            Self::Ago(duration) => {
                let then = SystemTime::now().checked_sub(*duration);
                let then = Timestamp::from(then.unwrap_or(SystemTime::UNIX_EPOCH));
                ("at", then.to_string())
            }
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(revision) = text.parse()
            && text.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Ok(Self::Revision(revision));
        }
        if is_like_a_time(text) {
            return Ok(Self::Time(text.to_owned()));
        }
        match humantime::parse_duration(text) {
            Ok(duration) => Ok(Self::Ago(duration)),
            Err(_) => Err(format!("{text:?} is not {KINDS}")),
        }
    }
}

/// Whether a text begins as RFC 3339 writes a time: `2026-11-23T10:`.
fn is_like_a_time(text: &str) -> bool {
    let pattern = b"dddd-dd-ddTdd:";
    let is_like = |(byte, like): (u8, &u8)| match like {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't'),
        like => byte == *like,
    };
    text.len() > pattern.len() && text.bytes().zip(pattern).all(is_like)
}

/// A key, and as of when. The last `@` counts: after it is a [`Moment`], or nothing for the current entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAt {
    /// The key.
    pub key: Key,
    /// `None` for the current entry.
    pub at: Option<Moment>,
}

impl FromStr for KeyAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, at) = match text.rsplit_once('@') {
            None => (text, None),
            Some((key, "")) => (key, None),
            Some((key, at)) => {
                let at = at.parse::<Moment>().map_err(|error| {
                    format!(
                        "{error}; to name the key {text:?} itself, put an @ after it: {}",
                        shell_quoted(&format!("{text}@"))
                    )
                })?;
                (key, Some(at))
            }
        };
        let key = key.parse::<Key>().map_err(|error| error.to_string())?;
        Ok(Self { key, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_sign_counts() {
        let hours = |hours: u64| Moment::Ago(Duration::from_secs(hours * 3600));
        for (text, key, at) in [
            ("doc/plan", "doc/plan", None),
            ("doc/plan@41", "doc/plan", Some(Moment::Revision(41))),
            ("doc/plan@0", "doc/plan", Some(Moment::Revision(0))),
            ("a@2h", "a", Some(hours(2))),
            ("a@1d 1h", "a", Some(hours(25))),
            ("ann@kv.example@", "ann@kv.example", None),
            (
                "ann@kv.example@7",
                "ann@kv.example",
                Some(Moment::Revision(7)),
            ),
            ("a@41@", "a@41", None),
            (
                "a@2026-11-23T10:00:00+01:00",
                "a",
                Some(Moment::Time("2026-11-23T10:00:00+01:00".to_owned())),
            ),
        ] {
            let key = key.parse().unwrap();
            assert_eq!(text.parse(), Ok(KeyAt { key, at }), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_may_be_part_of_the_key() {
        for text in ["ann@kv.example", "logo@2x", "a@-1", "a@+1", "a@2026-11-23"] {
            let error = text.parse::<KeyAt>().unwrap_err();
            assert!(error.contains(&format!("'{text}@'")), "{error}");
        }
        assert!("@41".parse::<KeyAt>().is_err(), "a key is not empty");
    }

    #[test]
    fn a_time_ago_is_asked_for_as_a_time() {
        let (name, text) = Moment::Ago(Duration::from_secs(60)).query();
        assert_eq!(name, "at");
        let then: SystemTime = text.parse::<Timestamp>().unwrap().into();
        let ago = SystemTime::now().duration_since(then).unwrap();
        assert!((60..120).contains(&ago.as_secs()), "{text}");
        let (_, text) = Moment::Ago(Duration::from_secs(u64::MAX)).query();
        assert_eq!(text, "1970-01-01T00:00:00.000Z");
    }
}
