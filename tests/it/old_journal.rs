//! The journal of earlier versions, `data.json.journal`: it is read once and taken up.

use std::fs;
use std::path::Path;

use crate::journal::{ALWAYS, NEVER, named_journal, put, refused};
use crate::numbers::frame;
use crate::support::binary::{MODES, Process};
use crate::support::segments::{history_in, keeps_history, with_and_without_history};
use crate::support::writers::{shown_entries, stored_entries};

/// As the version before the id left them, to the letter.
const DATA: &str = "{\"format\":1,\"revision\":1,\"entries\":{\n\
    \"a\":{\"value\":1,\"version\":1,\"revision\":1,\"modified_at\":\"2026-11-23T10:00:00.000Z\"}\n}}\n";
const FIRST: &str = "\u{1e}000000000019 af4dc076 {\"format\":1,\"revision\":1}\n";
const SECOND: &str = "\u{1e}000000000076 0d6a8abe {\"after\":1,\"revision\":2,\"changes\":{\"b\":\
    {\"value\":2,\"version\":1,\"revision\":2,\"modified_at\":\"2026-11-23T10:00:01.000Z\"}}}\n";
/// What a later version called a journal by.
const ID: &str = "9c56cc51b374c3ba";

/// The files of an earlier version, without and with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    WithoutId,
    WithId,
}

const BOTH: [Files; 2] = [Files::WithoutId, Files::WithId];

impl Files {
    fn data(self) -> String {
        match self {
            Self::WithoutId => DATA.to_owned(),
            Self::WithId => DATA.replacen(
                "\"entries\"",
                &format!("\"journal\":\"{ID}\",\"entries\""),
                1,
            ),
        }
    }

    fn first(self) -> String {
        match self {
            Self::WithoutId => FIRST.to_owned(),
            Self::WithId => frame(&format!("{{\"format\":1,\"revision\":1,\"id\":\"{ID}\"}}")),
        }
    }

    fn leave(self, folder: &Path, journal: &str) {
        fs::write(folder.join("data.json"), self.data()).unwrap();
        fs::write(folder.join("data.json.journal"), journal).unwrap();
    }
}

#[tokio::test]
async fn an_old_journal_is_loaded_taken_up_and_gone() {
    for files in BOTH {
        for mode in MODES {
            let folder = tempfile::tempdir().unwrap();
            files.leave(folder.path(), &(files.first() + SECOND));
            let process = Process::start(folder.path(), mode).await;
            assert!(!folder.path().join("data.json.journal").exists());
            assert_eq!(stored_entries(folder.path()).len(), 2, "{files:?} {mode:?}");
            let shown = shown_entries(&process).await;
            assert_eq!(shown.keys().collect::<Vec<_>>(), ["a", "b"]);
            put(&process, "c", 3).await;
            put(&process, "d", 4).await;
            assert_eq!(
                named_journal(folder.path()).is_some(),
                mode.starts_with(&ALWAYS),
                "{mode:?}"
            );
            let shown = shown_entries(&process).await;
            process.kill().await;
            if let Some(history) = history_in(folder.path(), mode).await {
                let revisions: Vec<_> = history.iter().map(|happened| happened.revision).collect();
                assert_eq!(revisions, [3, 4]);
            }
            let process = Process::start(folder.path(), mode).await;
            assert_eq!(shown_entries(&process).await, shown);
        }
    }
}

#[tokio::test]
async fn a_torn_commit_of_an_old_journal_is_cut_off_and_a_damaged_one_stops_the_start() {
    for files in BOTH {
        for flags in with_and_without_history(&ALWAYS) {
            let folder = tempfile::tempdir().unwrap();
            let whole = files.first() + SECOND;
            files.leave(folder.path(), &whole[..whole.len() - 7]);
            let process = Process::start(folder.path(), &flags).await;
            let shown = shown_entries(&process).await;
            assert_eq!(shown.keys().collect::<Vec<_>>(), ["a"]);
            let log = process.stop().await.log;
            assert!(log.contains("cutting off"), "{log}");

            let place = format!("at byte {}", files.first().len());
            let damaged = whole.replace("\"value\":2", "\"value\":3");
            for (journal, place) in [(&damaged[..], &place[..]), ("", "at byte 0")] {
                files.leave(folder.path(), journal);
                let message = refused(folder.path(), &flags).await;
                let said = "data.json.journal cannot be loaded";
                assert!(
                    message.contains(said) && message.contains(place),
                    "{message}"
                );
                let left = fs::read_to_string(folder.path().join("data.json.journal")).unwrap();
                assert_eq!(left, journal);
            }
        }
    }
}

#[tokio::test]
async fn an_old_journal_that_is_missing_or_anothers_stops_the_start() {
    for flags in [&ALWAYS[..], &NEVER, &[]] {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("data.json.journal");
        Files::WithId.leave(folder.path(), "");
        fs::remove_file(&journal).unwrap();
        let message = refused(folder.path(), flags).await;
        assert!(message.contains("in data.json.journal if"), "{message}");
        assert!(message.contains("commits after revision 1"), "{message}");

        let other = Files::WithId.first().replace(ID, "0000000000000000");
        let other = frame(
            other
                .split_once(" {")
                .map(|(_, text)| format!("{{{text}"))
                .unwrap()
                .trim_end(),
        );
        fs::write(&journal, other + SECOND).unwrap();
        let message = refused(folder.path(), flags).await;
        assert!(message.contains("put that one back"), "{message}");

        // Beside a data file that names none.
        fs::write(folder.path().join("data.json"), DATA).unwrap();
        fs::write(&journal, Files::WithId.first() + SECOND).unwrap();
        let message = refused(folder.path(), flags).await;
        assert!(
            message.contains("it belongs to another data.json"),
            "{message}"
        );
        assert!(message.contains("move the journal away"), "{message}");

        // Without its data file.
        fs::remove_file(folder.path().join("data.json")).unwrap();
        let message = refused(folder.path(), flags).await;
        assert!(message.contains("data.json is missing"), "{message}");
    }
}

#[tokio::test]
async fn an_old_journal_that_adds_nothing_goes_with_a_log_line() {
    for flags in with_and_without_history(&ALWAYS) {
        for (files, revision, said) in [
            (Files::WithoutId, 2, "is not needed"),
            (Files::WithId, 99, "later revision than its journal"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            files.leave(folder.path(), &(files.first() + SECOND));
            let data = folder.path().join("data.json");
            let head = format!("\"revision\":{revision}");
            let later = files.data().replacen("\"revision\":1", &head, 1);
            fs::write(&data, later).unwrap();
            if revision == 2 {
                // The one beside it names an id, and the data file none.
                let journal = Files::WithId.first() + SECOND;
                fs::write(folder.path().join("data.json.journal"), journal).unwrap();
            }
            let process = Process::start(folder.path(), &flags).await;
            assert!(!folder.path().join("data.json.journal").exists());
            let shown = shown_entries(&process).await;
            assert_eq!(shown.keys().collect::<Vec<_>>(), ["a"]);
            assert_eq!(put(&process, "a", 2).await["revision"], revision + 1);
            let ended = process.stop().await;
            assert!(ended.log.contains(said), "{said}: {}", ended.log);
            let history = history_in(folder.path(), &flags).await;
            assert_eq!(
                history.map(|history| history.len()),
                keeps_history(&flags).then_some(1)
            );
        }
    }
}
