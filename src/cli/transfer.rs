//! `export` and `import`: everything, or all below a prefix, as lines of JSON.
//!
//! ```text
//! {"export":{"format":1,"prefix":"doc/"}}
//! {"key":"doc/a","value":{"title":"x"},"version":3,"revision":42,"etag":"…","modified_at":"…"}
//! {"end":{"entries":1,"revision":42}}
//! ```
//!
//! The last line tells a whole export from one that was cut off, which is not taken. Of an entry only
//! key and value are: versions and tags are the service's own.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, future, stream};
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::arguments::{Export, Import};
use super::client::{Client, JSON, Precondition};
use super::failure::Failure;
use super::interrupt::{Interrupt, Interrupts};
use super::listing::Listing;
use super::output::{Output, note};
use super::text::shown;
use crate::json::{self, MAX_DEPTH_LEVELS};
use crate::model::{Key, Value};

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;
/// How many writes of an import are under way at once: a group of them takes one fsync.
const WRITES_AT_ONCE: usize = 64;
/// How often a service that is busy is asked again, and how long to leave it alone.
const TRIES: u32 = 10;
const BUSY: Duration = Duration::from_secs(1);
/// How long the first line of an export can be, in bytes: a prefix is hardly longer than a key.
const HEAD_MAX_BYTES: u64 = 16 * 1024;
/// The mode of an export that is a new file, less the umask.
const NEW_FILE_MODE: u32 = 0o666;
/// How often the progress moves.
const TICK: Duration = Duration::from_millis(100);

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    export: About,
}

#[derive(Debug, Serialize, Deserialize)]
struct About {
    format: u32,
    prefix: String,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
struct Tail {
    end: End,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct End {
    entries: u64,
    revision: u64,
}

/// What is taken of the lines between.
#[derive(Debug, Deserialize)]
struct Item {
    key: Key,
    value: Value,
}

/// `ifmatch export`
pub async fn export(client: &Client, export: Export, output: &Output) -> Result<(), Failure> {
    let listing = Listing::of(client, &export.prefix).await?;
    let Some(path) = export.file.filter(|path| path != Path::new("-")) else {
        let end = write(
            listing,
            export.prefix,
            &mut io::stdout().lock(),
            Failure::Output,
        )
        .await?;
        note(&format!("{} exported.", counted(end.entries)));
        return Ok(());
    };
    let end = write_file(listing, export.prefix, &path, export.force).await?;
    if output.is_terminal() {
        output.line(&format!(
            "{} at revision {} exported to {}",
            counted(end.entries),
            end.revision,
            path.display()
        ))
    } else {
        output.json(&end)
    }
}

/// The file is replaced when the whole of the export is on the disk.
async fn write_file(
    listing: Listing<'_>,
    prefix: String,
    path: &Path,
    force: bool,
) -> Result<End, Failure> {
    let failed = |error| Failure::file(path, error);
    // Behind a symbolic link the file itself is replaced.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if place.exists() && !place.is_file() {
        // A pipe or a device is written to; to replace it would take it away from everybody.
        let mut file = File::options().write(true).open(path).map_err(failed)?;
        return write(listing, prefix, &mut file, failed).await;
    }
    let replaced = if force {
        Replaced::Whatever
    } else {
        Replaced::at(&place).map_err(failed)?
    };
    if let Some(reason) = replaced.reason_against(&prefix) {
        return Err(left_as_it_was(path, &reason));
    }
    let folder = match place.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(NEW_FILE_MODE))
        .tempfile_in(folder)
        .map_err(failed)?;
    let end = write(listing, prefix, file.as_file_mut(), failed).await?;
    if end.entries == 0 && matches!(replaced, Replaced::Export { .. }) {
        return Err(left_as_it_was(path, "there is no entry to export"));
    }
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&place).map_err(|error| failed(error.error))?;
    Ok(end)
}

/// What an export to a file replaces.
enum Replaced {
    /// Nothing, or an empty file, or it does not matter.
    Whatever,
    /// An export.
    Export { prefix: String },
    /// Anything else.
    Other,
}

impl Replaced {
    /// What is at `path`.
    fn at(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Whatever),
            Err(error) => return Err(error),
        };
        let mut line = Vec::new();
        BufReader::new(file.take(HEAD_MAX_BYTES)).read_until(b'\n', &mut line)?;
        Ok(match serde_json::from_slice::<Head>(&line) {
            Ok(Head { export }) => Self::Export {
                prefix: export.prefix,
            },
            Err(_) if line.is_empty() => Self::Whatever,
            Err(_) => Self::Other,
        })
    }

    /// Why an export of `prefix` does not replace it.
    fn reason_against(&self, prefix: &str) -> Option<String> {
        match self {
            Self::Whatever => None,
            Self::Export { prefix: old } if old == prefix => None,
            Self::Export { prefix: old } => Some(format!(
                "it is an export of the prefix {:?}, not of {:?}",
                shown(old),
                shown(prefix)
            )),
            Self::Other => Some("it exists and is not an export".to_owned()),
        }
    }
}

