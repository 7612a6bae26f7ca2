//! What must be true of an entry before it is written.

use std::str::FromStr;

use reqwest::RequestBuilder;
use reqwest::header::{HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::entry::Entry;
use super::failure::Failure;

/// What must be true of a key before it is written.
#[derive(Debug, Clone)]
pub enum Precondition {
    /// No condition.
    None,
    /// The key does not exist: `If-None-Match: *`.
    Absent,
    /// `If-Match` with this text.
    Match(HeaderValue),
}

impl Precondition {
    /// The entry is still this version.
    pub fn unchanged(entry: &Entry) -> Result<Self, Failure> {
        HeaderValue::from_str(&entry.etag)
            .map(Self::Match)
            .map_err(|_| Failure::Input(format!("{:?} is not an entity tag", entry.etag)))
    }

    /// Adds it to a request.
    pub fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Absent => request.header(IF_NONE_MATCH, "*"),
            Self::Match(tags) => request.header(IF_MATCH, tags),
        }
    }
}

/// The text of an If-Match header: quotes are added to a single tag that has none, because shells
/// take them off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub HeaderValue);

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("it is empty; `ifmatch get KEY` shows the tag".to_owned());
        }
        if has_weak_tag(text) {
            return Err(
                "a weak tag (W/…) never matches. A proxy that compresses responses makes the tag in the \
                 ETag header weak; use the entry's own `etag`, which `ifmatch get KEY` shows"
                    .to_owned(),
            );
        }
        let is_header = text == "*" || text.contains('"');
        let text = if is_header {
            text.to_owned()
        } else {
            format!("\"{text}\"")
        };
        let header = HeaderValue::from_str(&text);
        header.map(Self).map_err(|error| error.to_string())
    }
}

/// Whether a tag in the text of an If-Match header is weak. A shell may have taken its quotes.
fn has_weak_tag(text: &str) -> bool {
    let outside_quotes = text.split('"').step_by(2);
    outside_quotes
        .flat_map(|part| part.split(','))
        .any(|part| part.trim_start().starts_with("W/"))
}
