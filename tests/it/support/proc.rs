//! What the system says of a process: its memory, its processor time, its descriptors.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::Pid;

/// In what unit bounds of memory are given.
pub const MIB: u64 = 1024 * 1024;
/// How often memory is looked at. What is held for less than this does not count.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(4);
/// The unit of processor time in `/proc` (`USER_HZ`), on every Linux in use.
const TICK: Duration = Duration::from_millis(10);

/// How much memory it has, in bytes; nothing once it has ended.
pub fn resident_bytes(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(path(pid, "status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// How much processor time it has used, of all its threads.
pub fn processor_time(pid: Pid) -> Duration {
    let [user, system] = [11, 12].map(|index| stat(pid)[index].parse::<u32>().unwrap());
    TICK * (user + system)
}

/// Whether it has begun to end: its first thread is gone.
pub fn is_exiting(pid: Pid) -> bool {
    stat(pid)[0] == "Z"
}

/// The fields of its `stat`, from its state on.
fn stat(pid: Pid) -> Vec<String> {
    let stat = fs::read_to_string(path(pid, "stat")).unwrap();
    // The name, in parentheses, may have blanks.
    let (_, after_name) = stat.rsplit_once(')').unwrap();
    after_name.split_whitespace().map(str::to_owned).collect()
}

/// How many descriptors it has open.
pub fn descriptors(pid: Pid) -> usize {
    fs::read_dir(path(pid, "fd")).unwrap().count()
}

/// How many sockets it has open, its own and those of its clients.
pub fn sockets(pid: Pid) -> usize {
    let descriptors = fs::read_dir(path(pid, "fd")).unwrap();
    // One may be closed while it is looked at.
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

fn path(pid: Pid, file: &str) -> String {
    format!("/proc/{}/{file}", pid.as_raw_nonzero())
}

/// Keeps the highest memory of a process, on a thread of its own, so that nothing that a test does
/// delays it.
pub struct MemoryPeak {
    is_over: Arc<AtomicBool>,
    peak_bytes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryPeak {
    /// From now on.
    pub fn of(pid: Pid) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let peak_bytes = Arc::<AtomicU64>::default();
        let thread = thread::spawn({
            let (is_over, peak_bytes) = (Arc::clone(&is_over), Arc::clone(&peak_bytes));
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    let Some(bytes) = resident_bytes(pid) else {
                        return;
                    };
                    peak_bytes.fetch_max(bytes, Ordering::Relaxed);
                    thread::sleep(SAMPLE_INTERVAL);
                }
            }
        });
        Self {
            is_over,
            peak_bytes,
            thread: Some(thread),
        }
    }

    /// The highest so far.
    pub fn bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryPeak {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
