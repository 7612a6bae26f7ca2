//! What a command prints: text on a terminal, JSON anywhere else.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use console::{Term, style, truncate_str};
use indicatif::{ProgressState, ProgressStyle};
use serde::Serialize;

use super::entry::Entry;
use super::failure::Failure;
use super::text::{pretty, printable, printable_lines, shell_quoted, timestamp};
use crate::model::{Key, Value};

/// Standard output.
#[derive(Debug)]
pub struct Output {
    /// The width of the terminal, if it is one.
    columns: Option<usize>,
    stdout: io::Stdout,
}

impl Output {
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let size = stdout.is_terminal().then(|| Term::stdout().size());
        let columns = size.map(|(_, columns)| columns.into());
        Self { columns, stdout }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.columns.is_some()
    }

    /// Prints an entry.
    pub fn entry(&self, entry: &Entry) -> Result<(), Failure> {
        if !self.is_terminal() {
            return self.json(entry);
        }
        let Entry {
            key,
            version,
            modified_at,
            etag,
            ..
        } = entry;
        let (at, etag) = (timestamp(modified_at), printable(etag));
        let by = entry.by_in_words();
        let about = format!("version {version}, {at}{by}, etag {etag}");
        self.line(&format!(
            "{}  {}",
            style(printable(key.as_str())).bold(),
            style(about).dim()
        ))?;
        self.value(&entry.value)
    }

    /// Prints a value.
    pub fn value(&self, value: &Value) -> Result<(), Failure> {
        if self.is_terminal() {
            self.line(&printable_lines(&pretty(&value.to_tree())))
        } else {
            self.line(value.as_json())
        }
    }

    /// Prints what was done to an entry, or the entry as JSON.
    pub fn wrote(&self, what: &str, entry: &Entry) -> Result<(), Failure> {
        self.entry_in_short(what, entry)
            .map_err(|failure| Failure::OutputAfterWrite(failure.into()))
    }

    /// Prints what was done to an entry that the caller may not read. There is no JSON of it.
    pub fn wrote_unseen(&self, what: &str, key: &Key) -> Result<(), Failure> {
        if !self.is_terminal() {
            return Ok(());
        }
        let key = style(printable(key.as_str())).bold();
        self.line(&format!("{what} {key}"))
            .map_err(|failure| Failure::OutputAfterWrite(failure.into()))
    }

    fn entry_in_short(&self, what: &str, entry: &Entry) -> Result<(), Failure> {
        if !self.is_terminal() {
            return self.json(entry);
        }
        let Entry {
            key, version, etag, ..
        } = entry;
        let key = style(printable(key.as_str())).bold();
        let about = style(format!("version {version}, etag {}", printable(etag))).dim();
        self.line(&format!("{what} {key}  {about}"))
    }

    /// Prints one line of JSON.
    pub fn json(&self, shown: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(shown).map_err(io::Error::from)?;
        self.line(&text)
    }

    /// Prints the response to a conflict, unless standard output is a terminal: a merge needs all of it.
    pub fn conflict(&self, failure: &Failure) {
        if let Failure::Refused(refusal) | Failure::Unseen { refusal, .. } = failure
            && refusal.is_conflict()
            && !self.is_terminal()
        {
            // The exit code and standard error report the conflict even if this fails.
            let _ = self.line(refusal.text.trim_end());
        }
    }

    /// Prints a whole line, however long it is.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Prints a line, cut off at the width of the terminal.
    pub fn row(&self, text: &str) -> Result<(), Failure> {
        match self.columns {
            Some(columns) => self.line(&truncate_str(text, columns, "…")),
            None => self.line(text),
        }
    }
}

/// Prints a note to standard error, only if it is a terminal.
pub fn note(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // A note that cannot be printed is no reason to fail.
        let _ = writeln!(stderr, "{text}");
    }
}

/// Prints a line to standard error, also if that is not a terminal.
pub fn say(text: &str) {
    // As above.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a warning to standard error: the command succeeded, but may be a mistake.
pub fn warn(text: &str) {
    say(&format!("ifmatch: warning: {text}"));
}

/// Warns of a new key that is probably a mistake, which most output would not show.
pub fn warn_of_odd_key(entry: &Entry) {
    let key = entry.key.as_str();
    let what = if entry.version != 1 {
        return;
    } else if key.starts_with(char::is_whitespace) {
        "begins with a space"
    } else if key.ends_with(char::is_whitespace) {
        "ends with a space"
    } else if key.ends_with('/') {
        "ends with a slash"
    } else {
        return;
    };
    warn(&format!(
        "the new key {} {what}",
        shell_quoted(&printable(key))
    ));
}

/// A style of progress bar; the default one if the template is not valid.
pub fn progress_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
            // If this fails, the rate is left out.
            let _ = write!(to, "{:.0}/s", state.per_sec());
        })
}
