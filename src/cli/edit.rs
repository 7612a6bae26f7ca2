//! `edit`: an entry in the user's editor, together with others who edit it too.
//!
//! | the entry meanwhile | what happens |
//! | --- | --- |
//! | is as it was | it is written |
//! | has changed elsewhere | both changes are put together and written |
//! | has changed in the same place | the editor opens again, with both sides marked |
//!
//! Whatever goes wrong, what was typed is kept in a file, and its name is told.

use std::env;
use std::fs;
use std::path::PathBuf;

use futures_util::FutureExt as _;
use serde_json::{Value as Tree, json};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::arguments::Edit;
use super::client::{Client, Entry, Precondition};
use super::draft::{self, Draft};
use super::failure::Failure;
use super::output::{Output, note, shown};
use crate::merge::merge;
use crate::model::Key;

/// The editor if the environment names none (POSIX).
const DEFAULT_EDITOR: &str = "vi";
/// How much of a key the file's name shows, in characters.
const NAME_CHARS_MAX: usize = 40;

/// `ifmatch edit`
pub async fn edit(client: &Client, edit: &Edit, output: &Output) -> Result<(), Failure> {
    let base = match client.entry(&edit.key).await {
        Ok(entry) => Some(entry),
        Err(Failure::Refused(refusal)) if refusal.is_not_found() && edit.create => None,
        Err(failure) => return Err(failure),
    };
    let interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Failure::Input(format!("Ctrl-C cannot be held back: {error}")))?;
    let mut session = Session {
        client,
        key: &edit.key,
        path: new_file(&edit.key)?,
        base,
        interrupts,
    };
    match session.run().await {
        Ok(end) => {
            // It has done its service; a file too many harms nobody.
            let _ = fs::remove_file(&session.path);
            match end {
                End::Saved(entry) => output.done("saved", &entry),
                End::Unchanged => {
                    note(
                        "Nothing was changed, and nothing is written. (An editor with a window of its own has to be told to wait: `code --wait`.)",
                    );
                    match &session.base {
                        Some(entry) if !output.is_terminal() => output.json(entry),
                        _ => Ok(()),
                    }
                }
            }
        }
        Err(Stop { failure, advice }) => Err(Failure::Kept {
            failure: Box::new(failure),
            path: session.path,
            advice,
        }),
    }
}

/// How an edit ends well.
enum End {
    Saved(Box<Entry>),
    Unchanged,
}

/// How it ends otherwise.
struct Stop {
    failure: Failure,
    /// What to do with the text.
    advice: String,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let advice = String::new();
        Self { failure, advice }
    }
}

/// What became of an attempt to save.
enum Attempt {
    Ended(End),
    /// Both sides changed the same; the text has both.
    Overlaps(Draft),
}

