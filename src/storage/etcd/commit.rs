//! How a commit is made: decided on the mirror, done by one transaction that compares what was decided on, and
//! answered when the mirror shows it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::barrier::unavailable;
use super::decoded::Mark;
use super::draft::{Draft, Plan};
use super::engine::Engine;
use super::error::ClientError;
use super::messages::{KeyValue, OperationResponse, TxnResponse};
use super::mirror::{Awaited, Reach};
use super::query;
use super::requests::Found;
use super::text::entry_text;
use crate::model::{ChangeSet, Commit, Operation, Record, Request, Revision};
use crate::storage::requests::KnownRequest;
use crate::storage::{CommitError, Committed, Conflict, OUTCOME_WAIT, StoreError};

/// The pause before a commit is sent again that was decided on the newest state and failed all the same.
const PAUSE: Duration = Duration::from_millis(10);
/// After how many failures there are pauses.
const FREE_ATTEMPTS: u32 = 2;
/// How long after an unknown outcome a commit may still appear, once a barrier was passed.
const LATE: Duration = Duration::from_millis(200);

/// What is to be done, as the mirror knows it.
enum Decision {
    /// Not everything is as expected.
    Conflict(Vec<Conflict>),
    /// There is nothing to write.
    Checked(Committed),
    /// This is to be done if it still holds.
    Send(Draft),
}

/// What became of a transaction.
enum Sent {
    Committed(Arc<Commit>),
    /// Something is not as it was decided on; this is the newest mark.
    Lost(Option<Mark>),
    /// The lease of the request is gone.
    LeaseLost(i64),
}

impl Engine {
    /// Makes a commit, for as long as its caller wants it.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(
        &self,
        changes: &ChangeSet,
        deadline: Instant,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Committed, CommitError> {
        let mut is_fresh = false;
        let mut attempts = 0;
        loop {
            if Instant::now() >= deadline || !is_wanted() {
                return Err(StoreError::Expired.into());
            }
            match self.decide(changes)? {
                Decision::Send(mut draft) => {
                    attempts += 1;
                    let found = std::mem::take(&mut draft.found);
                    let lease = self.lease_for(changes, deadline).await?;
                    let plan = draft.into_plan((&self.layout, &self.format), changes, lease);
                    match self.send(plan, changes, deadline).await? {
                        Sent::Committed(commit) => return Ok(committed(&commit, changes, found)?),
                        Sent::LeaseLost(lease) => self.leases.forget(lease).await,
                        Sent::Lost(mark) => {
                            self.reach(mark, deadline).await?;
                            // As good as a barrier, because the transaction was ordered among the commits; but not
                            // if etcd was restored from a backup.
                            is_fresh = self.mirror.compare(mark) == Reach::Reached;
                            if attempts > FREE_ATTEMPTS {
                                let until = Instant::now() + PAUSE * attempts;
                                sleep_until(until.min(deadline)).await;
                            }
                        }
                    }
                }
                Decision::Conflict(_) | Decision::Checked(_) if !is_fresh => {
                    let passed = self.barrier.pass_until(deadline).await;
                    passed.map_err(|error| late(error, deadline))?;
                    is_fresh = true;
                }
                Decision::Checked(committed) => return Ok(committed),
                Decision::Conflict(conflicts) => {
                    if let Some(request) = changes.request() {
                        let found = self.stored.request(changes.writer(), request).await?;
                        self.refuse_repeated(found, request, deadline).await?;
                    }
                    return Err(CommitError::Conflict(conflicts));
                }
            }
        }
    }

    async fn lease_for(
        &self,
        changes: &ChangeSet,
        deadline: Instant,
    ) -> Result<Option<i64>, StoreError> {
        if changes.request().is_none() {
            return Ok(None);
        }
        let until = deadline.min(Instant::now() + self.patience);
        let lease = self.leases.current(until).await;
        lease
            .map(Some)
            .map_err(|error| late(unavailable(error), deadline))
    }

    /// Waits until the mirror has what a transaction has seen.
    async fn reach(&self, mark: Option<Mark>, deadline: Instant) -> Result<(), StoreError> {
        let revision = mark.map_or(0, |mark| mark.revision);
        let until = deadline.min(Instant::now() + self.patience);
        let reached = timeout_at(until, self.mirror.reach(revision)).await;
        reached.map_err(|_| {
            let behind = "the watch of etcd is behind".to_owned();
            late(StoreError::Unavailable(behind), deadline)
        })
    }

