//! The power goes at any moment: what was acknowledged is there at the next start.

use rustix::process::Signal;

use crate::support::binary::{MODES, Process, soon};
use crate::support::http;
use crate::support::mounts::Ext4;
use crate::support::segments::history_in;
use crate::support::strace::{Fault, Strace};
use crate::support::writers::{Writers, random_below, shown_entries};

const WRITERS: usize = 16;
/// How often the power is cut in each mode, unless `IFMATCH_POWER_ROUNDS` says otherwise.
const ROUNDS: u32 = 10;
/// A cut comes before so many acknowledgements of its round.
const ACKNOWLEDGEMENTS: u64 = 200;

#[tokio::test]
async fn a_power_cut_under_load_loses_nothing_that_was_acknowledged() {
    for mode in MODES {
        let Some(disk) = Ext4::mount() else {
            return;
        };
        let mut writers = Writers::on_a_failing_disk(WRITERS);
        for _ in 0..rounds() {
            let process = Process::start(disk.path(), mode).await;
            let mut working = writers.start(&process);
            working.acknowledged(random_below(ACKNOWLEDGEMENTS)).await;
            // The kernel can still call a sync done that meets the cut.
            working.power_goes();
            disk.cut_power();
            process.kill().await;
            writers = working.end().await;

            disk.restore_power();
            let process = Process::start(disk.path(), mode).await;
            // Of what was under way when the power went the outcome is unknown, also if there was
            // still time to refuse it.
            writers.check_with_unknown(shown_entries(&process).await);
            process.kill().await;
            writers.check_history(disk.path(), mode).await;
        }
    }
}

/// A kill before a sync leaves what nobody made durable; the next start has to make up for that
/// before it shows it.
#[tokio::test]
async fn what_a_start_after_a_kill_shows_survives_a_power_cut() {
    if !Strace::is_usable().await {
        return;
    }
    for mode in MODES {
        for (calls, nth) in [("fsync", 1), ("fsync", 2), ("fdatasync", 1)] {
            let Some(disk) = Ext4::mount() else {
                return;
            };
            let process = Process::start(disk.path(), mode).await;
            let put = |process: &Process, value: u32| {
                let put = http::client().put(process.url("/kv/a")).json(&value);
                async move { soon(put.send()).await.map(|answer| answer.status()) }
            };
            assert_eq!(put(&process, 1).await.unwrap(), 201);
            let fault = Fault {
                calls,
                error: "EIO:signal=KILL",
                when: nth.to_string(),
                files: Vec::new(),
            };
            let strace = Strace::attach(&process, &fault).await;
            if put(&process, 2).await.is_ok() {
                // Not every mode makes every call.
                process.signal(Signal::KILL);
            }
            process.wait().await;
            drop(strace);

            let process = Process::start(disk.path(), mode).await;
            let shown = shown_entries(&process).await;
            disk.cut_power();
            process.kill().await;
            disk.restore_power();
            let process = Process::start(disk.path(), mode).await;
            assert_eq!(shown_entries(&process).await, shown, "{mode:?} {fault:?}");
            process.kill().await;
            if let Some(history) = history_in(disk.path(), mode).await {
                let last = history.last().unwrap();
                assert_eq!(last.put.as_ref(), shown.get("a"), "{mode:?} {fault:?}");
                let revision = shown["a"]["revision"].as_u64().unwrap();
                assert_eq!(history.len() as u64, revision, "{history:?}");
            }
        }
    }
}

fn rounds() -> u32 {
    match std::env::var("IFMATCH_POWER_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("IFMATCH_POWER_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}
