//! A list, entry by entry while it is received.

use bytes::Bytes;
use reqwest::Response;
use serde::Deserialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client::Client;
use super::entry::Entry;
use super::failure::Failure;
use super::moment::Moment;
use crate::model::Key;

/// The entries of a list, which is one consistent snapshot.
#[derive(Debug)]
pub struct Listing<'a> {
    client: &'a Client,
    chunks: UnboundedReceiver<reqwest::Result<Bytes>>,
    splitter: Splitter,
}

/// What follows the entries of a list.
#[derive(Debug, Deserialize)]
struct Rest {
    revision: u64,
}

impl<'a> Listing<'a> {
    /// The entries whose keys have this prefix, as of a moment; without it, as of now.
    pub async fn of(
        client: &'a Client,
        prefix: &str,
        at: Option<&Moment>,
    ) -> Result<Self, Failure> {
        let at = at.map(Moment::query);
        let mut query = vec![("prefix", prefix)];
        query.extend(at.as_ref().map(|(name, value)| (*name, value.as_str())));
        let response = client.send(client.get("/kv", &query)).await?;
        let (ahead, chunks) = unbounded_channel();
        tokio::spawn(read_ahead(response, ahead));
        Ok(Self {
            client,
            chunks,
            splitter: Splitter::default(),
        })
    }

    /// The revision of the state at a moment, for a caller who may read `key`.
    pub async fn revision_at(client: &Client, key: &Key, at: &Moment) -> Result<u64, Failure> {
        let (name, value) = at.query();
        let query = [
            ("prefix", key.as_str()),
            ("limit", "1"),
            (name, value.as_str()),
        ];
        let body = client.send(client.get("/kv", &query)).await?.bytes().await;
        let body = body.map_err(|error| client.unreachable(&error))?;
        let rest = serde_json::from_slice::<Rest>(&body);
        rest.map(|rest| rest.revision)
            .map_err(|error| client.not_ifmatch(&error))
    }

    /// The next entry. `None` means that the list is complete; a list that was cut off is an error.
    pub async fn next(&mut self) -> Result<Option<Entry>, Failure> {
        loop {
            if let Some(item) = self.splitter.next() {
                let entry = serde_json::from_slice(&item);
                return entry
                    .map(Some)
                    .map_err(|error| self.client.not_ifmatch(&error));
            }
            match self.chunks.recv().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|error| self.client.unreachable(&error))?;
                    self.splitter.add(chunk);
                }
                None => return self.revision().map(|_| None),
            }
        }
    }

    /// The revision of the snapshot. Call this after the last entry.
    pub fn revision(&self) -> Result<u64, Failure> {
        let rest = serde_json::from_slice::<Rest>(&self.splitter.around);
        rest.map(|rest| rest.revision)
            .map_err(|error| self.client.not_ifmatch(&error))
    }
}

/// Receives the list as fast as the service sends it, because the service disconnects clients that do not
/// read, and the output may go to a pager.
async fn read_ahead(mut response: Response, ahead: UnboundedSender<reqwest::Result<Bytes>>) {
    while let Some(chunk) = response.chunk().await.transpose() {
        let is_last = chunk.is_err();
        if ahead.send(chunk).is_err() || is_last {
            return;
        }
    }
}

/// Splits `{"items": [{…}, {…}], …}` into the items and the text around them. It only counts brackets;
/// the items are checked when they are parsed.
#[derive(Debug, Default)]
struct Splitter {
    chunk: Bytes,
    depth: usize,
    string: InString,
    item: Vec<u8>,
    around: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum InString {
    #[default]
    No,
    Yes,
    Escaped,
}

/// The depth of a bracket that opens an item.
const ITEM_DEPTH: usize = 3;

impl Splitter {
    /// Adds a chunk. Call this when there is no next item.
    fn add(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// The next complete item.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut whole = None;
        for (at, byte) in self.chunk.iter().enumerate() {
            let is_within = self.depth >= ITEM_DEPTH;
            let mut closes = false;
            self.string = match (self.string, byte) {
                (InString::Yes, b'\\') => InString::Escaped,
                (InString::Yes, b'"') => InString::No,
                (InString::Escaped, _) | (InString::No, b'"') => InString::Yes,
                (InString::No, b'{' | b'[') => {
                    self.depth += 1;
                    InString::No
                }
                (InString::No, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    closes = true;
                    InString::No
                }
                (same, _) => same,
            };
            let is_item = is_within || self.depth >= ITEM_DEPTH;
            if is_item {
                self.item.push(*byte);
            } else if self.depth != ITEM_DEPTH - 1 || *byte != b',' {
                self.around.push(*byte);
            }
            if closes && is_within && self.depth < ITEM_DEPTH {
                whole = Some(at + 1);
                break;
            }
        }
        let end = whole.unwrap_or(self.chunk.len());
        self.chunk = self.chunk.slice(end..);
        whole.map(|_| std::mem::take(&mut self.item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, chunk_bytes: usize) -> (Vec<String>, String) {
        let mut splitter = Splitter::default();
        let mut items = Vec::new();
        for chunk in text.as_bytes().chunks(chunk_bytes) {
            splitter.add(Bytes::copy_from_slice(chunk));
            while let Some(item) = splitter.next() {
                items.push(String::from_utf8(item).unwrap());
            }
        }
        (items, String::from_utf8(splitter.around).unwrap())
    }

    #[test]
    fn a_list_is_split_into_its_items_wherever_its_chunks_end() {
        let items = [
            r#"{"a":[1,{"b":"]}\"\\"},{}],"c":"\\"}"#,
            "{}",
            r#"{"é":","}"#,
        ];
        let rest = r#"],"revision":7,"next":"a,\"b"}"#;
        let text = format!(r#"{{"items":[{}{rest}"#, items.join(","));
        for chunk_bytes in 1..=text.len() {
            let (found, around) = split(&text, chunk_bytes);
            assert_eq!(found, items, "{chunk_bytes}");
            assert_eq!(around, format!(r#"{{"items":[{rest}"#), "{chunk_bytes}");
        }
    }

    #[test]
    fn an_empty_list_has_no_items_and_one_that_ends_early_has_no_rest() {
        let (items, around) = split(r#"{"items":[],"revision":0,"next":null}"#, 5);
        assert!(items.is_empty());
        assert_eq!(serde_json::from_str::<Rest>(&around).unwrap().revision, 0);
        let (_, around) = split(r#"{"items":[{"a":1}"#, 5);
        assert!(serde_json::from_str::<Rest>(&around).is_err());
    }
}
