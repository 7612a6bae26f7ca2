//! The real binary, as a user starts it.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running process that serves. It is killed when this goes away.
pub struct Process {
    child: Child,
    /// Where it listens: `127.0.0.1:12345`.
    pub address: String,
}

impl Process {
    /// Starts it on a free port and the `data.json` in `folder`; it serves when this returns.
    pub async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).await.unwrap();
        let Some((_, address)) = line.trim().split_once("http://") else {
            let ended = child.wait_with_output().await.unwrap();
            panic!("it did not start: {line:?} {ended:?}");
        };
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it is running");
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; returns the exit status and what it logged.
    pub async fn wait(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).await.unwrap();
        (self.child.wait().await.unwrap(), log)
    }
}

/// The binary with the `data.json` in `folder`, for a start that is to fail or to print.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ifmatch"));
    command
        .arg("--data")
        .arg(folder.join("data.json"))
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .kill_on_drop(true);
    command
}
