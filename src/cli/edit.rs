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
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use futures_util::FutureExt as _;
use serde_json::{Value as Tree, json};
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::arguments::Edit;
use super::client::{Client, Entry, Precondition};
use super::draft::{self, Draft, Unreadable};
use super::failure::Failure;
use super::output::{Output, note, shown};
use super::write::written;
use crate::merge::{merge, merge_with};
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
    let first = session.first_draft();
    let ended = session.run(first.clone()).await;
    let text = fs::read_to_string(&session.path);
    match ended {
        Ok(end) => {
            // It has done its service; a file too many harms nobody.
            let _ = fs::remove_file(&session.path);
            session.tell(end, output)
        }
        Err(Stop { failure, .. }) if text.is_ok_and(|text| text == first.text()) => {
            // There is nothing in it that was typed.
            let _ = fs::remove_file(&session.path);
            Err(failure)
        }
        Err(Stop { failure, .. }) if !session.path.exists() => Err(failure),
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
    /// The text was left as it was.
    Unchanged,
    /// It says what stands there.
    Same,
}

/// How it ends otherwise.
struct Stop {
    failure: Failure,
    /// The command that writes the text.
    advice: Option<String>,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let advice = None;
        Self { failure, advice }
    }
}

/// What became of an attempt to save.
enum Attempt {
    Ended(End),
    Overlapping(Overlapping),
}

/// Both sides changed the same.
struct Overlapping {
    /// A text that has both.
    marked: Draft,
    /// What was to be saved, if it undoes more of the others' changes than the overlaps are: an editor
    /// that writes the same again has settled nothing.
    undoing: Option<Tree>,
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
    async fn run(&mut self, mut draft: Draft) -> Result<End, Stop> {
        let mut unsettled: Option<Overlapping> = None;
        let mut unreadable: Option<Unreadable> = None;
        loop {
            self.write(&draft.text())?;
            self.open_editor().await?;
            let edited = draft.edited(&self.read(&draft)?);
            if edited.is_like(&draft) {
                return match (unsettled, unreadable) {
                    (Some(_), _) => Err(Failure::Unsettled.into()),
                    (None, Some(reason)) => Err(Failure::Input(reason.to_string()).into()),
                    (None, None) => Ok(End::Unchanged),
                };
            }
            match edited.value() {
                Ok(Some(mine)) => {
                    let undoing = unsettled
                        .as_ref()
                        .and_then(|overlaps| overlaps.undoing.as_ref());
                    if undoing == Some(&mine) {
                        return Err(Failure::Unsettled.into());
                    }
                    match self.save(mine).await? {
                        Attempt::Ended(end) => return Ok(end),
                        Attempt::Overlapping(overlaps) => {
                            note("Somebody else has changed the same; opening the editor again.");
                            draft = overlaps.marked.clone();
                            unsettled = Some(overlaps);
                        }
                    }
                }
                Ok(None) => return self.emptied(&draft, &edited, unsettled.is_some()),
                Err(reason) => {
                    note(&format!("{reason}; opening the editor again."));
                    draft = edited.refused(&reason);
                    unreadable = Some(reason);
                }
            }
        }
    }

    /// What it means that an editor has left nothing but comments of `before`.
    fn emptied(&self, before: &Draft, edited: &Draft, is_unsettled: bool) -> Result<End, Stop> {
        if is_unsettled && self.base.is_none() {
            // Others have deleted the entry, and that is what was chosen.
            return Ok(End::Same);
        }
        if edited.is_part_of(before) {
            if *before == self.first_draft() {
                return Ok(End::Unchanged);
            }
            self.write(&before.text())?;
        }
        let emptied = "nothing was left of the text, and nothing is written".to_owned();
        Err(Failure::Input(emptied).into())
    }

