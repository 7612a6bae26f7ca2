//! Who may read and write a file, and therefore the one that replaces it.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

/// The mode of a new file, which its owner alone may read: it may hold what a service shows to nobody without a
/// token, and one that replaces another must not be readable by more users before it has its mode and owner.
pub const NEW_FILE_MODE: u32 = 0o600;

const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const OTHERS_TO_GROUP: u32 = 3;

/// The mode and the owner of a file.
#[derive(Debug, Clone, Copy)]
pub struct Access {
    mode: u32,
    user: u32,
    group: u32,
}

impl Access {
    /// The mode and the owner of this file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            mode: metadata.permissions().mode(),
            user: metadata.uid(),
            group: metadata.gid(),
        }
    }

    /// Applies it to a new file, the owner as far as the process may. If the group cannot be kept, the new
    /// file's group gets no more than everybody.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn give_to(self, file: &File) -> io::Result<()> {
        let new = file.metadata()?;
        let mut mode = self.mode;
        let is_same = (new.uid(), new.gid()) == (self.user, self.group);
        if !is_same && let Err(error) = fchown(file, Some(self.user), Some(self.group)) {
            tracing::debug!(%error, "the owner of a replaced file cannot be kept");
            if new.gid() != self.group && fchown(file, None, Some(self.group)).is_err() {
                mode = for_another_group(mode);
            }
        }
        file.set_permissions(Permissions::from_mode(mode))
    }
}

fn for_another_group(mode: u32) -> u32 {
    mode & (!GROUP | (mode & OTHERS) << OTHERS_TO_GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_group_gets_what_everybody_gets() {
        for (before, after) in [
            (0o640, 0o600),
            (0o660, 0o600),
            (0o644, 0o644),
            (0o664, 0o644),
            (0o606, 0o606),
            (0o100_640, 0o100_600),
        ] {
            assert_eq!(for_another_group(before), after, "{before:o}");
        }
    }
}
