//! Which file was left under a name, so that another in its place is noticed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// A file and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
}

impl FileIdentity {
    /// What the system says of a file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
        }
    }

    /// The same file after it has grown to this length.
    pub fn grown_to(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}

/// What there is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// What was left there.
    Unchanged,
    /// Nothing, though a file was left there.
    Missing,
    /// Another file, or one of another length.
    Replaced,
}

/// What was left under a name.
#[derive(Debug, Default)]
pub struct ExpectedFile {
    current: Option<FileIdentity>,
    /// What is just being renamed to it.
    coming: Option<FileIdentity>,
}

impl ExpectedFile {
    /// From now on either file may be there.
    pub fn expect(&mut self, coming: FileIdentity) {
        self.coming = Some(coming);
    }

    /// The rename was not done.
    pub fn expect_no_more(&mut self) {
        self.coming = None;
    }

    /// This is there, or nothing.
    pub fn set(&mut self, current: Option<FileIdentity>) {
        *self = Self {
            current,
            coming: None,
        };
    }

    /// Whether anything was left there.
    pub fn is_some(&self) -> bool {
        self.current.is_some()
    }

    /// What it means that `found` is there. If the file has grown since, `bytes` is its length.
    pub fn compare(&self, found: Option<FileIdentity>, bytes: Option<u64>) -> PathState {
        let current = self
            .current
            .map(|seen| bytes.map_or(seen, |bytes| seen.grown_to(bytes)));
        match found {
            None if current.is_none() => PathState::Unchanged,
            None => PathState::Missing,
            found if found == current || found == self.coming => PathState::Unchanged,
            Some(_) => PathState::Replaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(inode: u64) -> FileIdentity {
        let (device, bytes) = (1, 10);
        FileIdentity {
            device,
            inode,
            bytes,
        }
    }

    #[test]
    fn what_was_left_is_told_from_what_came_instead() {
        let mut expected_file = ExpectedFile::default();
        assert_eq!(expected_file.compare(None, None), PathState::Unchanged);
        assert_eq!(
            expected_file.compare(Some(seen(1)), None),
            PathState::Replaced
        );
        expected_file.set(Some(seen(1)));
        assert_eq!(
            expected_file.compare(Some(seen(1)), None),
            PathState::Unchanged
        );
        assert_eq!(
            expected_file.compare(Some(seen(2)), None),
            PathState::Replaced
        );
        assert_eq!(expected_file.compare(None, None), PathState::Missing);
        assert_eq!(
            expected_file.compare(Some(seen(1)), Some(20)),
            PathState::Replaced
        );
        let longer = seen(1).grown_to(20);
        assert_eq!(
            expected_file.compare(Some(longer), Some(20)),
            PathState::Unchanged
        );
        assert_eq!(
            expected_file.compare(Some(longer), None),
            PathState::Replaced
        );
    }

    #[test]
    fn while_a_file_is_renamed_either_may_be_there() {
        let mut expected_file = ExpectedFile::default();
        expected_file.set(Some(seen(1)));
        expected_file.expect(seen(2));
        for inode in [1, 2] {
            assert_eq!(
                expected_file.compare(Some(seen(inode)), None),
                PathState::Unchanged
            );
        }
        expected_file.expect_no_more();
        assert_eq!(
            expected_file.compare(Some(seen(2)), None),
            PathState::Replaced
        );
    }
}
