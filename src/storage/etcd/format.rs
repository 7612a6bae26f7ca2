//! The format of what is stored. A newer program may raise it while this one runs, which must then no longer write.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::error::OpenError;
use super::layout::{FORMAT, Layout};
use super::messages::{Compare, CompareResult, KeyValue};
use super::query;
use crate::storage::StoreError;

/// How often etcd is asked, so that the health says it also while nobody writes.
const INTERVAL: Duration = Duration::from_secs(10);

/// # Errors
/// [`OpenError::Newer`], [`OpenError::Foreign`].
pub fn check(root: &str, text: &[u8]) -> Result<(), OpenError> {
    let text = String::from_utf8_lossy(text);
    let root = root.to_owned();
    match text.trim().parse() {
        Ok(FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => Err(OpenError::Newer { root, found }),
        _ => Err(OpenError::Foreign {
            root,
            found: text.into_owned(),
        }),
    }
}

/// What is known of the format.
#[derive(Debug)]
pub struct Format {
    root: String,
    /// When it was written that was seen last.
    written_at: AtomicI64,
    problem: Mutex<Option<String>>,
}

impl Format {
    /// That of the store at `root`, which is known and was written at this revision of etcd.
    #[must_use]
    pub fn new(root: &str, written_at: i64) -> Self {
        Self {
            root: root.to_owned(),
            written_at: AtomicI64::new(written_at),
            problem: Mutex::default(),
        }
    }

    /// Why nothing may be written.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// That it was not written since it was seen. It may be missing: somebody who deletes everything stops nobody.
    #[must_use]
    pub fn is_unchanged(&self, layout: &Layout) -> Compare {
        let later = self.written_at.load(Ordering::Acquire) + 1;
        Compare::mod_revision(layout.format(), CompareResult::Less, later)
    }

    /// Takes note of what is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if nothing may be written.
    pub fn note(&self, stored: Option<&KeyValue>) -> Result<(), StoreError> {
        let checked = stored.map_or(Ok(()), |stored| check(&self.root, &stored.value));
        let now = checked.err().map(|error| {
            format!("{error}. This process refuses writes: replace it by that program")
        });
        let mut problem = self.problem.lock();
        match (&*problem, &now) {
            (None, Some(text)) => tracing::error!("{text}"),
            (Some(_), None) => tracing::info!("the format of what is stored is known again"),
            _ => {}
        }
        problem.clone_from(&now);
        if let Some(text) = now {
            return Err(StoreError::Unavailable(text));
        }
        if let Some(stored) = stored {
            self.written_at
                .store(stored.mod_revision, Ordering::Release);
        }
        Ok(())
    }
}

/// Looks at it now and then.
pub async fn follow(client: Client, layout: Layout, format: Arc<Format>, patience: Duration) {
    let request = query::get(layout.format());
    loop {
        sleep(INTERVAL).await;
        // If etcd does not answer, others say so.
        if let Ok(response) = client.range(&request, Instant::now() + patience).await {
            // The health says it.
            let _ = format.note(query::first(response).as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_format_that_is_known_is_read() {
        assert!(check("/r", b"1").is_ok());
        assert!(check("/r", b"1\n").is_ok());
        let newer = check("/r", b"2").unwrap_err();
        assert!(matches!(newer, OpenError::Newer { found: 2, .. }));
        assert!(newer.to_string().contains("newer than this program"));
        for other in [&b""[..], b"0", b"x"] {
            let foreign = check("/r", other);
            assert!(matches!(foreign, Err(OpenError::Foreign { .. })));
        }
    }
}
