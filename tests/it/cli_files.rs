//! The files that `export` and `edit` write.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::cli::{Cli, Script, finish};
use crate::support::strace::{INJECTED, RENAME, Strace, traced};

#[tokio::test]
async fn an_export_to_a_file_is_durable_when_it_is_reported() {
    if !Strace::is_usable().await {
        return;
    }
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let folder = std::fs::canonicalize(cli.folder.path()).unwrap();
    let log = folder.join("calls");
    let trace = format!("--trace=write,fsync,{RENAME}");
    let export = cli.command(&["export", "--file", "backup"]);
    let ran = finish(traced(&export, &[&trace], &log)).await;
    ran.assert_code(0);
    let calls = std::fs::read_to_string(&log).unwrap();
    let mut lines = calls.lines();
    let synced_folder = format!("<{}>)", folder.display());
    for (call, what) in [
        ("fsync(", ".tmp"),
        ("rename", "backup\""),
        ("fsync(", &synced_folder),
        ("write(1<", "entries"),
    ] {
        let is_next = |line: &str| line.contains(call) && line.contains(what);
        assert!(lines.any(is_next), "{call} {what} in this order: {calls}");
    }
}

#[tokio::test]
async fn an_export_that_cannot_be_made_durable_is_an_error() {
    if !Strace::is_usable().await {
        return;
    }
    let cli = Cli::start().await;
    let export = cli.command(&["export", "--file", "backup"]);
    let (folder, file) = (cli.folder.path(), cli.folder.path().join("backup"));
    cli.run(&["export", "--file", "backup"])
        .await
        .assert_code(0);
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let before = std::fs::read_to_string(&file).unwrap();
    for (nth, is_replaced) in [(1, false), (2, true)] {
        let inject = format!("--inject=fsync:error=EIO:when={nth}");
        let ran = finish(traced(&export, &[&inject], &folder.join("calls"))).await;
        ran.assert_code(1);
        let now = std::fs::read_to_string(&file).unwrap();
        assert_eq!(now != before, is_replaced, "{nth}");
        let is_told = ran.stderr.contains("was replaced");
        assert_eq!(is_told, is_replaced, "{ran:?}");
    }
}

#[tokio::test]
async fn an_export_keeps_the_mode_of_the_file_that_it_replaces() {
    let cli = Cli::start().await;
    let file = cli.folder.path().join("backup");
    for mode in [0o600, 0o640, 0o644] {
        cli.run(&["export", "--file", "backup", "--force"])
            .await
            .assert_code(0);
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        cli.run(&["export", "--file", "backup", "--force"])
            .await
            .assert_code(0);
        let kept = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(kept & 0o7777, mode, "{mode:o}");
    }
}

/// What a folder that cannot be synced does: the file system cannot sync it, or it may not be read.
const UNSYNCABLE: [&str; 3] = [
    "--inject=fsync:error=EINVAL",
    "--inject=fsync:error=EOPNOTSUPP",
    "--inject=openat:error=EACCES",
];

#[tokio::test]
async fn an_export_into_a_folder_that_cannot_be_synced_succeeds_with_a_warning() {
    if !Strace::is_usable().await {
        return;
    }
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let folder = cli.folder.path().join("backups");
    std::fs::create_dir(&folder).unwrap();
    let calls = cli.folder.path().join("calls");
    for inject in UNSYNCABLE {
        let export = cli.command(&["export", "--file", "backups/a"]);
        let options = ["-P", folder.to_str().unwrap(), inject];
        let ran = finish(traced(&export, &options, &calls)).await;
        assert_eq!(ran.assert_code(0).json()["entries"], 1);
        assert!(ran.stderr.contains("cannot be synced"), "{inject}: {ran:?}");
        let injected = std::fs::read_to_string(&calls).unwrap();
        assert!(injected.contains(INJECTED), "{inject}: {injected}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_file(folder.join("a")).unwrap();
    }
}

#[tokio::test]
async fn an_edit_whose_folder_cannot_be_synced_goes_on() {
    if !Strace::is_usable().await {
        return;
    }
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let calls = cli.folder.path().join("calls");
    for (inject, value) in UNSYNCABLE.into_iter().zip(["2", "3", "4"]) {
        let script = Script::of(&[&format!("echo {value} >\"$1\"")]);
        let mut edit = cli.command(&["edit", "a"]);
        script.be_editor_of(&mut edit);
        let kept = cli.kept();
        let options = ["-P", kept.to_str().unwrap(), inject];
        let ran = finish(traced(&edit, &options, &calls)).await;
        ran.assert_code(0);
        assert_eq!(cli.value("a").await, value, "{inject}");
    }
}

/// Root reads it nevertheless.
#[tokio::test]
async fn a_folder_that_may_only_be_written_to_takes_exports_and_drafts() {
    let cli = Cli::start().await;
    cli.run(&["put", "a", "1"]).await.assert_code(0);
    let kept = cli.kept();
    let set_mode = |mode| std::fs::set_permissions(&kept, Permissions::from_mode(mode)).unwrap();
    set_mode(0o300);
    let exported = cli.run(&["export", "--file", "kept/backup"]).await;
    let edited = cli.edit(&["a"], &["echo 2 >\"$1\""]).await;
    set_mode(0o700);
    exported.assert_code(0);
    edited.ran.assert_code(0);
    assert_eq!(cli.value("a").await, "2");
}

#[tokio::test]
async fn an_export_takes_any_file_name_that_the_file_system_takes() {
    let cli = Cli::start().await;
    for name in ["a".repeat(248), "ü".repeat(127)] {
        for _ in 0..2 {
            let ran = cli.run(&["export", "--file", &name, "--force"]).await;
            ran.assert_code(0);
        }
        assert!(cli.folder.path().join(name).exists());
    }
}
