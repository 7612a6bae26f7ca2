//! `export` and `import`.

use std::process::Stdio;

use ifmatch::json::{self, MAX_DEPTH_LEVELS};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::support::binary::soon;
use crate::support::cli::{Cli, finish};
use crate::support::http;

/// Every key with its value, as texts.
async fn contents(cli: &Cli) -> Vec<(String, String)> {
    let listed = cli.run(&["ls"]).await;
    let entries = listed.assert_code(0).stdout.lines().map(|line| {
        let depth = MAX_DEPTH_LEVELS + 1;
        let entry = json::parse_within(line.as_bytes(), depth).unwrap();
        (
            entry["key"].as_str().unwrap().to_owned(),
            entry["value"].to_string(),
        )
    });
    entries.collect()
}

#[tokio::test]
async fn an_export_is_taken_back_by_another_service() {
    let from = Cli::start().await;
    for (key, value) in [
        (
            "doc/a",
            r#"{"n":12345678901234567890.10,"z":1,"a":[null,"\u0000\n"]}"#,
        ),
        ("doc/ü \"x\"", "null"),
        ("other", "-0.0"),
        ("deep", &("[".repeat(128) + &"]".repeat(128))),
    ] {
        from.run_with_input(&["put", key], value)
            .await
            .assert_code(0);
    }
    from.run(&["put", "other", "1E5", "--force"])
        .await
        .assert_code(0);
    let exported = from.run(&["export"]).await;
    exported.assert_code(0);
    let last = exported.stdout.lines().last().unwrap();
    assert_eq!(last, r#"{"end":{"entries":4,"revision":5}}"#);

    let to = Cli::start().await;
    let imported = to.run_with_input(&["import"], &exported.stdout).await;
    let report = json!({"created": 4, "replaced": 0, "unchanged": [], "different": []});
    assert_eq!(imported.assert_code(0).json(), report);
    assert_eq!(contents(&to).await, contents(&from).await);

    // A part of it, by a file.
    let part = from.run(&["export", "doc/", "--file", "part"]).await;
    assert_eq!(
        part.assert_code(0).json(),
        json!({"entries": 2, "revision": 5})
    );
    let to = Cli::start().await;
    let file = from.folder.path().join("part");
    to.run(&["import", file.to_str().unwrap()])
        .await
        .assert_code(0);
    let keys: Vec<_> = contents(&to)
        .await
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["doc/a", "doc/ü \"x\""]);
}

#[tokio::test]
async fn an_import_replaces_nothing_and_names_each_key_that_was_there() {
    let from = Cli::start().await;
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        from.run(&["put", key, value]).await.assert_code(0);
    }
    let export = from.run(&["export"]).await.stdout;
    let to = Cli::start().await;
    for (key, value) in [("a", "1"), ("b", "\"mine\""), ("d", "\"mine\"")] {
        to.run(&["put", key, value]).await.assert_code(0);
    }
    let imported = to.run_with_input(&["import"], &export).await;
    let report = json!({"created": 1, "replaced": 0, "unchanged": ["a"], "different": ["b", "d"]});
    assert_eq!(imported.assert_code(4).json(), report);
    assert!(imported.stderr.contains("2 keys"), "{imported:?}");
    assert_eq!(to.value("b").await, "\"mine\"");
    assert_eq!(to.value("c").await, "3");

    let replaced = to
        .run_with_input(&["import", "-", "--replace"], &export)
        .await;
    let report = json!({"created": 0, "replaced": 2, "unchanged": ["a", "c"], "different": [], "changed": []});
    assert_eq!(replaced.assert_code(0).json(), report);
    assert_eq!(contents(&to).await, contents(&from).await);
}

/// Runs a command whose output nobody reads.
async fn unread(cli: &Cli, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = cli.command(arguments);
    command.stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let output = soon(child.wait_with_output()).await.unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn what_an_import_left_unchanged_is_no_success_though_nobody_reads_the_report() {
    let cli = Cli::start().await;
    for key in ["a", "b"] {
        cli.run(&["put", key, "1"]).await.assert_code(0);
    }
    cli.run(&["export", "--file", "all"]).await.assert_code(0);
    let import = ["import", "all"];
    assert_eq!(unread(&cli, &import).await, (Some(0), String::new()));
    cli.run(&["put", "b", "2", "--force"]).await.assert_code(0);
    let (code, said) = unread(&cli, &import).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("1 key exists with another value"), "{said}");
}

