//! The real binary, as a user starts it.

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where the binary is.
pub const BINARY: &str = env!("CARGO_BIN_EXE_ifmatch");
/// How long anything may take before a test calls it hung.
const DEADLINE: Duration = Duration::from_secs(20);

/// The ways to keep the data, as arguments; what holds of a crash or a fault holds in each.
pub const MODES: [&[&str]; 4] = [
    &[],
    &["--history", "never"],
    &["--journal-above", "0"],
    &["--journal-above", "0", "--history", "never"],
];

/// Does the same in each mode, in all of them at once: most of the time goes by with waiting for processes and the
/// disk.
pub async fn in_each_mode<F: Future<Output = ()>>(test: impl Fn(&'static [&'static str]) -> F) {
    join_all(MODES.map(test)).await;
}

/// A running process that serves. It is killed when this goes away.
pub struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// It is read all the time: a process whose log nobody reads stops once the pipe is full.
    log: JoinHandle<()>,
    /// What it has logged so far.
    logged: watch::Receiver<String>,
    /// The first line that it printed.
    pub announced: String,
    /// Where it listens: `127.0.0.1:12345`.
    pub address: String,
    scheme: &'static str,
}

/// What is left of a process that served.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// What it printed after the first line.
    pub stdout: String,
    /// What it logged.
    pub log: String,
}

impl Process {
    /// Starts it on a free port and the `data.json` in `folder`; it serves when this returns.
    pub async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::spawn(command).await
    }

    /// Starts it as `command` says; it serves when this returns.
    pub async fn spawn(command: Command) -> Self {
        match Self::try_spawn(command).await {
            Ok(process) => process,
            Err(ended) => panic!("it did not start: {ended:?}"),
        }
    }

    /// Starts it as `command` says: a process that serves, or what is left of one that refused.
    pub async fn try_spawn(mut command: Command) -> Result<Self, Output> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut announced = String::new();
        soon(stdout.read_line(&mut announced)).await.unwrap();
        let Some((before, address)) = announced.trim().split_once("://") else {
            return Err(soon(child.wait_with_output()).await.unwrap());
        };
        let scheme = if before.ends_with("https") {
            "https"
        } else {
            "http"
        };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, logged) = watch::channel(String::new());
        let log = tokio::spawn(async move {
            let mut line = String::new();
            while stderr.read_line(&mut line).await.unwrap() > 0 {
                sender.send_modify(|log| log.push_str(&line));
                line.clear();
            }
        });
        Ok(Self {
            address: address.to_owned(),
            scheme,
            announced,
            child,
            stdout,
            log,
            logged,
        })
    }

    /// Waits until it has logged so many lines with `text`.
    pub async fn until_logged(&self, text: &str, count: usize) {
        let mut logged = self.logged.clone();
        let has_them = |log: &String| log.matches(text).count() >= count;
        soon(logged.wait_for(has_them)).await.expect("it runs");
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has logged a line with `text`.
    pub async fn logs(&self, text: &str) {
        let mut logged = self.logged.clone();
        let waiting = logged.wait_for(|log| log.contains(text));
        soon(waiting).await.unwrap();
    }

    /// Waits for its end; returns the exit status and what it logged.
    pub async fn wait(self) -> (ExitStatus, String) {
        let ended = self.end().await;
        (ended.status, ended.log)
    }

    /// Waits for its end; returns all that it left.
    pub async fn end(mut self) -> Ended {
        soon(async {
            let mut stdout = String::new();
            self.stdout.read_to_string(&mut stdout).await.unwrap();
            self.log.await.unwrap();
            Ended {
                log: self.logged.borrow().clone(),
                status: self.child.wait().await.unwrap(),
                stdout,
            }
        })
        .await
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.end().await
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.end().await
    }
}

/// The binary with the `data.json` in `folder`, for a start that is to fail or to print.
pub fn command(folder: &Path) -> Command {
    let mut command = bare_command(BINARY);
    command.arg("--data").arg(folder.join("data.json"));
    command
}

/// `program` without a flag, and with nothing in its environment that speaks to the binary.
pub fn bare_command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        // Nobody has signed in.
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IFMATCH_") {
            command.env_remove(name);
        }
    }
    command
}

pub fn pid_of(child: &Child) -> Pid {
    let pid = child.id().expect("it is running");
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

/// Runs what is to end by itself.
pub async fn run(mut command: Command) -> Output {
    soon(command.output()).await.unwrap()
}

/// What `future` yields, which must not take for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it hangs")
}
