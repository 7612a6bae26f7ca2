//! `import` writes many entries in one transaction, and reports each of them as if it had been written alone.

use axum::http::{StatusCode, Uri};
use axum::routing::any;
use serde_json::{Value, json};

use crate::support::cli::{Cli, ask, empty_server, export_of, file_with};

/// How many commits the service has made.
async fn revision(cli: &Cli) -> u64 {
    let exported = cli.run(&["export", "none/"]).await.stdout;
    let end: Value = serde_json::from_str(exported.lines().last().unwrap()).unwrap();
    end["end"]["revision"].as_u64().unwrap()
}

#[tokio::test]
async fn an_entry_that_conflicts_is_named_and_those_with_it_are_written() {
    let cli = Cli::start().await;
    for (key, value) in [("i/7", "7"), ("i/100", "0"), ("i/249", "0")] {
        cli.run(&["put", key, value]).await.assert_code(0);
    }
    let export = export_of(250);
    let imported = cli.run_with_input(&["import"], &export).await;
    let report = json!({
        "created": 247, "replaced": 0, "unchanged": ["i/7"], "different": ["i/100", "i/249"],
    });
    assert_eq!(imported.assert_code(4).json(), report);
    assert_eq!(cli.value("i/100").await, "0");
    assert_eq!(cli.value("i/99").await, "99");
    let commits = revision(&cli).await;
    assert!(commits < 10, "{commits}");

    let replaced = cli.run_with_input(&["import", "--replace"], &export).await;
    let report = replaced.assert_code(0).json();
    assert_eq!(
        (&report["created"], &report["replaced"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(report["unchanged"].as_array().unwrap().len(), 248);
    assert_eq!(cli.value("i/249").await, "249");
    assert_eq!(cli.run(&["get", "i/7"]).await.json()["version"], 1);
}

#[tokio::test]
async fn what_is_refused_for_its_size_is_written_in_parts() {
    // A transaction may have eight times as much.
    let cli = Cli::start_with(&["--max-value-bytes", "100"]).await;
    let imported = cli.run_with_input(&["import"], &export_of(250)).await;
    assert_eq!(imported.assert_code(0).json()["created"], 250);
    assert_eq!(cli.value("i/249").await, "249");
    let commits = revision(&cli).await;
    assert!((15..125).contains(&commits), "{commits}");
}

#[tokio::test]
async fn the_entry_that_is_the_reason_of_a_refusal_is_named() {
    let cli = Cli::start_with(&["--max-value-bytes", "1000"]).await;
    let large = format!("\"{}\"", "x".repeat(1000));
    let export = export_of(150).replace(":77}", &format!(":{large}}}"));
    let stopped = cli.run_with_input(&["import"], &export).await;
    stopped
        .assert_code(1)
        .assert_says(&["ifmatch: i/77: ", "of 150 entries were written"]);
    cli.run(&["get", "i/77"]).await.assert_code(3);
    let rest = cli.run_with_input(&["import"], &export_of(150)).await;
    rest.assert_code(0);
    let listed = cli.run(&["ls", "i/"]).await.stdout;
    assert_eq!(listed.matches("\"version\":1,").count(), 150);
}

#[tokio::test]
async fn a_conflict_whose_entry_is_hidden_is_reported_without_it() {
    let address = empty_server(any(async |uri: Uri| {
        let failed = json!([{"index": 1, "key": "i/1"}, {"index": 0, "key": "i/0"}]);
        let mut body = json!({"error": "precondition_failed", "message": "it is hidden"});
        if uri.path() == "/transactions" {
            body["failed"] = failed;
        }
        (StatusCode::PRECONDITION_FAILED, axum::Json(body))
    }))
    .await;
    let export = file_with(&export_of(2));
    let export = export.to_str().unwrap();
    let imported = ask(&address, &["import", export]).await;
    let different = json!(["i/0", "i/1"]);
    assert_eq!(imported.assert_code(4).json()["different"], different);
    let replaced = ask(&address, &["import", export, "--replace"]).await;
    replaced.assert_code(4).assert_says(&[
        "ifmatch: i/",
        ": conflict: it is hidden",
        "0 of 2 entries were written",
    ]);
}

#[tokio::test]
async fn a_conflict_that_names_other_operations_is_not_believed() {
    for failed in [
        json!([]),
        json!([{"index": 2, "key": "i/0", "current": null}]),
        json!([{"index": 0, "key": "i/1", "current": null}]),
        json!("all"),
    ] {
        let address = empty_server(any(async move |uri: Uri| {
            if uri.path() != "/transactions" {
                return (StatusCode::NOT_FOUND, "<html>".to_owned());
            }
            let body = json!({"error": "precondition_failed", "message": "m", "failed": failed});
            (StatusCode::PRECONDITION_FAILED, body.to_string())
        }))
        .await;
        let export = file_with(&export_of(2));
        let ran = ask(&address, &["import", export.to_str().unwrap()]).await;
        ran.assert_code(1)
            .assert_says(&["ifmatch: i/", "not from ifmatch"]);
    }
}
