//! A patch on a value.

use super::document::{Document, Operation, OperationKind, Patch};
use super::error::ApplyError;
use super::node::Node;
use super::pointer::{Pointer, Token};
use super::read::{Reading, read};
use super::work::Work;
use crate::json::MAX_DEPTH_LEVELS;

const NO_SUCH_PATH: &str = "path is invalid";
const NO_SUCH_SOURCE: &str = "\"from\" path is invalid";
const INTO_ITSELF: &str = "cannot move the value inside itself";
const NOTHING_THERE: &str = "there is nothing at this path";
const ANOTHER_VALUE: &str = "the value there is another";

/// How a value is read that will be looked into.
const VALUE: Reading = Reading {
    max_depth_levels: MAX_DEPTH_LEVELS,
    unfolded_levels: 1,
};

/// What most values are: a scalar, or looked into by a later operation if at all.
const PUT: Reading = Reading {
    max_depth_levels: MAX_DEPTH_LEVELS,
    unfolded_levels: 0,
};

/// Why an operation was not done.
enum Refusal {
    /// It does not fit.
    Conflict(String),
    /// All of the patch ends.
    End(ApplyError),
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        Self::End(error)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Conflict(reason.to_owned())
    }
}

impl Patch {
    /// The value that comes of `value`, all operations applied, both as compact JSON text. Members
    /// that the patch does not touch keep their order, new ones come last. Neither the result nor
    /// what is in between is ever deeper than [`MAX_DEPTH_LEVELS`]; the result is not longer
    /// than `max_bytes`, and what is in between is longer at most by the text of the patch and
    /// by `max_bytes` of copies.
    ///
    /// All of it costs at most some 100 ms of one core if both texts have 1 MiB, less if they are
    /// shorter. At the start and at least every millisecond, `stop` says whether to give up.
    ///
    /// # Errors
    /// [`ApplyError`].
    ///
    /// # Example
    /// ```
    /// use ifmatch::patch::Patch;
    ///
    /// let patch = Patch::merge(br#"{"b": null, "c": 2.50}"#)?;
    /// let patched = patch.apply(r#"{"b":1,"a":[]}"#, 1024, || false)?;
    /// assert_eq!(patched, r#"{"a":[],"c":2.50}"#);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(
        &self,
        value: &str,
        max_bytes: usize,
        stop: impl Fn() -> bool,
    ) -> Result<String, ApplyError> {
        let mut work = Work::on(value.len() + self.text_bytes, &stop);
        let mut node = read(value, VALUE, &mut work)?;
        match &self.document {
            Document::Merge(patch) => {
                // Both are no deeper than the limit, so what comes of them is not either.
                let patch = read(patch, VALUE, &mut work)?;
                node.merge(patch, &mut work)?;
            }
            Document::Operations(operations) => {
                apply(operations, &mut node, max_bytes, &mut work)?;
            }
        }
        let mut bytes = 0;
        node.count(&mut bytes, max_bytes, &mut work)?;
        let mut text = String::with_capacity(bytes);
        node.write(&mut text, &mut work)?;
        Ok(text)
    }
}

/// Applies all operations in their order.
///
/// # Errors
/// [`ApplyError`]. Then some of them were applied.
fn apply<'a>(
    operations: &'a [Operation],
    root: &mut Node<'a>,
    max_bytes: usize,
    work: &mut Work,
) -> Result<(), ApplyError> {
    let mut copied_bytes = 0;
    for (index, operation) in operations.iter().enumerate() {
        let path = &operation.path;
        let done = match &operation.kind {
            OperationKind::Add(value) => put(value, path, root, add, work),
            OperationKind::Replace(value) => put(value, path, root, replace, work),
            OperationKind::Remove => remove(root, path, work)
                .and_then(|removed| removed.map(drop).ok_or(NO_SUCH_PATH.into())),
            OperationKind::Move(from) => move_from(root, from, path, work),
            OperationKind::Copy(from) => {
                copy(root, from, path, (&mut copied_bytes, max_bytes), work)
            }
            OperationKind::Test(value) => test(root, path, value, work),
        };
        done.map_err(|refusal| match refusal {
            Refusal::Conflict(reason) => ApplyError::Conflict {
                index,
                path: path.as_str().to_owned(),
                reason,
            },
            Refusal::End(error) => error,
        })?;
    }
    Ok(())
}

/// Puts a node at a path: [`add`] or [`replace`].
type Put<'a> = fn(&mut Node<'a>, &'a Pointer, Node<'a>, &mut Work) -> Result<(), Refusal>;

fn put<'a>(
    value: &'a str,
    path: &'a Pointer,
    root: &mut Node<'a>,
    how: Put<'a>,
    work: &mut Work,
) -> Result<(), Refusal> {
    let node = read(value, PUT, work).map_err(ApplyError::from)?;
    how(root, path, node, work)
}

fn add<'a>(
    root: &mut Node<'a>,
    path: &'a Pointer,
    mut node: Node<'a>,
    work: &mut Work,
) -> Result<(), Refusal> {
    let reach = reach(path, &mut node, work)?;
    let Some((parent, last)) = parent_and_last(root, path, reach, work)? else {
        *root = node;
        return Ok(());
    };
    match parent {
        Some(Node::Object(object)) => {
            object.members.insert(last.name(), node);
            Ok(())
        }
        Some(Node::Array(array)) => {
            let length = array.items.len();
            let position = if last.is_end() {
                Some(length)
            } else {
                last.index()
            };
            let position = position.filter(|position| *position <= length);
            let position = position.ok_or(NO_SUCH_PATH)?;
            if position < length {
                work.charge(array.items.undivided())?;
            }
            array.items.insert(position, node);
            Ok(())
        }
        Some(Node::Text(_)) | None => Err(NO_SUCH_PATH.into()),
    }
}

