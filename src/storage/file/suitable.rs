//! What may be at the paths of the store's files, checked before anything is read: a file that cannot be
//! replaced, or that others reach under another name, would lose what is acknowledged.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file that must be a regular one, and never waits for the other end of a pipe.
///
/// # Errors
/// If a system call fails, or it is something else.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    // Opening a device can have effects, so its type is checked first.
    match fs::metadata(path) {
        Ok(metadata) => check_kind(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(flags).open(path)?;
    // Something else may have replaced it in between.
    check_kind(&file.metadata()?)?;
    Ok(Some(file))
}

/// Why the store cannot have its file at `path`. `None` if nothing is there yet, or a suitable file.
///
/// # Errors
/// If a system call fails, or it is not a regular file.
pub fn objection_to(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    check_kind(&metadata)?;
    Ok(mount_at(path)?.or_else(|| other_names_of(&metadata)))
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = kind_of(metadata.file_type());
    let reason = format!("it is {kind} and not a regular file");
    Err(io::Error::other(reason))
}

fn kind_of(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a folder"
    } else if file_type.is_fifo() {
        "a FIFO"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// A container may have been given the file alone, and not its folder. Then no other can be renamed
/// to its name.
fn mount_at(path: &Path) -> io::Result<Option<String>> {
    Ok(is_mount(path)?.then(|| {
        "it is a mount of its own, so it cannot be replaced; mount its folder instead".to_owned()
    }))
}

#[cfg(target_os = "linux")]
fn is_mount(path: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    use rustix::io::Errno;

    match statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        // Old kernels do not report it.
        Err(Errno::NOENT | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn is_mount(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Another process could have it under another name.
fn other_names_of(metadata: &Metadata) -> Option<String> {
    let names = metadata.nlink();
    (names > 1).then(|| {
        format!(
            "it has {names} names (hard links), and under another one another process could write \
             it too; leave one name, or make it a file of its own by copying it and renaming the \
             copy to it"
        )
    })
}
