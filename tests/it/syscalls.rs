//! System calls on the data that fail, one by one: nobody is told what is not so, reads go on, and
//! when the fault is over so do writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::binary::{MODES, Process, in_each_mode};
use crate::support::http;
use crate::support::segments::{history_in, keeps_history, keeps_journal, segments};
use crate::support::strace::{Fault, INJECTED, RENAME, Strace};
use crate::support::writers::{Working, Writers, random_below, shown_entries};

const WRITERS: usize = 4;
/// How many writes must succeed once a fault is over.
const AFTERWARDS: u64 = 8;

/// Calls that a running service makes only for its data. A write is one only to the log: the
/// runtime writes as well, to wake its threads. The other files that are written have names that
/// nobody knows before; `a_file_that_may_not_grow_refuses_and_loses_nothing` is for these.
const CALLS: [&str; 6] = ["openat", "fsync", "fdatasync", RENAME, "ftruncate", WRITE];
const WRITE: &str = "write,pwrite64";
/// What `mode` makes in any case.
fn sure_calls(mode: &[&str]) -> &'static [&'static str] {
    match (keeps_journal(mode), keeps_history(mode)) {
        (true, _) => &[WRITE, "fdatasync"],
        (false, true) => &["openat", "fsync", RENAME, WRITE, "fdatasync"],
        (false, false) => &["openat", "fsync", RENAME],
    }
}

/// How many segments a test begins at the most.
const SEGMENTS: u32 = 20;

/// Which occurrences of a call fail: all up to `IFMATCH_SYSCALL_OCCURRENCES`, or a sample.
fn occurrences() -> Vec<u32> {
    match std::env::var("IFMATCH_SYSCALL_OCCURRENCES") {
        Ok(last) => (1..=last.parse().expect("a number")).collect(),
        Err(_) => vec![1, 2, 3, 5, 8],
    }
}

/// What comes after a fault that stays.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// It goes away, and some time later the process is killed.
    Mended,
    /// The process is killed.
    Killed,
}

/// Writers on a process with a fault.
struct Meeting {
    strace: Strace,
    working: Working,
    /// Whether the fault came; not every mode makes every call.
    is_met: bool,
}

impl Meeting {
    /// Lets the writers write until the nth call has failed or must have been made.
    async fn of(process: &Process, fault: &Fault, nth: u32) -> Self {
        let mut strace = Strace::attach(process, fault).await;
        let mut working = Writers::on_a_failing_disk(WRITERS).start(process);
        let is_met = tokio::select! {
            () = strace.injected() => true,
            () = working.acknowledged(enough_to_meet(nth)) => false,
        };
        Self {
            strace,
            working,
            is_met,
        }
    }
}

#[tokio::test]
async fn a_call_that_fails_once_costs_no_more_than_its_commit() {
    if !Strace::is_usable().await {
        return;
    }
    in_each_mode(|mode| async move {
        let mut met = BTreeSet::new();
        for calls in CALLS {
            for nth in occurrences() {
                let folder = TempDir::new().unwrap();
                let fault = fault(calls, nth, nth.to_string(), folder.path());
                let process = Process::start(folder.path(), mode).await;
                let mut meeting = Meeting::of(&process, &fault, nth).await;
                met.extend(meeting.is_met.then_some(calls));
                let working = &mut meeting.working;
                working.acknowledged(AFTERWARDS).await;
                process.kill().await;
                let mut writers = meeting.working.end().await;
                let process = Process::start(folder.path(), mode).await;
                writers.check(shown_entries(&process).await);
                process.kill().await;
                writers.check_history(folder.path(), mode).await;
            }
        }
        assert_met(mode, &met);
    })
    .await;
}

#[tokio::test]
async fn calls_that_fail_until_the_disk_is_mended_or_the_process_killed_lose_nothing() {
    if !Strace::is_usable().await {
        return;
    }
    in_each_mode(|mode| async move {
        let mut met = BTreeSet::new();
        for calls in CALLS {
            // From the second on: the first of a commit may succeed, so that it is half-way.
            for (nth, then) in [
                (1, Then::Mended),
                (2, Then::Mended),
                (1, Then::Killed),
                (2, Then::Killed),
            ] {
                let folder = TempDir::new().unwrap();
                let fault = fault(calls, nth, format!("{nth}+"), folder.path());
                let process = Process::start(folder.path(), mode).await;
                let meeting = Meeting::of(&process, &fault, nth).await;
                met.extend(meeting.is_met.then_some(calls));
                let (strace, mut working) = (meeting.strace, meeting.working);
                working.answered(AFTERWARDS).await;
                if let Then::Mended = then {
                    strace.detach().await;
                    working.acknowledged(AFTERWARDS).await;
                }
                process.kill().await;
                let mut writers = working.end().await;
                let process = Process::start(folder.path(), mode).await;
                let shown = shown_entries(&process).await;
                process.kill().await;
                match then {
                    Then::Mended => writers.check(shown),
                    Then::Killed => writers.check_with_unknown(shown),
                }
                writers.check_history(folder.path(), mode).await;
            }
        }
        assert_met(mode, &met);
    })
    .await;
}

