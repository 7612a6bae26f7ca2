//! The file that an edit opens, and beside it, as `FILE.base`, the entry that its text is based on. With
//! both, an edit that failed can be resumed, and merges what others have saved in the meantime.
//!
//! The base is never newer than the text: with an older base the worst case is a conflict, but with a newer
//! one the text would undo changes that the user has not seen. So the text is written first.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::failure::Failure;
use crate::atomic_file::{FolderSync, ReplacedFile};
use crate::model::Key;

/// How many characters of the key are in the file's name.
const NAME_CHARS_MAX: usize = 40;
const SUFFIX: &str = ".jsonc";
const BASE_SUFFIX: &str = ".base";

/// The text of an edit, and its base.
#[derive(Debug)]
pub struct DraftFile {
    text: ReplacedFile,
    base: ReplacedFile,
}

/// The file of an earlier edit, and what is in it.
#[derive(Debug)]
pub struct Reopened {
    pub file: DraftFile,
    pub key: Key,
    pub text: String,
    pub base: Option<Entry>,
}

/// The content of `FILE.base`.
#[derive(Debug, Serialize, Deserialize)]
struct Base {
    key: Key,
    /// `None` if the entry did not exist.
    base: Option<Entry>,
}

impl DraftFile {
    /// A new file that only its owner may read.
    pub fn new(key: &Key) -> Result<Self, Failure> {
        let folder = env::temp_dir();
        let file = tempfile::Builder::new()
            .prefix(&prefix(key))
            .suffix(SUFFIX)
            .tempfile_in(&folder)
            .map_err(|error| Failure::file(&folder, error))?;
        // Not deleted on drop, so that it survives even a crash.
        let (_, path) = file
            .keep()
            .map_err(|error| Failure::file(&folder, error.error))?;
        Self::at(&path)
    }

    fn at(path: &Path) -> Result<Self, Failure> {
        let text = ReplacedFile::new(path, FolderSync::IfPossible)
            .map_err(|error| Failure::file(path, error))?;
        // With the mode of the text, which only its owner may read.
        let base = text.companion(BASE_SUFFIX);
        Ok(Self { text, base })
    }

    /// The file of an earlier edit, which must be one of `key` if that is given.
    pub fn reopen(path: &Path, key: Option<&Key>) -> Result<Reopened, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
        let kept = Self::at(path)?;
        // Beside the file or, if `path` is a link to it, beside that.
        let base = match read_base(kept.base.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                read_base(&beside(path)).map_err(|_| error)
            }
            base => base,
        };
        let base = base.map_err(|error| {
            Failure::Input(format!(
                "{}: {error}\nWithout this file it is not known which version the text is based on; \
                 nothing was written",
                kept.base.path().display()
            ))
        })?;
        if key.is_some_and(|key| base.key != *key) {
            return Err(Failure::Input(format!(
                "the text in {} belongs to the key {}; nothing was written",
                path.display(),
                base.key.as_str()
            )));
        }
        Ok(Reopened {
            file: kept,
            key: base.key,
            text,
            base: base.base,
        })
    }

    /// The files that earlier edits of `key` have left, and those of edits that are still open.
    pub fn others(key: &Key) -> Vec<PathBuf> {
        let prefix = prefix(key);
        let files = fs::read_dir(env::temp_dir()).into_iter().flatten();
        let paths = files.filter_map(|file| {
            let name = file.ok()?.file_name().into_string().ok()?;
            let name = name.strip_suffix(BASE_SUFFIX)?;
            let is_like_it = name.starts_with(&prefix) && name.ends_with(SUFFIX);
            is_like_it.then(|| env::temp_dir().join(name))
        });
        let is_of_key = |path: &PathBuf| {
            path.is_file() && read_base(&beside(path)).is_ok_and(|base| base.key == *key)
        };
        paths.filter(is_of_key).collect()
    }

    pub fn path(&self) -> &Path {
        self.text.path()
    }

    pub fn read(&self) -> io::Result<String> {
        fs::read_to_string(self.path())
    }

    /// Replaces the text, and then the base.
    pub fn write(&self, text: &str, key: &Key, base: Option<&Entry>) -> Result<(), Failure> {
        replace(&self.text, text.as_bytes())?;
        self.write_base(key, base)
    }

    /// Replaces the base.
    pub fn write_base(&self, key: &Key, base: Option<&Entry>) -> Result<(), Failure> {
        let base = Base {
            key: key.clone(),
            base: base.cloned(),
        };
        let json = serde_json::to_vec(&base)
            .map_err(|error| Failure::file(self.base.path(), error.into()))?;
        replace(&self.base, &json)
    }

    /// Removes both files. If that fails, a file too many does no harm.
    pub fn remove(&self) {
        let _ = fs::remove_file(self.text.path());
        let _ = fs::remove_file(self.base.path());
    }
}

/// How the names of all files with a text of `key` begin.
fn prefix(key: &Key) -> String {
    let characters = key.as_str().chars().take(NAME_CHARS_MAX);
    let name = characters.map(|character| match character {
        letter if letter.is_alphanumeric() || "-_.".contains(letter) => letter,
        _ => '_',
    });
    format!("ifmatch-{}-", name.collect::<String>())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(BASE_SUFFIX);
    name.into()
}

fn read_base(path: &Path) -> io::Result<Base> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Replaces the whole content, or leaves the file unchanged.
fn replace(file: &ReplacedFile, text: &[u8]) -> Result<(), Failure> {
    match file.replace(|to| to.write_all(text)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::replace(file.path(), error)),
    }
}
