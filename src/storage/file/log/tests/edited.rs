//! Data files that somebody has edited while no process had them open.

use super::*;
use crate::model::ResumeToken;

/// What is done to the text of a data file.
fn edit(folder: &Path, edit: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(data(folder)).unwrap();
    fs::write(data(folder), edit(&text)).unwrap();
}

/// Changes the value of `a`, removes `b` and adds `d`, by the lines of an editor.
fn edit_all(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("\"b\""));
    let mut lines: Vec<_> = lines
        .map(|line| line.replace("\"two\"", "\"edited\""))
        .collect();
    let added = r#""d":{"value":"added","version":1,"revision":1,"modified_at":"2026-11-23T10:00:00.000Z"}"#;
    let last = lines.len() - 2;
    lines[last].push(',');
    lines.insert(last + 1, added.to_owned());
    lines.join("\n") + "\n"
}

const BEFORE: [&str; 4] = [
    r#"1 Put a "one""#,
    r#"2 Put b "one""#,
    r#"3 Put a "two""#,
    r#"4 Put c "one""#,
];

/// A store that was ended in this way, with [`BEFORE`].
fn ended(journaling: Journaling, is_closed: bool) -> (TempDir, ResumeToken) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), journaling);
    store.commit(&[("a", Some("\"one\""))]);
    store.commit(&[("b", Some("\"one\""))]);
    store.commit(&[("a", Some("\"two\""))]);
    store.commit(&[("c", Some("\"one\""))]);
    let position = store.table.read().position();
    if is_closed {
        store.close();
    }
    (folder, ResumeToken::after(position))
}

#[test]
fn what_was_edited_is_a_commit_and_the_history_before_it_stays() {
    for journaling in [SMALL, JOURNAL] {
        let (folder, since) = ended(journaling, true);
        edit(folder.path(), edit_all);
        let mut expected = BEFORE.map(str::to_owned).to_vec();
        expected.extend([
            r#"5 Put a "edited""#.to_owned(),
            r#"5.1 Delete b "one""#.to_owned(),
            r#"5.2 Put d "added""#.to_owned(),
        ]);
        let mut state = None;
        for _ in 0..3 {
            let store = Store::open(folder.path(), journaling);
            assert_eq!(store.told(), expected, "{journaling:?}");
            let value = |name, revision| {
                let record = store.record_at(name, revision).unwrap()?;
                Some((record.value.as_json().to_owned(), record.version))
            };
            for (revision, a) in [(1, "one", 1), (2, "one", 1), (3, "two", 2), (4, "two", 2)]
                .map(|(revision, a, version)| (revision, (format!("\"{a}\""), version)))
            {
                assert_eq!(value("a", revision), Some(a));
                assert_eq!(value("b", revision).is_some(), revision >= 2);
                assert_eq!(value("d", revision), None);
            }
            assert_eq!(value("a", 5), Some(("\"edited\"".to_owned(), 3)));
            assert_eq!(value("b", 5), None);
            assert_eq!(value("c", 5), Some(("\"one\"".to_owned(), 1)));
            assert_eq!(value("d", 5), Some(("\"added\"".to_owned(), 1)));
            let known = store.past.state_at(since.revision()).unwrap();
            assert_eq!(known, Some(since.position().state), "a watcher goes on");
            let now = store.state();
            assert_eq!(
                *state.get_or_insert(now.clone()),
                now,
                "it is committed once"
            );
        }
    }
}

#[test]
fn what_was_edited_beside_a_journal_is_a_commit_after_it() {
    // Only the first commit is in the data file.
    let (folder, _) = ended(JOURNAL, false);
    edit(folder.path(), |text| {
        text.replace("\"a\":", "\"new\":")
            .replace("\"one\"", "\"edited\"")
    });
    for journaling in [JOURNAL, SMALL, JOURNAL] {
        let store = Store::open(folder.path(), journaling);
        let told = store.told();
        assert_eq!(told[..4], BEFORE);
        assert_eq!(told[4..], [r#"5 Put new "edited""#]);
        let table = store.table.read();
        let value = |name| {
            table
                .get(&key(name))
                .map(|record| record.value.as_json().to_owned())
        };
        assert_eq!(
            value("a").as_deref(),
            Some("\"two\""),
            "the journal wrote it later"
        );
        assert_eq!(value("new").as_deref(), Some("\"edited\""));
    }
}

#[test]
fn a_commit_that_was_not_finished_is_not_taken_for_an_edit() {
    let (folder, _) = ended(SMALL, true);
    let before = fs::read(data(folder.path())).unwrap();
    let mut store = Store::open(folder.path(), SMALL);
    store.commit(&[("a", Some("\"void\""))]);
    drop(store);
    fs::write(data(folder.path()), before).unwrap();
    edit(folder.path(), edit_all);
    let store = Store::open(folder.path(), SMALL);
    assert_eq!(store.told()[..4], BEFORE);
    assert_eq!(store.told()[4], r#"5 Put a "edited""#);
}

#[test]
fn where_the_log_does_not_know_what_was_edited_the_history_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let never = Settings {
        history: History::Never,
        ..SMALL.into()
    };
    let mut store = Store::open_with(folder.path(), &never).unwrap();
    store.commit(&[("old", Some("\"one\""))]);
    store.commit(&[("older", Some("\"one\""))]);
    drop(store);
    let mut store = Store::open(folder.path(), SMALL);
    store.commit(&[("a", Some("\"two\""))]);
    let state = store.past.state_at(3).unwrap();
    drop(store);

    // What it does know may be edited.
    edit(folder.path(), |text| text.replace("\"two\"", "\"edited\""));
    let store = Store::open(folder.path(), SMALL);
    assert_eq!(store.told(), [r#"3 Put a "two""#, r#"4 Put a "edited""#]);
    drop(store);

    edit(folder.path(), |text| text.replace("\"one\"", "\"edited\""));
    let mut store = Store::open(folder.path(), SMALL);
    assert_eq!(store.told(), Vec::<String>::new());
    assert_ne!(store.past.state_at(4).unwrap(), state);
    let before = store.record_at("a", 3);
    assert!(matches!(before, Err(PastError::Compacted { oldest: 4 })));
    store.commit(&[("a", Some("\"three\""))]);
    for _ in 0..2 {
        assert_eq!(store.told(), [r#"5 Put a "three""#]);
        let record = store.record_at("old", 4).unwrap().unwrap();
        assert_eq!(record.value.as_json(), "\"edited\"");
        drop(store);
        store = Store::open(folder.path(), SMALL);
    }
}
