//! `export`: a consistent copy of the entries.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::caller::Caller;
use super::client::Client;
use super::export_format::{About, End, FORMAT, Head, Tail};
use super::failure::Failure;
use super::listing::Listing;
use super::moment::Moment;
use super::output::{Output, note, progress_style, warn};
use super::text::{entry_count, printable, shell_quoted};
use crate::access::{Grants, Readable};
use crate::atomic_file::{FolderSync, ReplacedFile};

/// How long the first line of an export can be, in bytes. It contains a prefix, which is hardly longer
/// than a key.
const HEAD_MAX_BYTES: u64 = 16 * 1024;
/// How long its last line can be, in bytes.
const TAIL_MAX_BYTES: u64 = 256;
/// How often the progress is redrawn.
const TICK: Duration = Duration::from_millis(100);

/// Write a consistent copy of the entries, which `import` can read.
#[derive(Debug, Args)]
pub struct Export {
    /// Only keys with this prefix
    #[arg(default_value = "")]
    pub prefix: String,
    /// The file to write; without it, or as `-`, standard output. The file appears only when it is
    /// complete. An existing file is replaced only if it is an export with the same prefix and of no later
    /// revision
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Replace the file whatever it contains, even if there is no entry to export
    #[arg(long, requires = "file")]
    pub force: bool,
    /// The entries as they were then: a revision (41), a time (2026-11-23T10:00:00Z) or a time ago (2h)
    #[arg(long, value_name = "MOMENT")]
    pub at: Option<Moment>,
}

/// `ifmatch export`
pub async fn run(client: &Client, export: Export, output: &Output) -> Result<(), Failure> {
    let listing = Listing::of(client, &export.prefix, export.at.as_ref()).await?;
    // It is asked only now: what fails the list fails this, too.
    let limits = limits_of(client, &export.prefix).await;
    let Some(path) = export.file.filter(|path| path != Path::new("-")) else {
        let end = write(listing, export.prefix, &mut io::stdout().lock(), |error| {
            incomplete(&error)
        })
        .await?;
        note(&format!("{} exported.", entry_count(end.entries)));
        warn_of_limits(limits.as_deref());
        return Ok(());
    };
    let is_of_past = export.at.is_some();
    let end = write_file(listing, export.prefix, &path, export.force, is_of_past).await?;
    warn_of_limits(limits.as_deref());
    if output.is_terminal() {
        output.line(&format!(
            "{} at revision {} exported to {}",
            entry_count(end.entries),
            end.revision,
            path.display()
        ))
    } else {
        output.json(&end)
    }
}

/// The prefixes that the caller may read, if there are keys with `prefix` that may not be read. `None` also if the
/// service cannot say it, as older ones cannot.
async fn limits_of(client: &Client, prefix: &str) -> Option<Vec<String>> {
    let caller = Caller::ask(client).await.ok()?;
    match Grants::new(caller.grants).readable_with_prefix(prefix) {
        Readable::Prefixes(prefixes) => Some(prefixes),
        Readable::Everything | Readable::Nothing => None,
    }
}

fn warn_of_limits(prefixes: Option<&[String]>) {
    let Some(prefixes) = prefixes else {
        return;
    };
    let prefixes = prefixes
        .iter()
        .map(|prefix| shell_quoted(&printable(prefix)));
    warn(&format!(
        "the export holds only what you may read, not every key: keys that begin with {}",
        prefixes.collect::<Vec<_>>().join(" or ")
    ));
}

/// An incomplete export is useless. So it is an error even if the reader has closed the output.
fn incomplete(error: &io::Error) -> Failure {
    Failure::Input(format!(
        "cannot write the output: {error}; the export is incomplete"
    ))
}

/// Writes to a file, which is replaced only when the whole export is on the disk.
async fn write_file(
    listing: Listing<'_>,
    prefix: String,
    path: &Path,
    force: bool,
    is_of_past: bool,
) -> Result<End, Failure> {
    let failed = |error| Failure::file(path, error);
    if path.exists() && !path.is_file() {
        // A pipe or a device is written to, not replaced.
        let mut file = File::options().write(true).open(path).map_err(failed)?;
        return write(listing, prefix, &mut file, failed).await;
    }
    let replaced = if force {
        Replaced::Whatever
    } else {
        Replaced::at(path).map_err(failed)?
    };
    if let Some(reason) = replaced.reason_against(&prefix) {
        return Err(left_unchanged(path, &reason));
    }
    let file = ReplacedFile::new(path, FolderSync::IfPossible).map_err(failed)?;
    let mut new = file.prepare(|_| Ok(())).map_err(failed)?;
    let end = write(listing, prefix, new.as_file_mut(), failed).await?;
    if let Some(reason) = replaced.reason_against_state(end, is_of_past) {
        return Err(left_unchanged(path, &reason));
    }
    match file.install(new) {
        Ok(written) => {
            if !written.is_folder_synced {
                warn(&format!(
                    "{}: its folder cannot be synced, so a power cut may undo this export",
                    path.display()
                ));
            }
            Ok(end)
        }
        Err(error) => Err(Failure::replace(path, error)),
    }
}

