//! Header text → [`Preconditions`], strictly: a malformed precondition is an error and never ignored. (The
//! `headers` crate drops entity tags that it cannot parse.) Dates are the exception that RFC 9110 makes: a
//! malformed date is ignored, and so are several dates.
//!
//! | field | reading |
//! | --- | --- |
//! | several lines | one list (RFC 9110 §5.3) |
//! | `"a", "b"` | a list; empty members are skipped; a comma between quotes is part of the tag |
//! | `W/"a"` | a weak tag; `W` is a capital |
//! | `*` | any; only by itself |
//! | no member at all, unquoted or unclosed text, `*` in a list | an error |

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::ApiError;
use crate::model::Timestamp;
use crate::precondition::{ListedTag, Preconditions, Tags};

/// The fields that are preconditions.
const FIELDS: [HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// The preconditions of a request.
///
/// # Errors
/// [`ApiError::InvalidPrecondition`], which names the field.
pub fn preconditions(headers: &HeaderMap) -> Result<Preconditions, ApiError> {
    // Most requests have none: one pass over all names is cheaper than four lookups.
    if !headers.keys().any(|name| FIELDS.contains(name)) {
        return Ok(Preconditions::default());
    }
    Ok(Preconditions {
        if_match: tags(headers, &header::IF_MATCH)?.map(Tags::without_impossible),
        if_none_match: tags(headers, &header::IF_NONE_MATCH)?.map(Tags::without_impossible),
        if_modified_since: date(headers, &header::IF_MODIFIED_SINCE),
        if_unmodified_since: date(headers, &header::IF_UNMODIFIED_SINCE),
    })
}

/// A date; `None` if it is malformed or there are several (RFC 9110 §13.1.3, §13.1.4).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let date = httpdate::parse_http_date(line.to_str().ok()?).ok()?;
    Some(date.into())
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, ApiError> {
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let list = lines.join(&b","[..]);
    parse(&list)
        .map(Some)
        .map_err(|reason| ApiError::InvalidPrecondition {
            field: name_of(name),
            reason,
        })
}

/// The usual spelling of a precondition's field.
pub fn name_of(name: &HeaderName) -> &'static str {
    if name == header::IF_MATCH {
        "If-Match"
    } else if name == header::IF_NONE_MATCH {
        "If-None-Match"
    } else {
        "If-Unmodified-Since"
    }
}

/// Reads `"*" / #entity-tag` (RFC 9110 §13.1.1).
///
/// # Errors
/// What is wrong, in words for a person.
pub fn parse(list: &[u8]) -> Result<Tags, &'static str> {
    if list.trim_ascii() == b"*" {
        return Ok(Tags::Any);
    }
    let mut tags = Vec::new();
    let mut rest = list;
    loop {
        rest = skip_separators(rest);
        if rest.is_empty() {
            break;
        }
        let (tag, after) = entity_tag(rest)?;
        tags.push(tag);
        rest = after.trim_ascii_start();
        if !rest.is_empty() && rest[0] != b',' {
            return Err("a comma is missing between two entity tags");
        }
    }
    if tags.is_empty() {
        return Err("it names no entity tag");
    }
    Ok(Tags::Listed(tags))
}

fn skip_separators(list: &[u8]) -> &[u8] {
    let start = list
        .iter()
        .position(|byte| !matches!(byte, b',' | b' ' | b'\t'));
    &list[start.unwrap_or(list.len())..]
}

