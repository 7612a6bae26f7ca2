//! `revert`: it overwrites nothing that its user has not seen; and `edit --resume`, which goes back to a text.

use std::fs::File;
use std::io::{Read as _, Write as _};

use tokio::task::spawn_blocking;

use crate::support::binary::soon;
use crate::support::cli::{Cli, Ran, ran, terminal};

/// A key with the values 1, 2 and 3.
async fn with_versions(flags: &[&str]) -> Cli {
    let cli = Cli::start_with(flags).await;
    for value in ["1", "2", "3"] {
        cli.run(&["put", "a", value, "--force"])
            .await
            .assert_code(0);
    }
    cli
}

#[tokio::test]
async fn a_script_reverts_what_it_has_seen_or_forces_it() {
    for flags in [&[][..], &["--require-preconditions"]] {
        let cli = with_versions(flags).await;
        let bare = cli.run(&["revert", "a@1"]).await;
        bare.assert_code(4).assert_says(&[
            "a already exists (version 3); nothing was written",
            "--if-match TAG",
            "--force",
        ]);
        assert_eq!(bare.json()["current"]["value"], 3);
        let stale = cli.run(&["revert", "a@1", "--if-match", "1-0"]).await;
        stale.assert_code(4).assert_says(&["version 3 is current"]);
        assert_eq!(cli.value("a").await, "3");

        let tag = cli.run(&["get", "a"]).await.json()["etag"].clone();
        let tag = tag.as_str().unwrap();
        let reverted = cli.run(&["revert", "a@1", "--if-match", tag]).await;
        let reverted = reverted.assert_code(0).json();
        assert_eq!(
            (&reverted["value"], &reverted["version"]),
            (&1.into(), &4.into())
        );
        let forced = cli.run(&["revert", "a@2", "--force"]).await;
        assert_eq!(forced.assert_code(0).json()["value"], 2);
        let log = cli.run(&["log", "a", "-n", "1"]).await.json();
        assert_eq!(log["reverted_from"], 2);
    }
}

#[tokio::test]
async fn a_deleted_entry_comes_back_without_a_flag() {
    let cli = with_versions(&[]).await;
    cli.run(&["rm", "a", "--force"]).await.assert_code(0);
    let reverted = cli.run(&["revert", "a@3"]).await.assert_code(0).json();
    assert_eq!(
        (&reverted["value"], &reverted["version"]),
        (&3.into(), &1.into())
    );
}

#[tokio::test]
async fn what_cannot_be_reverted_to_changes_nothing() {
    let cli = with_versions(&[]).await;
    let bare = cli.run(&["revert", "a"]).await;
    bare.assert_code(2)
        .assert_says(&["nothing was written", "`ifmatch log a`", "a@REVISION"]);
    cli.run(&["revert", "a@0", "--force"]).await.assert_code(3);
    cli.run(&["revert", "a@9", "--force"]).await.assert_code(1);
    cli.run(&["revert", "a@2h", "--force"]).await.assert_code(3);
    cli.run(&["revert", "b@1"]).await.assert_code(3);
    assert_eq!(cli.run(&["get", "a"]).await.json()["version"], 3);
}

#[tokio::test]
async fn a_time_is_reverted_to_as_well() {
    let cli = with_versions(&[]).await;
    let second = cli.run(&["show", "a@2"]).await.json();
    let at = format!("a@{}", second["modified_at"].as_str().unwrap());
    // All three may have been written in one millisecond.
    let then = cli.run(&["show", &at]).await.json();
    let reverted = cli.run(&["revert", &at, "--force"]).await;
    assert_eq!(reverted.assert_code(0).json()["value"], then["value"]);
}

