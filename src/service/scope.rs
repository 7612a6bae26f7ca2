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

use crate::model::{Entry, Filter, Key, Page, Position, Range, ResumeToken, StateDigest};
use crate::storage::{ChangeStream, SharedEvent, Snapshot, StoreError};

/// What a caller sees of the keys with a prefix.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// All of them.
    Everything,
    /// Those with one of these prefixes, which are ascending. None begins with another.
    Prefixes(Arc<[String]>),
}

/// How the points of a store are shown to a caller: as they are, or with other digits if the caller may read a
/// part of it. The digits of the store would say of what is not read whether a guess of it is right.
#[derive(Debug, Clone)]
pub struct Points {
    /// What the other digits depend on besides those of the store.
    part: Option<(Scope, Arc<str>)>,
}

impl Points {
    /// Those of a caller who sees `scope`; `secret` is the store's.
    pub(super) fn of(scope: &Scope, secret: impl FnOnce() -> Arc<str>) -> Self {
        let part = match scope {
            Scope::Everything => None,
            Scope::Prefixes(_) => Some((scope.clone(), secret())),
        };
        Self { part }
    }

    /// Whether they are the store's own.
    #[must_use]
    pub fn are_of_store(&self) -> bool {
        self.part.is_none()
    }

    /// A point of the store, as the caller is shown it.
    #[must_use]
    pub fn shown(&self, point: ResumeToken) -> ResumeToken {
        point.in_state(self.digits(point.position()))
    }

    /// A state of the store, as the caller is shown it.
    pub(super) fn shown_position(&self, position: Position) -> Position {
        Position {
            state: self.digits(position),
            ..position
        }
    }

    fn digits(&self, position: Position) -> StateDigest {
        let Some((Scope::Prefixes(prefixes), secret)) = &self.part else {
            return position.state;
        };
        let mut hash = Sha256::new();
        hash.update(position.state.to_bits().to_le_bytes());
        for text in [&**secret]
            .into_iter()
            .chain(prefixes.iter().map(|prefix| &**prefix))
        {
            // The length keeps apart what would otherwise run into one another.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let mut bits = [0; size_of::<u64>()];
        bits.copy_from_slice(&hash.finalize()[..size_of::<u64>()]);
        StateDigest::from_bits(u64::from_be_bytes(bits))
    }
}

impl Scope {
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
    pub(super) fn part_of(
        &self,
        snapshot: Box<dyn Snapshot>,
        points: &Points,
    ) -> Box<dyn Snapshot> {
        let Self::Prefixes(prefixes) = self else {
            return snapshot;
        };
        Box::new(SnapshotPart {
            position: points.shown_position(snapshot.position()),
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
    fn position(&self) -> Position {
        self.position
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
    pub(super) points: Points,
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
        self.points.shown(self.changes.position())
    }
}
