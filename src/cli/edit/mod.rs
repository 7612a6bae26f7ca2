//! `edit`: an entry in the user's editor, merged with what others save in the meantime.
//!
//! | the entry in the meantime | what happens |
//! | --- | --- |
//! | unchanged | the text is written |
//! | changed in other places | both changes are merged and written |
//! | changed in the same place | the editor opens again, with both sides marked |
//!
//! If anything goes wrong, the text is kept in a file, and the message names the file and the command
//! to continue.

mod remarks;

use std::env;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use futures_util::FutureExt as _;
use serde_json::Value as Tree;
use tokio::process::Command;

use self::remarks::{first_draft, name, remark, resumed_draft, saved_by};
use super::caller::Caller;
use super::client::Client;
use super::draft::{self, Draft, DraftError};
use super::draft_file::{DraftFile, Reopened};
use super::entry::Entry;
use super::failure::Failure;
use super::interrupt::{Interrupt, Interrupts};
use super::output::{Output, note, warn_of_odd_key};
use super::precondition::Precondition;
use super::text::shell_quoted;
use crate::access::{Action, Grants};
use crate::merge::{merge, merge_with};
use crate::model::Key;

/// The editor if the environment names none (POSIX).
const DEFAULT_EDITOR: &str = "vi";

/// Edit an entry.
#[derive(Debug, Args)]
pub struct Edit {
    /// The key of the entry; with --resume it can be left out
    #[arg(required_unless_present = "resume")]
    pub key: Option<Key>,
    /// Create the entry if it does not exist
    #[arg(long)]
    pub create: bool,
    /// Continue with the text that an earlier edit kept in this file
    #[arg(long, value_name = "FILE", conflicts_with = "create")]
    pub resume: Option<PathBuf>,
}

/// An edit that can begin.
struct Begun {
    key: Key,
    kept: DraftFile,
    draft: Draft,
    base: Option<Entry>,
}

/// `ifmatch edit`
pub async fn run(client: &Client, edit: &Edit, output: &Output) -> Result<(), Failure> {
    let begun = match (&edit.resume, &edit.key) {
        (Some(path), key) => resume(client, path, key.as_ref()).await?,
        (None, Some(key)) => begin(client, key, edit.create).await?,
        (None, None) => return Err(Failure::Usage("name the key to edit".to_owned())),
    };
    let Begun {
        key,
        kept,
        draft,
        base,
    } = begun;
    let mut session = Session {
        client,
        key: &key,
        kept,
        base,
        interrupts: Interrupts::listen(&[Interrupt::CtrlC])?,
        endings: Interrupts::listen(&[Interrupt::Terminate, Interrupt::HangUp])?,
    };
    let ended = session.run(draft.clone(), edit.resume.is_some()).await;
    let failure = match ended {
        Ok(end) => {
            session.kept.remove();
            return session.report(end, output);
        }
        Err(failure) => failure,
    };
    let was_typed_into = match session.kept.read() {
        Ok(text) => text != draft.text(),
        Err(_) => session.kept.path().exists(),
    };
    // The editor of an interrupted edit may still be open.
    let is_open = matches!(failure, Failure::Interrupted { .. });
    if was_typed_into || is_open || edit.resume.is_some() {
        return Err(Failure::TextKept {
            failure: failure.into(),
            path: session.kept.path().to_owned(),
            resume: resume_command(client, &key, session.kept.path()),
        });
    }
    session.kept.remove();
    Err(failure)
}

/// Begins an edit of the current entry.
async fn begin(client: &Client, key: &Key, create: bool) -> Result<Begun, Failure> {
    let base = match client.entry(key).await {
        Ok(entry) => Some(entry),
        Err(Failure::Refused(refusal)) if refusal.is_not_found() && create => None,
        Err(failure) => return Err(failure),
    };
    let action = match &base {
        Some(_) => Action::Update,
        None => Action::Create,
    };
    check_granted(client, &[action], key).await?;
    note_other_drafts(key);
    Ok(Begun {
        key: key.clone(),
        kept: DraftFile::new(key)?,
        draft: first_draft(key, base.as_ref()),
        base,
    })
}

