//! The real binary under a load, and every bound that holds whatever the load is: a probe is
//! answered within a second, memory stays near what it was before, and a signal ends the process.
//!
//! A load is whatever a test does between [`Setup::start`] and [`Trial::finish`]; the clients that
//! it gives to [`Trial::client`] are at work until the process has ended.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::binary::{BINARY, Ended, Process, bare_command, command, soon};
use super::prober::{Probe, Prober};
use super::proc::{MIB, MemoryPeak, descriptors, is_exiting, processor_time, resident_bytes};
use super::strace::Strace;

/// The bound of memory above the baseline, unless a load has another.
pub const MEMORY_MAX_BYTES: u64 = 300 * MIB;
/// Within which time a probe is answered, beside the slowest of an idle service meanwhile.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// How long requests under way may take after the signal.
const GRACE: Duration = Duration::from_secs(2);
/// How long the rest of the end may take: closing the store, and the machine's other work.
const END_ALLOWANCE: Duration = Duration::from_secs(5);
/// After which time nothing is done any more for clients that are gone, the machine's other work
/// included.
const IDLE_WITHIN: Duration = Duration::from_secs(3);
/// Over which time a process counts as idle if it has used little processor time.
const IDLE_WINDOW: Duration = Duration::from_millis(300);
/// So little: one tick of the system's clock may always fall in.
const IDLE_MAX: Duration = Duration::from_millis(30);

/// Loads take turns: two at once would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// How the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By SIGTERM, within its grace time.
    Grace,
    /// By a second SIGTERM, at once; its grace time is an hour.
    SecondSignal,
}

/// What a process is started with.
pub struct Setup {
    arguments: Vec<String>,
    values: Vec<(String, String)>,
    ending: Ending,
    open_files: Option<u32>,
}

impl Setup {
    pub fn new(arguments: &[&str]) -> Self {
        Self {
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            values: Vec::new(),
            ending: Ending::Grace,
            open_files: None,
        }
    }

    /// With these values, each under its key; the values are JSON.
    pub fn values(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        self.values.extend(values);
        self
    }

    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// It may have only so many files open, sockets included.
    pub fn open_files(mut self, count: u32) -> Self {
        self.open_files = Some(count);
        self
    }

    /// Waits for its turn and starts the process. What it has then is the baseline, and from then
    /// on it is probed.
    pub async fn start(self) -> Trial {
        let turn = TURN.lock().await;
        // Each connection takes a descriptor here too.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let folder = TempDir::new().unwrap();
        if !self.values.is_empty() {
            write_data(folder.path(), &self.values);
        }
        let process = Process::spawn(self.command(folder.path())).await;
        let idle_folder = TempDir::new().unwrap();
        let idle = Process::start(idle_folder.path(), &[]).await;
        let baseline_bytes = resident_bytes(process.pid()).unwrap();
        Trial {
            address: process.address.clone(),
            pid: process.pid(),
            ending: self.ending,
            baseline_bytes,
            baseline_descriptors: descriptors(process.pid()),
            memory: MemoryPeak::of(process.pid()),
            probers: Some([Prober::of(&process.address), Prober::of(&idle.address)]),
            probes: [Vec::new(), Vec::new()],
            slow_disk: None,
            clients: JoinSet::new(),
            process,
            _idle: idle,
            _folders: [folder, idle_folder],
            _turn: turn,
        }
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = match self.open_files {
            None => command(folder),
            Some(count) => {
                let mut shell = bare_command("sh");
                shell.arg("-c");
                shell.arg(format!("ulimit -n {count}; exec \"$0\" \"$@\""));
                shell
                    .arg(BINARY)
                    .arg("--data")
                    .arg(folder.join("data.json"));
                shell
            }
        };
        let grace = match self.ending {
            Ending::Grace => format!("{}s", GRACE.as_secs()),
            Ending::SecondSignal => "1h".to_owned(),
        };
        command.args(["--listen", "127.0.0.1:0", "--shutdown-grace", &grace]);
        command.args(&self.arguments);
        command
    }
}