/// One client, so that no later commit mends what a refused one left behind.
#[tokio::test]
async fn what_was_refused_is_gone_also_if_the_process_is_killed_at_once() {
    if !Strace::is_usable().await {
        return;
    }
    in_each_mode(|mode| async move {
        for calls in CALLS {
            for nth in occurrences() {
                let folder = TempDir::new().unwrap();
                let fault = fault(calls, nth, nth.to_string(), folder.path());
                let process = Process::start(folder.path(), mode).await;
                let mut strace = Strace::attach(&process, &fault).await;
                let mut acknowledged = BTreeMap::new();
                let mut refused = false;
                for number in 0..2 * nth + 2 {
                    let (status, body) = put(&process, &format!("key/{number}")).await;
                    if status == 500 {
                        refused = true;
                        break;
                    }
                    assert_eq!(status, 201, "{fault:?}: {body}");
                    acknowledged.insert(body["key"].as_str().unwrap().to_owned(), body);
                }
                assert!(
                    refused || !strace.has_injected() || !sure_calls(mode).contains(&calls),
                    "{mode:?} {fault:?}: nobody was told"
                );
                process.kill().await;
                let process = Process::start(folder.path(), mode).await;
                let shown = shown_entries(&process).await;
                assert_eq!(shown, acknowledged, "{mode:?} {fault:?}");
                process.kill().await;
                if let Some(history) = history_in(folder.path(), mode).await {
                    let mut by_revision: Vec<_> = acknowledged.into_values().map(Some).collect();
                    by_revision.sort_by_key(|entry| entry.as_ref().unwrap()["revision"].as_u64());
                    let past: Vec<_> = history.into_iter().map(|happened| happened.put).collect();
                    assert_eq!(past, by_revision, "{mode:?} {fault:?}");
                }
            }
        }
    })
    .await;
}

