//! Which state of the past a query asks for.

use super::error::ApiError;
use crate::model::{Revision, Timestamp};
use crate::service::AsOf;

/// What `revision` and `at` of a query ask for; `None` for the current state.
///
/// # Errors
/// [`ApiError::InvalidQuery`] if both are there, or if `at` cannot be read.
pub fn as_of(revision: Option<Revision>, at: Option<&str>) -> Result<Option<AsOf>, ApiError> {
    let invalid = |reason: &str| ApiError::InvalidQuery(reason.to_owned());
    match (revision, at) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(invalid("revision and at exclude one another")),
        (Some(revision), None) => Ok(Some(AsOf::Revision(revision))),
        (None, Some(text)) => {
            let moment = read_moment(text).ok_or_else(|| {
                invalid("at must be a moment from 1970 on in RFC 3339, as 2026-11-23T10:00:00Z")
            })?;
            Ok(Some(AsOf::Time(moment)))
        }
    }
}

/// A moment in RFC 3339 §5.6, with `Z` or an offset. In a query, a plus sign that is not percent-encoded is
/// read as a space; nothing else of a moment's end is one, so it counts as the plus sign.
fn read_moment(text: &str) -> Option<Timestamp> {
    let text = text.to_ascii_uppercase();
    if let Some(local) = text.strip_suffix('Z') {
        return read_utc(local);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let offset_millis = (number_below(hours, 24)? * 60 + number_below(minutes, 60)?) * 60_000;
    let millis = read_utc(local)?.millis();
    let millis = match sign {
        "+" | " " => millis.checked_sub(offset_millis)?,
        "-" => millis + offset_millis,
        _ => return None,
    };
    Some(Timestamp::from_millis(millis))
}

/// A moment without its offset, in UTC.
fn read_utc(local: &str) -> Option<Timestamp> {
    // The parser would take another offset for a part of it.
    let is_local = local
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"-T:.".contains(&byte));
    let is_cut_off = local.ends_with('.');
    if !is_local || is_cut_off {
        return None;
    }
    format!("{local}Z").parse().ok()
}

/// Two digits, if their number is below `end`.
fn number_below(digits: &str, end: u64) -> Option<u64> {
    let are_digits = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|_| are_digits)?;
    (number < end).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_with_any_offset() {
        for (text, utc) in [
            ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000Z"),
            ("2026-11-23t10:00:00.1z", "2026-11-23T10:00:00.100Z"),
            ("2026-11-23T10:00:00.0019Z", "2026-11-23T10:00:00.001Z"),
            ("2026-11-23T11:30:00+01:30", "2026-11-23T10:00:00.000Z"),
            ("2026-11-23T11:30:00.120 01:30", "2026-11-23T10:00:00.120Z"),
            ("2026-11-22T23:59:59-10:01", "2026-11-23T10:00:59.000Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ] {
            let moment = read_moment(text).map(|moment| moment.to_string());
            assert_eq!(moment.as_deref(), Some(utc), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "Z",
            "now",
            "2026-11-23",
            "2026-11-23T10:00:00",
            "2026-11-23 10:00:00Z",
            "2026-11-23T10:00Z",
            "2026-11-23T10:00:00.Z",
            "2026-11-23T24:00:00Z",
            "2026-02-29T10:00:00Z",
            "2026-11-23T10:00:00+24:00",
            "2026-11-23T10:00:00+1:00",
            "2026-11-23T10:00:00+01:60",
            "2026-11-23T10:00:00*01:00",
            "2026-11-23T10:00:00+00:00+00:00",
            "2026-11-23T10:00:00Z+01:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "١٢٣٤-11-23T10:00:00Z",
        ] {
            assert_eq!(read_moment(text), None, "{text}");
        }
    }
}