    /// # Errors
    /// [`CommitError::Repeated`] or [`CommitError::RequestMismatch`] if the request is stored.
    async fn refuse_repeated(
        &self,
        found: Option<Found>,
        request: &Request,
        deadline: Instant,
    ) -> Result<(), CommitError> {
        let Some(Found { revision, done }) = found else {
            return Ok(());
        };
        if done.fingerprint != request.fingerprint {
            return Err(CommitError::RequestMismatch);
        }
        let until = deadline.min(Instant::now() + self.patience);
        // If it is not reached, the commit is read from etcd.
        let _ = timeout_at(until, self.mirror.reach(revision)).await;
        Err(CommitError::Repeated(revision))
    }

    /// Decides on what the mirror has.
    ///
    /// # Errors
    /// [`CommitError::Repeated`], [`CommitError::RequestMismatch`]; [`StoreError::Unreadable`] if something is stored
    /// under one of the keys that is no entry.
    fn decide(&self, changes: &ChangeSet) -> Result<Decision, CommitError> {
        let now = SystemTime::now().into();
        let table = self.mirror.table();
        if let Some(request) = changes.request() {
            match table.requests().known(changes.writer(), request, now) {
                None => {}
                Some(KnownRequest::Mismatch) => return Err(CommitError::RequestMismatch),
                Some(KnownRequest::Done(position)) => {
                    return Err(CommitError::Repeated(position.revision));
                }
            }
        }
        let last_at = table.last_commit_at();
        let mut draft = Draft::begun_at(now, last_at);
        let mut conflicts = Vec::new();
        for (index, change) in changes.as_slice().iter().enumerate() {
            let place = self.layout.entry(&change.key);
            if let Some(reason) = self.mirror.damage(&place) {
                let place = String::from_utf8_lossy(&place);
                let damaged = io::Error::other(format!("{place} is no entry: {reason}"));
                return Err(StoreError::Unreadable(damaged).into());
            }
            let current = table.get(&change.key);
            let deletes_nothing = change.operation == Operation::Delete && current.is_none();
            if deletes_nothing || !change.expected.is_met_by(current.map(Arc::as_ref)) {
                let current = current.cloned();
                conflicts.push(Conflict { index, current });
                continue;
            }
            draft.compare(&place, change.expected, &change.operation, current);
            match &change.operation {
                Operation::Check => draft.found.push(current.cloned()),
                Operation::Delete => draft.delete(place, &change.key),
                Operation::Put(value) => {
                    let dated = current.map(|current| current.modified_at);
                    let at = draft.date(dated, last_at);
                    let text = entry_text(value, at, changes.writer());
                    draft.put(place, &change.key, text);
                }
            }
        }
        if !conflicts.is_empty() {
            return Ok(Decision::Conflict(conflicts));
        }
        if draft.is_empty() {
            return Ok(Decision::Checked(Committed {
                revision: table.revision(),
                records: draft.found,
            }));
        }
        Ok(Decision::Send(draft))
    }

    /// Sends a transaction once, and waits until it is known what became of it.
    async fn send(
        &self,
        plan: Plan,
        changes: &ChangeSet,
        deadline: Instant,
    ) -> Result<Sent, CommitError> {
        let mut awaited = self.mirror.expect(plan.digits);
        let until = deadline.min(Instant::now() + self.patience);
        let answer = self.client.txn(&plan.transaction, until).await;
        let last = Instant::now().max(until) + OUTCOME_WAIT;
        let error = match answer {
            Ok(response) if response.succeeded => {
                // It is durable; what it wrote comes by the watch.
                let shown = timeout_at(last, awaited.shown()).await.ok().flatten();
                let commit = shown.ok_or_else(|| {
                    tracing::warn!("the watch of etcd does not show a commit that was made");
                    StoreError::OutcomeUnknown
                })?;
                return Ok(Sent::Committed(commit));
            }
            Ok(response) => {
                let (mark, format, found) = lost(response)?;
                if let Some(request) = changes.request() {
                    self.refuse_repeated(found, request, deadline).await?;
                }
                self.format.note(format.as_ref())?;
                return Ok(Sent::Lost(mark));
            }
            Err(error) => error,
        };
        let refused = match error {
            ClientError::Unknown(reason) => {
                tracing::warn!(reason, "etcd has not said what became of a commit");
                StoreError::OutcomeUnknown
            }
            // It was perhaps done, but what comes after a barrier is not.
            ClientError::NoSpace(text) => StoreError::Unavailable(text),
            ClientError::Rejected(text) if text.contains("lease not found") => {
                return match plan.lease {
                    Some(lease) => Ok(Sent::LeaseLost(lease)),
                    None => Err(not_applied(text).into()),
                };
            }
            ClientError::TooLarge(text) => return Err(too_large(&text).into()),
            ClientError::Rejected(text) => return Err(not_applied(text).into()),
            error @ (ClientError::Unavailable(_)
            | ClientError::Denied(_)
            | ClientError::Compacted { .. }
            | ClientError::Future) => return Err(late(unavailable(error), deadline).into()),
        };
        match self.outcome(&mut awaited, last).await {
            Outcome::Shown(commit) => Ok(Sent::Committed(commit)),
            Outcome::NotShown => Err(refused.into()),
            Outcome::Unknown => Err(StoreError::OutcomeUnknown.into()),
        }
    }