fn left_as_it_was(path: &Path, reason: &str) -> Failure {
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
    let progress =
        ProgressBar::new_spinner().with_style(style("{spinner} {human_pos} exported, {rate}"));
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

/// What became of an entry that was to be imported.
enum Imported {
    Created,
    Replaced,
    /// It was there with the same value.
    Same(Key),
    /// It was there with another.
    There(Key),
    /// It was there with another, and has changed again before that was replaced.
    Changed(Key),
}

/// What became of all of them.
#[derive(Debug, Default, Serialize)]
struct Report {
    created: u64,
    replaced: u64,
    same: Vec<Key>,
    there: Vec<Key>,
    /// Only where something is to be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<Key>>,
}

/// `ifmatch import`. Nothing is written before the whole of the export has been read.
pub async fn import(client: &Client, import: &Import, output: &Output) -> Result<(), Failure> {
    let (name, text) = match import.file.as_deref() {
        Some(path) if path != Path::new("-") => (path, fs::read_to_string(path)),
        _ => (Path::new("standard input"), io::read_to_string(io::stdin())),
    };
    let text = text.map_err(|error| Failure::file(name, error))?;
    let items = read(&text).map_err(|reason| {
        Failure::Input(format!("{}: {reason}; nothing was written", name.display()))
    })?;
    drop(text);
    let all = items.len() as u64;
    let progress = ProgressBar::new(all).with_style(style(
        "{bar:40} {human_pos} of {human_len}, {rate}, {eta} left",
    ));
    let mut report = Report {
        changed: import.replace.then(Vec::new),
        ..Report::default()
    };
    let stopped = write_all(client, items, import.replace, &progress, &mut report).await?;
    progress.finish_and_clear();
    report.sort();
    tell(&report, output)?;
    if let Some((key, failure)) = stopped {
        return Err(Failure::Broken {
            key,
            failure: failure.into(),
            done: report.created + report.replaced,
            all,
        });
    }
    match (&report.changed, report.there.len()) {
        (Some(changed), _) if !changed.is_empty() => Err(Failure::Changed {
            count: changed.len(),
        }),
        (_, 0) => Ok(()),
        (_, count) => Err(Failure::There { count }),
    }
}

impl Report {
    fn add(&mut self, imported: Imported) {
        match imported {
            Imported::Created => self.created += 1,
            Imported::Replaced => self.replaced += 1,
            Imported::Same(key) => self.same.push(key),
            Imported::There(key) => self.there.push(key),
            Imported::Changed(key) => self.changed.get_or_insert_default().push(key),
        }
    }

    fn sort(&mut self) {
        self.same.sort_unstable();
        self.there.sort_unstable();
        self.changed
            .iter_mut()
            .for_each(|keys| keys.sort_unstable());
    }
}

/// Writes all of `items`, or says why it stopped: because of a key, or a signal. What is under way
/// then is waited for, so that it is known what was written; a second signal ends that.
async fn write_all(
    client: &Client,
    items: Vec<Item>,
    replace: bool,
    progress: &ProgressBar,
    report: &mut Report,
) -> Result<Option<(Option<Key>, Failure)>, Failure> {
    // Not before the export has been read: Ctrl-C is to end that at once.
    let mut interrupts = Interrupts::of(&[Interrupt::CtrlC, Interrupt::Terminate])?;
    let has_stopped = Cell::new(false);
    let mut stopped = None;
    let mut written = stream::iter(items)
        .take_while(|_| future::ready(!has_stopped.get()))
        .map(|item| put(client, item, replace))
        .buffer_unordered(WRITES_AT_ONCE);
    loop {
        let imported = tokio::select! {
            biased;
            signal = interrupts.next() => {
                if has_stopped.replace(true) {
                    let server = client.server_name();
                    let reason = format!("interrupted again, by {signal}, before the last responses came");
                    return Ok(Some((None, Failure::Unknown { server, reason })));
                }
                stopped = Some((None, Failure::Interrupted { signal }));
                continue;
            }
            imported = written.next() => imported,
        };
        match imported {
            None => return Ok(stopped),
            Some(Ok(imported)) => report.add(imported),
            Some(Err((key, failure))) => {
                has_stopped.set(true);
                stopped.get_or_insert((Some(key), failure));
            }
        }
        progress.inc(1);
    }
}

/// Creates an entry. If it is there with another value and is to be replaced, it is replaced only as
/// it was seen then.
async fn put(
    client: &Client,
    Item { key, value }: Item,
    replace: bool,
) -> Result<Imported, (Key, Failure)> {
    let mut precondition = Precondition::Absent;
    let mut tries = 0;
    loop {
        let request = client
            .on_entry(Method::PUT, &key)
            .header(CONTENT_TYPE, JSON)
            .header("prefer", HeaderValue::from_static("return=minimal"))
            .body(value.as_json().to_owned());
        let refusal = match client.ask(precondition.add_to(request)).await {
            Ok(response) if !response.headers().contains_key(ETAG) => {
                return Err((key, client.not_ifmatch(&"it has no entity tag")));
            }
            Ok(response) if response.headers().contains_key(LOCATION) => {
                return Ok(Imported::Created);
            }
            Ok(_) => return Ok(Imported::Replaced),
            Err(Failure::Refused(refusal)) if refusal.status == 503 && tries < TRIES => {
                tries += 1;
                sleep(BUSY).await;
                continue;
            }
            Err(Failure::Refused(refusal)) if refusal.is_stale() => refusal,
            Err(failure) => return Err((key, failure)),
        };
        let current = refusal.body.and_then(|body| body.current);
        match (current, &precondition) {
            (Some(current), _) if current.value == value => return Ok(Imported::Same(key)),
            (_, Precondition::Absent) if !replace => return Ok(Imported::There(key)),
            (Some(current), Precondition::Absent) => match Precondition::unchanged(&current) {
                Ok(unchanged) => precondition = unchanged,
                Err(failure) => return Err((key, failure)),
            },
            // Changed or deleted since it was seen.
            _ => return Ok(Imported::Changed(key)),
        }
    }
}

fn tell(report: &Report, output: &Output) -> Result<(), Failure> {
    if !output.is_terminal() {
        return output.json(report);
    }
    for key in &report.same {
        output.line(&format!("unchanged: {}", shown(key.as_str())))?;
    }
    for key in &report.there {
        output.line(&format!(
            "exists with another value, left unchanged: {}",
            shown(key.as_str())
        ))?;
    }
    for key in report.changed.iter().flatten() {
        output.line(&format!(
            "changed during the import, left unchanged: {}",
            shown(key.as_str())
        ))?;
    }
    let replaced = match report.replaced {
        0 => String::new(),
        count => format!(", {count} replaced"),
    };
    output.line(&format!("{} created{replaced}", counted(report.created)))
}

/// The entries of an export, or why it is none.
fn read(text: &str) -> Result<Vec<Item>, String> {
    let mut lines = text
        .trim_start_matches('\u{FEFF}')
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    let head = lines
        .next()
        .and_then(|(line, _)| serde_json::from_str::<Head>(line).ok());
    match head {
        Some(Head { export }) if export.format <= FORMAT => {}
        Some(Head { export }) => {
            return Err(format!(
                "it has format {}, and the newest format supported is {FORMAT}",
                export.format
            ));
        }
        None => return Err("it does not begin with the first line of an export".to_owned()),
    }
    let mut items: Vec<Item> = Vec::new();
    let mut keys = HashSet::new();
    for (line, number) in lines.by_ref() {
        match serde_json::from_str::<Item>(line) {
            Ok(item) if keys.insert(item.key.clone()) => {
                if let Some(slip) = slip(line) {
                    return Err(format!("line {number}: {slip}"));
                }
                items.push(item);
            }
            Ok(item) => {
                return Err(format!(
                    "line {number}: duplicate key {}",
                    shown(item.key.as_str())
                ));
            }
            Err(error) => match serde_json::from_str::<Tail>(line) {
                Ok(Tail { end }) if end.entries == items.len() as u64 => {
                    return match lines.next() {
                        None => Ok(items),
                        Some((_, number)) => {
                            Err(format!("line {number} comes after the end of the export"))
                        }
                    };
                }
                Ok(Tail { end }) => {
                    return Err(format!(
                        "it has {}, and its last line says {}",
                        counted(items.len() as u64),
                        end.entries
                    ));
                }
                Err(_) => return Err(format!("line {number} is not an entry: {error}")),
            },
        }
    }
    Err("it was cut off: its last line is missing".to_owned())
}

/// What is wrong with an entry that can be read: an object in it has a member twice, of which one
/// would be dropped.
fn slip(line: &str) -> Option<String> {
    let error = json::parse_distinct_within(line.as_bytes(), MAX_DEPTH_LEVELS + 1).err()?;
    Some(error.reason)
}

fn counted(entries: u64) -> String {
    match entries {
        1 => "1 entry".to_owned(),
        count => format!("{} entries", HumanCount(count)),
    }
}

/// A style of progress; a template that cannot be read shows the plain one.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
            // What cannot be shown is left out.
            let _ = write!(to, "{:.0}/s", state.per_sec());
        })
}
