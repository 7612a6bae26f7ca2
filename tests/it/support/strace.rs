//! System calls that fail or are slow, by strace's fault injection. strace counts per thread, so a
//! fault at the nth call can come more than once.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;

use super::binary::{BINARY, Process, bare_command, pid_of, soon};

/// What strace puts behind a call that it made fail.
pub const INJECTED: &str = "(INJECTED)";

/// The calls that rename a file, for strace.
pub const RENAME: &str = "?rename,?renameat,renameat2";

/// Which calls fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Calls as strace names them, separated by commas; `?` before one that not every machine has.
    pub calls: &'static str,
    /// How they fail, as `EIO`, and what else happens, as `EIO:signal=KILL`.
    pub error: &'static str,
    /// Which of them, as strace counts: `3` for the third, `3+` for all from the third.
    pub when: String,
    /// Only calls on these files; on any, if there is none.
    pub files: Vec<PathBuf>,
}

impl Fault {
    fn arguments(&self) -> Vec<String> {
        let Self {
            calls, error, when, ..
        } = self;
        let mut arguments = vec![
            "-f".to_owned(),
            format!("--trace={calls}"),
            format!("--inject={calls}:error={error}:when={when}"),
        ];
        for file in &self.files {
            arguments.extend(["-P".to_owned(), file.to_str().unwrap().to_owned()]);
        }
        arguments
    }

    /// The binary with this fault from its first moment on. strace is not its parent, so that a
    /// signal reaches the binary; what strace says is in its log.
    pub fn command(&self, folder: &Path) -> Command {
        let mut command = bare_command("strace");
        command
            .args(["-D", "-qq"])
            .args(self.arguments())
            .arg(BINARY);
        command.arg("--data").arg(folder.join("data.json"));
        command.args(["--listen", "127.0.0.1:0"]);
        command
    }
}

/// `command`, run by strace, which writes the calls that are named in `options` to `log`, with the
/// paths of the files that they are on.
pub fn traced(command: &Command, options: &[&str], log: &Path) -> Command {
    let command = command.as_std();
    let mut strace = bare_command("strace");
    strace
        .args(["-f", "-qq", "-y", "-o"])
        .arg(log)
        .args(options);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace
}

/// The calls that make data durable.
const SYNCS: &str = "fsync,fdatasync";

/// What slows each sync down by `delay`.
fn slow_syncs(delay: Duration) -> Vec<String> {
    let micros = delay.as_micros();
    vec![
        "-f".to_owned(),
        format!("--trace={SYNCS}"),
        format!("--inject={SYNCS}:delay_enter={micros}"),
    ]
}

/// An strace that is attached to a process.
pub struct Strace {
    child: Child,
    injected: mpsc::UnboundedReceiver<()>,
}

impl Strace {
    /// Whether faults can be injected here; if not, it prints a line that says so. Some systems let
    /// a program trace its children and nothing else, so it is tried.
    pub async fn is_usable() -> bool {
        let mut waiting = bare_command("cat");
        let waiting = waiting.stdin(Stdio::piped()).spawn().unwrap();
        let arguments = ["--trace=none".to_owned()];
        let usable = match Self::spawn(&arguments, pid_of(&waiting)) {
            Ok((_strace, mut lines)) => attached(&mut lines).await,
            Err(_) => false,
        };
        if !usable {
            println!("skipped: strace is not there or may not trace");
        }
        usable
    }

    /// From its return on the calls of `process` are counted, and fail.
    pub async fn attach(process: &Process, fault: &Fault) -> Self {
        Self::attach_with(process, &fault.arguments()).await
    }

    /// From its return on each sync of `process` takes `delay` longer.
    pub async fn attach_slow_disk(process: &Process, delay: Duration) -> Self {
        Self::attach_with(process, &slow_syncs(delay)).await
    }

    async fn attach_with(process: &Process, arguments: &[String]) -> Self {
        let (child, mut lines) = Self::spawn(arguments, process.pid()).unwrap();
        assert!(attached(&mut lines).await, "{arguments:?}");
        let (tell, injected) = mpsc::unbounded_channel();
        // It stands still, and the process with it, if nobody reads what it says.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains(INJECTED) {
                    // Whoever waited may have heard enough.
                    let _ = tell.send(());
                }
            }
        });
        Self { child, injected }
    }

    fn spawn(arguments: &[String], pid: Pid) -> io::Result<(Child, Said)> {
        let mut strace = bare_command("strace");
        strace.args(arguments).arg("-p");
        strace.arg(pid.as_raw_nonzero().to_string());
        let mut child = strace.stderr(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Ok((child, said))
    }

    /// Returns when a call was made to fail.
    pub async fn injected(&mut self) {
        soon(self.injected.recv()).await.expect("strace ended");
    }

    /// Whether it has told of a call that it made fail, which nobody has awaited.
    pub fn has_injected(&mut self) -> bool {
        self.injected.try_recv().is_ok()
    }

    /// Lets the process go on without faults.
    pub async fn detach(mut self) {
        kill_process(pid_of(&self.child), Signal::INT).unwrap();
        soon(self.child.wait()).await.unwrap();
    }
}

/// What strace says, by lines.
type Said = Lines<BufReader<ChildStderr>>;

/// Whether the first line says that all threads are traced.
async fn attached(said: &mut Said) -> bool {
    let first = soon(said.next_line()).await.unwrap();
    first.is_some_and(|line| line.contains(" attached"))
}