/// So many values of `bytes` bytes each, under keys that [`key`] names.
pub fn strings(count: usize, bytes: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(move |number| (key(number), string(bytes, b'a')))
}

/// The key of the nth value.
pub fn key(number: usize) -> String {
    format!("v/{number:03}")
}

/// A JSON string whose text has so many bytes, made of one letter.
pub fn string(bytes: usize, letter: u8) -> String {
    let text = [b"\"".as_slice(), &vec![letter; bytes - 2], b"\""].concat();
    String::from_utf8(text).unwrap()
}

/// A `data.json`, as its format is documented: faster than to send the values.
fn write_data(folder: &Path, values: &[(String, String)]) {
    let mut text = format!(
        "{{\"format\":1,\"revision\":{},\"entries\":{{\n",
        values.len()
    );
    for (index, (key, value)) in values.iter().enumerate() {
        let separator = if index == 0 { "" } else { ",\n" };
        let revision = index + 1;
        text += &format!(
            "{separator}\"{key}\":{{\"value\":{value},\"version\":1,\"revision\":{revision},\
             \"modified_at\":\"2026-11-22T10:00:00.000Z\"}}"
        );
    }
    text += "\n}}\n";
    std::fs::write(folder.join("data.json"), text).unwrap();
}

/// A process under a load.
pub struct Trial {
    /// Where it listens.
    pub address: String,
    pub process: Process,
    pid: Pid,
    ending: Ending,
    baseline_bytes: u64,
    baseline_descriptors: usize,
    memory: MemoryPeak,
    /// That of the process, and that of an idle one beside it.
    probers: Option<[Prober; 2]>,
    probes: [Vec<Probe>; 2],
    slow_disk: Option<Strace>,
    clients: JoinSet<()>,
    _idle: Process,
    _folders: [TempDir; 2],
    _turn: MutexGuard<'static, ()>,
}

impl Trial {
    /// Puts a client to work. It is stopped after the process has ended, if not before.
    pub fn client(&mut self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.clients.spawn(work)
    }

    /// From its return on each sync of the process takes `delay` longer, until its end.
    pub async fn slow_down_disk(&mut self, delay: Duration) {
        self.slow_disk = Some(Strace::attach_slow_disk(&self.process, delay).await);
    }

    /// How many descriptors the process has more than at the beginning. Probes come and go, so it
    /// may be a few.
    pub fn more_descriptors(&self) -> usize {
        descriptors(self.pid).saturating_sub(self.baseline_descriptors)
    }

    /// Returns once the process has at most so many descriptors more than at the beginning.
    pub async fn at_most_more_descriptors(&self, count: usize, within: Duration) {
        self.descriptors_are(&format!("at most {count}"), |more| more <= count, within)
            .await;
    }

    /// Returns once the process has so many descriptors more than at the beginning.
    pub async fn at_least_more_descriptors(&self, count: usize, within: Duration) {
        self.descriptors_are(&format!("at least {count}"), |more| more >= count, within)
            .await;
    }

