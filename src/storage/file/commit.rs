//! A commit between its caller and the writer: withdrawn by the one or taken by the other, never both.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::model::ChangeSet;
use crate::storage::{CommitError, Committed};

/// The outcome of a commit.
pub type Outcome = Result<Committed, CommitError>;
/// Where its caller waits for the outcome.
pub type Reply = oneshot::Sender<Outcome>;

/// A commit in the writer's queue.
#[derive(Debug)]
pub struct Commit {
    changes: Arc<Mutex<Option<ChangeSet>>>,
    reply: Reply,
}

/// A commit that the writer has taken, so that it can no longer be withdrawn.
#[derive(Debug)]
pub struct Taken {
    /// What it does.
    pub changes: ChangeSet,
    /// Where its caller waits.
    pub reply: Reply,
}

/// The caller's side of a commit, which withdraws it when it is dropped.
#[derive(Debug)]
pub struct Pending {
    changes: Arc<Mutex<Option<ChangeSet>>>,
    /// Ready when it is done.
    pub answer: oneshot::Receiver<Outcome>,
}

/// The two sides of a commit that has not been taken yet.
pub fn pending_commit(changes: ChangeSet) -> (Commit, Pending) {
    let changes = Arc::new(Mutex::new(Some(changes)));
    let (reply, answer) = oneshot::channel();
    let commit = Commit {
        changes: Arc::clone(&changes),
        reply,
    };
    (commit, Pending { changes, answer })
}

impl Commit {
    /// Takes it, unless it was withdrawn.
    pub fn take(self) -> Option<Taken> {
        let changes = self.changes.lock().take()?;
        let reply = self.reply;
        Some(Taken { changes, reply })
    }
}

impl Pending {
    /// Withdraws it, and with it what it holds. Returns whether it had not been taken: then nothing of it was
    /// done, and nothing will be.
    pub fn withdraw(&self) -> bool {
        self.changes.lock().take().is_some()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.withdraw();
    }
}
