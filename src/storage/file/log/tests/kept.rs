//! What is kept, for how long, and what those see who read it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::model::{Fingerprint, IdempotencyKey};
use crate::storage::requests::KnownRequest;

/// How much of the history is kept here, in bytes.
const FEW_BYTES: u64 = 256 * 1024;
/// The shortest that a full segment is, in bytes.
const SEGMENT_BYTES: u64 = 64 * 1024;
/// How many keys are written in turn.
const KEYS: u64 = 5;

fn few() -> Settings {
    keeping(SMALL, Duration::from_secs(1000), FEW_BYTES)
}

/// The key that the commit with this revision writes.
fn key_of(revision: Revision) -> String {
    format!("key/{}", revision % KEYS)
}

/// The revision at which a key was written last, of the first so many.
fn newest_of(number: u64, revision: Revision) -> Option<Revision> {
    (1..=revision)
        .rev()
        .take(usize::try_from(KEYS).unwrap())
        .find(|of| of % KEYS == number)
}

fn write_next(store: &mut Store) {
    let revision = store.revision() + 1;
    let value = format!("[{revision},{}]", long(2000));
    store.commit(&[(&key_of(revision), Some(&value))]);
}

fn total_bytes(folder: &Path) -> u64 {
    let segments = segments(folder).into_iter();
    segments
        .map(|segment| fs::metadata(segment).unwrap().len())
        .sum()
}

#[test]
fn whole_segments_are_dropped_the_oldest_first_when_there_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open_with(folder.path(), &few()).unwrap();
    let mut oldest = 0;
    for _ in 0..300 {
        write_next(&mut store);
        let before = segments(folder.path());
        let now = store.disk.drop_old();
        let after = segments(folder.path());
        assert!(before.ends_with(&after), "{before:?} {after:?}");
        assert_eq!(now > oldest, after.len() < before.len());
        assert!(now >= oldest);
        oldest = now;
        assert!(total_bytes(folder.path()) <= FEW_BYTES);
    }
    assert!(oldest > 100, "{oldest}");
    assert!(total_bytes(folder.path()) > FEW_BYTES - 2 * SEGMENT_BYTES);
    for _ in 0..2 {
        assert_eq!(store.past.oldest().revision, oldest);
        let first = &store.history()[0];
        assert_eq!(first.point.revision, oldest + 1);
        for revision in oldest..=store.revision() {
            for number in 0..KEYS {
                let record = store
                    .record_at(&format!("key/{number}"), revision)
                    .unwrap()
                    .unwrap();
                assert_eq!(Some(record.revision), newest_of(number, revision));
            }
        }
        let before = store.record_at("key/0", oldest - 1);
        assert!(matches!(before, Err(PastError::Compacted { oldest: of }) if of == oldest));
        assert_eq!(store.past.state_at(oldest - 1).unwrap(), None);
        drop(store);
        store = Store::open_with(folder.path(), &few()).unwrap();
    }
}

#[test]
fn what_is_too_old_is_dropped_though_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let time = Duration::from_millis(30);
    let settings = keeping(SMALL, time, u64::MAX);
    let mut store = Store::open_with(folder.path(), &settings).unwrap();
    let begin = Instant::now();
    store.commit(&[("a", Some("1"))]);
    store.commit(&[("a", Some("2"))]);
    assert_eq!(store.told().len(), 2);
    while !segments(folder.path()).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        store.disk.drop_old();
        thread::yield_now();
    }
    assert!(begin.elapsed() >= time);
    assert_eq!(store.told(), Vec::<String>::new());
    assert_eq!(store.past.oldest().revision, 2);
    let record = store.record_at("a", 2).unwrap().unwrap();
    assert_eq!(record.value.as_json(), "2");
    assert!(matches!(
        store.record_at("a", 1),
        Err(PastError::Compacted { oldest: 2 })
    ));
    store.commit(&[("a", Some("3"))]);
    assert_eq!(store.told(), ["3 Put a 3"]);
}

/// Whoever reads while segments are dropped reads what was, or that it is gone.
#[test]
fn readers_under_load_are_told_what_was_or_that_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open_with(folder.path(), &few()).unwrap();
    write_next(&mut store);
    let done = AtomicBool::new(false);
    let past = store.past.clone();
    thread::scope(|scope| {
        let (past, done) = (&past, &done);
        let readers: Vec<_> = (0..3)
            .map(|seed: u64| {
                scope.spawn(move || {
                    let (mut number, mut dropped, mut read) = (seed, 0, 0);
                    while !done.load(Ordering::Acquire) {
                        number = number
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let roll = number >> 33;
                        let oldest = past.oldest().revision;
                        // Near the oldest, where segments go.
                        let revision = oldest + roll % 20;
                        let of = roll / 20 % KEYS;
                        match past.record_at(&key(&format!("key/{of}")), revision) {
                            Ok(record) => {
                                let found = record.map(|record| record.revision);
                                assert_eq!(found, newest_of(of, revision), "{of} at {revision}");
                                read += 1;
                            }
                            Err(PastError::Compacted { oldest }) => {
                                assert!(oldest > revision);
                                dropped += 1;
                            }
                            Err(PastError::Future { newest }) => assert!(newest < revision),
                            Err(PastError::Store(error)) => panic!("{error}"),
                        }
                    }
                    (read, dropped)
                })
            })
            .collect();
        for _ in 0..400 {
            write_next(&mut store);
            store.disk.drop_old();
        }
        done.store(true, Ordering::Release);
        let read: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap().0)
            .sum();
        assert!(read > 100, "{read}");
    });
}

