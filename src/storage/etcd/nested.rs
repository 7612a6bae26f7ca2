//! Stores that lie in each other: the keys of a root that is below `<other>/k` are entries of the other store.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::Client;
use super::error::{ClientError, OpenError};
use super::layout::Layout;
use super::query;

/// Asks etcd whether `root` is below the entries of another store. For almost all roots there is nothing to ask.
///
/// # Errors
/// [`OpenError::Within`], [`OpenError::Unavailable`].
pub async fn refuse_within(client: &Client, root: &str, last: Instant) -> Result<(), OpenError> {
    for outer in outer_roots(root) {
        if is_store(client, outer, last).await? {
            return Err(OpenError::Within {
                root: root.to_owned(),
                outer: outer.to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether another store is below the entries of the store at `root`, of which `damaged` are none. An entry that only
/// has a name like that is not among them, so it is never taken for one.
///
/// # Errors
/// [`OpenError::Around`], [`OpenError::Unavailable`].
pub async fn refuse_around(
    client: &Client,
    root: &str,
    damaged: &BTreeMap<Bytes, String>,
    last: Instant,
) -> Result<(), OpenError> {
    for inner in inner_roots(damaged) {
        if is_store(client, inner, last).await? {
            return Err(OpenError::Around {
                root: root.to_owned(),
                inner: inner.to_owned(),
            });
        }
    }
    Ok(())
}

/// The roots of stores that would have the keys of `root` among their entries.
fn outer_roots(root: &str) -> impl Iterator<Item = &str> {
    let found = root.match_indices("/k");
    let found = found.filter(|(at, name)| {
        let rest = &root[at + name.len()..];
        rest.is_empty() || rest.starts_with('/')
    });
    let found = found.map(|(at, _)| &root[..at]);
    found.filter(|outer| !outer.is_empty())
}

/// The roots of what looks like a store among keys.
fn inner_roots(keys: &BTreeMap<Bytes, String>) -> impl Iterator<Item = &str> {
    let found = keys.keys().filter_map(|key| {
        let inner = key.strip_suffix(b"/format")?;
        std::str::from_utf8(inner).ok()
    });
    found.filter(|inner| keys.contains_key(&Layout::new(inner).secret()))
}

/// Whether there is a store at `root`, as far as this user may know it.
async fn is_store(client: &Client, root: &str, last: Instant) -> Result<bool, ClientError> {
    let layout = Layout::new(root);
    for (key, is_right) in [
        (layout.format(), is_number as fn(&[u8]) -> bool),
        (layout.secret(), |secret| !secret.is_empty()),
    ] {
        let found = match client.range(&query::get(key), last).await {
            Ok(response) => query::first(response),
            // What is not below the root may be denied.
            Err(ClientError::Denied(_)) => None,
            Err(error) => return Err(error),
        };
        if !found.is_some_and(|stored| is_right(&stored.value)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_number(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_within_another_only_below_its_entries() {
        for (root, outer) in [
            ("/a", &[][..]),
            ("/a/b", &[]),
            ("/k", &[]),
            ("/k/a", &[]),
            ("/a/kept", &[]),
            ("/a/i/k2", &[]),
            ("/a/k", &["/a"]),
            ("/a/k/x/y", &["/a"]),
            ("/a/k/k/x", &["/a", "/a/k"]),
            ("/a/k/x/k/y", &["/a", "/a/k/x"]),
        ] {
            assert_eq!(outer_roots(root).collect::<Vec<_>>(), outer, "{root}");
        }
    }

    #[test]
    fn a_store_among_keys_has_a_format_and_a_secret() {
        let keys = ["/a/k/x/format", "/a/k/y/format", "/a/k/y/secret"];
        let keys = keys.map(|key| (Bytes::from(key), String::new())).into();
        assert_eq!(inner_roots(&keys).collect::<Vec<_>>(), ["/a/k/y"]);
        assert!(is_number(b"1\n") && !is_number(b"\n") && !is_number(b"1a"));
    }
}