struct Session<'a> {
    client: &'a Client,
    key: &'a Key,
    /// What is edited, and what is kept if something goes wrong.
    path: PathBuf,
    /// What the text was made from; nothing if the entry is not there.
    base: Option<Entry>,
    /// Ctrl-C is the editor's while it runs.
    interrupts: Signal,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<End, Stop> {
        let mut draft = self.first_draft();
        // What to say if the editor leaves the text as it is.
        let mut left_alone: Option<Failure> = None;
        loop {
            let before = draft.text();
            self.write(&before)?;
            self.open_editor().await?;
            let text = self.read()?;
            if text == before {
                return match left_alone {
                    None => Ok(End::Unchanged),
                    Some(failure) => Err(failure.into()),
                };
            }
            let edited = Draft::edited(&text);
            match edited.value() {
                Ok(Some(mine)) => match self.save(mine).await? {
                    Attempt::Ended(end) => return Ok(end),
                    Attempt::Overlaps(marked) => {
                        note("Somebody else has changed the same; opening the editor again.");
                        left_alone = Some(Failure::Unsettled);
                        draft = marked;
                    }
                },
                Ok(None) if left_alone.is_none() => return Ok(End::Unchanged),
                Ok(None) => {
                    self.write(&before)?;
                    let emptied = "the text was emptied, and nothing is written".to_owned();
                    return Err(Failure::Input(emptied).into());
                }
                Err(error) => {
                    note(&format!(
                        "This is not JSON: {error}; opening the editor again."
                    ));
                    left_alone = match left_alone {
                        Some(Failure::Unsettled) => Some(Failure::Unsettled),
                        _ => Some(Failure::Input(format!("this is not JSON: {error}"))),
                    };
                    draft = edited.refused(&error);
                }
            }
        }
    }

    fn first_draft(&self) -> Draft {
        let key = shown(self.key.as_str());
        match &self.base {
            Some(entry) => Draft::new(
                &[
                    format!(
                        "{key}, version {}. To save, save the file and leave the editor;",
                        entry.version
                    ),
                    "to leave the entry as it is, change nothing or empty the file.".to_owned(),
                ],
                draft::written(&entry.value.to_tree()),
            ),
            None => Draft::new(
                &[format!("{key} is new. Write any JSON value.")],
                draft::written(&json!({})),
            ),
        }
    }

    /// Writes `mine`, put together with whatever others write meanwhile.
    async fn save(&mut self, mut mine: Tree) -> Result<Attempt, Stop> {
        loop {
            let json = mine.to_string();
            if self
                .base
                .as_ref()
                .is_some_and(|base| base.value.as_json() == json)
            {
                return Ok(Attempt::Ended(End::Unchanged));
            }
            let refusal = match self.put(json).await {
                Ok(entry) => return Ok(Attempt::Ended(End::Saved(entry.into()))),
                Err(Failure::Refused(refusal)) if refusal.status == 412 => refusal,
                Err(failure) => return Err(self.unsaved(failure, &mine)),
            };
            let Some(body) = refusal.body else {
                return Err(self.unsaved(Failure::Refused(refusal), &mine));
            };
            let theirs = body.current;
            let trees = [&self.base, &theirs]
                .map(|entry| entry.as_ref().map(|entry| entry.value.to_tree()));
            let [base_tree, their_tree] = trees.each_ref().map(Option::as_ref);
            match merge(base_tree, Some(&mine), their_tree) {
                Ok(Some(merged)) => {
                    note(&format!("Put together with {}.", name(theirs.as_ref())));
                    mine = merged;
                    self.base = theirs;
                }
                // It was deleted, and was not changed here either.
                Ok(None) => return Ok(Attempt::Ended(End::Unchanged)),
                Err(_) => {
                    let names = [name(self.base.as_ref()), name(theirs.as_ref())];
                    let (text, places) = draft::marked(
                        [base_tree, Some(&mine), their_tree],
                        names.each_ref().map(String::as_str),
                    );
                    let remark = remark(&places, &names[1]);
                    self.base = theirs;
                    return Ok(Attempt::Overlaps(Draft::new(&remark, text)));
                }
            }
        }
    }

    async fn put(&mut self, json: String) -> Result<Entry, Failure> {
        let precondition = match &self.base {
            Some(entry) => Precondition::unchanged(entry)?,
            None => Precondition::Absent,
        };
        // What was typed into the editor is none of this.
        while self.interrupts.recv().now_or_never().is_some() {}
        tokio::select! {
            answer = async {
                let response = self.client.put(self.key, json, &precondition).await?;
                self.client.shown(response).await
            } => answer,
            _ = self.interrupts.recv() => Err(Failure::Input("interrupted".to_owned())),
        }
    }

    /// Keeps what could not be written in the form in which `put` takes it.
    fn unsaved(&self, failure: Failure, mine: &Tree) -> Stop {
        if let Err(failure) = self.write(&draft::written(mine)) {
            return failure.into();
        }
        let precondition = match &self.base {
            Some(entry) => format!("--if-match {}", quoted(&entry.etag)),
            None => "--create".to_owned(),
        };
        let advice = format!(
            "\nTo write it: ifmatch put {} {precondition} --file {} --server {}",
            quoted(self.key.as_str()),
            quoted(&self.path.to_string_lossy()),
            quoted(&self.client.server_name()),
        );
        Stop { failure, advice }
    }

    async fn open_editor(&mut self) -> Result<(), Failure> {
        let named = |name| {
            env::var(name)
                .ok()
                .filter(|editor| !editor.trim().is_empty())
        };
        let editor = named("VISUAL").or_else(|| named("EDITOR"));
        let editor = editor.as_deref().unwrap_or(DEFAULT_EDITOR);
        // The shell reads it, because it may have arguments.
        let status = Command::new("sh")
            .args(["-c", &format!("{editor} \"$@\""), "sh"])
            .arg(&self.path)
            .status()
            .await
            .map_err(|error| Failure::Input(format!("no shell for the editor: {error}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::Input(format!(
                "the editor, {editor}, ended with {status}"
            )))
        }
    }

    fn read(&self) -> Result<String, Failure> {
        fs::read_to_string(&self.path).map_err(|error| Failure::file(&self.path, error))
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        fs::write(&self.path, text).map_err(|error| Failure::file(&self.path, error))
    }
}

fn name(entry: Option<&Entry>) -> String {
    match entry {
        Some(entry) => format!("version {}", entry.version),
        None => "not there".to_owned(),
    }
}

fn remark(places: &[String], theirs: &str) -> [String; 2] {
    let places: Vec<_> = places
        .iter()
        .map(|place| match place.as_str() {
            "" => "the whole value".to_owned(),
            place => shown(place).into_owned(),
        })
        .collect();
    [
        format!(
            "You and somebody else ({theirs}) have changed the same: {}.",
            places.join(", ")
        ),
        "Leave in each place what is to stand, and take away the rest with the marks.".to_owned(),
    ]
}

/// A new file that nobody else may read.
fn new_file(key: &Key) -> Result<PathBuf, Failure> {
    let name: String = key
        .as_str()
        .chars()
        .take(NAME_CHARS_MAX)
        .map(|character| match character {
            letter if letter.is_alphanumeric() || "-_.".contains(letter) => letter,
            _ => '_',
        })
        .collect();
    let folder = env::temp_dir();
    let file = tempfile::Builder::new()
        .prefix(&format!("ifmatch-{name}-"))
        .suffix(".jsonc")
        .tempfile_in(&folder)
        .map_err(|error| Failure::file(&folder, error))?;
    // Kept from the start, so that it outlives even a crash.
    let (_, path) = file
        .keep()
        .map_err(|error| Failure::file(&folder, error.error))?;
    Ok(path)
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
