//! The contract of one key, and whether a history of it is linearizable: is there an order of the
//! operations, each between its request and its answer, in which every answer is right? The judge
//! is the search of Wing, Gong and Lowe in `todc-utils`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use todc_utils::Action::{Call, Response};
use todc_utils::{Action, History, Specification, WGLChecker};

/// A write of one client, of which there is only one: its client and number.
pub type Mark = (usize, u64);

/// A value, which tells who put it and who patched it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    pub put: Mark,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Mark>,
}

/// What stands under a key. As values are unique, so are entries, and one stands for its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    pub marks: Marks,
    pub version: u64,
}

#[derive(Debug, Clone, Copy)]
pub enum Verb {
    Get,
    Put(Mark),
    Patch(Mark),
    Delete,
}

#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub verb: Verb,
    /// The entry whose tag is sent.
    pub if_match: Option<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Shown(Entry),
    /// 201.
    Created(Entry),
    /// 404.
    NotFound,
    /// 412 with what is current.
    Mismatch(Option<Entry>),
}

#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub request: Request,
    /// Nothing, if it never came.
    pub answer: Option<Answer>,
}

impl Request {
    pub const fn new(verb: Verb) -> Self {
        let if_match = None;
        Self { verb, if_match }
    }

    pub fn if_match(self, entry: Entry) -> Self {
        let if_match = Some(entry);
        Self { if_match, ..self }
    }
}

/// A request that went out, or an answer that came.
#[derive(Debug, Clone)]
pub struct Event {
    pub key: usize,
    pub client: usize,
    pub action: Action<Operation>,
}

/// Where one key's history stops being linearizable: no order explains this event and all before
/// it.
pub fn refused_event(history: &[&Event]) -> Option<usize> {
    if is_linearizable(history) {
        return None;
    }
    // What begins a good history is good.
    let lengths: Vec<_> = (1..=history.len()).collect();
    Some(lengths.partition_point(|length| is_linearizable(&history[..*length])))
}

fn is_linearizable(history: &[&Event]) -> bool {
    let mut unanswered = BTreeMap::new();
    let mut actions = Vec::new();
    for event in history {
        match &event.action {
            Call(operation) => unanswered.insert(event.client, *operation),
            Response(_) => unanswered.remove(&event.client),
        };
        actions.push((event.client, event.action.clone()));
    }
    // Whatever may come at the very end may as well never come.
    let at_the_end = |(client, operation)| (client, Response(operation));
    actions.extend(unanswered.into_iter().map(at_the_end));
    WGLChecker::<Contract>::is_linearizable(History::from_actions(actions))
}

/// What the specification knows of a key: a history begins with a read, which tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Unread,
    Read(Option<Entry>),
}

/// The contract of one key.
struct Contract;

impl Specification for Contract {
    type State = State;
    type Operation = Operation;

    fn init() -> State {
        State::Unread
    }

    fn apply(operation: &Operation, state: &State) -> (bool, State) {
        let State::Read(current) = *state else {
            return match operation.answer {
                Some(Answer::Shown(entry)) => (true, State::Read(Some(entry))),
                Some(Answer::NotFound) => (true, State::Read(None)),
                _ => (false, *state),
            };
        };
        let (right, next) = right_answer(operation.request, current);
        match operation.answer {
            Some(answer) if answer != right => (false, *state),
            _ => (true, State::Read(next)),
        }
    }
}

/// What the contract has a server answer, and what stands afterwards.
fn right_answer(request: Request, current: Option<Entry>) -> (Answer, Option<Entry>) {
    let Some(entry) = current else {
        return match (request.verb, request.if_match) {
            (Verb::Put(_), Some(_)) => (Answer::Mismatch(None), None),
            (Verb::Put(mark), None) => {
                let created = put(mark, 1);
                (Answer::Created(created), Some(created))
            }
            (Verb::Get | Verb::Patch(_) | Verb::Delete, _) => (Answer::NotFound, None),
        };
    };
    if request.if_match.is_some_and(|named| named != entry) {
        return (Answer::Mismatch(current), current);
    }
    let version = entry.version + 1;
    let next = match request.verb {
        Verb::Get => entry,
        Verb::Put(mark) => put(mark, version),
        Verb::Patch(mark) => {
            let patch = Some(mark);
            let marks = Marks {
                patch,
                ..entry.marks
            };
            Entry { marks, version }
        }
        Verb::Delete => return (Answer::Shown(entry), None),
    };
    (Answer::Shown(next), Some(next))
}

/// The entry that a PUT makes.
pub fn put(mark: Mark, version: u64) -> Entry {
    let (put, patch) = (mark, None);
    let marks = Marks { put, patch };
    Entry { marks, version }
}
