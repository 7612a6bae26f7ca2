//! `edit`: an editor that follows a script, and others who write meanwhile.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::cli::{Cli, Script, finish};

/// An editor's step that leaves, of each overlap, what was typed here.
const TAKE_MINE: &str = r#"sed -i -e '/^|||||||/,/^>>>>>>>/d' -e '/^<<<<<<</d' "$1""#;
/// The same for what stands there.
const TAKE_THEIRS: &str = r#"sed -i -e '/^<<<<<<</,/^=======/d' -e '/^>>>>>>>/d' "$1""#;

async fn with(key: &str, value: &str) -> Cli {
    let cli = Cli::start().await;
    cli.run(&["put", key, value]).await.assert_code(0);
    cli
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[tokio::test]
async fn what_was_typed_is_saved_with_every_digit() {
    let cli = with("doc/plan", r#"{"title":"Plan","n":1.10}"#).await;
    let edited = cli
        .edit(&["doc/plan"], &["sed -i 's/Plan\"/Plan B\"/' \"$1\""])
        .await;
    let saved = edited.ran.assert_code(0).json();
    assert_eq!(saved["version"], 2);
    assert_eq!(
        cli.value("doc/plan").await,
        r#"{"title":"Plan B","n":1.10}"#
    );
    let [seen] = &edited.seen[..] else {
        panic!("{edited:?}");
    };
    assert!(first_line(seen).contains("doc/plan, version 1"), "{seen}");
    assert!(
        seen.ends_with("\n{\n  \"title\": \"Plan\",\n  \"n\": 1.10\n}\n"),
        "{seen}"
    );
    assert_eq!(cli.kept_texts(), [""; 0]);
}

#[tokio::test]
async fn both_sides_of_a_place_are_marked_as_the_readme_shows() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, shown) = readme.split_once("```text\n// You").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let cli = with("doc/plan", r#"{"title":"Plan","budget":100}"#).await;
    for value in [
        r#"{"title":"Plan","budget":120}"#,
        r#"{"title":"Plan B","budget":120}"#,
    ] {
        cli.run(&["put", "doc/plan", value, "--force"])
            .await
            .assert_code(0);
    }
    let step = r#"sed -i 's/Plan B/The plan/' "$1"; ifmatch patch doc/plan '{"title":"Plan C"}'"#;
    let edited = cli.edit(&["doc/plan"], &[step, TAKE_MINE]).await;
    assert_eq!(edited.ran.assert_code(0).json()["version"], 5);
    assert_eq!(edited.seen[1], format!("// You{shown}"));
}

#[tokio::test]
async fn what_was_not_changed_is_not_written() {
    let cli = with("a", r#"{"b":1}"#).await;
    let entry = cli.run(&["get", "a"]).await.stdout;
    for step in [
        "true",
        r#"echo '{"b":   1}' >"$1""#,
        r#": >"$1""#,
        "echo >\"$1\"",
    ] {
        let edited = cli.edit(&["a"], &[step]).await;
        assert_eq!(edited.ran.assert_code(0).stdout, entry, "{step}");
        assert_eq!(cli.kept_texts(), [""; 0]);
    }
    assert_eq!(cli.run(&["get", "a"]).await.stdout, entry);
    // The order of members is part of a value.
    cli.run(&["put", "a", r#"{"b":1,"c":2}"#, "--force"])
        .await
        .assert_code(0);
    cli.edit(&["a"], &[r#"echo '{"c":2,"b":1}' >"$1""#])
        .await
        .ran
        .assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"c":2,"b":1}"#);
}

#[tokio::test]
async fn changes_in_different_places_are_put_together() {
    let cli = with("a", r#"{"mine":1,"theirs":1,"gone":1}"#).await;
    let step =
        r#"sed -i 's/"mine": 1/"mine": 2/' "$1"; ifmatch patch a '{"theirs":2,"gone":null}'"#;
    let edited = cli.edit(&["a"], &[step]).await;
    assert_eq!(edited.ran.assert_code(0).json()["version"], 3);
    assert_eq!(edited.seen.len(), 1, "the editor is not opened again");
    assert_eq!(cli.value("a").await, r#"{"mine":2,"theirs":2}"#);
}

#[tokio::test]
async fn what_both_have_changed_is_marked_and_one_chooses() {
    for (choose, value) in [
        (TAKE_MINE, r#"{"a":"mine","b":"mine","c":1,"d":2}"#),
        (TAKE_THEIRS, r#"{"a":"theirs","c":1,"d":2}"#),
    ] {
        let cli = with("k", r#"{"a":1,"b":1,"c":1}"#).await;
        let conflict = r#"
            sed -i -e 's/"a": 1/"a": "mine"/' -e 's/"b": 1/"b": "mine"/' "$1"
            ifmatch patch k '{"a":"theirs","b":null,"d":2}'"#;
        let edited = cli.edit(&["k"], &[conflict, choose]).await;
        edited.ran.assert_code(0);
        let seen = &edited.seen[1];
        for part in [
            "// You and somebody else (version 2) both changed /a, /b.",
            "<<<<<<< mine\n  \"a\": \"mine\",\n||||||| before: version 1\n  \"a\": 1,\n=======\n  \"a\": \"theirs\",\n>>>>>>> theirs: version 2\n",
            "=======\n  // nothing\n>>>>>>>",
        ] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        let saved: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&cli.value("k").await).unwrap();
        assert_eq!(json!(saved).to_string(), value);
        assert_eq!(cli.kept_texts(), [""; 0]);
    }
}

#[tokio::test]
async fn an_overlap_that_is_left_is_a_conflict_and_both_sides_are_kept() {
    let cli = with("a", "1").await;
    let conflict = r#"echo '"mine"' >"$1"; ifmatch put a '"theirs"' --force"#;
    let edited = cli.edit(&["a"], &[conflict, "true"]).await;
    edited.ran.assert_code(4);
    assert_eq!(cli.value("a").await, "\"theirs\"");
    let [kept] = &cli.kept_texts()[..] else {
        panic!("{edited:?}");
    };
    assert!(
        kept.contains("\"mine\"") && kept.contains("\"theirs\""),
        "{kept}"
    );
    assert!(
        edited.ran.stderr.contains(cli.kept().to_str().unwrap()),
        "the file is named: {edited:?}"
    );

    // Also after something that is no JSON, and by emptying it.
    for end in ["true", r#": >"$1""#] {
        let cli = with("a", "1").await;
        let broken = r#"echo '"more' >>"$1""#;
        let edited = cli.edit(&["a"], &[conflict, broken, end]).await;
        assert_ne!(edited.ran.code, 0);
        assert!(
            first_line(&edited.seen[2]).contains("marks an unresolved conflict"),
            "{edited:?}"
        );
        assert!(cli.kept_texts()[0].contains("\"mine\""), "{edited:?}");
        assert_eq!(cli.value("a").await, "\"theirs\"");
    }
}

#[tokio::test]
async fn taking_only_the_marks_away_chooses_nothing() {
    let cli = with("a", r#"{"x":1,"y":1}"#).await;
    let conflict = r#"sed -i 's/"x": 1/"x": "mine"/' "$1"; ifmatch patch a '{"x":"theirs"}'"#;
    let unmarked = r#"sed -i -e '/^[<|=>]/d' "$1""#;
    let choose = r#"sed -i '/theirs/d; /"x": 1/d' "$1""#;
    let edited = cli.edit(&["a"], &[conflict, unmarked, choose]).await;
    edited.ran.assert_code(0);
    let reason = first_line(&edited.seen[2]);
    assert!(
        reason.contains(r#"the member "x" appears twice"#),
        "{reason}"
    );
    assert_eq!(cli.value("a").await, r#"{"x":"mine","y":1}"#);
}

#[tokio::test]
async fn an_editor_that_writes_the_same_again_settles_nothing() {
    let cli = with("a", r#"{"x":1,"y":1}"#).await;
    let same = r#"echo '{"x":2,"y":1}' >"$1""#;
    let first = format!(r#"{same}; ifmatch patch a '{{"x":3,"y":9}}'"#);
    let edited = cli.edit(&["a"], &[&first, same]).await;
    edited.ran.assert_code(4);
    assert_eq!(
        cli.value("a").await,
        r#"{"x":3,"y":9}"#,
        "theirs is not undone"
    );
    assert_eq!(cli.kept_texts(), ["{\"x\":2,\"y\":1}\n"]);
    // Nor does one that writes the same broken text again, which would go on for ever.
    let broken = r#"echo '{' >"$1""#;
    let edited = cli.edit(&["a"], &[broken, broken]).await;
    edited.ran.assert_code(1);
}

#[tokio::test]
async fn what_was_typed_outlives_whatever_the_editor_does_to_the_file() {
    let cli = with("a", "1").await;
    let edited = cli
        .edit(&["a"], &[r#"echo '{"typed' >"$1""#, r#"rm "$1""#])
        .await;
    edited.ran.assert_code(1);
    assert!(cli.kept_texts()[0].contains("{\"typed"), "{edited:?}");
    for typed in [r"// typed\n", r"\377typed", r"typed\r"] {
        let cli = with("a", "1").await;
        let step = format!(r#"printf '{typed}' >"$1""#);
        let edited = cli.edit(&["a"], &[&step, "true"]).await;
        edited.ran.assert_code(1);
        let files = cli.kept_files();
        let file = files
            .iter()
            .find(|path| path.extension().unwrap() == "jsonc");
        let kept = std::fs::read(file.unwrap()).unwrap();
        assert!(kept.windows(5).any(|part| part == b"typed"), "{edited:?}");
    }
    // The line ends and marks of other systems are no harm.
    let foreign = r#"printf '\357\273\277// x\r{"b":\r2}' >"$1""#;
    let edited = cli.edit(&["a"], &[foreign]).await;
    edited.ran.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"b":2}"#);
}

#[tokio::test]
async fn a_name_with_a_line_break_can_be_settled() {
    let cli = with("a", r#"{"x\ny":1}"#).await;
    let conflict = r#"sed -i 's/: 1/: 2/' "$1"; ifmatch patch a '{"x\ny":3}'"#;
    let edited = cli.edit(&["a"], &[conflict, TAKE_MINE]).await;
    edited.ran.assert_code(0);
    assert_eq!(cli.value("a").await, r#"{"x\ny":2}"#);
}

#[tokio::test]
async fn what_is_settled_can_meet_the_next_conflict() {
    let cli = with("a", r#"{"x":1,"y":1}"#).await;
    let first = r#"sed -i 's/"x": 1/"x": 2/' "$1"; ifmatch patch a '{"x":3}'"#;
    let second = format!("{TAKE_MINE}; ifmatch patch a '{{\"x\":4,\"y\":5}}'");
    let edited = cli.edit(&["a"], &[first, &second, TAKE_MINE]).await;
    edited.ran.assert_code(0);
    assert!(edited.seen[2].contains("version 3"), "{edited:?}");
    assert_eq!(cli.value("a").await, r#"{"x":2,"y":5}"#);
}

#[tokio::test]
async fn what_is_no_json_is_opened_again_with_the_reason_above_it() {
    let cli = with("a", r#"{"b":1}"#).await;
    let broken = r#"sed -i 's/"b": 1/"b": 1x/' "$1""#;
    let mended = r#"sed -i 's/1x/2,/' "$1""#;
    let edited = cli.edit(&["a"], &[broken, mended]).await;
    edited.ran.assert_code(0);
    let reason = first_line(&edited.seen[1]);
    assert!(
        reason.starts_with("// ") && reason.contains("line 3 column 9"),
        "{reason}"
    );
    assert!(
        edited.seen[1].ends_with("\n{\n  \"b\": 1x\n}\n"),
        "{edited:?}"
    );
    assert_eq!(cli.value("a").await, r#"{"b":2}"#);

    let edited = cli.edit(&["a"], &[r#"echo "{" >"$1""#, "true"]).await;
    edited.ran.assert_code(1);
    assert!(cli.kept_texts()[0].ends_with("\n{\n"), "{edited:?}");
    assert_eq!(cli.value("a").await, r#"{"b":2}"#);
}

#[tokio::test]
async fn an_editor_that_fails_writes_nothing_and_the_text_is_kept() {
    let cli = with("a", "1").await;
    let edited = cli.edit(&["a"], &[r#"echo '"typed"' >"$1"; exit 7"#]).await;
    edited.ran.assert_code(1);
    assert_eq!(cli.kept_texts(), ["\"typed\"\n"]);
    assert!(edited.ran.stderr.contains("exit status: 7"), "{edited:?}");
    let mut command = cli.command(&["edit", "a"]);
    command.env("EDITOR", "/none/editor");
    finish(command).await.assert_code(1);
    assert_eq!(cli.value("a").await, "1");
}

#[tokio::test]
async fn what_cannot_be_saved_is_kept_and_the_command_that_is_told_saves_it() {
    let cli = with("it's", r#"{"a":1,"b":1}"#).await;
    let stop = format!(
        "sed -i 's/1/2/' \"$1\"; kill -9 {}",
        cli.server.pid().as_raw_pid()
    );
    let edited = cli.edit(&["it's"], &[&stop]).await;
    edited.ran.assert_code(1);
    assert_eq!(cli.kept_texts(), ["{\n  \"a\": 2,\n  \"b\": 2\n}\n"]);
    let command = edited
        .ran
        .stderr
        .lines()
        .last()
        .unwrap()
        .split_once(": ")
        .unwrap()
        .1;
    let arguments = command.strip_prefix("ifmatch ").unwrap().to_owned();

    let Cli { server, folder } = cli;
    let address = server.address.clone();
    server.kill().await;
    let cli = Cli::start_again(folder, &address).await;
    let mut shell = tokio::process::Command::new("sh");
    let binary = crate::support::binary::BINARY;
    shell
        .args(["-c", &format!("'{binary}' {arguments}")])
        .env("EDITOR", "true");
    finish(shell).await.assert_code(0);
    assert_eq!(cli.value("it's").await, r#"{"a":2,"b":2}"#);
    assert!(cli.kept_files().is_empty());

    // What the service refuses is kept in the same way.
    let large = r#"head -c 2000000 /dev/zero | tr '\0' 7 >"$1""#;
    let edited = cli.edit(&["it's"], &[large]).await;
    edited.ran.assert_code(1);
    assert!(cli.kept_texts().iter().any(|text| text.len() > 2_000_000));
}

#[tokio::test]
async fn an_entry_that_is_deleted_meanwhile_is_a_conflict_about_all_of_it() {
    let delete = r#"echo 2 >"$1"; ifmatch rm a --force"#;
    let cli = with("a", "1").await;
    let edited = cli.edit(&["a"], &[delete, TAKE_MINE]).await;
    assert_eq!(
        edited.ran.assert_code(0).json()["version"],
        1,
        "it is created again"
    );
    assert!(edited.seen[1].contains("the whole value"), "{edited:?}");
    assert_eq!(cli.value("a").await, "2");

    // Their deletion can be chosen, too.
    let delete = r#"echo 3 >"$1"; ifmatch rm a --force"#;
    let edited = cli.edit(&["a"], &[delete, TAKE_THEIRS]).await;
    edited.ran.assert_code(0);
    cli.run(&["get", "a"]).await.assert_code(3);

    // An editor that leaves an empty file has chosen nothing.
    let cli = with("b", "1").await;
    let delete = r#"echo 4 >"$1"; ifmatch rm b --force"#;
    let edited = cli.edit(&["b"], &[delete, r#": >"$1""#]).await;
    let said = &edited.ran.assert_code(1).stderr;
    assert!(said.contains("the text is empty"), "{said}");
    let [kept] = &cli.kept_texts()[..] else {
        panic!("{said}")
    };
    assert!(kept.contains("<<<<<<< mine\n4\n"), "{kept}");
}

#[tokio::test]
async fn a_new_entry_is_created_if_that_is_asked_for() {
    let cli = Cli::start().await;
    cli.edit(&["a"], &["true"]).await.ran.assert_code(3);
    cli.edit(&["a", "--create"], &["true"])
        .await
        .ran
        .assert_code(0);
    cli.run(&["get", "a"]).await.assert_code(3);
    let edited = cli
        .edit(&["a", "--create"], &[r#"echo '{"b":1}' >"$1""#])
        .await;
    assert_eq!(edited.ran.assert_code(0).json()["version"], 1);
    // Somebody else was first.
    let step = r#"echo '{"mine":1}' >"$1"; ifmatch put c '{"theirs":1}'"#;
    let edited = cli.edit(&["c", "--create"], &[step, TAKE_MINE]).await;
    edited.ran.assert_code(0);
    assert!(edited.seen[1].contains("\"theirs\": 1"), "{edited:?}");
    assert_eq!(cli.value("c").await, r#"{"mine":1}"#);
}

#[tokio::test]
async fn visual_comes_before_editor_and_may_have_arguments() {
    let cli = with("a", "1").await;
    let script = Script::of(&[r#"echo "\"$2\"" >"$2""#]);
    let mut command = cli.command(&["edit", "a"]);
    command
        .env("EDITOR", "false")
        .env("VISUAL", format!("'{}' --wait", script.path().display()));
    // The script takes its first argument for the file.
    let ran = finish(command).await;
    ran.assert_code(0);
    assert!(cli.value("a").await.contains("ifmatch-a-"), "{ran:?}");
}

#[tokio::test]
async fn editors_of_one_document_all_find_their_change_in_it() {
    let cli = with("a", r#"{"base":1}"#).await;
    let edits = (0..8).map(|number| {
        let step = format!(r#"sed -i 's/"base": 1/"base": 1, "e{number}": {number}/' "$1""#);
        let cli = &cli;
        async move {
            cli.edit(&["a"], &[&step]).await.ran.assert_code(0);
        }
    });
    futures_util::future::join_all(edits).await;
    let value: serde_json::Value = serde_json::from_str(&cli.value("a").await).unwrap();
    for number in 0..8 {
        assert_eq!(value[format!("e{number}")], number, "{value}");
    }
}
