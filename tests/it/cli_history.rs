//! `log`, `show`, `diff` and `export --at`: the past on the command line.

use serde_json::{Value, json};

use crate::support::access::{ANN, Guarded};
use crate::support::cli::{Cli, Ran};
use crate::support::http;

/// A key with four changes: created, changed, deleted, reverted.
async fn with_history() -> Cli {
    let cli = Cli::start().await;
    for arguments in [
        &["put", "doc/a", r#"{"title":"Plan","tags":["x"]}"#][..],
        &["put", "doc/b", "1"],
        &["patch", "doc/a", r#"{"title":"Plan B","tags":["x","y"]}"#],
        &["rm", "doc/a", "--force"],
        &["revert", "doc/a@1"],
    ] {
        cli.run(arguments).await.assert_code(0);
    }
    cli
}

fn lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.assert_code(0).stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The words of each line of text, without the header and the time.
fn words(ran: &Ran) -> Vec<Vec<&str>> {
    let lines = ran.assert_code(0).stdout.lines().skip(1);
    let words = lines.map(|line| {
        let mut words: Vec<_> = line.split_whitespace().collect();
        words.drain(1..3);
        words
    });
    words.collect()
}

#[tokio::test]
async fn a_log_says_what_happened_the_newest_first() {
    let cli = with_history().await;
    let all = lines(&cli.run(&["log", "doc/a"]).await);
    let shown: Vec<_> = all
        .iter()
        .map(|item| {
            (
                item["revision"].as_u64().unwrap(),
                item["event"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(shown, [(5, "put"), (4, "delete"), (3, "put"), (1, "put")]);
    assert_eq!(all[0]["reverted_from"], 1);
    assert!(
        all.iter().all(|item| item.get("value").is_none()),
        "{all:?}"
    );
    let values = lines(&cli.run(&["log", "doc/a", "--values"]).await);
    assert_eq!(values[2]["value"]["title"], "Plan B");

    let text = cli.run(&["log", "doc/a", "-o", "text"]).await;
    assert_eq!(
        words(&text),
        [
            vec!["5", "anonymous", "reverted", "to", "1"],
            vec!["4", "anonymous", "deleted"],
            vec!["3", "anonymous", "changed"],
            vec!["1", "anonymous", "created"],
        ]
    );
    let text = cli
        .run(&[
            "log", "--prefix", "doc/", "-n", "4", "-o", "text", "--values",
        ])
        .await;
    assert_eq!(words(&text)[3], ["2", "anonymous", "doc/b", "created", "1"]);
    let newest = lines(&cli.run(&["log", "doc/a", "--limit", "2"]).await);
    assert_eq!(newest, all[..2]);
}

#[tokio::test]
async fn a_log_is_complete_however_many_pages_it_has() {
    let cli = Cli::start().await;
    let client = http::client();
    for number in 0..120 {
        let put = client.put(cli.server.url("/kv/a")).json(&json!(number));
        assert!(put.send().await.unwrap().status().is_success());
    }
    let values = lines(&cli.run(&["log", "a", "--values"]).await);
    let values: Vec<_> = values.iter().map(|item| item["value"].clone()).collect();
    let expected: Vec<_> = (0..120).rev().map(|number| json!(number)).collect();
    assert_eq!(values, expected);
    let some = lines(&cli.run(&["log", "a", "--values", "--limit", "70"]).await);
    assert_eq!(some.len(), 70);
}

#[tokio::test]
async fn a_log_without_a_key_is_refused_and_one_of_an_unknown_key_is_3() {
    let cli = with_history().await;
    cli.run(&["log"]).await.assert_code(2);
    cli.run(&["log", "a", "--prefix", "b"]).await.assert_code(2);
    cli.run(&["log", "none"]).await.assert_code(3);
    assert_eq!(
        lines(&cli.run(&["log", "--prefix", "none"]).await),
        Vec::<serde_json::Value>::new()
    );
}

#[tokio::test]
async fn names_are_shown_in_the_log_and_in_the_diff() {
    let guarded = Guarded::start().await;
    guarded
        .run_as(ANN, &["put", "doc/a", "1"])
        .await
        .assert_code(0);
    let log = guarded.run_as(ANN, &["log", "doc/a", "-o", "text"]).await;
    assert_eq!(words(&log), [["1", "ann", "created"]]);
    let diff = guarded.run_as(ANN, &["diff", "doc/a", "-o", "text"]).await;
    let stdout = &diff.assert_code(0).stdout;
    assert!(stdout.starts_with("- doc/a  does not exist\n+ doc/a  version 1, revision 1, "));
    assert!(
        stdout.contains(" by ann\n\nthe whole value\n+ 1\n"),
        "{stdout}"
    );
}

#[tokio::test]
async fn an_entry_is_shown_as_it_was() {
    let cli = with_history().await;
    let at = async |moment: &str| cli.run(&["show", &format!("doc/a@{moment}")]).await;
    assert_eq!(
        at("1").await.assert_code(0).json()["value"]["title"],
        "Plan"
    );
    assert_eq!(at("2").await.json()["revision"], 1);
    let changed = at("3").await.json();
    assert_eq!(changed["value"]["title"], "Plan B");
    let time = changed["modified_at"].as_str().unwrap();
    assert_eq!(at(time).await.json(), changed);
    let value = cli.run(&["show", "doc/a@3", "--value"]).await;
    assert_eq!(
        value.stdout,
        "{\"title\":\"Plan B\",\"tags\":[\"x\",\"y\"]}\n"
    );
    for moment in ["0", "4", "2h"] {
        at(moment).await.assert_code(3);
    }
    at("99")
        .await
        .assert_code(1)
        .assert_says(&["still to come"]);
    at("1x")
        .await
        .assert_code(2)
        .assert_says(&["'doc/a@1x@'", "a revision"]);
    // Without a moment it is the current entry.
    let current = cli.run(&["get", "doc/a"]).await.stdout;
    for entry in ["doc/a", "doc/a@"] {
        assert_eq!(cli.run(&["show", entry]).await.stdout, current);
    }
}

#[tokio::test]
async fn a_key_may_have_an_at_sign() {
    let cli = Cli::start().await;
    cli.run(&["put", "ann@kv.example", "1"])
        .await
        .assert_code(0);
    cli.run(&["put", "ann@kv.example", "2", "--force"])
        .await
        .assert_code(0);
    let shown = cli.run(&["show", "ann@kv.example@1"]).await;
    assert_eq!(shown.assert_code(0).json()["value"], 1);
    let diff = cli.run(&["diff", "ann@kv.example@"]).await.json();
    assert_eq!(
        diff["differences"],
        json!([{"pointer": "", "before": 1, "after": 2}])
    );
    cli.run(&["diff", "ann@kv.example"])
        .await
        .assert_code(2)
        .assert_says(&["put an @ after it: 'ann@kv.example@'"]);
}

#[tokio::test]
async fn a_diff_is_of_the_last_change_or_since_a_moment_or_of_two_keys() {
    let cli = with_history().await;
    let diff = async |arguments: &[&str]| {
        let ran = cli.run(&[&["diff"], arguments].concat()).await;
        let diff = ran.assert_code(0).json();
        let revision = |side: &str| diff[side]["revision"].as_u64().unwrap_or_default();
        (
            revision("before"),
            revision("after"),
            diff["differences"].clone(),
        )
    };
    let (before, after, differences) = diff(&["doc/a"]).await;
    assert_eq!((before, after), (0, 5), "it was deleted before");
    assert_eq!(differences[0]["after"]["title"], "Plan");
    let (before, after, differences) = diff(&["doc/a@1", "doc/a@3"]).await;
    assert_eq!((before, after), (1, 3));
    assert_eq!(
        differences,
        json!([
            {"pointer": "/title", "before": "Plan", "after": "Plan B"},
            {"pointer": "/tags/1", "after": "y"},
        ])
    );
    let (before, after, differences) = diff(&["doc/a@3"]).await;
    assert_eq!((before, after), (3, 5));
    assert_eq!(differences[1], json!({"pointer": "/tags/1", "before": "y"}));
    let (_, _, differences) = diff(&["doc/a@3", "doc/a@4"]).await;
    assert!(differences[0].get("after").is_none(), "{differences}");
    let (_, _, differences) = diff(&["doc/a", "doc/b"]).await;
    assert_eq!(differences[0]["after"], 1);
    // After the deletion of the last version, that is the last change.
    cli.run(&["rm", "doc/b", "--force"]).await.assert_code(0);
    let (before, after, _) = diff(&["doc/b"]).await;
    assert_eq!((before, after), (2, 0));
    for arguments in [
        &["diff", "none"][..],
        &["diff", "none@1"],
        &["diff", "doc/a@4", "none"],
    ] {
        cli.run(arguments).await.assert_code(3);
    }
    cli.run(&["diff", "doc/a@99"]).await.assert_code(1);
}

#[tokio::test]
async fn a_diff_for_people_has_a_block_for_each_place_and_marks_words() {
    let cli = Cli::start().await;
    let sentence = "Nobody's update gets lost, whoever saves first and whoever saves last of all.";
    let [before, after] = [("lost", 1), ("through", 2)].map(|(word, number)| {
        let text = sentence.replace("lost", word);
        let text = format!("{text}\nIt is the same here: {}", "and so on, ".repeat(20));
        json!({"short": format!("v{number}"), "text": text, "new": vec![1; number], "same": 0})
    });
    cli.run(&["put", "a", &before.to_string()])
        .await
        .assert_code(0);
    cli.run(&["put", "a", &after.to_string(), "--force"])
        .await
        .assert_code(0);
    let ran = cli.run(&["diff", "a", "-o", "text"]).await;
    let (head, blocks) = ran.assert_code(0).stdout.split_once("\n\n").unwrap();
    assert!(head.starts_with("- a  version 1, revision 1, "), "{head}");
    assert!(head.contains("\n+ a  version 2, revision 2, "), "{head}");
    assert_eq!(
        blocks,
        "/short\n- \"v1\"\n+ \"v2\"\n\
         /text\n  Nobody's update gets [-lost-]{+through+}, whoever saves first and whoever saves …\n\
         /new/1\n+ 1\n"
    );
    let same = cli.run(&["diff", "a@1", "a@1", "-o", "text"]).await;
    assert!(
        same.assert_code(0).stdout.ends_with("\nno difference\n"),
        "{same:?}"
    );
    let swapped = format!("{{\"same\":0,{}", after.to_string().trim_start_matches('{'));
    let swapped = swapped.replace(",\"same\":0}", "}");
    cli.run(&["put", "a", &swapped, "--force"])
        .await
        .assert_code(0);
    let swapped = cli.run(&["diff", "a", "-o", "text"]).await;
    let end = "\nno difference but in the order of members\n";
    assert!(swapped.assert_code(0).stdout.ends_with(end), "{swapped:?}");
}

#[tokio::test]
async fn a_diff_is_a_patch_that_makes_one_of_the_other() {
    let cli = Cli::start().await;
    let before = r#"{"a":{"b":[1,{"c":1.50},3]},"gone":1,"text":"x"}"#;
    let after = r#"{"a":{"b":[0,1,{"c":1.5},4,5]},"text":"y","n~/":[]}"#;
    cli.run(&["put", "k", before]).await.assert_code(0);
    cli.run(&["put", "k", after, "--force"])
        .await
        .assert_code(0);
    let patch = cli.run(&["diff", "k", "-o", "patch"]).await;
    let patch = &patch.assert_code(0).stdout;
    cli.run(&["put", "copy", before]).await.assert_code(0);
    cli.run_with_input(&["patch", "copy"], patch)
        .await
        .assert_code(0);
    assert_eq!(cli.value("copy").await, after);
    let none = cli.run(&["diff", "k@0", "k", "-o", "patch"]).await;
    none.assert_code(1).assert_says(&["did not exist"]);
    let same = cli.run(&["diff", "k@1", "k@1", "-o", "patch"]).await;
    assert_eq!(same.assert_code(0).stdout, "[]\n");
}

#[tokio::test]
async fn an_export_of_a_moment_has_the_entries_of_then() {
    let cli = with_history().await;
    let export = cli.run(&["export", "--at", "3"]).await;
    let exported = lines(&export);
    let keys: Vec<_> = exported
        .iter()
        .filter_map(|line| line["key"].as_str())
        .collect();
    assert_eq!(keys, ["doc/a", "doc/b"]);
    assert_eq!(exported[1]["value"]["title"], "Plan B");
    assert_eq!(exported[3], json!({"end": {"entries": 2, "revision": 3}}));
    let time = exported[2]["modified_at"].as_str().unwrap();
    let then = lines(&cli.run(&["export", "--at", time]).await);
    assert_eq!(then.last().unwrap()["end"]["revision"], 2);
    let empty = lines(&cli.run(&["export", "--at", "1h"]).await);
    assert_eq!(empty[1]["end"], json!({"entries": 0, "revision": 0}));
    cli.run(&["export", "--at", "x"]).await.assert_code(2);

    // A file of a later state is not replaced by an earlier one.
    cli.run(&["export", "-f", "all"]).await.assert_code(0);
    let earlier = cli.run(&["export", "-f", "all", "--at", "3"]).await;
    earlier
        .assert_code(1)
        .assert_says(&["it has revision 5, which is later than 3", "--force"]);
    let forced = cli
        .run(&["export", "-f", "all", "--at", "3", "--force"])
        .await;
    assert_eq!(
        forced.assert_code(0).json(),
        json!({"entries": 2, "revision": 3})
    );
}
