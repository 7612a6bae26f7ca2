//! Work on large texts, where it holds up nobody else.

use std::io;

use crate::error::StoreError;

/// From how many bytes of JSON on parsing and patching leave the workers that answer requests. So
/// much takes about half a millisecond; going to another thread and back takes a tenth of that.
const LARGE_BYTES: usize = 32 * 1024;

/// What `work` on a text of so many bytes yields.
///
/// # Errors
/// [`StoreError::NotApplied`] if it could not be carried out.
pub async fn work_on<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if bytes < LARGE_BYTES {
        return Ok(work());
    }
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|ended| StoreError::NotApplied(io::Error::other(ended)))
}
