//! Which file was left under a name, so that another in its place is noticed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// A file and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
}

impl Seen {
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
pub enum Standing {
    /// What was left there.
    AsLeft,
    /// Nothing, though a file was left there.
    Missing,
    /// Another file, or one of another length.
    Another,
}

/// What was left under a name.
#[derive(Debug, Default)]
pub struct Placed {
    current: Option<Seen>,
    /// What is just being renamed to it.
    coming: Option<Seen>,
}

impl Placed {
    /// From now on either file may be there.
    pub fn expect(&mut self, coming: Seen) {
        self.coming = Some(coming);
    }

    /// The rename was not done.
    pub fn expect_no_more(&mut self) {
        self.coming = None;
    }

    /// This is there, or nothing.
    pub fn set(&mut self, current: Option<Seen>) {
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
    pub fn judge(&self, found: Option<Seen>, bytes: Option<u64>) -> Standing {
        let current = self
            .current
            .map(|seen| bytes.map_or(seen, |bytes| seen.grown_to(bytes)));
        match found {
            None if current.is_none() => Standing::AsLeft,
            None => Standing::Missing,
            found if found == current || found == self.coming => Standing::AsLeft,
            Some(_) => Standing::Another,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(inode: u64) -> Seen {
        let (device, bytes) = (1, 10);
        Seen {
            device,
            inode,
            bytes,
        }
    }

    #[test]
    fn what_was_left_is_told_from_what_came_instead() {
        let mut placed = Placed::default();
        assert_eq!(placed.judge(None, None), Standing::AsLeft);
        assert_eq!(placed.judge(Some(seen(1)), None), Standing::Another);
        placed.set(Some(seen(1)));
        assert_eq!(placed.judge(Some(seen(1)), None), Standing::AsLeft);
        assert_eq!(placed.judge(Some(seen(2)), None), Standing::Another);
        assert_eq!(placed.judge(None, None), Standing::Missing);
        assert_eq!(placed.judge(Some(seen(1)), Some(20)), Standing::Another);
        let longer = seen(1).grown_to(20);
        assert_eq!(placed.judge(Some(longer), Some(20)), Standing::AsLeft);
        assert_eq!(placed.judge(Some(longer), None), Standing::Another);
    }

    #[test]
    fn while_a_file_is_renamed_either_may_be_there() {
        let mut placed = Placed::default();
        placed.set(Some(seen(1)));
        placed.expect(seen(2));
        for inode in [1, 2] {
            assert_eq!(placed.judge(Some(seen(inode)), None), Standing::AsLeft);
        }
        placed.expect_no_more();
        assert_eq!(placed.judge(Some(seen(2)), None), Standing::Another);
    }
}
