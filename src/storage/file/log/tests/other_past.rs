//! Logs beside a data file of another past: a backup that was put back, a file that was edited, a commit that did not
//! come to its end.

use super::*;
use crate::atomic_file::{FolderSync, ReplacedFile};
use crate::storage::file::frame::next_frame;
use crate::storage::file::log::scan::segment_path;
use crate::storage::file::log::text::{SegmentStart, first_frame, read_first};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_763_805_600_000 + millis)
}

#[test]
fn after_a_backup_was_put_back_the_history_goes_up_to_it_and_on_from_there() {
    for back in 1..6 {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), SMALL);
        let mut backups = Vec::new();
        for value in ["1", "2", "3", "4", "5", "6"] {
            store.commit(&[("a", Some(value))]);
            backups.push((fs::read(data(folder.path())).unwrap(), store.state()));
        }
        let old = store.past.state_at(6).unwrap();
        drop(store);
        let (backup, state) = &backups[back - 1];
        fs::write(data(folder.path()), backup).unwrap();
        let mut expected: Vec<_> = (1..=back)
            .map(|revision| format!("{revision} Put a {revision}"))
            .collect();

        let mut store = Store::open(folder.path(), SMALL);
        assert_eq!(store.state(), *state);
        assert_eq!(store.told(), expected);
        assert_eq!(store.past.state_at(6).unwrap(), None, "it is to come");
        for revision in back + 1..=8 {
            store.commit(&[("b", Some("0"))]);
            expected.push(format!("{revision} Put b 0"));
            assert_eq!(store.told(), expected, "back to {back}");
        }
        assert_ne!(store.past.state_at(6).unwrap(), old, "of another past");
        let commits = store.past.commits_after(0, usize::MAX).unwrap();
        let revisions: Vec<_> = commits.iter().map(|one| one.position.revision).collect();
        assert!(
            revisions.is_sorted_by(|one, next| one < next),
            "{revisions:?}"
        );
        let now = store.state();
        drop(store);
        for _ in 0..2 {
            let store = Store::open(folder.path(), SMALL);
            assert_eq!(
                (store.state(), store.told()),
                (now.clone(), expected.clone())
            );
            let last = Revision::try_from(back).unwrap();
            let record = store.record_at("a", 8).unwrap().unwrap();
            assert_eq!(record.revision, last, "what came after is void");
            for revision in 1..=8 {
                let record = store.record_at("a", revision).unwrap().unwrap();
                assert_eq!(record.revision, revision.min(last));
                let is_there = store.record_at("b", revision).unwrap().is_some();
                assert_eq!(is_there, revision > last);
            }
        }
    }
}

#[test]
fn a_backup_may_be_of_a_state_within_a_group() {
    let steps: [&[Step<'_>]; 4] = [
        &[("a", Some("1"))],
        &[("a", Some("2"))],
        &[("a", None), ("b", Some("3"))],
        &[("a", Some("4"))],
    ];
    for back in 1..4 {
        let (folder, twin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = Store::open(folder.path(), SMALL);
        store.commit_group(&steps, at(1));
        let told = store.told();
        drop(store);
        let mut store = Store::open(twin.path(), SMALL);
        for commit in &steps[..back] {
            store.commit_group(&[commit], at(1));
        }
        let kept = store.told();
        assert!(told.starts_with(&kept));
        drop(store);
        fs::copy(data(twin.path()), data(folder.path())).unwrap();
        let mut store = Store::open(folder.path(), SMALL);
        assert_eq!(store.told(), kept);
        store.commit_group(&[&[("c", Some("5"))]], at(2));
        let next = format!("{} Put c 5", back + 1);
        let expected = [&kept[..], &[next]].concat();
        assert_eq!(store.told(), expected);
        drop(store);
        let store = Store::open(folder.path(), SMALL);
        assert_eq!(store.told(), expected);
        let commits = store.past.commits_after(0, usize::MAX).unwrap();
        assert_eq!(
            commits.len(),
            back,
            "no more than those of the first segment"
        );
    }
}

/// A kill between the two steps of a commit, again and again.
#[test]
fn a_frame_that_no_data_file_followed_is_void() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for revision in 1..=5 {
        let value = revision.to_string();
        let mut store = Store::open(folder.path(), SMALL);
        assert_eq!(store.told(), expected);
        store.commit(&[("a", Some(&value))]);
        expected.push(format!("{revision} Put a {revision}"));
        let before = fs::read(data(folder.path())).unwrap();
        store.commit(&[("a", Some("\"void\""))]);
        drop(store);
        fs::write(data(folder.path()), before).unwrap();
    }
    let store = Store::open(folder.path(), SMALL);
    assert_eq!(store.told(), expected);
    for revision in 1..=5 {
        let record = store.record_at("a", revision).unwrap().unwrap();
        assert_eq!(record.value.as_json(), revision.to_string());
    }
}

/// A frame whose sync failed could not be cut off: the next segment, which begins before it, makes it void.
#[test]
fn a_frame_that_a_later_segment_makes_void_is_neither_replayed_nor_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), JOURNAL);
    store.commit(&[("a", Some("1"))]);
    store.commit(&[("a", Some("2"))]);
    let position = store.table.read().position();
    let before = copy_of(folder.path());
    store.commit(&[("a", Some("\"refused\"")), ("b", Some("\"refused\""))]);
    let void = copy_of(folder.path());
    drop(store);

    // The next commit of the process, which leaves a revision out, and the segment that it would have begun for it.
    let last = segments(before.path()).pop().unwrap();
    let short = fs::read(&last).unwrap();
    let mut store = Store::open(before.path(), JOURNAL);
    store.table.write().skip_to(3);
    store.commit(&[("a", Some("4"))]);
    drop(store);
    let longer = fs::read(&last).unwrap();
    let mut frame = Vec::new();
    let first = next_frame(&mut &short[..], &mut frame).unwrap().unwrap();
    let start = SegmentStart {
        position,
        ..read_first(first).unwrap()
    };
    let file = ReplacedFile::new(&data(void.path()), FolderSync::Required).unwrap();
    let path = segment_path(&file, segments(void.path()).len() as u64 + 1);
    let text = [&first_frame(&start), &longer[short.len()..]].concat();
    fs::write(path.path(), text).unwrap();

    for _ in 0..2 {
        let store = Store::open(void.path(), JOURNAL);
        assert_eq!(store.record_at("b", store.revision()).unwrap(), None);
        let current = store.table.read().get(&key("a")).cloned().unwrap();
        assert_eq!(current.value.as_json(), "4");
        assert_eq!(store.told(), ["1 Put a 1", "2 Put a 2", "4 Put a 4"]);
    }
}

#[test]
fn a_revision_that_was_left_out_is_the_state_before_it() {
    for journaling in [SMALL, JOURNAL] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), journaling);
        store.commit(&[("a", Some("1"))]);
        store.commit(&[("a", Some("2"))]);
        let state = store.past.state_at(2).unwrap();
        assert!(state.is_some());
        store.table.write().skip_to(4);
        store.commit(&[("a", Some("5"))]);
        store.commit(&[("a", Some("6"))]);
        for _ in 0..2 {
            for revision in [2, 3, 4] {
                assert_eq!(store.past.state_at(revision).unwrap(), state, "{revision}");
                let record = store.record_at("a", revision).unwrap().unwrap();
                assert_eq!(record.value.as_json(), "2");
            }
            assert_ne!(store.past.state_at(5).unwrap(), state);
            assert_eq!(store.past.state_at(7).unwrap(), None);
            drop(store);
            store = Store::open(folder.path(), journaling);
        }
    }
}