/// Reads `[ "W/" ] DQUOTE *etagc DQUOTE` (RFC 9110 §8.8.3) and returns what follows it.
fn entity_tag(text: &[u8]) -> Result<(ListedTag, &[u8]), &'static str> {
    if text[0] == b'*' {
        return Err("\"*\" cannot be combined with tags");
    }
    let (weak, quoted) = match text.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let Some(inner) = quoted.strip_prefix(b"\"") else {
        return Err("an entity tag must be in double quotes");
    };
    let Some(end) = inner.iter().position(|&byte| byte == b'"') else {
        return Err("an entity tag has no closing double quote");
    };
    let (opaque, after) = (&inner[..end], &inner[end + 1..]);
    if !opaque
        .iter()
        .all(|&byte| matches!(byte, 0x21..=0x7E | 0x80..))
    {
        return Err("an entity tag has a character that it may not have");
    }
    let tag = ListedTag {
        weak,
        // Our tags are ASCII, so a lossily decoded tag matches none of them.
        opaque: String::from_utf8_lossy(opaque).into_owned(),
    };
    Ok((tag, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(tags: &[(bool, &str)]) -> Tags {
        let tag = |&(weak, opaque): &(bool, &str)| ListedTag {
            weak,
            opaque: opaque.to_owned(),
        };
        Tags::Listed(tags.iter().map(tag).collect())
    }

    fn read(lines: &[&[u8]]) -> Result<Option<Tags>, ApiError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_bytes(line).unwrap());
        }
        tags(&headers, &header::IF_MATCH)
    }

    #[test]
    fn every_way_to_write_a_list() {
        let rows: &[(&[&[u8]], Tags)] = &[
            (&[b"*"], Tags::Any),
            (&[b" * "], Tags::Any),
            (&[b"\"a\""], listed(&[(false, "a")])),
            (&[b"\"\""], listed(&[(false, "")])),
            (&[b"W/\"a\""], listed(&[(true, "a")])),
            (&[b"\"a\",\"b\""], listed(&[(false, "a"), (false, "b")])),
            (
                &[b"\"a\" ,\t W/\"b\""],
                listed(&[(false, "a"), (true, "b")]),
            ),
            (
                &[b",, \"a\",, ,\"b\","],
                listed(&[(false, "a"), (false, "b")]),
            ),
            (&[b"\"a\"", b"\"b\""], listed(&[(false, "a"), (false, "b")])),
            (&[b"", b"\"b\""], listed(&[(false, "b")])),
            (&[b"\"a,b\""], listed(&[(false, "a,b")])),
            (&[b"\"W/\\\""], listed(&[(false, "W/\\")])),
            (&[b"\"\xE9\""], listed(&[(false, "\u{FFFD}")])),
        ];
        for (lines, tags) in rows {
            assert_eq!(read(lines).ok().flatten().as_ref(), Some(tags), "{lines:?}");
        }
        assert_eq!(read(&[]).ok(), Some(None));
    }

    #[test]
    fn a_malformed_list_is_an_error() {
        let rows: &[&[&[u8]]] = &[
            &[b""],
            &[b" "],
            &[b","],
            &[b"3"],
            &[b"\"a"],
            &[b"a\""],
            &[b"'a'"],
            &[b"\"a b\""],
            &[b"w/\"a\""],
            &[b"W/ \"a\""],
            &[b"W/"],
            &[b"W/a"],
            &[b"\"a\"\"b\""],
            &[b"\"a\" \"b\""],
            &[b"\"a\";\"b\""],
            &[b"\"a\"x"],
            &[b"*, \"a\""],
            &[b"\"a\", *"],
            &[b"*", b"\"a\""],
            &[b"*", b"*"],
            &[b"**"],
        ];
        for lines in rows {
            assert!(
                matches!(
                    read(lines),
                    Err(ApiError::InvalidPrecondition {
                        field: "If-Match",
                        ..
                    })
                ),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn tags_that_cannot_match_are_parsed_but_not_kept() {
        let ours = "18446744073709551615-0123456789abcdef";
        let list = format!("\"\", W/\"1-0123456789abcdef\", \"{ours}\", \"-0123456789abcdef\"");
        let mut headers = HeaderMap::new();
        headers.append(header::IF_MATCH, HeaderValue::try_from(list).unwrap());
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
        let conditions = preconditions(&headers).ok().unwrap();
        let kept = listed(&[(false, ""), (true, "1-0123456789abcdef"), (false, ours)]);
        assert_eq!(
            conditions.if_match,
            Some(kept),
            "the first strong one shows that not all are weak"
        );
        assert_eq!(conditions.if_none_match, Some(listed(&[(false, "a")])));
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("a"));
        assert!(preconditions(&headers).is_err());
    }

    #[test]
    fn a_malformed_date_is_ignored() {
        let mut headers = HeaderMap::new();
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("yesterday", None),
            ("2025-11-22T10:00:00Z", None),
        ] {
            headers.insert(header::IF_UNMODIFIED_SINCE, HeaderValue::from_static(text));
            headers.insert(header::IF_MODIFIED_SINCE, HeaderValue::from_static(text));
            let conditions = preconditions(&headers).ok().unwrap();
            let expected = seconds.map(|seconds| Timestamp::from_millis(seconds * 1000));
            assert_eq!(conditions.if_unmodified_since, expected, "{text}");
            assert_eq!(conditions.if_modified_since, expected, "{text}");
        }
    }
}
