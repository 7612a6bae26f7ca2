//! A reader of event streams (WHATWG HTML §9.2.6), as plain as it goes.

use std::pin::Pin;

use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt as _};
use serde_json::Value;

use super::binary::soon;

/// A block of an event stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    pub event: Option<String>,
    pub id: Option<String>,
    pub data: Option<String>,
    pub retry: Option<String>,
    pub comments: usize,
}

impl Block {
    /// The data, which must be JSON.
    pub fn json(&self) -> Value {
        let data = self.data.as_deref().expect("data");
        ifmatch::json::parse(data.as_bytes()).unwrap()
    }

    /// The event, the key and the revision that it tells of.
    pub fn told(&self) -> (String, String, u64) {
        let entry = self.json();
        let key = entry["key"].as_str().unwrap().to_owned();
        let revision = entry["revision"].as_u64().unwrap();
        (self.event.clone().unwrap(), key, revision)
    }
}

/// An event stream as it comes in.
pub struct Events {
    chunks: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    text: Vec<u8>,
}

impl Events {
    /// Those in the body of an answer.
    pub fn of(body: Body) -> Self {
        Self::from_chunks(body.into_data_stream().map(|chunk| chunk.unwrap()))
    }

    /// Those of the binary; that a connection breaks is an end like another.
    pub fn of_response(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let chunks = response.bytes_stream();
        Self::from_chunks(
            chunks
                .take_while(|chunk| std::future::ready(chunk.is_ok()))
                .map(|chunk| chunk.unwrap()),
        )
    }

    fn from_chunks(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self {
            chunks: Box::pin(chunks),
            text: Vec::new(),
        }
    }

    /// The next block; nothing at the end.
    pub async fn block(&mut self) -> Option<Block> {
        // Where a blank line may begin: a long event comes in many chunks.
        let mut from = 0;
        loop {
            let rest = &self.text[from..];
            if let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..from + end + 2).collect();
                return Some(read(std::str::from_utf8(&block).unwrap()));
            }
            from = self.text.len().saturating_sub(1);
            self.text.extend(self.chunks.next().await?);
        }
    }

    /// The next block that is an event; nothing at the end.
    pub async fn next(&mut self) -> Option<Block> {
        // Comments must not make it wait for ever.
        soon(async {
            loop {
                let block = self.block().await?;
                if block.event.is_some() {
                    return Some(block);
                }
            }
        })
        .await
    }

    /// What the next so many events tell of.
    pub async fn told(&mut self, count: usize) -> Vec<(String, String, u64)> {
        let mut told = Vec::new();
        while told.len() < count {
            told.push(self.next().await.expect("it does not end").told());
        }
        told
    }
}

fn read(text: &str) -> Block {
    let mut block = Block::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').expect("every line has a colon");
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        let place = match field {
            "event" => &mut block.event,
            "id" => &mut block.id,
            "data" => &mut block.data,
            "retry" => &mut block.retry,
            "" => {
                block.comments += 1;
                continue;
            }
            other => panic!("there is no field {other:?}"),
        };
        assert_eq!(place.replace(value), None, "{field} stands once: {text}");
    }
    block
}
