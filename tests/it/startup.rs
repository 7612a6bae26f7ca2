//! How it starts, and why it does not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use clap::CommandFactory as _;
use ifmatch::config::Config;
use serde_json::Value;

use crate::support::access::lines;
use crate::support::binary::{BINARY, MODES, Process, bare_command, command, run, soon};
use crate::support::http;
use crate::support::mounts::BoundFile;
use crate::support::segments::{keeps_history, keeps_journal, segments};
use crate::support::strace::Strace;
use crate::support::tls::Authority;

/// Everything that the store has a name for beside its temporary files.
const NAMES: [&str; 4] = [
    "data.json",
    "data.json.journal",
    "data.json.commits.00000001",
    "data.json.lock",
];
const EMPTY: &str = "{\"format\":1,\"revision\":0,\"entries\":{}}";

/// Asserts a start that failed with one sentence, and returns that.
#[track_caller]
fn assert_refused(output: &Output) -> String {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(
        !message.contains("panicked") && !message.contains("RUST_BACKTRACE"),
        "{message}"
    );
    assert!(!message.trim().is_empty());
    message
}

async fn put(process: &Process, key: &str, value: u32) {
    let client = http::client();
    let url = process.url(&format!("/kv/{key}"));
    let answer = client.put(url).json(&value).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Process::start(folder.path(), &[]).await;
    let link = folder.path().join("link.json");
    put(&first, "a", 1).await;
    symlink(folder.path().join("data.json"), &link).unwrap();
    let mut through_link = bare_command(BINARY);
    through_link
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(&link);
    let mut directly = command(folder.path());
    directly.args(["--listen", "127.0.0.1:0"]);
    for second in [directly, through_link] {
        let message = assert_refused(&run(second).await);
        assert!(
            message.contains("data.json is in use by another process"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    put(&first, "a", 2).await;
    first.stop().await;
    let third = Process::start(folder.path(), &[]).await;
    put(&third, "a", 3).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_loaded_stops_the_start_and_stays_as_it_is() {
    let whole = "{\"format\":1,\"revision\":1,\"entries\":{\n\"a\":{\"value\":1,\"version\":1,\
                 \"revision\":1,\"modified_at\":\"2026-11-23T10:00:00.000Z\"}\n}}\n";
    for (content, place) in [
        (String::new(), "line 1 column 0"),
        (whole[..60].to_owned(), "line 2 column"),
        (
            whole.replace("\"version\":1", "\"version\":x"),
            "line 2 column 26",
        ),
        (
            whole.replace("\"format\":1", "\"format\":2"),
            "line 1 column 1",
        ),
        (format!("{whole}{whole}"), "line 4 column 1"),
        ("\u{0}\u{1}".to_owned(), "line 1 column 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.json");
        fs::write(&file, &content).unwrap();
        let output = run(command(folder.path())).await;
        assert_eq!(output.status.code(), Some(1));
        let message = assert_refused(&output);
        assert!(message.contains("data.json cannot be loaded"), "{message}");
        assert!(message.contains(place), "{content}: {message}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[tokio::test]
async fn only_its_own_leftovers_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let others = [
        ".data.json.x.AbC123.tmp",
        ".data.json.AbC12.tmp",
        ".data.json.AbC1234.tmp",
        "data.json.AbC123.tmp",
        ".other.json.AbC123.tmp",
        "data.json.bak",
    ];
    fs::write(file(".data.json.AbC123.tmp"), "{\"format\":1,").unwrap();
    for name in others {
        fs::write(file(name), "not ours").unwrap();
    }
    let _process = Process::start(folder.path(), &[]).await;
    assert!(!file(".data.json.AbC123.tmp").exists());
    for name in others {
        assert!(file(name).exists(), "{name}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode() {
    for flags in MODES {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.json");
        let mut command = bare_command("sh");
        let started = "umask 000; exec \"$0\" \"$@\"";
        command.args(["-c", started, BINARY, "--listen", "127.0.0.1:0", "--data"]);
        command.arg(&data).args(flags);
        let process = Process::spawn(command).await;
        put(&process, "a", 1).await;
        put(&process, "a", 2).await;
        let has_log = keeps_history(flags) || keeps_journal(flags);
        assert_eq!(!segments(folder.path()).is_empty(), has_log, "{flags:?}");
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        for chosen in [0o640, 0o664, 0o644] {
            fs::set_permissions(&data, Permissions::from_mode(chosen)).unwrap();
            put(&process, "a", chosen).await;
            assert_eq!(mode(&data), chosen);
        }
    }
}

/// Nobody else may read a value, not even before a file has its name.
#[tokio::test]
async fn no_file_is_for_more_people_than_the_data_file_when_it_is_created() {
    if !Strace::is_usable().await {
        return;
    }
    for mode in [&["--journal-above", "0"][..], &["--journal-above", "never"]] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.json");
        fs::write(&data, EMPTY).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o600)).unwrap();
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut command = bare_command("sh");
        let traced = "umask 000; exec strace -D -f --trace=open,openat,creat -o \"$@\"";
        command.args(["-c", traced, "sh"]).arg(trace.path());
        command.args([BINARY, "--listen", "127.0.0.1:0", "--data"]);
        command.arg(&data).args(mode);
        let process = Process::spawn(command).await;
        for key in ["a", "b", "c"] {
            put(&process, key, 1).await;
        }
        let pid = process.pid().as_raw_nonzero().to_string();
        assert!(process.stop().await.status.success());
        let calls = soon(async {
            // Short numbers are padded.
            let ended =
                |line: &str| line.starts_with(&format!("{pid} ")) && line.contains("+++ exited");
            loop {
                let calls = fs::read_to_string(trace.path()).unwrap();
                if calls.lines().any(ended) {
                    break calls;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        let inside = folder.path().to_str().unwrap();
        let created: Vec<_> = calls
            .lines()
            .filter(|line| line.contains(inside) && line.contains("O_CREAT"))
            .collect();
        for name in ["data.json.lock", ".data.json."] {
            assert!(
                created.iter().any(|line| line.contains(name)),
                "{name}: {created:#?}"
            );
        }
        for line in created {
            assert!(line.contains(", 0600)"), "{line}");
        }
    }
}

/// Under the name of each file something that is none. It must not be waited for, either.
#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once() {
    for name in NAMES {
        for kind in ["a folder", "a FIFO", "a socket", "a device"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            let mut socket = None;
            match kind {
                "a folder" => fs::create_dir(&path).unwrap(),
                "a FIFO" => {
                    let mut mkfifo = bare_command("mkfifo");
                    mkfifo.arg(&path);
                    assert!(run(mkfifo).await.status.success());
                }
                "a socket" => socket = Some(UnixListener::bind(&path).unwrap()),
                _ => symlink("/dev/null", &path).unwrap(),
            }
            let mut command = command(folder.path());
            command.args(["--listen", "127.0.0.1:0"]);
            let message = assert_refused(&run(command).await);
            let said = format!("it is {kind} and not a regular file");
            assert!(message.contains(&said), "{name}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
            drop(socket);
        }
    }
}

#[tokio::test]
async fn a_file_with_another_name_is_refused_because_others_could_write_it() {
    for name in &NAMES[..3] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, EMPTY).unwrap();
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        let mut command = command(folder.path());
        command.args(["--listen", "127.0.0.1:0"]);
        let message = assert_refused(&run(command).await);
        assert!(
            message.contains(&format!("{name} cannot be used: it has 2 names")),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), EMPTY);
    }
}

#[tokio::test]
async fn a_file_that_is_mounted_by_itself_is_refused() {
    for name in NAMES {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = elsewhere.path().join("source.json");
        let path = folder.path().join(name);
        for file in [&source, &path] {
            fs::write(file, EMPTY).unwrap();
        }
        let Some(_bound) = BoundFile::mount(&source, &path) else {
            return;
        };
        let mut command = command(folder.path());
        command.args(["--listen", "127.0.0.1:0"]);
        let message = assert_refused(&run(command).await);
        assert!(
            message.contains(&format!("{name} cannot be used: it is a mount of its own")),
            "{message}"
        );
        assert!(message.contains("mount its folder"), "{message}");
        assert_eq!(fs::read_to_string(&source).unwrap(), EMPTY);
    }
}

#[tokio::test]
async fn behind_a_symbolic_link_the_file_itself_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("real.json");
    fs::write(&target, "{\"format\":1,\"revision\":0,\"entries\":{}}").unwrap();
    let link = folder.path().join("data.json");
    symlink(&target, &link).unwrap();
    let process = Process::start(folder.path(), &[]).await;
    put(&process, "a", 1).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("\"a\""));
    process.stop().await;

    // Also where the file is yet to be created, and the link is relative.
    fs::remove_file(&target).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("new.json", &link).unwrap();
    let process = Process::start(folder.path(), &[]).await;
    put(&process, "b", 1).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let created = fs::read_to_string(folder.path().join("new.json")).unwrap();
    assert!(created.contains("\"b\""));
}

#[tokio::test]
async fn what_it_cannot_work_with_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = ["--listen", "127.0.0.1:0"];
    for (at, arguments, environment, said) in [
        (
            folder.path(),
            vec!["--listen", &taken],
            None,
            taken.as_str(),
        ),
        (folder.path(), vec!["--listen", "nowhere"], None, "nowhere"),
        (missing.as_path(), free.to_vec(), None, "missing/data.json"),
        (Path::new("/proc"), free.to_vec(), None, "/proc/data.json"),
        (
            folder.path(),
            vec!["--request-timeout", "soon"],
            None,
            "--request-timeout",
        ),
        (
            folder.path(),
            vec!["--max-value-bytes", "0"],
            None,
            "--max-value-bytes",
        ),
        (folder.path(), vec!["--colour"], None, "--colour"),
        (
            folder.path(),
            free.to_vec(),
            Some(("RUST_LOG", "ifmatch=loud")),
            "RUST_LOG",
        ),
        (
            folder.path(),
            vec![],
            Some(("IFMATCH_SHUTDOWN_GRACE", "1")),
            "--shutdown-grace",
        ),
    ] {
        let mut command = command(at);
        command.args(&arguments).envs(environment);
        let message = assert_refused(&run(command).await);
        assert!(message.contains(said), "{arguments:?}: {message}");
    }
    let mut on_folder = bare_command(BINARY);
    on_folder.args(free).arg("--data").arg(folder.path());
    let message = assert_refused(&run(on_folder).await);
    assert!(message.contains("not a regular file"), "{message}");
    let mut lock = folder.path().as_os_str().to_owned();
    lock.push(".lock");
    assert!(!Path::new(&lock).exists(), "a lock is left behind");
}

#[tokio::test]
async fn help_names_every_flag_with_its_variable_and_its_default() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.arg("--help");
    let output = run(command).await;
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in Config::command().get_arguments() {
        let name = flag.get_long().unwrap();
        let variable = flag.get_env().unwrap().to_str().unwrap();
        let defaults = flag.get_default_values().iter();
        let default = defaults.map(|value| format!("[default: {}]", value.to_str().unwrap()));
        let parts = [format!("--{name}"), format!("[env: {variable}")];
        for part in parts.into_iter().chain(default) {
            assert!(help.contains(&part), "{part}: {help}");
        }
    }
}

#[tokio::test]
async fn environment_variables_are_flags() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("elsewhere.json");
    let mut command = bare_command(BINARY);
    command
        .env("IFMATCH_LISTEN", "127.0.0.1:0")
        .env("IFMATCH_DATA", &data)
        .env("IFMATCH_REQUIRE_PRECONDITIONS", "1")
        .env("IFMATCH_MAX_VALUE_BYTES", "10");
    let process = Process::spawn(command).await;
    let put = |value: &'static str| {
        let put = http::client().put(process.url("/kv/a"));
        put.header("content-type", "application/json").body(value)
    };
    assert_eq!(put("1").send().await.unwrap().status(), 428);
    let created = put("1").header("if-none-match", "*").send().await.unwrap();
    assert_eq!(created.status(), 201);
    let large = put("12345678901")
        .header("if-match", "*")
        .send()
        .await
        .unwrap();
    assert_eq!(large.status(), 413);
    assert!(data.exists());
}

