//! The part of a list, or of a stream of changes, that a caller may read.
//!
//! What the caller sees depends on its grants, so the tag of a list and the ids of a stream do too: the tag of
//! one part is never that of another, and who comes back with other rights than before lists again.
//!
//! Revisions stay those of the whole store. They tell that something was committed, not what or where.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::model::{Entry, Filter, Key, Page, Position, Range, ResumeToken};
use crate::storage::{ChangeStream, SharedEvent, Snapshot, StoreError};

/// How many bytes of a hash stand for a part.
const DIGEST_BYTES: usize = 8;

/// What a caller sees of the keys with a prefix.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// All of them.
    Everything,
    /// Those with one of these prefixes, which are ascending. None begins with another.
    Prefixes(Arc<[String]>),
}

impl Scope {
    /// What stands for `epoch` in the tags and ids of this part.
    pub(super) fn epoch(&self, epoch: &Arc<str>) -> Arc<str> {
        let Self::Prefixes(prefixes) = self else {
            return Arc::clone(epoch);
        };
        let mut hash = Sha256::new();
        for text in [&**epoch]
            .into_iter()
            .chain(prefixes.iter().map(|prefix| &**prefix))
        {
            // The length keeps apart what would otherwise run into one another.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hex::encode(&hash.finalize()[..DIGEST_BYTES]).into()
    }

    /// A point of this part as one of the store, which is at `epoch`. One of another part is not known there.
    pub(super) fn token_of_store(&self, token: &ResumeToken, epoch: &Arc<str>) -> ResumeToken {
        if token.epoch != self.epoch(epoch) {
            return ResumeToken::unknown();
        }
        ResumeToken {
            cursor: token.cursor,
            epoch: Arc::clone(epoch),
        }
    }

    /// The events of the store in which those of this part are, of all that match `filter`.
    pub(super) fn filter_of_store(&self, filter: Filter) -> Filter {
        match self {
            Self::Prefixes(prefixes) => match &prefixes[..] {
                [prefix] => Filter::Prefix(prefix.clone()),
                _ => filter,
            },
            Self::Everything => filter,
        }
    }

    fn has(&self, key: &Key) -> bool {
        match self {
            Self::Everything => true,
            Self::Prefixes(prefixes) => prefixes
                .iter()
                .any(|prefix| key.as_str().starts_with(prefix)),
        }
    }

    /// The part of a snapshot.
    pub(super) fn part_of(&self, snapshot: Box<dyn Snapshot>) -> Box<dyn Snapshot> {
        let Self::Prefixes(prefixes) = self else {
            return snapshot;
        };
        let position = snapshot.position();
        Box::new(SnapshotPart {
            position: Position {
                revision: position.revision,
                epoch: self.epoch(&position.epoch),
            },
            prefixes: Arc::clone(prefixes),
            snapshot,
        })
    }
}

/// A snapshot without what its reader may not read.
struct SnapshotPart {
    snapshot: Box<dyn Snapshot>,
    prefixes: Arc<[String]>,
    position: Position,
}

#[async_trait]
impl Snapshot for SnapshotPart {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn page(&self, range: &Range) -> Result<Page, StoreError> {
        let limit = range.limit.unwrap_or(usize::MAX);
        let mut entries: Vec<Entry> = Vec::new();
        // Ascending and apart, so that their entries are in order one after the other.
        for prefix in self
            .prefixes
            .iter()
            .filter_map(|part| both(part, &range.prefix))
        {
            let left = limit - entries.len();
            let range = Range {
                prefix: prefix.to_owned(),
                after: range.after.clone(),
                // When all are there, one more says that there are more.
                limit: Some(left.max(1)),
            };
            let page = self.snapshot.page(&range).await?;
            if left == 0 {
                if page.entries.is_empty() {
                    continue;
                }
                return Ok(Page {
                    entries,
                    more: true,
                });
            }
            entries.extend(page.entries);
            if page.more {
                return Ok(Page {
                    entries,
                    more: true,
                });
            }
        }
        Ok(Page {
            entries,
            more: false,
        })
    }
}

/// The prefix of the keys that have both, if there can be any.
fn both<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    if one.starts_with(other) {
        Some(one)
    } else if other.starts_with(one) {
        Some(other)
    } else {
        None
    }
}

/// Changes without those that their reader may not read, which end with its rights.
pub(super) struct ChangesPart<R> {
    pub(super) changes: Box<dyn ChangeStream>,
    pub(super) scope: Scope,
    /// Ready when the reader has other rights, or none; nothing for one whose rights never change.
    pub(super) revoked: Option<Pin<Box<R>>>,
}

impl<R: Future<Output = ()>> Stream for ChangesPart<R> {
    type Item = Arc<SharedEvent>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Arc<SharedEvent>>> {
        let revoked = self.revoked.as_mut();
        if revoked.is_some_and(|revoked| revoked.as_mut().poll(context).is_ready()) {
            return Poll::Ready(None);
        }
        match self.changes.poll_next_unpin(context) {
            Poll::Ready(Some(event)) if !self.scope.has(&event.entry.key) => {
                // Others have their turn before the next one.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }
}

impl<R: Future<Output = ()> + Send> ChangeStream for ChangesPart<R> {
    fn position(&self) -> ResumeToken {
        let ResumeToken { cursor, epoch } = self.changes.position();
        ResumeToken {
            cursor,
            epoch: self.scope.epoch(&epoch),
        }
    }
}