/// Runs a command on a terminal, where `answer` is typed after a question. Returns what the terminal showed.
async fn on_a_terminal(cli: &Cli, arguments: &[&str], answer: &'static str) -> (Ran, String) {
    let (person, program) = terminal();
    let mut command = cli.command(arguments);
    let side = || program.try_clone().unwrap();
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdin(side()).stdout(side()).stderr(side());
    let child = command.spawn().unwrap();
    drop((command, program));
    let typist = spawn_blocking(move || watch(person, answer));
    let ended = ran(&soon(child.wait_with_output()).await.unwrap());
    (ended, soon(typist).await.unwrap())
}

fn watch(mut person: File, answer: &str) -> String {
    let mut shown = Vec::new();
    let mut byte = [0];
    // Linux says by an error that the other side is gone.
    while person.read(&mut byte).is_ok_and(|count| count == 1) {
        shown.extend(byte);
        if shown.ends_with(b"[y/N] ") {
            writeln!(person, "{answer}").unwrap();
        }
    }
    String::from_utf8(shown).unwrap()
}

#[tokio::test]
async fn on_a_terminal_the_change_is_shown_before_it_is_made() {
    let cli = with_versions(&[]).await;
    for (answer, code, value) in [("n", 1, "3"), ("", 1, "3"), ("y", 0, "1")] {
        let (ended, shown) = on_a_terminal(&cli, &["revert", "a@1"], answer).await;
        ended.assert_code(code);
        for part in [
            "\u{1b}[31m- a  version 3, revision 3, ",
            "\u{1b}[32m+ a  version 1, revision 1, ",
            "\u{1b}[31m- 3",
            "\u{1b}[32m+ 1",
            "Revert a to revision 1? [y/N] ",
            if code == 0 {
                "reverted"
            } else {
                "nothing was written"
            },
        ] {
            assert!(shown.contains(part), "{part:?}: {shown}");
        }
        assert_eq!(cli.value("a").await, value);
    }
    let (ended, shown) = on_a_terminal(&cli, &["revert", "a@1"], "y").await;
    ended.assert_code(0);
    assert!(
        shown.contains("the current value is already the same"),
        "{shown}"
    );
    assert_eq!(cli.run(&["get", "a"]).await.json()["version"], 4);
    // What a pipe gets has no colors.
    let diff = cli.run(&["diff", "a", "-o", "text"]).await;
    assert!(!diff.assert_code(0).stdout.contains('\u{1b}'), "{diff:?}");
}

#[tokio::test]
async fn a_refused_edit_is_resumed_by_its_file_and_merged_with_what_was_saved_since() {
    let cli = Cli::start_with(&["--max-value-bytes", "200"]).await;
    cli.run(&["put", "a", r#"{"mine":1,"theirs":1}"#])
        .await
        .assert_code(0);
    // Too large to be saved.
    let step = r#"printf '{"mine":"%0300d","theirs":1}' 0 >"$1"; ifmatch patch a '{"theirs":2}'"#;
    let edited = cli.edit(&["a"], &[step]).await;
    edited
        .ran
        .assert_code(1)
        .assert_says(&["200", "edit --resume "]);
    let files = cli.kept_files();
    let file = files
        .iter()
        .find(|path| path.extension().unwrap() == "jsonc");
    let file = file.unwrap().to_str().unwrap();
    let base = std::fs::read_to_string(format!("{file}.base")).unwrap();
    let base: serde_json::Value = serde_json::from_str(&base).unwrap();
    assert_eq!(base["key"], "a");
    let kept = &base["base"];
    assert_eq!(kept["version"], 1);
    assert!(kept["etag"].as_str().unwrap().starts_with("\"1-"), "{kept}");
    assert_eq!(kept["value"], serde_json::json!({"mine": 1, "theirs": 1}));

    cli.run(&["patch", "a", r#"{"new":3}"#])
        .await
        .assert_code(0);
    let shorter = r#"sed -i 's/"mine": "0*"/"mine": 2/' "$1""#;
    let resumed = cli.edit(&["--resume", file], &[shorter]).await;
    resumed.ran.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"mine":2,"theirs":2,"new":3}"#);
    assert!(cli.kept_files().is_empty());
    cli.run(&["edit"]).await.assert_code(2);
}
