//! JSON text → nodes, which borrow from the text what they can.

use std::borrow::Cow;

use json_event_parser::JsonEvent;

use super::error::{ApplyError, PatchError};
use super::members::{Member, Members};
use super::node::{Array, Node, Object};
use super::work::Work;
use crate::json::{Events, SyntaxError};

/// How long an array or object without others in it may be to be kept as its text, in bytes. Most
/// are never looked into, and the nodes of a small one take many times its text.
const MOST_FOLDED_BYTES: usize = 128;

/// How a text is read.
#[derive(Clone, Copy)]
pub struct Reading {
    /// How deep arrays and objects may be nested.
    pub max_depth_levels: usize,
    /// Down to which level they all become nodes.
    pub unfolded_levels: usize,
}

/// Why a text was not read to its end.
#[derive(Debug)]
pub enum ReadError {
    /// It is not JSON.
    Syntax(SyntaxError),
    /// The work was stopped.
    Halted(ApplyError),
}

impl From<SyntaxError> for ReadError {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl From<ReadError> for ApplyError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Syntax(error) => Self::NotJson(error),
            ReadError::Halted(error) => error,
        }
    }
}

impl From<ReadError> for PatchError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Syntax(error) => Self::Syntax(error),
            // Reading a patch is never halted.
            ReadError::Halted(error) => Self::Operation {
                index: 0,
                reason: error.to_string(),
            },
        }
    }
}

/// Reads a text as [`crate::json::parse`] does: the same errors, digits and order of members.
pub fn read<'a>(text: &'a str, how: Reading, work: &mut Work) -> Result<Node<'a>, ReadError> {
    let mut events = Events::new(text.as_bytes(), how.max_depth_levels);
    let mut reader = Reader::new(text);
    loop {
        work.charge(1).map_err(ReadError::Halted)?;
        let start = events.offset();
        let complete = match events.next()? {
            JsonEvent::StartArray | JsonEvent::StartObject => {
                reader.open(events.offset() - 1);
                events.check_depth(reader.open.len())?;
                continue;
            }
            JsonEvent::ObjectKey(name) => {
                let quoted = reader.string(start..events.offset(), &name);
                let inner = match quoted {
                    Cow::Borrowed(quoted) => Cow::Borrowed(&quoted[1..quoted.len() - 1]),
                    Cow::Owned(quoted) => Cow::Owned(quoted[1..quoted.len() - 1].to_owned()),
                };
                reader.names.push(inner);
                continue;
            }
            end @ (JsonEvent::EndArray | JsonEvent::EndObject) => {
                let Some(open) = reader.open.pop() else {
                    return Err(events.error("nothing is open that could be closed").into());
                };
                let whole = &text[open.start..events.offset()];
                let fold = reader.open.len() >= how.unfolded_levels && open.is_flat;
                if fold && reader.is_written_as(&open, whole) {
                    reader.nodes.truncate(open.nodes);
                    reader.names.truncate(open.names);
                    Node::Text(Cow::Borrowed(whole))
                } else if end == JsonEvent::EndArray {
                    reader.array(&open)
                } else {
                    reader.object(&open)
                }
            }
            JsonEvent::String(string) => Node::Text(reader.string(start..events.offset(), &string)),
            JsonEvent::Number(digits) => Node::Text(digits),
            JsonEvent::Boolean(true) => Node::Text(Cow::Borrowed("true")),
            JsonEvent::Boolean(false) => Node::Text(Cow::Borrowed("false")),
            JsonEvent::Null => Node::Text(Cow::Borrowed("null")),
            JsonEvent::Eof => return Err(events.error("the text ends too early").into()),
        };
        if reader.open.is_empty() {
            // Only white space may follow; the parser reports anything else.
            events.next()?;
            return Ok(complete);
        }
        reader.nodes.push(complete);
    }
}

/// The contents of arrays and objects that are still open.
struct Reader<'a> {
    text: &'a str,
    open: Vec<Open>,
    /// What is in all of them, so that what is complete takes no more memory than it needs.
    nodes: Vec<Node<'a>>,
    /// The names in all open objects.
    names: Vec<Cow<'a, str>>,
}

/// An array or object whose end has not been read.
struct Open {
    /// Where it begins in the text, in the nodes and in the names.
    start: usize,
    nodes: usize,
    names: usize,
    /// Whether no array or object is in it.
    is_flat: bool,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            open: Vec::new(),
            nodes: Vec::new(),
            names: Vec::new(),
        }
    }

    fn open(&mut self, start: usize) {
        if let Some(above) = self.open.last_mut() {
            above.is_flat = false;
        }
        self.open.push(Open {
            start,
            nodes: self.nodes.len(),
            names: self.names.len(),
            is_flat: true,
        });
    }

    /// A string as in compact JSON, borrowed from the text if that is compact already.
    fn string(&self, token: std::ops::Range<usize>, string: &Cow<'a, str>) -> Cow<'a, str> {
        let token = &self.text[token];
        if let Cow::Borrowed(string) = string {
            // Without an escape, and nothing in it needs one. White space and a comma may precede it.
            return Cow::Borrowed(&token[token.len() - string.len() - "\"\"".len()..]);
        }
        let quoted = &token[token.find('"').unwrap_or(0)..];
        let compact = serde_json::Value::from(&**string).to_string();
        if compact == quoted {
            Cow::Borrowed(quoted)
        } else {
            Cow::Owned(compact)
        }
    }

    /// Whether the text of a flat array or object is short and what its nodes would be written as.
    fn is_written_as(&self, open: &Open, whole: &str) -> bool {
        if whole.len() > MOST_FOLDED_BYTES {
            return false;
        }
        let nodes = &self.nodes[open.nodes..];
        let names = &self.names[open.names..];
        let is_borrowed = |text: &Cow<str>| matches!(text, Cow::Borrowed(_));
        let mut bytes = 2 + nodes.len().saturating_sub(1);
        for node in nodes {
            match node {
                Node::Text(text) if is_borrowed(text) => bytes += text.len(),
                _ => return false,
            }
        }
        for (index, name) in names.iter().enumerate() {
            if !is_borrowed(name) || names[..index].contains(name) {
                return false;
            }
            bytes += name.len() + "\"\":".len();
        }
        bytes == whole.len()
    }

    fn array(&mut self, open: &Open) -> Node<'a> {
        let nodes: Vec<_> = if open.nodes == 0 {
            let mut nodes = std::mem::take(&mut self.nodes);
            nodes.shrink_to_fit();
            nodes
        } else {
            self.nodes.drain(open.nodes..).collect()
        };
        let below = nodes.iter().map(Node::height).max();
        Node::Array(Box::new(Array {
            height: 1 + below.unwrap_or(0),
            items: nodes.into(),
        }))
    }

    fn object(&mut self, open: &Open) -> Node<'a> {
        let nodes = self.nodes.drain(open.nodes..);
        let names = self.names.drain(open.names..);
        let mut members = Members::with_capacity(nodes.len());
        for (name, node) in names.zip(nodes) {
            members.insert(name, node);
        }
        let height = |member: &Member<Node>| member.value.height();
        let below = members.iter().map(height).max();
        Node::Object(Box::new(Object {
            height: 1 + below.unwrap_or(0),
            members,
        }))
    }
}