#[tokio::test]
async fn the_first_line_names_the_address_and_logs_go_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--log-format", "json"]).await;
    let announced = format!("listening on http://{}\n", process.address);
    assert_eq!(process.announced, announced);
    assert!(!process.address.ends_with(":0"));
    put(&process, "a", 1).await;
    let ended = process.stop().await;
    assert_eq!(ended.stdout, "");
    let lines: Vec<Value> = ended
        .log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let messages: Vec<_> = lines
        .iter()
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(
        messages,
        [
            "there is no data file yet; the first write creates it",
            "started",
            "draining",
            "stopped",
        ],
        "requests are not logged"
    );
}

#[tokio::test]
async fn at_debug_each_request_is_logged_with_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command
        .args(["--listen", "127.0.0.1:0", "--log-format", "json"])
        .env("RUST_LOG", "ifmatch=debug");
    let process = Process::spawn(command).await;
    let answer = http::client()
        .get(process.url("/kv/nothing"))
        .header("x-request-id", "from-a-test")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "from-a-test");
    let ended = process.stop().await;
    let request = ended
        .log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["request_id"] == "from-a-test")
        .unwrap_or_else(|| panic!("{}", ended.log));
    assert_eq!(request["level"], "DEBUG");
    assert_eq!(request["method"], "GET");
    assert_eq!(request["path"], "/kv/nothing");
    assert_eq!(request["status"], 404);
    assert!(request["latency"].is_string());
}

