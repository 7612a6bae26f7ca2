//! Segments that are torn, damaged or not there.

use super::*;
use crate::atomic_file::{FolderSync, ReplacedFile};
use crate::storage::file::frame::SECTOR_BYTES;
use crate::storage::file::log::scan::{ScanError, read};

/// A store with a journal that was killed: its files, where each frame of the last segment ends, and the state and
/// how many events there are after each.
struct Example {
    files: TempDir,
    segment: PathBuf,
    text: Vec<u8>,
    ends: Vec<usize>,
    states: Vec<(String, usize)>,
}

fn example(steps: &[Step<'_>]) -> Example {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), JOURNAL);
    store.commit(&[("first", Some("[1]"))]);
    let mut states = vec![(store.state(), 1)];
    for step in steps {
        store.commit(&[*step]);
        states.push((store.state(), store.history().len()));
    }
    let files = copy_of(folder.path());
    let segment = segments(files.path()).pop().unwrap();
    let text = fs::read(&segment).unwrap();
    let ends: Vec<_> = (1..=text.len())
        .filter(|end| text[end - 1] == b'\n')
        .collect();
    assert_eq!(ends.len(), states.len());
    Example {
        files,
        segment,
        text,
        ends,
        states,
    }
}

fn small() -> Example {
    example(&[
        ("username", Some("\"alice\"")),
        ("doc/a", Some(r#"{"n":1.50}"#)),
        ("username", None),
        ("doc/a", Some("null")),
    ])
}

impl Example {
    /// The files with another last segment.
    fn with(&self, text: &[u8]) -> TempDir {
        let copy = copy_of(self.files.path());
        fs::write(self.path_in(copy.path()), text).unwrap();
        copy
    }

    fn path_in(&self, folder: &Path) -> PathBuf {
        folder.join(self.segment.file_name().unwrap())
    }
}

/// Why the log of a data file is refused, and its file.
fn scan_refused(folder: &Path) -> (PathBuf, String) {
    let data = ReplacedFile::new(&folder.join("data.json"), FolderSync::Required).unwrap();
    match read(&data) {
        Err(ScanError::Damaged { path, reason }) => (path, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_prefix_of_a_journal_is_the_history_of_its_whole_frames() {
    let example = small();
    for length in 0..example.text.len() {
        let folder = example.with(&example.text[..length]);
        let path = example.path_in(folder.path());
        let Some(last) = example.ends.iter().rposition(|end| *end <= length) else {
            let (refused, reason) = refused(folder.path(), &JOURNAL.into());
            assert_eq!(refused, path.canonicalize().unwrap());
            assert!(reason.ends_with("at byte 0"), "{reason}");
            continue;
        };
        let mut store = Store::open(folder.path(), JOURNAL);
        let (state, events) = &example.states[last];
        assert_eq!(store.state(), *state, "{length} bytes");
        assert_eq!(store.history().len(), *events, "{length} bytes");
        let end = example.ends[last];
        assert_eq!(fs::read(&path).unwrap(), example.text[..end], "it was cut");
        if length != end && length % 16 != 0 {
            continue;
        }
        store.commit(&[("next", Some("1"))]);
        let (state, told) = (store.state(), store.told());
        drop(store);
        let store = Store::open(folder.path(), JOURNAL);
        assert_eq!((store.state(), store.told()), (state, told), "{length}");
    }
}

/// A data file that has everything is loaded whatever its log is short of; what is shown of the past is right.
#[test]
fn every_prefix_of_the_log_of_a_small_store_is_a_history_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), SMALL);
    for value in ["1", "2", "3"] {
        store.commit(&[("a", Some(value)), (value, Some("null"))]);
    }
    let (state, told) = (store.state(), store.told());
    let files = copy_of(folder.path());
    let segment = segments(files.path()).pop().unwrap();
    let text = fs::read(&segment).unwrap();
    let first = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in (first..=text.len()).rev().step_by(3) {
        let folder = copy_of(files.path());
        let path = folder.path().join(segment.file_name().unwrap());
        fs::write(path, &text[..length]).unwrap();
        let mut store = Store::open(folder.path(), SMALL);
        assert_eq!(store.state(), state);
        let kept = if length == text.len() { &told[..] } else { &[] };
        assert_eq!(store.told(), kept);
        store.commit(&[("a", Some("4"))]);
        drop(store);
        let store = Store::open(folder.path(), SMALL);
        assert_eq!(
            store.told(),
            [kept, &["4 Put a 4".to_owned()]].concat(),
            "{length}"
        );
    }
}

#[test]
fn every_flipped_bit_is_refused_with_its_file_and_place() {
    let example = small();
    let folder = copy_of(example.files.path());
    for segment in segments(folder.path()) {
        let text = fs::read(&segment).unwrap();
        let ends: Vec<_> = (1..=text.len())
            .filter(|end| text[end - 1] == b'\n')
            .collect();
        // The last frame of a segment with a successor only names that.
        let names_next = ends.iter().find(|end| {
            text[**end..].windows(6).any(|part| part == b"\"next\"")
                && !text[**end..].windows(9).any(|part| part == b"\"commits\"")
        });
        for at in 0..names_next.copied().unwrap_or(text.len()) {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[at] ^= 1 << bit;
                fs::write(&segment, &damaged).unwrap();
                let (path, reason) = scan_refused(folder.path());
                assert_eq!(path.file_name(), segment.file_name());
                let frame = ends.iter().rposition(|end| *end <= at);
                let place = format!("at byte {}", frame.map_or(0, |frame| ends[frame]));
                assert!(
                    reason.ends_with(&place),
                    "bit {bit} of byte {at}: {reason}, not {place}"
                );
                assert_eq!(fs::read(&segment).unwrap(), damaged, "it stays as it is");
            }
        }
        fs::write(&segment, &text).unwrap();
    }
    let store = Store::open(folder.path(), JOURNAL);
    assert_eq!(store.state(), example.states.last().unwrap().0);
}

#[test]
fn a_last_frame_of_which_sectors_are_missing_is_torn_and_an_earlier_one_is_damaged() {
    let long = long(3000);
    let example = example(&[("a", Some(&long)), ("b", Some(&long))]);
    for (frame, is_last) in [(0, false), (1, true)] {
        let (start, end) = (example.ends[frame], example.ends[frame + 1]);
        let mut sector = start / SECTOR_BYTES * SECTOR_BYTES;
        while sector < end {
            let mut torn = example.text.clone();
            torn[sector.max(start)..(sector + SECTOR_BYTES).min(end)].fill(0);
            let folder = example.with(&torn);
            if is_last {
                let store = Store::open(folder.path(), JOURNAL);
                let (state, events) = &example.states[frame];
                assert_eq!(store.state(), *state);
                assert_eq!(store.history().len(), *events);
            } else {
                let (_, reason) = scan_refused(folder.path());
                assert!(
                    reason.ends_with(&format!("at byte {start}")),
                    "sector at {sector}: {reason}"
                );
            }
            sector += SECTOR_BYTES;
        }
    }
}

#[test]
fn frames_that_are_missing_or_repeated_are_refused() {
    let example = small();
    let [.., one, two, _] = example.ends[..] else {
        panic!("there are three frames at least");
    };
    let missing = [&example.text[..one], &example.text[two..]].concat();
    let repeated = [&example.text[..two], &example.text[one..]].concat();
    for (text, place) in [(missing, one), (repeated, two)] {
        let (_, reason) = scan_refused(example.with(&text).path());
        assert!(reason.contains("leads on from revision"), "{reason}");
        assert!(reason.ends_with(&format!("at byte {place}")), "{reason}");
    }
}

/// Three segments or more, all of them full but the last.
fn leave_segments(folder: &Path, journaling: Journaling) -> Vec<PathBuf> {
    let mut store = Store::open_with(folder, &few_segments(journaling)).unwrap();
    let value = long(5000);
    for number in 0.. {
        store.commit(&[(["a", "b"][number % 2], Some(&value))]);
        if segments(folder).len() > 3 {
            break;
        }
    }
    segments(folder)
}

#[test]
fn a_history_begins_after_a_segment_that_is_missing() {
    for missing in [0, 1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let left = leave_segments(folder.path(), SMALL);
        let whole = Store::open_with(folder.path(), &few_segments(SMALL)).unwrap();
        let (state, told) = (whole.state(), whole.told());
        drop(whole);
        fs::remove_file(&left[missing]).unwrap();
        let store = Store::open_with(folder.path(), &few_segments(SMALL)).unwrap();
        assert_eq!(store.state(), state);
        let kept = store.told();
        assert!(!kept.is_empty() && told.ends_with(&kept) && kept.len() < told.len());
        let oldest = store.past.oldest().revision;
        for revision in 0..=store.revision() {
            match store.record_at("a", revision) {
                Ok(record) => {
                    assert!(revision >= oldest);
                    assert!(record.unwrap().revision >= revision - 1);
                }
                Err(PastError::Compacted { oldest: of }) => {
                    assert!(revision < oldest && of == oldest);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_journal_without_a_segment_that_the_data_file_needs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let left = leave_segments(folder.path(), JOURNAL);
    let files = copy_of(folder.path());
    // The first one has what is in the data file.
    for (index, missing) in left.iter().enumerate().skip(1) {
        let folder = copy_of(files.path());
        let missing = folder.path().join(missing.file_name().unwrap());
        fs::remove_file(missing).unwrap();
        let (_, reason) = refused(folder.path(), &few_segments(JOURNAL));
        let said = if index + 1 == left.len() {
            "which goes on from its end, is missing"
        } else {
            "put the older segments back"
        };
        assert!(reason.contains(said), "{reason}");
    }
    for segment in &left {
        fs::remove_file(files.path().join(segment.file_name().unwrap())).unwrap();
    }
    let (path, reason) = refused(files.path(), &few_segments(JOURNAL));
    assert!(path.ends_with("data.json"));
    assert!(reason.contains("which are missing"), "{reason}");
}

#[test]
fn a_data_file_that_is_missing_beside_a_log_stops_the_start() {
    for journaling in [SMALL, JOURNAL] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), journaling);
        store.commit(&[("a", Some("1"))]);
        store.commit(&[("a", Some("2"))]);
        let files = copy_of(folder.path());
        fs::remove_file(files.path().join("data.json")).unwrap();
        let before = segments(files.path()).len();
        let (path, reason) = refused(files.path(), &journaling.into());
        assert!(path.ends_with("data.json"));
        assert!(
            reason.contains("it is missing") && reason.contains("up to revision 2"),
            "{reason}"
        );
        assert_eq!(segments(files.path()).len(), before);
        assert!(!files.path().join("data.json").exists());
    }
}

/// The first commit is in the log, and the process was killed before there was a data file.
#[test]
fn a_first_commit_that_was_not_finished_never_was() {
    for journaling in [SMALL, JOURNAL] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), journaling);
        store.commit(&[("a", Some("1"))]);
        let files = copy_of(folder.path());
        fs::remove_file(files.path().join("data.json")).unwrap();
        for value in ["2", "3"] {
            let mut store = Store::open(files.path(), journaling);
            store.commit(&[("b", Some(value))]);
            assert_eq!(store.record_at("a", 0).unwrap(), None);
        }
        let store = Store::open(files.path(), journaling);
        assert_eq!(store.told(), ["1 Put b 2", "2 Put b 3"]);
    }
}