/// The file that an export replaces.
enum Replaced {
    /// No file, an empty one, or any file with `--force`.
    Whatever,
    /// An export.
    Export {
        prefix: String,
        /// Of which state, if it is whole.
        revision: Option<u64>,
    },
    /// A file that is not an export.
    Other,
}

impl Replaced {
    /// What is at `path`.
    fn at(path: &Path) -> io::Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Whatever),
            Err(error) => return Err(error),
        };
        let mut line = Vec::new();
        BufReader::new((&file).take(HEAD_MAX_BYTES)).read_until(b'\n', &mut line)?;
        Ok(match serde_json::from_slice::<Head>(&line) {
            Ok(Head { export }) => Self::Export {
                prefix: export.prefix,
                revision: revision_of(&mut file)?,
            },
            Err(_) if line.is_empty() => Self::Whatever,
            Err(_) => Self::Other,
        })
    }

    /// Why an export of `prefix` does not replace it.
    fn reason_against(&self, prefix: &str) -> Option<String> {
        match self {
            Self::Whatever => None,
            Self::Export { prefix: old, .. } if old == prefix => None,
            Self::Export { prefix: old, .. } => Some(format!(
                "it is an export of the prefix {:?}, not of {:?}",
                printable(old),
                printable(prefix)
            )),
            Self::Other => Some("it exists and is not an export".to_owned()),
        }
    }

    /// Why an export of this state does not replace it. The revision of a service never decreases.
    fn reason_against_state(&self, end: End, is_of_past: bool) -> Option<String> {
        match self {
            Self::Export { .. } if end.entries == 0 => {
                Some("there is no entry to export".to_owned())
            }
            Self::Export {
                revision: Some(old),
                ..
            } if end.revision < *old && is_of_past => Some(format!(
                "it has revision {old}, which is later than {}",
                end.revision
            )),
            Self::Export {
                revision: Some(old),
                ..
            } if end.revision < *old => Some(format!(
                "it has revision {old}, and the service is only at {}: this may be another service, or one that \
                 has lost its data",
                end.revision
            )),
            _ => None,
        }
    }
}

/// The revision in the last line of an export.
fn revision_of(file: &mut File) -> io::Result<Option<u64>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_MAX_BYTES)))?;
    let mut end = Vec::new();
    file.take(TAIL_MAX_BYTES).read_to_end(&mut end)?;
    let last = end.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    let tail = last.and_then(|line| serde_json::from_slice::<Tail>(line).ok());
    Ok(tail.map(|Tail { end }| end.revision))
}

fn left_unchanged(path: &Path, reason: &str) -> Failure {
    Failure::Input(format!(
        "{}: {reason}; it was left unchanged\nTo replace it anyway: --force",
        path.display()
    ))
}

async fn write(
    mut listing: Listing<'_>,
    prefix: String,
    to: &mut impl Write,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<End, Failure> {
    let progress = ProgressBar::new_spinner()
        .with_style(progress_style("{spinner} {human_pos} exported, {rate}"));
    progress.enable_steady_tick(TICK);
    let mut to = BufWriter::new(to);
    let format = FORMAT;
    let export = About { format, prefix };
    write_line(&mut to, &Head { export }).map_err(&failed)?;
    let mut entries = 0;
    while let Some(entry) = listing.next().await? {
        write_line(&mut to, &entry).map_err(&failed)?;
        entries += 1;
        progress.set_position(entries);
    }
    let end = End {
        entries,
        revision: listing.revision()?,
    };
    write_line(&mut to, &Tail { end }).map_err(&failed)?;
    to.flush().map_err(&failed)?;
    progress.finish_and_clear();
    Ok(end)
}

fn write_line(to: &mut impl Write, shown: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, shown)?;
    to.write_all(b"\n")
}