#[tokio::test]
async fn an_export_that_nobody_takes_to_its_end_is_no_success() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let (code, said) = unread(&cli, &["export"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the export is incomplete"), "{said}");
}

#[tokio::test]
async fn what_is_no_whole_export_is_refused_and_nothing_written() {
    let from = Cli::start().await;
    for key in ["a", "b"] {
        from.run(&["put", key, "{}"]).await.assert_code(0);
    }
    let export = from.run(&["export"]).await.stdout;
    let lines: Vec<_> = export.lines().collect();
    let [head, a, b, end] = lines[..] else {
        panic!("{export}");
    };
    let to = Cli::start().await;
    for (bad, reason) in [
        (String::new(), "does not begin"),
        (format!("{a}\n{b}\n{end}\n"), "does not begin"),
        (format!("{head}\n{a}\n{b}\n"), "cut off"),
        (format!("{head}\n{a}\n{}", &b[..20]), "line 3"),
        (format!("{head}\n{a}\n{end}\n"), "1 entry"),
        (format!("{head}\n{a}\n{a}\n{end}\n"), "duplicate key a"),
        (format!("{head}\n{a}\n{b}\n{end}\n{b}\n"), "line 5"),
        (format!("{head}\n{a}\n[]\n{end}\n"), "line 3"),
        (
            format!("{head}\n{a}\n{}\n{end}\n", b.replace("\"b\"", "\"../b\"")),
            "line 3",
        ),
        (
            format!("{}\n{a}\n{b}\n{end}\n", head.replace(":1", ":2")),
            "format 2",
        ),
    ] {
        let ran = to.run_with_input(&["import"], &bad).await;
        ran.assert_code(1);
        assert!(ran.stderr.contains(reason), "{reason}: {ran:?}");
        assert!(ran.stderr.contains("nothing was written"), "{ran:?}");
    }
    assert_eq!(contents(&to).await, []);
    // What editors and other systems do to line ends is no harm.
    let with_returns = export.replace('\n', "\r\n") + "\r\n";
    to.run_with_input(&["import"], &with_returns)
        .await
        .assert_code(0);
    assert_eq!(contents(&to).await.len(), 2);
}

#[tokio::test]
async fn an_import_that_stops_says_where_and_can_be_run_again() {
    let from = Cli::start().await;
    let large = format!("\"{}\"", "x".repeat(200));
    for (key, value) in [("a", "1"), ("b", large.as_str()), ("c", "3")] {
        from.run(&["put", key, value]).await.assert_code(0);
    }
    let export = from.run(&["export"]).await.stdout;
    let to = Cli::start_with(&["--max-value-bytes", "100"]).await;
    let ran = to.run_with_input(&["import"], &export).await;
    ran.assert_code(1);
    assert!(
        ran.stderr.contains("ifmatch: b: ") && ran.stderr.contains("of 3 entries were written"),
        "{ran:?}"
    );
    let mended = export.replace(&large, "2");
    let again = to.run_with_input(&["import"], &mended).await;
    again.assert_code(0);
    assert_eq!(contents(&to).await.len(), 3);
}

#[tokio::test]
async fn a_failed_export_leaves_the_file_as_it_was() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let file = cli.folder.path().join("backup");
    std::fs::write(&file, "before").unwrap();
    cli.run(&["export", "--file", "none/backup"])
        .await
        .assert_code(1);
    let mut command = cli.command(&["export", "--file", "backup"]);
    command.env("IFMATCH_SERVER", "http://127.0.0.1:1");
    finish(command).await.assert_code(1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    let names = || std::fs::read_dir(cli.folder.path()).unwrap().count();
    let before = names();
    std::os::unix::fs::symlink("backup", cli.folder.path().join("link")).unwrap();
    cli.run(&["export", "--file", "link", "--force"])
        .await
        .assert_code(0);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .ends_with("\"revision\":1}}\n")
    );
    assert_eq!(names(), before + 1, "nothing else is left there");
    // A device is written to, and stays one.
    cli.run(&["export", "--file", "/dev/null"])
        .await
        .assert_code(0);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[tokio::test]
async fn an_export_shows_one_moment_however_long_it_takes() {
    let cli = Cli::start().await;
    let client = http::client();
    let keys: Vec<_> = (0..100).map(|n| format!("many/{n:03}")).collect();
    let write_all = async |number: u32| {
        let value = json!([number, "x".repeat(20_000)]);
        let put = |key: &String| json!({"op": "put", "key": key, "value": value});
        let operations: Vec<_> = keys.iter().map(put).collect();
        let post = client.post(cli.server.url("/transactions"));
        let body = json!({"operations": operations}).to_string();
        let post = post.header("content-type", "application/json").body(body);
        assert_eq!(post.send().await.unwrap().status(), 200);
    };
    write_all(0).await;
    // The pipe is full long before the end, and then everything changes.
    let mut child = cli
        .command(&["export"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut exported = vec![0; 1000];
    soon(stdout.read_exact(&mut exported)).await.unwrap();
    write_all(1).await;
    soon(stdout.read_to_end(&mut exported)).await.unwrap();
    assert!(soon(child.wait()).await.unwrap().success());
    let lines = String::from_utf8(exported).unwrap();
    let entries: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let end = entries.last().unwrap();
    assert_eq!(*end, json!({"end": {"entries": 100, "revision": 1}}));
    assert!(entries[1..101].iter().all(|entry| entry["value"][0] == 0));
}

#[tokio::test]
async fn an_export_replaces_only_an_export_of_the_same_prefix() {
    let cli = Cli::start().await;
    for key in ["doc/a", "other"] {
        cli.run(&["put", key, "1"]).await.assert_code(0);
    }
    let file = |name: &str| cli.folder.path().join(name);
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    std::fs::write(file("notes"), "mine").unwrap();
    std::fs::write(file("empty"), "").unwrap();
    cli.run(&["export", "--file", "all"]).await.assert_code(0);
    cli.run(&["export", "--file", "empty"]).await.assert_code(0);
    let all = read("all");
    for (arguments, name, reason) in [
        (&["--file", "notes"][..], "notes", "is not an export"),
        (&["doc/", "--file", "all"], "all", "of the prefix"),
        (&["--file", "data.json"], "data.json", "is not an export"),
    ] {
        let before = read(name);
        let ran = cli.run(&[&["export"], arguments].concat()).await;
        ran.assert_code(1)
            .assert_says(&[name, reason, "left unchanged", "--force"]);
        assert_eq!(read(name), before);
    }
    // Nor is one with entries replaced by one without, after a slip or a loss.
    for key in ["doc/a", "other"] {
        cli.run(&["rm", key, "--force"]).await.assert_code(0);
    }
    let ran = cli.run(&["export", "--file", "all"]).await;
    assert!(ran.assert_code(1).stderr.contains("no entry"), "{ran:?}");
    assert_eq!(read("all"), all);
    cli.run(&["export", "--file", "all", "--force"])
        .await
        .assert_code(0);
    assert!(read("all").contains("\"entries\":0"));
}

#[tokio::test]
async fn an_export_of_a_service_that_has_lost_its_data_does_not_replace_the_one_before() {
    let cli = Cli::start().await;
    for key in ["a", "b"] {
        cli.run(&["put", key, "1"]).await.assert_code(0);
    }
    let backup = cli.folder.path().join("backup");
    let export = ["export", "--file", backup.to_str().unwrap()];
    for _ in 0..2 {
        cli.run(&export).await.assert_code(0);
    }
    let before = std::fs::read_to_string(&backup).unwrap();
    let other = Cli::start().await;
    other.run(&["put", "a", "1"]).await.assert_code(0);
    let ran = other.run(&export).await;
    ran.assert_code(1)
        .assert_says(&["revision 2", "only at 1", "left unchanged", "--force"]);
    assert_eq!(std::fs::read_to_string(&backup).unwrap(), before);
    other
        .run(&[&export[..], &["--force"]].concat())
        .await
        .assert_code(0);
}

#[tokio::test]
async fn an_import_replaces_conditionally_also_where_tags_are_required() {
    for flags in [&[][..], &["--require-preconditions"]] {
        let cli = Cli::start_with(flags).await;
        for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
            cli.run(&["put", key, value]).await.assert_code(0);
        }
        let export = cli.run(&["export"]).await.stdout;
        cli.run(&["put", "b", "\"other\"", "--force"])
            .await
            .assert_code(0);
        cli.run(&["rm", "c", "--force"]).await.assert_code(0);
        let import = ["import", "--replace"];
        let ran = cli.run_with_input(&import, &export).await;
        let report = json!({"created": 1, "replaced": 1, "unchanged": ["a"], "different": [], "changed": []});
        assert_eq!(ran.assert_code(0).json(), report);
        assert_eq!(cli.value("b").await, "2");
        // What says the same already is not written again.
        let before = cli.run(&["ls"]).await.stdout;
        let again = cli.run_with_input(&import, &export).await;
        let same = json!(["a", "b", "c"]);
        assert_eq!(again.assert_code(0).json()["unchanged"], same);
        assert_eq!(cli.run(&["ls"]).await.stdout, before);
    }
}

#[tokio::test]
async fn a_member_that_is_there_twice_is_not_imported() {
    let cli = Cli::start().await;
    let export = "{\"export\":{\"format\":1,\"prefix\":\"\"}}\n{\"key\":\"a\",\"value\":{\"x\":1,\"x\":2}}\n{\"end\":{\"entries\":1,\"revision\":1}}\n";
    let ran = cli.run_with_input(&["import"], export).await;
    ran.assert_code(1)
        .assert_says(&["line 2", "\"x\" appears twice", "nothing was written"]);
    cli.run(&["get", "a"]).await.assert_code(3);
}