#[test]
fn without_a_history_a_small_store_has_no_segments_and_a_journal_only_what_it_needs() {
    let never = |journaling: Journaling| Settings {
        history: History::Never,
        ..journaling.into()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open_with(folder.path(), &never(SMALL)).unwrap();
    store.commit(&[("a", Some("1"))]);
    store.commit(&[("a", Some("2"))]);
    assert_eq!(segments(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(store.told(), Vec::<String>::new());
    assert_eq!(store.past.oldest().revision, 2);
    drop(store);

    let mut store = Store::open_with(folder.path(), &never(JOURNAL)).unwrap();
    store.commit(&[("a", Some("3"))]);
    assert_eq!(segments(folder.path()).len(), 1);
    assert_eq!(store.told(), Vec::<String>::new());
    let left = copy_of(folder.path());
    let table = store.table.read().snapshot();
    store.disk.close(|| table.clone()).unwrap();
    assert_eq!(segments(folder.path()), Vec::<PathBuf>::new());

    drop(store);

    // What a kill left is taken up.
    for journaling in [JOURNAL, SMALL] {
        let store = Store::open_with(left.path(), &never(journaling)).unwrap();
        let record = store.record_at("a", 3).unwrap().unwrap();
        assert_eq!(record.value.as_json(), "3");
        let has_journal = !segments(left.path()).is_empty();
        assert_eq!(has_journal, journaling == JOURNAL);
    }

    // A history that is no longer wanted is dropped.
    let mut store = Store::open(folder.path(), SMALL);
    store.commit(&[("a", Some("4"))]);
    assert_eq!(segments(folder.path()).len(), 1);
    drop(store);
    let store = Store::open_with(folder.path(), &never(SMALL)).unwrap();
    assert_eq!(segments(folder.path()), Vec::<PathBuf>::new());
    assert_eq!(store.revision(), 4);
}

#[test]
fn without_a_history_the_log_has_what_follows_a_request_while_that_is_remembered() {
    let settings = Settings {
        history: History::Never,
        idempotency_window: Duration::from_secs(3600),
        ..SMALL.into()
    };
    let request = Request {
        key: IdempotencyKey::new("once").unwrap(),
        fingerprint: Fingerprint::from_bytes([7; Fingerprint::BYTES]),
    };
    let now: Timestamp = SystemTime::now().into();
    let ago = |seconds: u64| Timestamp::from_millis(now.millis() - seconds * 1000);
    for (committed, is_remembered) in [(ago(1800), true), (ago(7200), false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open_with(folder.path(), &settings).unwrap();
        store.commit_group_for(Some(&request), &[&[("a", Some("1"))]], committed);
        let length = total_bytes(folder.path());
        assert_eq!(length > 0, is_remembered);
        store.commit(&[("b", Some("2"))]);
        assert_eq!(total_bytes(folder.path()) > length, is_remembered);
        assert_eq!(store.told(), Vec::<String>::new(), "it is no history");
        drop(store);

        let store = Store::open_with(folder.path(), &settings).unwrap();
        let known = store.table.read().requests().known(None, &request, now);
        assert_eq!(known.is_some(), is_remembered);
        if let Some(KnownRequest::Done(position)) = known {
            let commit = store.past.commit(position.revision).unwrap().unwrap();
            assert_eq!(commit.request.as_ref(), Some(&request));
        }
    }
}

#[test]
fn what_a_kill_left_of_a_segment_that_was_being_begun_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), SMALL));
    let name = ".data.json.commits.00000007.AbC123.tmp";
    fs::write(folder.path().join(name), "x").unwrap();
    let other = ".data.json.commits.x.AbC123.tmp";
    fs::write(folder.path().join(other), "x").unwrap();
    drop(Store::open(folder.path(), SMALL));
    assert!(!folder.path().join(name).exists());
    assert!(folder.path().join(other).exists());
}

/// A commit is decided a little before a segment is begun for it.
#[test]
fn the_first_commit_of_a_segment_is_found_by_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open_with(folder.path(), &few_segments(SMALL)).unwrap();
    let begin = 1_763_805_600_000;
    let value = long(5000);
    let mut revision = 0;
    while segments(folder.path()).len() < 3 {
        revision += 1;
        let at = Timestamp::from_millis(begin + 10 * revision);
        store.commit_group(&[&[("a", Some(&value))]], at);
    }
    for _ in 0..2 {
        for of in 1..=revision {
            for after in [0, 9] {
                let at = Timestamp::from_millis(begin + 10 * of + after);
                assert_eq!(store.past.revision_at(at).unwrap(), of, "{after} ms after");
            }
        }
        let before = Timestamp::from_millis(begin);
        assert_eq!(store.past.revision_at(before).unwrap(), 0);
        drop(store);
        store = Store::open_with(folder.path(), &few_segments(SMALL)).unwrap();
    }
}

/// A reader of all entries may have begun when the key was not there.
#[test]
fn a_key_that_was_deleted_is_known_though_it_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), SMALL);
    store.commit(&[("a", Some("1")), ("b", Some("1"))]);
    store.commit(&[("a", None)]);
    store.commit(&[("a", Some("3"))]);
    for (revision, expected) in [(1, &[key("a")][..]), (2, &[])] {
        let deleted = store.past.deleted_since(revision).unwrap();
        let deleted: Vec<_> = deleted.read(|keys| keys.iter().cloned().collect()).unwrap();
        assert_eq!(deleted, expected);
    }
}
