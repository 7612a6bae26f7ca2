//! Which file is expected under a name, so that another one in its place is noticed.

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
    /// The identity in a file's metadata.
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

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathState {
    /// The expected file.
    Unchanged,
    /// Nothing, though a file is expected.
    Missing,
    /// Another file, or one of another length.
    Replaced,
}

/// The file expected under a name.
#[derive(Debug, Default)]
pub struct ExpectedFile {
    current: Option<FileIdentity>,
    /// The file that is being renamed to it.
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

    /// Expects this file, or none.
    pub fn set(&mut self, current: Option<FileIdentity>) {
        *self = Self {
            current,
            coming: None,
        };
    }

    /// Whether a file is expected.
    pub fn is_some(&self) -> bool {
        self.current.is_some()
    }

    /// Compares `found` with the expected file. If that has grown since, `bytes` is its length.
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
    fn another_file_than_the_expected_one_is_noticed() {
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
    fn during_a_rename_either_file_is_expected() {
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
