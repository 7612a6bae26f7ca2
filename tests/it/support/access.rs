//! A service that asks for tokens, and who has them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use ifmatch::access::hash_of;
use tempfile::TempDir;
use tokio::process::Command;

use super::cli::{Cli, Ran, finish};

/// A token that may do everything.
pub const ROOT: &str = "root-token";
/// One that may read everything, and write below `doc/`.
pub const ANN: &str = "ann-token";
/// One that may only read below `doc/`.
pub const BOB: &str = "bob-token";
/// One that may write and delete below `doc/`, but read nothing.
pub const WRITER: &str = "writer-token";
/// One whose time is over.
pub const LATE: &str = "late-token";

/// The lines for a token.
pub fn lines(name: &str, token: &str, rest: &str) -> String {
    let hash = hex::encode(hash_of(token.as_bytes()));
    format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{rest}\n")
}

fn everyone() -> String {
    let all = r#"actions = ["read", "create", "update", "delete"]"#;
    [
        lines("root", ROOT, &format!("allow = [{{ prefix = \"\", {all} }}]")),
        lines(
            "ann",
            ANN,
            &format!(
                "allow = [{{ prefix = \"\", actions = [\"read\"] }}, {{ prefix = \"doc/\", {all} }}]"
            ),
        ),
        lines("bob", BOB, "allow = [{ prefix = \"doc/\", actions = [\"read\"] }]"),
        lines(
            "writer",
            WRITER,
            "allow = [{ prefix = \"doc/\", actions = [\"create\", \"update\", \"delete\"] }]",
        ),
        lines(
            "late",
            LATE,
            &format!("expires = 2020-01-01\nallow = [{{ prefix = \"\", {all} }}]"),
        ),
    ]
    .concat()
}

/// A service that asks for one of these tokens.
pub struct Guarded {
    pub cli: Cli,
}

impl Guarded {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[]).await
    }

    /// The same with more flags, and files that are there already.
    pub async fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        let tokens = folder.path().join("tokens.toml");
        std::fs::write(&tokens, everyone()).unwrap();
        let flags = [&["--tokens", tokens.to_str().unwrap()], flags].concat();
        let cli = Cli::start_in(folder, &flags).await;
        Self { cli }
    }

    /// The file that says who has which token.
    pub fn tokens(&self) -> PathBuf {
        self.cli.folder.path().join("tokens.toml")
    }

    /// The file of `ifmatch login`.
    pub fn config(&self) -> PathBuf {
        self.cli.folder.path().join("config/ifmatch/config.toml")
    }

    /// A command with a token in its environment.
    pub fn command_as(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = self.cli.command(arguments);
        command.env("IFMATCH_TOKEN", token);
        command
    }

    pub async fn run_as(&self, token: &str, arguments: &[&str]) -> Ran {
        finish(self.command_as(token, arguments)).await
    }

    /// A file with a text and a mode; its path.
    pub fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.cli.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// The permissions of a file.
pub fn mode_of(path: impl AsRef<std::path::Path>) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