    async fn descriptors_are(
        &self,
        expected: &str,
        is_so: impl Fn(usize) -> bool,
        within: Duration,
    ) {
        let waiting = async {
            while !is_so(self.more_descriptors()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(within, waiting).await.is_err() {
            let more = self.more_descriptors();
            panic!("after {within:?} there are {more} descriptors more, not {expected}");
        }
    }

    /// Ends the probes, and asserts that the process stops computing soon: all clients are gone.
    pub async fn becomes_idle(&mut self) {
        self.stop_probing().await;
        let waiting = async {
            loop {
                let before = processor_time(self.pid);
                sleep(IDLE_WINDOW).await;
                if processor_time(self.pid) <= before + IDLE_MAX {
                    return;
                }
            }
        };
        let before = processor_time(self.pid);
        if timeout(IDLE_WITHIN, waiting).await.is_err() {
            let used = processor_time(self.pid).saturating_sub(before);
            panic!("it works on for clients that are gone: {used:?} in {IDLE_WITHIN:?}");
        }
    }

    async fn stop_probing(&mut self) {
        if let Some(probers) = self.probers.take() {
            // A probe that hangs takes its time, and clients go on meanwhile.
            let ended = tokio::task::spawn_blocking(|| probers.map(Prober::end));
            self.probes = ended.await.unwrap();
        }
    }

    /// Asserts all bounds: the probes, the memory above the baseline, and the end.
    pub async fn finish(mut self, memory_max_bytes: u64) -> Ended {
        self.stop_probing().await;
        let peak_bytes = self.memory.bytes();
        let mut broken = Vec::new();
        let more_bytes = peak_bytes.saturating_sub(self.baseline_bytes);
        let (more, baseline) = (more_bytes / MIB, self.baseline_bytes / MIB);
        let slowest = slowest(&self.probes);
        println!(
            "slowest probe {:?}; memory {baseline} MiB + {more} MiB",
            slowest.took
        );
        if more_bytes > memory_max_bytes {
            let max = memory_max_bytes / MIB;
            broken.push(format!(
                "memory: {baseline} MiB + {more} MiB, not + {max} MiB"
            ));
        }
        broken.extend(broken_probes(&self.probes));
        let ended = end(self.process, self.ending, self.slow_disk).await;
        self.clients.shutdown().await;
        match ended {
            Ok(ended) => {
                assert!(broken.is_empty(), "{}", broken.join("\n"));
                ended
            }
            Err(reason) => panic!("{}\n{reason}", broken.join("\n")),
        }
    }
}

fn slowest([probes, _]: &[Vec<Probe>; 2]) -> &Probe {
    let slowest = probes.iter().max_by_key(|probe| probe.took);
    slowest.expect("it was probed")
}

/// What is to be said of probes that were not answered, or too late.
fn broken_probes([probes, control]: &[Vec<Probe>; 2]) -> Option<String> {
    let unanswered: Vec<_> = probes.iter().filter(|probe| !probe.is_answered()).collect();
    let late = |probe: &&Probe| probe.took > PROBE_MAX && probe.slower_than(control) > PROBE_MAX;
    let late = probes.iter().filter(late);
    let worst = late.max_by_key(|probe| probe.took);
    if unanswered.is_empty() && worst.is_none() {
        return None;
    }
    Some(format!(
        "of {} probes {} were not answered, the first is {:?}; the slowest above {PROBE_MAX:?}: {worst:?}",
        probes.len(),
        unanswered.len(),
        unanswered.first()
    ))
}

/// Sends the signals and waits for the end, which must come in time.
async fn end(process: Process, ending: Ending, strace: Option<Strace>) -> Result<Ended, String> {
    process.signal(Signal::TERM);
    let mut within = GRACE + END_ALLOWANCE;
    if ending == Ending::SecondSignal {
        // A process that is too busy to heed the first must heed the second.
        let _ = timeout(GRACE, refuses(&process.address)).await;
        process.signal(Signal::TERM);
        within = END_ALLOWANCE;
    }
    let exiting = async {
        while !is_exiting(process.pid()) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(within, exiting).await.is_err() {
        return Err(format!(
            "{ending:?}: it has not ended {within:?} after the signal"
        ));
    }
    // The call that strace delays outlives the rest of the process.
    drop(strace);
    let ended = process.end().await;
    match (ended.status.code(), ended.log.contains("panicked")) {
        (Some(_), false) => Ok(ended),
        _ => Err(format!("it did not end by itself: {ended:?}")),
    }
}

/// Returns once nobody listens at `address` any more.
async fn refuses(address: &str) {
    soon(async {
        loop {
            match TcpStream::connect(address).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
}