/// Continues an edit with the text, the key and the base that it has kept.
async fn resume(client: &Client, path: &Path, key: Option<&Key>) -> Result<Begun, Failure> {
    let Reopened {
        file,
        key,
        text,
        base,
    } = DraftFile::reopen(path, key)?;
    // Which of them it will be depends on what others have done since.
    let either = [Action::Update, Action::Create];
    let granted = check_granted(client, &either, &key).await;
    granted.map_err(|failure| Failure::TextKept {
        failure: failure.into(),
        path: path.to_owned(),
        resume: resume_command(client, &key, path),
    })?;
    Ok(Begun {
        draft: resumed_draft(&key, base.as_ref(), &text),
        kept: file,
        key,
        base,
    })
}

/// Fails if the service says that the caller may do none of `actions`. One that cannot say it, as older ones cannot,
/// refuses the write itself.
async fn check_granted(client: &Client, actions: &[Action], key: &Key) -> Result<(), Failure> {
    let Ok(caller) = Caller::ask(client).await else {
        return Ok(());
    };
    let grants = Grants::new(caller.grants);
    match actions {
        [first, ..] if !actions.iter().any(|action| grants.allow(*action, key)) => {
            Err(client.not_granted(*first, key))
        }
        _ => Ok(()),
    }
}

/// The command that continues with a text.
fn resume_command(client: &Client, key: &Key, path: &Path) -> String {
    let key = key.as_str();
    format!(
        "ifmatch edit --resume {} {} {}{}",
        shell_quoted(&path.to_string_lossy()),
        client.flags(),
        if key.starts_with('-') { "-- " } else { "" },
        shell_quoted(key),
    )
}

/// Names the texts that earlier edits kept: their messages may have been lost with a terminal.
fn note_other_drafts(key: &Key) {
    for path in DraftFile::others(key) {
        note(&format!(
            "The text of another edit of this key, which ended early or is still open, is in {}. To \
             continue it: --resume {}",
            path.display(),
            shell_quoted(&path.to_string_lossy())
        ));
    }
}

/// The result of a successful edit.
enum End {
    Saved(Box<Entry>),
    /// The text was not changed.
    Unchanged,
    /// The text is the same as the current value.
    Same,
}

/// The result of an attempt to save.
enum Attempt {
    Ended(End),
    Conflict(Box<Conflict>),
}

/// Both sides changed the same place.
struct Conflict {
    /// The text with both sides in it.
    marked: Draft,
    /// The user's value, if it would undo more of the others' changes than those in conflict: an editor that
    /// writes the same text again has not resolved anything.
    undoing: Option<Tree>,
    /// The entry that it is based on.
    base: Option<Entry>,
}

struct Session<'a> {
    client: &'a Client,
    key: &'a Key,
    /// The file that is edited, and kept if something goes wrong.
    kept: DraftFile,
    /// The entry that the text is based on; `None` if it does not exist.
    base: Option<Entry>,
    /// Ctrl-C. While the editor runs, it belongs to the editor.
    interrupts: Interrupts,
    /// The signals that end an edit even while the editor runs.
    endings: Interrupts,
}