#[tokio::test]
async fn a_failure_of_the_service_is_logged_once_with_its_cause() {
    let home = tempfile::tempdir().unwrap();
    let (folder, away) = (home.path().join("data"), home.path().join("away"));
    fs::create_dir(&folder).unwrap();
    let process = Process::start(&folder, &["--log-format", "json"]).await;
    fs::rename(&folder, &away).unwrap();
    let url = process.url("/kv/a");
    let answer = http::client().put(url).json(&1).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let ended = process.stop().await;
    let failures: Vec<Value> = ended
        .log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(failures.len(), 1, "{}", ended.log);
    assert_eq!(failures[0]["status"], 500);
    assert_eq!(failures[0]["path"], "/kv/a");
    let cause = failures[0]["cause"].as_str().unwrap();
    assert!(cause.contains("No such file"), "{cause}");
}

#[tokio::test]
async fn the_first_lines_say_where_a_new_file_will_be_and_who_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    fs::create_dir(root.join("of data")).unwrap();
    let token = |name: &str| lines(name, name, "allow = []");
    fs::write(root.join("tokens.toml"), token("ann") + &token("ben")).unwrap();
    let authority = Authority::new("ours");
    authority.issue().write(&root);
    let tls = ["--tls-cert", "tls.crt", "--tls-key", "tls.key"];
    for (flags, said) in [
        (&[][..], "tls=false tokens=0 anonymous=\"write\""),
        (
            &["--anonymous", "read"],
            "tls=false tokens=0 anonymous=\"read\"",
        ),
        (
            &["--tokens", "tokens.toml"],
            "tls=false tokens=2 anonymous=\"nothing\"",
        ),
        (&tls, "tls=true tokens=0 anonymous=\"write\""),
    ] {
        let data = root.join("of data/data.json");
        let mut command = bare_command(BINARY);
        command.current_dir(&root).args(flags);
        command.args(["--listen", "127.0.0.1:0", "--data", "of data/data.json"]);
        let log = Process::spawn(command).await.stop().await.log;
        let started = log.lines().find(|line| line.contains("started")).unwrap();
        assert!(started.contains(said), "{said}: {started}");
        let new = log.lines().find(|line| line.contains("no data file yet"));
        let path = data.to_str().unwrap();
        assert!(new.is_some_and(|line| line.contains(path)), "{log}");
    }
    fs::write(root.join("data.json"), EMPTY).unwrap();
    let log = Process::start(&root, &[]).await.stop().await.log;
    assert!(!log.contains("no data file yet"), "{log}");
}