/// A frame that could neither be made durable nor be cut off: the data file is then of its revision without it.
#[tokio::test]
async fn a_frame_that_cannot_be_cut_off_is_not_history_and_costs_none() {
    if !Strace::is_usable().await {
        return;
    }
    for mode in MODES.into_iter().filter(|mode| keeps_history(mode)) {
        let folder = TempDir::new().unwrap();
        let process = Process::start(folder.path(), mode).await;
        let mut acknowledged = Vec::new();
        for number in 0..3 {
            let (status, entry) = put(&process, &format!("key/{number}")).await;
            assert_eq!(status, 201, "{entry}");
            acknowledged.push(Some(entry));
        }
        let mut fault = fault(WRITE, 1, "1".to_owned(), folder.path());
        fault.calls = "fdatasync,ftruncate";
        let mut strace = Strace::attach(&process, &fault).await;
        let (status, body) = put(&process, "refused").await;
        assert_eq!(status, 500, "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains("not known"), "{message}");
        strace.injected().await;
        strace.injected().await;
        strace.detach().await;
        let ended = process.stop().await;
        assert!(ended.status.success(), "{}", ended.log);
        for _ in 0..2 {
            let history = history_in(folder.path(), mode).await.unwrap();
            let past: Vec<_> = history.into_iter().map(|happened| happened.put).collect();
            assert_eq!(past, acknowledged, "{mode:?}");
            let process = Process::start(folder.path(), mode).await;
            assert_eq!(shown_entries(&process).await.len(), acknowledged.len());
            let key = format!("key/{}", acknowledged.len());
            let (status, entry) = put(&process, &key).await;
            assert_eq!(status, 201, "{entry}");
            acknowledged.push(Some(entry));
            process.kill().await;
        }
    }
}

async fn put(process: &Process, key: &str) -> (u16, Value) {
    let url = process.url(&format!("/kv/{key}"));
    let answer = http::client().put(url).json(&1).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn fault(calls: &'static str, nth: u32, when: String, folder: &Path) -> Fault {
    let segments =
        (1..=SEGMENTS).map(|number| folder.join(format!("data.json.commits.{number:08}")));
    Fault {
        calls,
        error: ["EIO", "ENOSPC"][nth as usize % 2],
        when,
        files: if calls == WRITE {
            segments.collect()
        } else {
            Vec::new()
        },
    }
}

/// How many acknowledgements there are at most before the nth call was made: a commit answers each
/// writer once, and two threads may take turns.
fn enough_to_meet(nth: u32) -> u64 {
    20 + 2 * WRITERS as u64 * u64::from(nth)
}

fn assert_met(mode: &[&str], met: &BTreeSet<&str>) {
    let sure = sure_calls(mode);
    assert!(
        sure.iter().all(|calls| met.contains(calls)),
        "{mode:?}: {met:?} are not all of {sure:?}"
    );
}

#[tokio::test]
async fn a_call_that_fails_at_the_start_stops_it_or_does_no_harm() {
    if !Strace::is_usable().await {
        return;
    }
    in_each_mode(|mode| async move {
        let folder = TempDir::new().unwrap();
        let process = Process::start(folder.path(), mode).await;
        let mut working = Writers::new(WRITERS).start(&process);
        working.acknowledged(50).await;
        process.kill().await;
        let mut writers = working.end().await;
        // What a crash leaves is loaded again and again; no start may use it up.
        let left = files(folder.path());
        let process = Process::start(folder.path(), mode).await;
        writers.check(shown_entries(&process).await);
        process.kill().await;
        writers.check_history(folder.path(), mode).await;

        for calls in [
            "openat",
            "read",
            "write",
            "fsync",
            "fdatasync",
            "ftruncate",
            RENAME,
            "flock",
            "statx",
            "getdents64",
            "?unlink,unlinkat",
        ] {
            let mut nth = 1;
            while starts_with_fault(mode, &left, calls, nth, &mut writers).await {
                nth += 1;
            }
            assert!(
                nth > 1 || !["openat", "read", "fsync", "flock"].contains(&calls),
                "{calls} is called"
            );
        }
    })
    .await;
}

/// Starts on files that a crash left, with one call on them failing; `false`, if none did.
async fn starts_with_fault(
    mode: &[&str],
    left: &[(PathBuf, Vec<u8>)],
    calls: &'static str,
    nth: u32,
    writers: &mut Writers,
) -> bool {
    let folder = TempDir::new().unwrap();
    for (name, content) in left {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let mut files = segments(folder.path());
    files.extend(["data.json", "data.json.lock"].map(|name| folder.path().join(name)));
    files.push(folder.path().to_owned());
    let fault = Fault {
        calls,
        error: ["EIO", "ENOSPC"][nth as usize % 2],
        when: nth.to_string(),
        files,
    };
    let mut command = fault.command(folder.path());
    command.args(mode);
    let log = match Process::try_spawn(command).await {
        Ok(process) => {
            writers.check(shown_entries(&process).await);
            process.kill().await.log
        }
        Err(refused) => {
            let log = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(1), "{fault:?}: {log}");
            assert!(log.contains("ifmatch: "), "it says why: {fault:?}: {log}");
            log
        }
    };
    let process = Process::start(folder.path(), mode).await;
    writers.check(shown_entries(&process).await);
    process.kill().await;
    writers.check_history(folder.path(), mode).await;
    log.contains(INJECTED)
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    files
        .map(|file| (file.file_name().into(), std::fs::read(file.path()).unwrap()))
        .collect()
}

/// How many times the growth of files is limited, each time elsewhere.
const LIMITS: u32 = 12;
/// The writers' data is seldom larger.
const LARGEST_LIMIT_BYTES: u64 = 16_000;

/// A limit stops a write in its middle: some bytes are in the file, the rest is refused.
#[tokio::test]
async fn a_file_that_may_not_grow_refuses_and_loses_nothing() {
    in_each_mode(|mode| async move {
        let folder = TempDir::new().unwrap();
        let mut writers = Writers::on_a_failing_disk(WRITERS);
        let mut met = 0;
        for _ in 0..LIMITS {
            let process = Process::start(folder.path(), mode).await;
            let mut working = writers.start(&process);
            working.acknowledged(AFTERWARDS).await;
            limit_files(&process, Some(random_below(LARGEST_LIMIT_BYTES)));
            met += u32::from(working.refusal_within(200).await);
            limit_files(&process, None);
            working.acknowledged(AFTERWARDS).await;
            process.kill().await;
            writers = working.end().await;
            let process = Process::start(folder.path(), mode).await;
            writers.check(shown_entries(&process).await);
            assert!(process.stop().await.status.success());
            writers.check_history(folder.path(), mode).await;
        }
        assert!(met >= LIMITS / 4, "{mode:?}: {met} limits were met");
    })
    .await;
}

/// How large a file of the process may become, in bytes.
fn limit_files(process: &Process, limit: Option<u64>) {
    let new = Rlimit {
        current: limit,
        maximum: None,
    };
    prlimit(Some(process.pid()), Resource::Fsize, new).unwrap();
}
