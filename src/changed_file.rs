//! A file that is read again when it has changed.

use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs;
use tokio::io::AsyncReadExt as _;

/// How often to look whether a file has changed.
pub const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A file, and how it was when it was looked at last.
#[derive(Debug)]
pub struct ChangedFile {
    path: PathBuf,
    /// `None` while it is missing.
    seen: Option<Seen>,
    /// Whether it was changed at the last look: it may still be written.
    is_settling: bool,
}

/// By what a changed file is known, also one that another name or symbolic link has taken the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl ChangedFile {
    /// The file at `path`, as it is now.
    ///
    /// # Errors
    /// If it is missing, or its metadata cannot be read.
    pub async fn open(path: PathBuf) -> io::Result<Self> {
        let seen = look(&path).await?;
        Ok(Self {
            path,
            seen: Some(seen),
            is_settling: false,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it has changed, and was the same at two looks since: whoever writes it in place empties it first,
    /// and a part of it may be valid by itself. Read it after this: a change that comes while it is read is
    /// seen at the next look.
    ///
    /// # Errors
    /// Once when it begins to be missing. It has changed when it is back.
    pub async fn has_changed(&mut self) -> io::Result<bool> {
        match look(&self.path).await {
            Ok(seen) if self.seen.replace(seen) == Some(seen) => {
                Ok(mem::take(&mut self.is_settling))
            }
            Ok(_) => {
                self.is_settling = true;
                Ok(false)
            }
            Err(error) => match self.seen.take() {
                Some(_) => Err(error),
                None => Ok(false),
            },
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// If it cannot be read, or is longer than `max_bytes`.
    pub async fn read(&self, max_bytes: u64) -> io::Result<Vec<u8>> {
        // Not every file has a length, and one that is written may have another by now.
        let file = fs::File::open(&self.path).await?;
        let mut bytes = Vec::new();
        file.take(max_bytes + 1).read_to_end(&mut bytes).await?;
        if bytes.len() as u64 > max_bytes {
            let reason = format!("it is larger than {max_bytes} bytes");
            return Err(io::Error::other(reason));
        }
        Ok(bytes)
    }
}

async fn look(path: &Path) -> io::Result<Seen> {
    let of = fs::metadata(path).await?;
    Ok(Seen {
        device: of.dev(),
        inode: of.ino(),
        bytes: of.len(),
        modified: (of.mtime(), of.mtime_nsec()),
        changed: (of.ctime(), of.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::tempdir;

    use super::*;

    /// It has changed, and not since.
    async fn assert_changed(file: &mut ChangedFile) {
        for expected in [false, true, false] {
            assert_eq!(file.has_changed().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_has_not_changed_yet() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "1").unwrap();
        let mut file = ChangedFile::open(path.clone()).await.unwrap();
        for length in [0, 2, 3] {
            fs::write(&path, "x".repeat(length)).unwrap();
            assert!(!file.has_changed().await.unwrap());
        }
        assert!(file.has_changed().await.unwrap());
    }

    #[tokio::test]
    async fn a_change_is_seen_once_whether_written_renamed_or_linked() {
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "1").unwrap();
        let mut file = ChangedFile::open(at("file")).await.unwrap();
        assert!(!file.has_changed().await.unwrap());

        fs::write(at("file"), "22").unwrap();
        assert_changed(&mut file).await;

        fs::write(at("new"), "33").unwrap();
        fs::rename(at("new"), at("file")).unwrap();
        assert_changed(&mut file).await;

        fs::write(at("other"), "44").unwrap();
        symlink(at("other"), at("link")).unwrap();
        fs::rename(at("link"), at("file")).unwrap();
        assert_changed(&mut file).await;
        assert_eq!(file.read(2).await.unwrap(), b"44");
        assert!(file.read(1).await.is_err());
    }

    #[tokio::test]
    async fn no_more_is_read_of_a_file_without_a_length() {
        let endless = ChangedFile::open("/dev/zero".into()).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(60), endless.read(1000));
        assert!(read.await.expect("it ends").is_err());
    }

    #[tokio::test]
    async fn a_missing_file_is_reported_once_and_has_changed_when_it_is_back() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(ChangedFile::open(path.clone()).await.is_err());
        fs::write(&path, "1").unwrap();
        let mut file = ChangedFile::open(path.clone()).await.unwrap();
        let away = folder.path().join("away");
        fs::rename(&path, &away).unwrap();
        assert!(file.has_changed().await.is_err());
        assert!(!file.has_changed().await.unwrap());
        fs::rename(&away, &path).unwrap();
        assert_changed(&mut file).await;
    }
}
