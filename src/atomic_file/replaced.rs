//! A file that is replaced atomically and durably.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::access::{Access, NEW_FILE_MODE};
use super::expected_file::{ExpectedFile, FileIdentity, PathState};
use super::folder::{Folder, FolderSync};

/// The size of the buffer for writing, in bytes. What is longer goes past it.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// How many characters of a temporary file's name are random.
const TEMPORARY_RANDOM_CHARS: usize = 6;
const TEMPORARY_SUFFIX: &str = ".tmp";
/// How long the name of a file can be, in bytes (`NAME_MAX` of Linux).
const NAME_MAX_BYTES: usize = 255;
/// How long the part of a temporary file's name before the random characters can be, in bytes.
const TEMPORARY_PREFIX_MAX_BYTES: usize =
    NAME_MAX_BYTES - TEMPORARY_RANDOM_CHARS - TEMPORARY_SUFFIX.len();
/// How much of a large file may be written before it is synced, in bytes. Syncing all of it
/// at once would block others who wait for the disk.
const UNSYNCED_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How replacing a file failed.
#[derive(Debug)]
pub enum ReplaceError {
    /// Before the rename: the file is unchanged.
    Before(io::Error),
    /// After the rename: the file has the new content, but a power cut may undo that.
    After(io::Error),
}

impl ReplaceError {
    /// The error of the system call.
    pub fn into_inner(self) -> io::Error {
        match self {
            Self::Before(error) | Self::After(error) => error,
        }
    }
}

/// A file that is in place. Its content is durable.
#[derive(Debug)]
pub struct Written {
    /// Open for reading and writing.
    pub file: File,
    /// Its size.
    pub bytes: u64,
    /// Whether its folder was synced since, so that its name is durable, too.
    #[cfg_attr(
        not(feature = "cli"),
        expect(dead_code, reason = "the file engine requires it")
    )]
    pub is_folder_synced: bool,
}

/// A file that is only ever replaced as a whole.
#[derive(Debug, Clone)]
pub struct ReplacedFile {
    path: PathBuf,
    folder: Arc<Folder>,
    /// The file whose mode and owner a new one gets, and what they were when they were last read.
    model: PathBuf,
    access: Arc<Mutex<Option<Access>>>,
    expected_file: Arc<Mutex<ExpectedFile>>,
}