fn replace<'a>(
    root: &mut Node<'a>,
    path: &'a Pointer,
    mut node: Node<'a>,
    work: &mut Work,
) -> Result<(), Refusal> {
    let reach = reach(path, &mut node, work)?;
    *at(root, path.tokens(), reach, work)?.ok_or(NO_SUCH_PATH)? = node;
    Ok(())
}

/// The node that was there, if any; the whole document cannot be removed.
fn remove<'a>(
    root: &mut Node<'a>,
    path: &'a Pointer,
    work: &mut Work,
) -> Result<Option<Node<'a>>, Refusal> {
    let Some((parent, last)) = parent_and_last(root, path, 0, work)? else {
        return Ok(None);
    };
    Ok(match parent {
        Some(Node::Object(object)) => object.members.remove(&last.name()),
        Some(Node::Array(array)) => match last.index() {
            Some(position) => {
                if position + 1 < array.items.len() {
                    work.charge(array.items.undivided())?;
                }
                array.items.remove(position)
            }
            None => None,
        },
        Some(Node::Text(_)) | None => None,
    })
}

fn move_from<'a>(
    root: &mut Node<'a>,
    from: &'a Pointer,
    path: &'a Pointer,
    work: &mut Work,
) -> Result<(), Refusal> {
    if path.is_below(from) {
        return Err(INTO_ITSELF.into());
    }
    if path == from && path.levels() > 0 {
        // Taken out and put back it would come last.
        let there = at(root, path.tokens(), 0, work)?;
        return there.map(drop).ok_or(NO_SUCH_SOURCE.into());
    }
    let moved = remove(root, from, work)?.ok_or(NO_SUCH_SOURCE)?;
    add(root, path, moved, work)
}

fn copy<'a>(
    root: &mut Node<'a>,
    from: &'a Pointer,
    path: &'a Pointer,
    // A few copies of copies would fill any memory.
    (copied_bytes, max_bytes): (&mut usize, usize),
    work: &mut Work,
) -> Result<(), Refusal> {
    let source = at(root, from.tokens(), 0, work)?.ok_or(NO_SUCH_SOURCE)?;
    let before = *copied_bytes;
    source.count(copied_bytes, max_bytes, work)?;
    // Copies are bounded already, and what is made of a short text by them may be long.
    work.grant(*copied_bytes - before);
    let copy = source.clone();
    add(root, path, copy, work)
}

fn test<'a>(
    root: &mut Node<'a>,
    path: &'a Pointer,
    value: &'a str,
    work: &mut Work,
) -> Result<(), Refusal> {
    let expected = read(value, VALUE, work).map_err(ApplyError::from)?;
    let found = at(root, path.tokens(), 0, work)?.ok_or(NOTHING_THERE)?;
    if found.same(&expected, work)? {
        Ok(())
    } else {
        Err(ANOTHER_VALUE.into())
    }
}

/// How many levels below the top a node reaches that is put at a path.
fn reach(path: &Pointer, node: &mut Node, work: &mut Work) -> Result<usize, Refusal> {
    let levels = path.levels();
    if levels + node.height() > MAX_DEPTH_LEVELS && levels + node.measure(work)? > MAX_DEPTH_LEVELS
    {
        let reason = format!("deeper than {MAX_DEPTH_LEVELS} levels");
        return Err(Refusal::Conflict(reason));
    }
    Ok(levels + node.height())
}

/// The node at a path. Every node above it takes note that it will reach so many levels below
/// the top, which is 0 for what only looks or removes.
fn at<'n, 'a>(
    root: &'n mut Node<'a>,
    tokens: impl Iterator<Item = Token<'a>>,
    mut reach: usize,
    work: &mut Work,
) -> Result<Option<&'n mut Node<'a>>, Refusal> {
    let mut node = root;
    for token in tokens {
        node.raise(reach);
        reach = reach.saturating_sub(1);
        match node.step(token, work)? {
            Some(below) => node = below,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}

/// The same for the node above a path, if there is one, with the last step to take there. `None` for
/// the path of the whole document.
type ParentAndLast<'n, 'a> = Option<(Option<&'n mut Node<'a>>, Token<'a>)>;

fn parent_and_last<'n, 'a>(
    root: &'n mut Node<'a>,
    path: &'a Pointer,
    reach: usize,
    work: &mut Work,
) -> Result<ParentAndLast<'n, 'a>, Refusal> {
    let Some(above) = path.levels().checked_sub(1) else {
        return Ok(None);
    };
    let mut tokens = path.tokens();
    let parent = at(root, tokens.by_ref().take(above), reach, work)?;
    let Some(last) = tokens.next() else {
        return Ok(None);
    };
    let parent = match parent {
        Some(parent) => {
            parent.unfold(work)?;
            parent.raise(reach.saturating_sub(above));
            Some(parent)
        }
        None => None,
    };
    Ok(Some((parent, last)))
}