    /// Looks for a commit of which nobody has said whether it was made.
    async fn outcome(&self, awaited: &mut Awaited<'_>, last: Instant) -> Outcome {
        let passed = tokio::select! {
            biased;
            commit = awaited.shown() => return commit.map_or(Outcome::Unknown, Outcome::Shown),
            passed = self.barrier.pass_until(last) => passed,
        };
        let until = match passed {
            Ok(()) => last.min(Instant::now() + LATE),
            Err(_) => last,
        };
        match (timeout_at(until, awaited.shown()).await, passed) {
            (Ok(Some(commit)), _) => Outcome::Shown(commit),
            (Err(_), Ok(())) => Outcome::NotShown,
            _ => Outcome::Unknown,
        }
    }
}

/// What the mirror shows of a commit whose outcome is unknown.
enum Outcome {
    Shown(Arc<Commit>),
    /// It has everything that was committed after the commit was answered.
    NotShown,
    Unknown,
}

type WhenLost = (Option<Mark>, Option<KeyValue>, Option<Found>);

/// What a transaction whose comparisons do not hold has found: the newest mark, the format, and the request.
fn lost(response: TxnResponse) -> Result<WhenLost, StoreError> {
    let ranges = response.responses.into_iter().map(|of| match of.response {
        Some(OperationResponse::Range(range)) => query::first(range),
        _ => None,
    });
    let mut ranges = ranges;
    let mark = ranges.next().flatten().map(|stored| Mark::of(&stored));
    let format = ranges.next().flatten();
    let found = ranges.next().flatten();
    let found = found.map(|stored| Found::read(&stored)).transpose()?;
    Ok((mark, format, found))
}

/// The answer for the changes of a commit.
fn committed(
    commit: &Commit,
    changes: &ChangeSet,
    found: Vec<Option<Arc<Record>>>,
) -> Result<Committed, StoreError> {
    let mut found = found.into_iter();
    let mut done = commit.changes.iter();
    let mut records = Vec::with_capacity(changes.as_slice().len());
    for change in changes.as_slice() {
        if change.operation == Operation::Check {
            records.push(found.next().flatten());
            continue;
        }
        // They are in the order of the operations.
        let done = done.find(|done| done.key == change.key);
        let done = done.ok_or_else(|| {
            let missing = format!("commit {} lacks one of its changes", revision_of(commit));
            StoreError::Unknown(io::Error::other(missing))
        })?;
        records.push(done.after.clone().or_else(|| done.before.clone()));
    }
    Ok(Committed {
        revision: revision_of(commit),
        records,
    })
}

fn revision_of(commit: &Commit) -> Revision {
    commit.position.revision
}

/// What stopped a commit of which nothing was done: if its time is over, that.
fn late(error: StoreError, deadline: Instant) -> StoreError {
    match error {
        StoreError::Unavailable(_) if Instant::now() >= deadline => StoreError::Expired,
        error => error,
    }
}

fn not_applied(text: String) -> StoreError {
    StoreError::NotApplied(io::Error::other(text))
}

/// The limit in etcd's words, without the member that said it.
fn too_large(text: &str) -> StoreError {
    let words = ["etcdserver:", "grpc:"];
    let begin = words.iter().find_map(|words| text.find(words));
    StoreError::TooLarge(text[begin.unwrap_or(0)..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_without_the_member_that_said_it() {
        for text in [
            "etcdserver: request is too large",
            "grpc: received message larger than max (2097186 vs. 2097152)",
        ] {
            let told = too_large(&format!("10.0.0.1:2379: {text}"));
            assert!(matches!(told, StoreError::TooLarge(told) if told == text));
        }
    }
}
