//! Which requests were done, so that none is done twice.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::{
    Commit, Fingerprint, IdempotencyKey, Name, Position, Request, Revision, Timestamp,
};

/// How long a request is remembered unless a flag says otherwise.
pub const DEFAULT_IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// How many requests are remembered at the most. When there are more, the oldest is forgotten.
pub const REQUESTS_MAX: usize = 100_000;

/// The requests of the last hours, by writer and idempotency key.
#[derive(Debug)]
pub struct Requests {
    done: HashMap<Writer, HashMap<IdempotencyKey, DoneRequest>>,
    /// The oldest first.
    order: VecDeque<(Writer, IdempotencyKey, Revision)>,
    window: Duration,
}

/// Each named writer has keys of its own; all anonymous writers share theirs.
type Writer = Option<Name>;

/// A request that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoneRequest {
    /// What stands for its content.
    pub fingerprint: Fingerprint,
    /// The commit.
    pub position: Position,
    /// When that was.
    pub at: Timestamp,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownRequest {
    /// It was done by this commit.
    Done(Position),
    /// Its key was used for another one.
    Mismatch,
}

impl Default for Requests {
    fn default() -> Self {
        Self::within(DEFAULT_IDEMPOTENCY_WINDOW)
    }
}

impl Requests {
    /// None yet; each is remembered for so long.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self {
            done: HashMap::new(),
            order: VecDeque::new(),
            window,
        }
    }

    /// What is known of a request at `now`.
    #[must_use]
    pub fn known(
        &self,
        writer: Option<&Name>,
        request: &Request,
        now: Timestamp,
    ) -> Option<KnownRequest> {
        let of_writer = self.done.get(&writer.cloned())?;
        let done = of_writer.get(&request.key)?;
        if self.is_too_old(done.at, now) {
            return None;
        }
        if done.fingerprint == request.fingerprint {
            Some(KnownRequest::Done(done.position))
        } else {
            Some(KnownRequest::Mismatch)
        }
    }

    /// Notes the request of a commit, if it has one, and forgets those that are too old or too many.
    pub fn note(&mut self, commit: &Commit) {
        let Some(request) = &commit.request else {
            return;
        };
        self.note_done(commit.by.clone(), request, commit.position, commit.at);
    }

    /// The same for a request whose commit made `position`.
    pub fn note_done(
        &mut self,
        writer: Option<Name>,
        request: &Request,
        position: Position,
        at: Timestamp,
    ) {
        self.forget_old(at);
        let key = request.key.clone();
        let done = DoneRequest {
            fingerprint: request.fingerprint,
            position,
            at,
        };
        let of_writer = self.done.entry(writer.clone()).or_default();
        of_writer.insert(key.clone(), done);
        self.order.push_back((writer, key, position.revision));
    }

    /// Forgets all that were done by commits up to this one, whose entries are no longer kept.
    pub fn forget_to(&mut self, revision: Revision) {
        while self.order.front().is_some_and(|(.., of)| *of <= revision) {
            self.forget_oldest();
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some((writer, key, _)) = self.order.front() {
            let done = self.done.get(writer).and_then(|done| done.get(key));
            let is_kept = self.order.len() < REQUESTS_MAX
                && done.is_some_and(|done| !self.is_too_old(done.at, now));
            if is_kept {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((writer, key, revision)) = self.order.pop_front() else {
            return;
        };
        let Some(of_writer) = self.done.get_mut(&writer) else {
            return;
        };
        // The key may have been used again since.
        if of_writer
            .get(&key)
            .is_some_and(|done| done.position.revision == revision)
        {
            of_writer.remove(&key);
        }
        if of_writer.is_empty() {
            self.done.remove(&writer);
        }
    }

    fn is_too_old(&self, at: Timestamp, now: Timestamp) -> bool {
        let age = now.millis().saturating_sub(at.millis());
        u128::from(age) > self.window.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, content: u8) -> Request {
        Request {
            key: IdempotencyKey::new(key).unwrap(),
            fingerprint: Fingerprint::from_bytes([content; Fingerprint::BYTES]),
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn position(revision: Revision) -> Position {
        Position {
            revision,
            ..Position::default()
        }
    }

    fn commit(revision: Revision, millis: u64, by: Option<&str>, request: Request) -> Commit {
        Commit {
            position: position(revision),
            at: at(millis),
            by: by.map(|name| name.parse().unwrap()),
            request: Some(request),
            origin: None,
            changes: Vec::new(),
        }
    }

    #[test]
    fn a_request_is_known_by_its_writer_and_content_for_as_long_as_the_window() {
        let mut requests = Requests::within(Duration::from_millis(100));
        requests.note(&commit(1, 0, Some("ann"), request("a", 1)));
        let ann: Name = "ann".parse().unwrap();
        let ben: Name = "ben".parse().unwrap();
        let known = |writer, content, now| requests.known(writer, &request("a", content), at(now));
        assert_eq!(
            known(Some(&ann), 1, 100),
            Some(KnownRequest::Done(position(1)))
        );
        assert_eq!(known(Some(&ann), 2, 100), Some(KnownRequest::Mismatch));
        assert_eq!(known(Some(&ann), 1, 101), None);
        assert_eq!(known(Some(&ben), 1, 0), None);
        assert_eq!(known(None, 1, 0), None);
    }

    #[test]
    fn old_requests_and_those_of_forgotten_commits_take_no_memory() {
        let mut requests = Requests::within(Duration::from_millis(100));
        for revision in 1..=1000 {
            requests.note(&commit(
                revision,
                revision,
                None,
                request(&revision.to_string(), 1),
            ));
        }
        assert!(requests.order.len() <= 102, "{}", requests.order.len());
        requests.forget_to(999);
        assert_eq!(requests.order.len(), 1);
        requests.forget_to(1000);
        assert!(requests.order.is_empty() && requests.done.is_empty());
    }

    #[test]
    fn a_key_that_was_used_again_after_the_window_is_the_new_request() {
        let mut requests = Requests::within(Duration::from_millis(100));
        requests.note(&commit(1, 0, None, request("a", 1)));
        requests.note(&commit(2, 101, None, request("a", 2)));
        requests.note(&commit(3, 150, None, request("b", 2)));
        let known = requests.known(None, &request("a", 2), at(150));
        assert_eq!(known, Some(KnownRequest::Done(position(2))));
    }
}
