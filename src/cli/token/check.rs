//! `token check`: reads a file of tokens as the service does.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;
use itertools::Itertools as _;
use serde::Serialize;

use super::pattern::pattern_in_words;
use crate::access::{Grant, Principal, WatchedTokens};
use crate::cli::caller::grant_in_words;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, note, warn};
use crate::cli::text::{printable, timestamp};
use crate::model::{Name, Timestamp};

/// Check a file for the service's --tokens, and list whose tokens it has.
#[derive(Debug, Args)]
pub struct Check {
    /// The file
    pub file: PathBuf,
}

/// A token as a line of JSON.
#[derive(Debug, Serialize)]
struct TokenLine<'a> {
    name: Option<&'a Name>,
    grants: &'a [Grant],
    expires_at: Option<Timestamp>,
    is_expired: bool,
}

/// `ifmatch token check`
pub async fn run(check: &Check, output: &Output) -> Result<(), Failure> {
    let opened = WatchedTokens::open(&check.file).await;
    let (_, tokens) = opened.map_err(|error| Failure::Input(error.to_string()))?;
    let now = SystemTime::now().into();
    let mut principals: Vec<_> = tokens.principals().map(|principal| &**principal).collect();
    principals.sort_by_key(|principal| (principal.name(), principal.expires_at()));
    for principal in &principals {
        if output.is_terminal() {
            output.line(&in_words(principal, now))?;
        } else {
            output.json(&TokenLine {
                name: principal.name(),
                grants: principal.grants().as_slice(),
                expires_at: principal.expires_at(),
                is_expired: principal.has_expired(now),
            })?;
        }
    }
    for warning in principals.iter().flat_map(|who| patterns(who)).unique() {
        warn(&format!("{}: {warning}", check.file.display()));
    }
    if principals.is_empty() {
        note("The file is valid, and has no token.");
    }
    Ok(())
}

/// What is wrong with the prefixes of a principal that were probably meant as patterns.
fn patterns(principal: &Principal) -> impl Iterator<Item = String> {
    let prefixes = principal.grants().as_slice().iter();
    let prefixes = prefixes.map(|grant| &grant.prefix);
    let patterns = prefixes.filter(|prefix| prefix.contains('*'));
    patterns.map(move |prefix| {
        let name = principal.to_string();
        let what = pattern_in_words(prefix, "perhaps it should be ");
        format!("{}: {what}", printable(&name))
    })
}

fn in_words(principal: &Principal, now: Timestamp) -> String {
    let name = principal.to_string();
    let grants = principal.grants().as_slice();
    let grants = match grants {
        [] => "do nothing".to_owned(),
        grants => {
            let grants: Vec<_> = grants.iter().map(grant_in_words).collect();
            grants.join("; ")
        }
    };
    let until = match principal.expires_at() {
        None => String::new(),
        Some(end) => {
            let verb = if principal.has_expired(now) {
                "expired"
            } else {
                "expires"
            };
            format!(" ({verb} {} UTC)", timestamp(&end.to_string()))
        }
    };
    format!("{} may {grants}{until}", printable(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Action, Grants};

    #[test]
    fn a_token_in_words() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let grant = |prefix: &str, actions: &[Action]| Grant {
            prefix: prefix.to_owned(),
            actions: actions.to_vec(),
        };
        let ann = Principal::new(
            "ann".parse().unwrap(),
            Grants::new(vec![
                grant("doc/", &[Action::Read, Action::Update]),
                grant("", &[Action::Read]),
            ]),
            Some(at("2027-01-01T00:00:00Z")),
        );
        let may = "ann may read and update keys that begin with doc/; read every key";
        for (now, until) in [
            ("2026-12-31T23:59:59Z", " (expires 2027-01-01 00:00:00 UTC)"),
            ("2027-01-01T00:00:00Z", " (expired 2027-01-01 00:00:00 UTC)"),
        ] {
            assert_eq!(in_words(&ann, at(now)), format!("{may}{until}"));
        }
        let bob = Principal::new("bob".parse().unwrap(), Grants::new(Vec::new()), None);
        assert_eq!(
            in_words(&bob, at("2027-01-01T00:00:00Z")),
            "bob may do nothing"
        );
    }
}