impl Session<'_> {
    /// A `resumed` text is saved even if it is not changed again.
    async fn run(&mut self, mut draft: Draft, mut resumed: bool) -> Result<End, Failure> {
        let mut unresolved: Option<Box<Conflict>> = None;
        let mut unreadable: Option<DraftError> = None;
        loop {
            self.keep(&draft.text())?;
            self.open_editor().await?;
            let edited = draft.edited(&self.read(&draft)?);
            if edited.has_same_body(&draft) && !std::mem::take(&mut resumed) {
                return match (unresolved, unreadable) {
                    (Some(_), _) => Err(Failure::Unresolved),
                    (None, Some(reason)) => Err(Failure::Input(reason.to_string())),
                    (None, None) => Ok(End::Unchanged),
                };
            }
            match edited.value() {
                Ok(Some(mine)) => {
                    if let Some(overlaps) = &unresolved
                        && overlaps.undoing.as_ref() == Some(&mine)
                    {
                        self.kept.write_base(self.key, overlaps.base.as_ref())?;
                        return Err(Failure::Unresolved);
                    }
                    match self.save(mine).await? {
                        Attempt::Ended(end) => return Ok(end),
                        Attempt::Conflict(overlaps) => {
                            let who = self.base.as_ref().and_then(saved_by).map_or_else(
                                || "Somebody else changed".to_owned(),
                                |saved| format!("{saved}, which changes"),
                            );
                            note(&format!("{who} the same place; opening the editor again."));
                            draft = overlaps.marked.clone();
                            unresolved = Some(overlaps);
                        }
                    }
                }
                Ok(None) => return self.emptied(&draft, &edited, unresolved.is_some()),
                Err(reason) => {
                    note(&format!("{reason}; opening the editor again."));
                    draft = edited.with_error(&reason);
                    unreadable = Some(reason);
                }
            }
        }
    }

    /// What happens when the editor leaves nothing but comments of `before`.
    fn emptied(&self, before: &Draft, edited: &Draft, is_unresolved: bool) -> Result<End, Failure> {
        if is_unresolved && self.base.is_none() && !edited.is_blank() {
            // Others have deleted the entry, and the user chose that side, of which a comment is left. A file
            // without even that may be an accident, as on a full disk.
            return Ok(End::Same);
        }
        if edited.is_part_of(before) {
            if *before == first_draft(self.key, self.base.as_ref()) {
                return Ok(End::Unchanged);
            }
            self.keep(&before.text())?;
        }
        let emptied = "the text is empty; nothing was written".to_owned();
        Err(Failure::Input(emptied))
    }

    fn report(&self, end: End, output: &Output) -> Result<(), Failure> {
        match end {
            End::Saved(entry) => {
                warn_of_odd_key(&entry);
                return output.wrote("saved", &entry);
            }
            End::Same => note("Nothing was written: the current value is already the same."),
            End::Unchanged => note(
                "You changed nothing, and nothing was written. (An editor with a window of its own needs \
                 an option to wait: VISUAL='code --wait'.)",
            ),
        }
        match &self.base {
            Some(entry) if !output.is_terminal() => output.json(entry),
            _ => Ok(()),
        }
    }

    /// Writes `mine`, merged with what others write in the meantime.
    async fn save(&mut self, mut mine: Tree) -> Result<Attempt, Failure> {
        loop {
            let json = mine.to_string();
            let is_same = |base: &Entry| base.value.as_json() == json;
            if self.base.as_ref().is_some_and(is_same) {
                return Ok(Attempt::Ended(End::Same));
            }
            let refusal = match self.put(json).await {
                Ok(entry) => return Ok(Attempt::Ended(End::Saved(entry.into()))),
                Err(Failure::Refused(refusal))
                    if refusal.is_precondition_failed() && !refusal.hides_current() =>
                {
                    refusal
                }
                Err(failure) => return Err(self.unsaved(failure, &mine)),
            };
            let theirs = refusal.body.as_ref().and_then(|body| body.current.clone());
            let etag = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.etag.clone());
            if etag(&theirs) == etag(&self.base) {
                // It was not refused because of a change.
                return Err(self.unsaved(Failure::Refused(refusal), &mine));
            }
            let trees = [&self.base, &theirs]
                .map(|entry| entry.as_ref().map(|entry| entry.value.to_tree()));
            let sides = [trees[0].as_ref(), Some(&mine), trees[1].as_ref()];
            match merge(sides[0], sides[1], sides[2]) {
                Ok(Some(merged)) => {
                    note(&format!(
                        "Merged with {}.",
                        name(theirs.as_ref(), "its deletion")
                    ));
                    mine = merged;
                    self.base = theirs;
                }
                // Others deleted it, and it was not changed here.
                Ok(None) => return Ok(Attempt::Ended(End::Same)),
                Err(_) => {
                    let overlaps = self.conflict(sides, theirs.as_ref());
                    self.base = theirs;
                    return Ok(Attempt::Conflict(overlaps.into()));
                }
            }
        }
    }

    fn conflict(&self, sides: [Option<&Tree>; 3], theirs: Option<&Entry>) -> Conflict {
        let [base, mine, their_tree] = sides;
        let names = [
            name(self.base.as_ref(), "not there"),
            name(theirs, "deleted"),
        ];
        let (text, places) =
            draft::with_conflict_markers(sides, names.each_ref().map(String::as_str));
        let all_mine = merge_with(base, mine, their_tree, |overlap| overlap.mine.clone());
        Conflict {
            base: self.base.clone(),
            marked: Draft::new(&remark(&places, theirs, &names[1]), text),
            undoing: mine.filter(|mine| all_mine.as_ref() != Some(mine)).cloned(),
        }
    }

    async fn put(&mut self, json: String) -> Result<Entry, Failure> {
        let precondition = match &self.base {
            Some(entry) => Precondition::unchanged(entry)?,
            None => Precondition::Absent,
        };
        // A Ctrl-C that was typed into the editor does not count.
        while self.interrupts.next().now_or_never().is_some() {}
        tokio::select! {
            answer = async {
                let response = self.client.put(self.key, json, &precondition).await?;
                self.client.read_written(self.key, response).await
            } => answer,
            signal = self.interrupts.next() => Err(interrupted(self.client, signal)),
            signal = self.endings.next() => Err(interrupted(self.client, signal)),
        }
    }

    /// Keeps a value that could not be written.
    fn unsaved(&self, failure: Failure, mine: &Tree) -> Failure {
        // If this fails, the file still has the text as it was typed.
        let _ = self.keep(&draft::to_text(mine));
        failure
    }

    async fn open_editor(&mut self) -> Result<(), Failure> {
        let named = |name| {
            env::var(name)
                .ok()
                .filter(|editor| !editor.trim().is_empty())
        };
        let editor = named("VISUAL").or_else(|| named("EDITOR"));
        let editor = editor.as_deref().unwrap_or(DEFAULT_EDITOR);
        // The editor must not write to a standard output that is not a terminal.
        let screen = if io::stdout().is_terminal() {
            Stdio::inherit()
        } else {
            io::stderr().into()
        };
        // The shell splits it, because it may have arguments.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{editor} \"$@\""), "sh"])
            .arg(self.kept.path())
            .stdout(screen);
        let status = tokio::select! {
            // The end of the terminal may end the editor, too.
            biased;
            signal = self.endings.next() => return Err(Failure::Interrupted { signal }),
            status = shell.status() => status,
        };
        let status = status.map_err(|error| {
            Failure::Input(format!(
                "cannot start a shell for the editor: {error}; nothing was written"
            ))
        })?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::Input(format!(
                "the editor, {editor}, ended with {status}; nothing was written"
            )))
        }
    }

    fn read(&self, before: &Draft) -> Result<String, Failure> {
        self.kept.read().map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                // What was typed before must not be lost with the file. If this fails, the message does not
                // say that it is kept.
                let _ = self.keep(&before.text());
            }
            Failure::file(self.kept.path(), error)
        })
    }

    fn keep(&self, text: &str) -> Result<(), Failure> {
        self.kept.write(text, self.key, self.base.as_ref())
    }
}

fn interrupted(client: &Client, signal: Interrupt) -> Failure {
    let server = client.server_name();
    let reason = format!("interrupted by {signal}");
    Failure::OutcomeUnknown { server, reason }
}