    fn tell(&self, end: End, output: &Output) -> Result<(), Failure> {
        match end {
            End::Saved(entry) => return output.done("saved", &entry).map_err(written),
            End::Same => note("Nothing is written: what stands says the same already."),
            End::Unchanged => note(
                "Nothing was changed, and nothing is written. (An editor with a window of its own has \
                 to be told to wait: `code --wait`.)",
            ),
        }
        match &self.base {
            Some(entry) if !output.is_terminal() => output.json(entry),
            _ => Ok(()),
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
                &[format!(
                    "{key} is new. Write any JSON value; change nothing to create nothing."
                )],
                draft::written(&json!({})),
            ),
        }
    }

    /// Writes `mine`, put together with whatever others write meanwhile.
    async fn save(&mut self, mut mine: Tree) -> Result<Attempt, Stop> {
        loop {
            let json = mine.to_string();
            let is_same = |base: &Entry| base.value.as_json() == json;
            if self.base.as_ref().is_some_and(is_same) {
                return Ok(Attempt::Ended(End::Same));
            }
            let refusal = match self.put(json).await {
                Ok(entry) => return Ok(Attempt::Ended(End::Saved(entry.into()))),
                Err(Failure::Refused(refusal)) if refusal.is_stale() => refusal,
                Err(failure) => return Err(self.unsaved(failure, &mine)),
            };
            let theirs = refusal.body.as_ref().and_then(|body| body.current.clone());
            let etag = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.etag.clone());
            if etag(&theirs) == etag(&self.base) {
                // It was refused, but not because of a change.
                return Err(self.unsaved(Failure::Refused(refusal), &mine));
            }
            let trees = [&self.base, &theirs]
                .map(|entry| entry.as_ref().map(|entry| entry.value.to_tree()));
            let sides = [trees[0].as_ref(), Some(&mine), trees[1].as_ref()];
            match merge(sides[0], sides[1], sides[2]) {
                Ok(Some(merged)) => {
                    note(&format!(
                        "Put together with {}.",
                        name(theirs.as_ref(), "its deletion")
                    ));
                    mine = merged;
                    self.base = theirs;
                }
                // It was deleted, and was not changed here either.
                Ok(None) => return Ok(Attempt::Ended(End::Same)),
                Err(_) => {
                    let overlaps = self.overlapping(sides, theirs.as_ref());
                    self.base = theirs;
                    return Ok(Attempt::Overlapping(overlaps));
                }
            }
        }
    }

    fn overlapping(&self, sides: [Option<&Tree>; 3], theirs: Option<&Entry>) -> Overlapping {
        let [base, mine, their_tree] = sides;
        let names = [
            name(self.base.as_ref(), "not there"),
            name(theirs, "deleted"),
        ];
        let (text, places) = draft::marked(sides, names.each_ref().map(String::as_str));
        let all_mine = merge_with(base, mine, their_tree, |overlap| overlap.mine.clone());
        Overlapping {
            marked: Draft::new(&remark(&places, &names[1]), text),
            undoing: mine.filter(|mine| all_mine.as_ref() != Some(mine)).cloned(),
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
                self.client.written(response).await
            } => answer,
            _ = self.interrupts.recv() => {
                let server = self.client.server_name();
                Err(Failure::Unknown { server, reason: "interrupted".to_owned() })
            },
        }
    }

    /// Keeps what could not be written in the form in which `put` takes it.
    fn unsaved(&self, failure: Failure, mine: &Tree) -> Stop {
        if self.write(&draft::written(mine)).is_err() {
            // What was typed is there still.
            return failure.into();
        }
        let precondition = match &self.base {
            Some(entry) => format!("--if-match {}", quoted(&entry.etag)),
            None => "--create".to_owned(),
        };
        let key = self.key.as_str();
        let advice = Some(format!(
            "ifmatch put {precondition} --file {} --server {} {}{}",
            quoted(&self.path.to_string_lossy()),
            quoted(&self.client.server_name()),
            if key.starts_with('-') { "-- " } else { "" },
            quoted(key),
        ));
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
        // Where JSON is read from standard output, an editor has no place.
        let screen = if io::stdout().is_terminal() {
            Stdio::inherit()
        } else {
            io::stderr().into()
        };
        // The shell reads it, because it may have arguments.
        let status = Command::new("sh")
            .args(["-c", &format!("{editor} \"$@\""), "sh"])
            .arg(&self.path)
            .stdout(screen)
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

    fn read(&self, before: &Draft) -> Result<String, Failure> {
        fs::read_to_string(&self.path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                // What was typed before is not to go with the file. If it cannot be written, it is
                // not said to be kept.
                let _ = self.write(&before.text());
            }
            Failure::file(&self.path, error)
        })
    }

    /// What was there before is there until the whole of `text` is.
    fn write(&self, text: &str) -> Result<(), Failure> {
        let failed = |error| Failure::file(&self.path, error);
        let mut file = NamedTempFile::new_in(env::temp_dir()).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.persist(&self.path)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn name(entry: Option<&Entry>, absent: &str) -> String {
    match entry {
        Some(entry) => format!("version {}", entry.version),
        None => absent.to_owned(),
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
