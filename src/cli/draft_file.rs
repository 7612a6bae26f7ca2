//! The file of an edit, and beside it, as `FILE.base`, the entry that its text was made from. With both
//! an edit that came to nothing can be gone on with, and what others have saved meanwhile is merged.
//!
//! The base is never newer than the text: a text that goes with an older base meets a conflict, one
//! that goes with a newer base would undo what it has not seen. So the text is written first.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::failure::Failure;
use crate::atomic_file::ReplacedFile;
use crate::model::Key;

/// How much of a key the file's name shows, in characters.
const NAME_CHARS_MAX: usize = 40;
const SUFFIX: &str = ".jsonc";
const BASE_SUFFIX: &str = ".base";

/// The file.
#[derive(Debug)]
pub struct Kept {
    text: ReplacedFile,
    base: ReplacedFile,
}

/// What is beside it.
#[derive(Debug, Serialize, Deserialize)]
struct Base {
    key: Key,
    /// Nothing if the entry was not there.
    base: Option<Entry>,
}

impl Kept {
    /// A new file that nobody else may read.
    pub fn new(key: &Key) -> Result<Self, Failure> {
        let folder = env::temp_dir();
        let file = tempfile::Builder::new()
            .prefix(&prefix(key))
            .suffix(SUFFIX)
            .tempfile_in(&folder)
            .map_err(|error| Failure::file(&folder, error))?;
        // Kept from the start, so that it outlives even a crash.
        let (_, path) = file
            .keep()
            .map_err(|error| Failure::file(&folder, error.error))?;
        Self::at(&path)
    }

    fn at(path: &Path) -> Result<Self, Failure> {
        let text = ReplacedFile::new(path).map_err(|error| Failure::file(path, error))?;
        // As private as the text, from its first moment on.
        let base = text.companion(BASE_SUFFIX);
        Ok(Self { text, base })
    }

    /// The file of an earlier edit of `key`, its text and what that was made from.
    pub fn again(path: &Path, key: &Key) -> Result<(Self, String, Option<Entry>), Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
        let kept = Self::at(path)?;
        let base = read_base(kept.base.path()).map_err(|error| {
            Failure::Input(format!(
                "{}: {error}\nWithout this file it is not known which version the text is based on; \
                 nothing was written",
                kept.base.path().display()
            ))
        })?;
        if base.key != *key {
            return Err(Failure::Input(format!(
                "the text in {} belongs to the key {}; nothing was written",
                path.display(),
                base.key.as_str()
            )));
        }
        Ok((kept, text, base.base))
    }

    /// The files that earlier edits of `key` have left, and those that are open elsewhere.
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

    /// Replaces the text, and then what it was made from.
    pub fn write(&self, text: &str, key: &Key, base: Option<&Entry>) -> Result<(), Failure> {
        replace(&self.text, text.as_bytes())?;
        self.write_base(key, base)
    }

    /// Replaces what the text was made from.
    pub fn write_base(&self, key: &Key, base: Option<&Entry>) -> Result<(), Failure> {
        let base = Base {
            key: key.clone(),
            base: base.cloned(),
        };
        let json = serde_json::to_vec(&base)
            .map_err(|error| Failure::file(self.base.path(), error.into()))?;
        replace(&self.base, &json)
    }

    /// Removes what has done its service. A file too many harms nobody.
    pub fn remove(&self) {
        let _ = fs::remove_file(self.text.path());
        let _ = fs::remove_file(self.base.path());
    }
}

/// How the name of each file begins that has a text of `key`.
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

/// What was there before is there until the whole of `text` is.
fn replace(file: &ReplacedFile, text: &[u8]) -> Result<(), Failure> {
    match file.replace(|to| to.write_all(text)) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::replace(file.path(), error)),
    }
}
