//! How new a read must be: `min_revision` and `max-stale` in, `Age` out.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::fields::{unquoted_split, word};
use super::prefer::Wait;
use crate::model::Revision;
use crate::service::Freshness;

/// What a query and the headers ask of a read of the current state. What is as new as `min_revision` is never too
/// stale.
pub fn freshness(min_revision: Option<Revision>, headers: &HeaderMap) -> Freshness {
    match min_revision {
        Some(revision) => Freshness::AtLeast(revision),
        None => max_stale(headers).map_or(Freshness::Strict, Freshness::OrStale),
    }
}

/// How stale an answer may be (RFC 9111 §5.2.1.2); `None` if it may not be stale.
fn max_stale(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL);
    let mut stale = None;
    for directive in lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| unquoted_split(line, ','))
    {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name, Some(word(value.trim()))),
            None => (directive, None),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            // The reader wants it from the origin (§5.2.1.4).
            "no-cache" => return None,
            "max-stale" if stale.is_none() => stale = Some(value),
            _ => {}
        }
    }
    let Some(seconds) = stale? else {
        // However old it is.
        return Some(Duration::MAX);
    };
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    // A number that is too large to be read is as good as none (§1.2.2).
    is_number.then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)))
}

/// The answer to a read. An old state was not waited with.
pub fn answer(response: Response, wait: &Wait, age: Option<Duration>) -> Response {
    if age.is_none() {
        return wait.applied_to(response);
    }
    let mut response = response;
    add_age(&mut response, age);
    response
}

/// Says how old an answer is whose state is not known to be current (RFC 9111 §5.1).
pub fn add_age(response: &mut Response, age: Option<Duration>) {
    if let Some(age) = age {
        let seconds = HeaderValue::from(age.as_secs());
        response.headers_mut().insert(header::AGE, seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_answer_is_accepted_only_if_the_reader_says_so() {
        let seconds = Duration::from_secs;
        for (lines, stale) in [
            (&[][..], None),
            (&["no-store"], None),
            (&["max-age=0"], None),
            (&["max-stale"], Some(Duration::MAX)),
            (&["Max-Stale=60"], Some(seconds(60))),
            (&["max-age=0, max-stale = \"60\""], Some(seconds(60))),
            (&["max-stale=0"], Some(seconds(0))),
            (&["max-stale=99999999999999999999"], Some(seconds(u64::MAX))),
            (&["max-stale=60, max-stale=5"], Some(seconds(60))),
            (&["x=\"max-stale\""], None),
            (&["max-stale=60", "no-cache"], None),
            (&["max-stale="], None),
            (&["max-stale=-1"], None),
            (&["max-stale=1.5"], None),
            (&["max-stale=soon"], None),
            (&["max-stales"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CACHE_CONTROL, HeaderValue::from_static(line));
            }
            assert_eq!(max_stale(&headers), stale, "{lines:?}");
        }
    }
}
