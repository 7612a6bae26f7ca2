//! Checking a log that nobody is writing to.

use std::collections::HashMap;

use super::scan::{ScanError, for_each_commit};
use super::segment::Segment;
use crate::model::Key;
use crate::storage::file::format::Names;

/// Checks that the commits of a segment lead from each state to the next: that each digest is that of the records.
/// Returns how many commits there are.
///
/// # Errors
/// [`ScanError`].
pub fn verify_states(segment: &Segment) -> Result<u64, ScanError> {
    let mut state = segment.start.position.state;
    let mut written: HashMap<Key, u64> = HashMap::new();
    let mut names = Names::default();
    let mut count = 0;
    let checked = for_each_commit(segment, segment.start.position.revision, |stored| {
        let commit = stored.decode(&mut names)?;
        for done in commit.changes {
            let in_commit = done.before.map(|before| before.state_hash());
            let in_segment = written.remove(&done.key);
            if let Some(hash) = in_segment.or(in_commit) {
                state = state.without(hash);
            } else if done.after.as_ref().is_none_or(|after| after.version > 1) {
                let (key, revision) = (done.key, commit.position.revision);
                return Err(format!(
                    "commit {revision} changes {:?}, but what that was before is missing",
                    key.as_str()
                ));
            }
            if let Some(after) = done.after {
                state = state.with(after.state_hash());
                written.insert(done.key, after.state_hash());
            }
        }
        if state != commit.position.state {
            let (revision, noted) = (commit.position.revision, commit.position.state);
            return Err(format!(
                "commit {revision} has the state {noted}, but its records make {state}"
            ));
        }
        count += 1;
        Ok(true)
    });
    checked.map(|()| count).map_err(|error| ScanError::Damaged {
        path: segment.path.path().to_owned(),
        reason: error.to_string(),
    })
}