impl ReplacedFile {
    /// The file at `path`, which need not exist. Symbolic links are followed now, so that the
    /// file that they lead to is replaced and not the link.
    ///
    /// # Errors
    /// If the folder does not exist or `path` does not name a file.
    pub fn new(path: &Path, sync: FolderSync) -> io::Result<Self> {
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
                if let Ok(target) = fs::read_link(path) {
                    // It leads to a file that the first write is to create.
                    return Self::new(&path.with_file_name("").join(target), sync);
                }
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                fs::canonicalize(folder.unwrap_or(Path::new(".")))?.join(name)
            }
            other => other?,
        };
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            folder: Arc::new(Folder::open(folder, sync)?),
            model: path.clone(),
            path,
            access: Arc::default(),
            expected_file: Arc::default(),
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `name` with this ending lies beside the file.
    pub fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// The file with this ending beside this one. It gets the mode and the owner of this one.
    pub fn companion(&self, ending: &str) -> Self {
        Self {
            path: self.beside(ending),
            expected_file: Arc::default(),
            ..self.clone()
        }
    }

    /// Records the file that was found at the start.
    pub fn note(&self, metadata: &Metadata) {
        self.expected_file
            .lock()
            .set(Some(FileIdentity::of(metadata)));
    }

    /// Whether a file was found or put there.
    pub fn is_placed(&self) -> bool {
        self.expected_file.lock().is_some()
    }

    /// Whether the file that is there now is the expected one. If it was appended to, `bytes` is its length.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn state(&self, bytes: Option<u64>) -> io::Result<PathState> {
        // A rename by another thread is noted before or after both.
        let expected_file = self.expected_file.lock();
        let found = match fs::metadata(&self.path) {
            Ok(metadata) => Some(FileIdentity::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(expected_file.compare(found, bytes))
    }

    /// Whether there is such a file in the folder, wherever that has been moved.
    pub fn is_in_its_folder(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default();
        self.folder.has(name)
    }

    /// Who may read and write the file; if it is gone, who could.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn access(&self) -> io::Result<Option<Access>> {
        match fs::metadata(&self.model) {
            Ok(metadata) => {
                let access = Some(Access::of(&metadata));
                *self.access.lock() = access;
                Ok(access)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(*self.access.lock()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the content: temporary file in the same folder → write → fsync → rename → fsync of
    /// the folder. Each attempt writes a new file, because after a failed fsync the kernel may
    /// call pages clean that never reached the disk.
    ///
    /// # Errors
    /// [`ReplaceError`], which says whether it failed before or after the rename.
    pub fn replace(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Written, ReplaceError> {
        self.replace_when(write, || Ok(()))
    }

    /// The same, if `ready`, which is called before the rename, says so.
    ///
    /// # Errors
    /// As [`replace`](Self::replace); [`ReplaceError::Before`] with the error of `ready`.
    pub fn replace_when(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> Result<Written, ReplaceError> {
        let temporary = self.prepare(write).map_err(ReplaceError::Before)?;
        self.install_when(temporary, ready)
    }

    /// The second half of [`replace`](Self::replace), for a temporary file to which more may have
    /// been written.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn install(&self, temporary: NamedTempFile) -> Result<Written, ReplaceError> {
        self.install_when(temporary, || Ok(()))
    }

    fn install_when(
        &self,
        temporary: NamedTempFile,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> Result<Written, ReplaceError> {
        let file = temporary.as_file();
        let prepared = file
            .sync_all()
            .and_then(|()| ready())
            .and_then(|()| file.metadata());
        let seen = prepared.map_err(ReplaceError::Before)?;
        self.expected_file.lock().expect(FileIdentity::of(&seen));
        let file = match temporary.persist(&self.path) {
            Ok(file) => file,
            Err(error) => {
                self.expected_file.lock().expect_no_more();
                return Err(ReplaceError::Before(error.error));
            }
        };
        self.note(&seen);
        let is_folder_synced = self.folder.sync().map_err(ReplaceError::After)?;
        Ok(Written {
            file,
            bytes: seen.len(),
            is_folder_synced,
        })
    }

    /// The first half of [`replace`](Self::replace): the new content in a temporary file beside
    /// the old.
    ///
    /// # Errors
    /// If a system call fails; the temporary file is removed then.
    pub fn prepare(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<NamedTempFile> {
        let temporary = tempfile::Builder::new()
            .prefix(&self.temporary_prefix())
            .rand_bytes(TEMPORARY_RANDOM_CHARS)
            .suffix(TEMPORARY_SUFFIX)
            .permissions(Permissions::from_mode(NEW_FILE_MODE))
            .tempfile_in(self.folder.path())?;
        let steady = SteadyWriter {
            file: temporary.as_file(),
            unsynced_bytes: 0,
        };
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, steady);
        write(&mut writer)?;
        writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        if let Some(access) = self.access()? {
            access.give_to(temporary.as_file())?;
        }
        Ok(temporary)
    }

    /// Removes the file durably.
    ///
    /// # Errors
    /// If a system call fails; the file may be there or not.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.expected_file.lock().set(None);
                self.folder.sync().map(|_| ())
            }
        }
    }

    /// Makes the current file durable: a crash may have come between a rename and its fsync.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn sync(&self) -> io::Result<()> {
        if self.path.try_exists()? {
            File::open(&self.path)?.sync_all()?;
        }
        self.folder.sync().map(|_| ())
    }

    /// Removes temporary files that a crash left behind. No other process may be using the file.
    ///
    /// # Errors
    /// If a system call fails.
    pub fn remove_leftovers(&self) -> io::Result<()> {
        let prefix = self.temporary_prefix();
        for file in fs::read_dir(self.folder.path())? {
            let file = file?;
            let name = file.file_name();
            let random = name
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(TEMPORARY_SUFFIX));
            let ours = random.is_some_and(|random| {
                random.len() == TEMPORARY_RANDOM_CHARS
                    && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
            if ours && file.file_type()?.is_file() {
                tracing::info!(file = %file.path().display(), "removing a file that a crash left behind");
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    fn temporary_prefix(&self) -> String {
        temporary_prefix(self.path.file_name().unwrap_or_default())
    }
}

/// How the names of the temporary files for the file `name` begin: `.data.json.` for `data.json`. Of a name
/// that is too long for that, as much as fits, and a hash: the temporary files of another file whose name
/// begins in the same way must not be taken for leftovers of this one.
fn temporary_prefix(name: &OsStr) -> String {
    let text = name.to_string_lossy();
    let prefix = format!(".{text}.");
    if prefix.len() <= TEMPORARY_PREFIX_MAX_BYTES {
        return prefix;
    }
    let hash = Sha256::digest(name.as_bytes());
    let hash = hash.first_chunk().copied().map_or(0, u64::from_be_bytes);
    let end = format!("-{hash:016x}.");
    let mut length = TEMPORARY_PREFIX_MAX_BYTES - ".".len() - end.len();
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    format!(".{}{end}", &text[..length])
}

/// Syncs what is written in parts.
struct SteadyWriter<'a> {
    file: &'a File,
    unsynced_bytes: usize,
}

impl Write for SteadyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced_bytes += written;
        if self.unsynced_bytes >= UNSYNCED_MAX_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_longest_possible_name_is_replaced_and_its_leftovers_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a".repeat(NAME_MAX_BYTES),
            "b".repeat(248),
            "ü".repeat(127),
            format!("c{}", "ü".repeat(127)),
        ] {
            let file = ReplacedFile::new(&folder.path().join(&name), FolderSync::Required).unwrap();
            file.replace(|to| to.write_all(b"1")).unwrap();
            assert_eq!(fs::read(file.path()).unwrap(), b"1");
            let (_, leftover) = file.prepare(|_| Ok(())).unwrap().keep().unwrap();
            file.remove_leftovers().unwrap();
            assert!(!leftover.exists(), "{}", leftover.display());
        }
    }

    #[test]
    fn temporary_files_of_another_long_name_are_not_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["1", "2"].map(|end| {
            let path = folder.path().join("a".repeat(NAME_MAX_BYTES - 1) + end);
            ReplacedFile::new(&path, FolderSync::Required).unwrap()
        });
        let in_use = one.prepare(|_| Ok(())).unwrap();
        other.remove_leftovers().unwrap();
        assert!(in_use.path().exists());
    }

    #[test]
    fn a_short_name_is_part_of_the_temporary_name() {
        assert_eq!(temporary_prefix("data.json".as_ref()), ".data.json.");
        let longest = "a".repeat(243);
        assert_eq!(temporary_prefix(longest.as_ref()), format!(".{longest}."));
    }
}
