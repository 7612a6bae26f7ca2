//! What a command says: to a terminal in words, to anything else as JSON.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use console::{Term, style, truncate_str};
use indicatif::{ProgressState, ProgressStyle};
use serde::Serialize;

use super::entry::Entry;
use super::failure::Failure;
use super::text::{moment, pretty, quoted, shown, shown_lines};
use crate::model::Value;

/// Standard output.
#[derive(Debug)]
pub struct Output {
    /// How many columns it has, if it is a terminal.
    columns: Option<usize>,
    stdout: io::Stdout,
}

impl Output {
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let size = stdout.is_terminal().then(|| Term::stdout().size());
        let columns = size.map(|(_, columns)| columns.into());
        Self { columns, stdout }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.columns.is_some()
    }

    /// An entry, whole.
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
        let (at, etag) = (moment(modified_at), shown(etag));
        let about = format!("version {version}, {at}, etag {etag}");
        self.line(&format!(
            "{}  {}",
            style(shown(key.as_str())).bold(),
            style(about).dim()
        ))?;
        self.value(&entry.value)
    }

    /// A value alone.
    pub fn value(&self, value: &Value) -> Result<(), Failure> {
        if self.is_terminal() {
            self.line(&shown_lines(&pretty(&value.to_tree())))
        } else {
            self.line(value.as_json())
        }
    }

    /// What was done to an entry, in words, or the entry as JSON.
    pub fn done(&self, what: &str, entry: &Entry) -> Result<(), Failure> {
        self.entry_in_short(what, entry)
            .map_err(|failure| Failure::Written(failure.into()))
    }

    fn entry_in_short(&self, what: &str, entry: &Entry) -> Result<(), Failure> {
        if !self.is_terminal() {
            return self.json(entry);
        }
        let Entry {
            key, version, etag, ..
        } = entry;
        let key = style(shown(key.as_str())).bold();
        let about = style(format!("version {version}, etag {}", shown(etag))).dim();
        self.line(&format!("{what} {key}  {about}"))
    }

    /// One JSON text on a line of its own.
    pub fn json(&self, shown: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(shown).map_err(io::Error::from)?;
        self.line(&text)
    }

    /// For who reads JSON, what the service said of a conflict: a merge needs all of it.
    pub fn conflict(&self, failure: &Failure) {
        if let Failure::Refused(refusal) | Failure::Unseen { refusal, .. } = failure
            && refusal.is_conflict()
            && !self.is_terminal()
        {
            // The exit code and standard error tell of the conflict even if this does not come through.
            let _ = self.line(refusal.text.trim_end());
        }
    }

    /// A line as it is; on a terminal, what follows the width of the terminal is not cut off.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// A line that is cut off where the terminal ends.
    pub fn row(&self, text: &str) -> Result<(), Failure> {
        match self.columns {
            Some(columns) => self.line(&truncate_str(text, columns, "…")),
            None => self.line(text),
        }
    }
}

/// For a person who waits at a terminal; nothing where nobody does.
pub fn note(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // A remark that cannot be made is no reason to fail.
        let _ = writeln!(stderr, "{text}");
    }
}

/// For whoever reads standard error, a script's log included: it was done, but may be a slip.
pub fn warn(text: &str) {
    // As above.
    let _ = writeln!(io::stderr(), "ifmatch: warning: {text}");
}

/// Says that a new key is probably not the one that was meant. It cannot be seen in most outputs.
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
    warn(&format!("the new key {} {what}", quoted(&shown(key))));
}

/// A style of progress; a template that cannot be read shows the plain one.
pub fn progress_style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
            // What cannot be shown is left out.
            let _ = write!(to, "{:.0}/s", state.per_sec());
        })
}
