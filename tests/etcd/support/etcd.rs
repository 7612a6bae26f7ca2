//! The etcd that is tested.

use std::env;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

/// The variable that names it: the binary, or the folder that has it and etcdctl.
const VARIABLE: &str = "IFMATCH_TEST_ETCD";

/// The binaries of one version.
#[derive(Debug, Clone)]
pub struct Etcd {
    folder: PathBuf,
    /// Such as `3.5.1`.
    pub version: String,
    /// Whether it can do without syncing its files.
    pub can_skip_fsync: bool,
}

impl Etcd {
    /// `None` with a printed line if there is none.
    pub async fn find() -> Option<Self> {
        let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
            println!(
                "SKIPPED: {VARIABLE} does not name an etcd; tests/etcd/install DIR installs some"
            );
            return None;
        };
        let mut folder = PathBuf::from(path);
        if folder.is_file() {
            folder.pop();
        }
        let mut etcd = Self {
            folder,
            version: String::new(),
            can_skip_fsync: false,
        };
        let said = etcd.says("--version").await;
        let version = said
            .lines()
            .find_map(|line| line.strip_prefix("etcd Version: "));
        etcd.version = version.expect("it is etcd").to_owned();
        etcd.can_skip_fsync = etcd.says("--help").await.contains("--unsafe-no-fsync");
        Some(etcd)
    }

    async fn says(&self, flag: &str) -> String {
        let output = self.command("etcd").arg(flag).output().await;
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.folder.display()));
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    }

    /// `etcd` or `etcdctl`, with nothing in its environment that speaks to it.
    pub fn command(&self, name: &str) -> Command {
        prepared(Command::new(self.folder.join(name)))
    }

    /// The same in a network namespace.
    pub fn command_in(&self, namespace: &str, name: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace])
            .arg(self.folder.join(name));
        prepared(command)
    }
}

fn prepared(mut command: Command) -> Command {
    command.stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD") {
            command.env_remove(name);
        }
    }
    command.env("ETCDCTL_API", "3");
    command
}
