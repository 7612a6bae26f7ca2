//! The command line against a server of its own, and an editor that follows a script.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::routing::{MethodRouter, any};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::{NamedTempFile, TempDir, TempPath};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::binary::{BINARY, Process, bare_command, run, soon};

/// A server, and a folder for the files of its clients.
pub struct Cli {
    pub server: Process,
    pub folder: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The one JSON text on standard output.
    pub fn json(&self) -> serde_json::Value {
        let tree = ifmatch::json::parse(self.stdout.as_bytes());
        tree.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// All of `parts` are on standard error.
    #[track_caller]
    pub fn assert_says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.stderr.contains(part), "{part}: {self:?}");
        }
        self
    }
}

impl Cli {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags).await
    }

    /// The same with files that are there already.
    pub async fn start_in(folder: TempDir, flags: &[&str]) -> Self {
        let server = Process::start(folder.path(), flags).await;
        Self { server, folder }
    }

    /// The same data at the same address, after the server was killed.
    pub async fn start_again(folder: TempDir, address: &str) -> Self {
        let mut command = bare_command(BINARY);
        command
            .args(["--listen", address, "--data"])
            .arg(folder.path().join("data.json"));
        let server = Process::spawn(command).await;
        Self { server, folder }
    }

    /// The binary, with this server in its environment and its files in a folder of its own.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command_for(&self.server.url(""), arguments);
        command
            .current_dir(self.folder.path())
            .env("TMPDIR", self.kept())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments)).await
    }

    /// The same with something on standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        finish_with_input(self.command(arguments), input).await
    }

    /// The value of a key as text; empty if it is not there.
    pub async fn value(&self, key: &str) -> String {
        let ran = self.run(&["get", key, "--value"]).await;
        ran.stdout.trim_end().to_owned()
    }

    /// Where edits keep their text.
    pub fn kept(&self) -> PathBuf {
        let kept = self.folder.path().join("kept");
        std::fs::create_dir_all(&kept).unwrap();
        kept
    }

    /// The texts that edits have kept.
    pub fn kept_texts(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.kept()).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        // What a text was made from is beside it.
        let texts = paths.filter(|path| path.extension().is_some_and(|end| end == "jsonc"));
        texts
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
    }

    /// The names of all files of edits.
    pub fn kept_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.kept()).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Edits a key with an editor that does one of `steps` each time that it is opened: shell, in
    /// which `$1` is the file and `ifmatch` the binary.
    pub async fn edit(&self, arguments: &[&str], steps: &[&str]) -> Edited {
        let script = Script::of(steps);
        let mut command = self.command(&[&["edit"], arguments].concat());
        script.be_editor_of(&mut command);
        let ran = finish(command).await;
        Edited {
            seen: script.seen(),
            ran,
        }
    }
}

/// What an edit came to, and the texts that the editor was opened with.
#[derive(Debug)]
pub struct Edited {
    pub ran: Ran,
    pub seen: Vec<String>,
}

/// An editor that follows a script.
pub struct Script {
    folder: TempDir,
    editor: PathBuf,
}

impl Script {
    pub fn of(steps: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for (step, number) in steps.iter().zip(1..) {
            std::fs::write(path.join(format!("step.{number}")), step).unwrap();
        }
        let editor = path.join("editor");
        let text = format!(
            "#!/bin/sh\n\
             number=1\n\
             while [ -e '{folder}/seen.'$number ]; do number=$((number + 1)); done\n\
             cp \"$1\" '{folder}/seen.'$number\n\
             ifmatch() {{ '{BINARY}' \"$@\" >'{folder}/output' 2>&1; }}\n\
             . '{folder}/step.'$number\n",
            folder = path.display()
        );
        std::fs::write(&editor, text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&editor, mode).unwrap();
        Self { folder, editor }
    }

    pub fn path(&self) -> &Path {
        &self.editor
    }

    pub fn be_editor_of(&self, command: &mut Command) {
        command.env("EDITOR", &self.editor);
    }

    /// The texts that the editor was opened with.
    pub fn seen(&self) -> Vec<String> {
        (1..)
            .map(|number| self.folder.path().join(format!("seen.{number}")))
            .map_while(|path| std::fs::read_to_string(path).ok())
            .collect()
    }
}

/// The binary with a server, and without an editor, in its environment.
pub fn command_for(server: &str, arguments: &[&str]) -> Command {
    let mut command = bare_command(BINARY);
    command
        .args(arguments)
        .env("IFMATCH_SERVER", server)
        .env_remove("VISUAL")
        .env_remove("EDITOR");
    command
}

/// Runs a command against another server, with an editor that fails.
pub async fn ask(server: &str, arguments: &[&str]) -> Ran {
    let mut command = command_for(server, arguments);
    command.env("EDITOR", "false");
    finish(command).await
}

/// Runs what is to end by itself.
pub async fn finish(command: Command) -> Ran {
    ran(&run(command).await)
}

/// The same with something on standard input.
pub async fn finish_with_input(mut command: Command, input: &str) -> Ran {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails before it reads is one that a test may want.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    ran(&soon(child.wait_with_output()).await.unwrap())
}

/// What a command came to, by its output.
pub fn ran(output: &std::process::Output) -> Ran {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    Ran {
        code: output.status.code().expect("it was not killed"),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// A server that is none of ifmatch, on a free port; its address.
pub async fn other_server(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

/// The same with the list of a service that has no entry, and with `answer` to everything else.
pub async fn empty_server(answer: MethodRouter) -> String {
    let list = any(async || r#"{"items":[],"revision":0,"next":null}"#);
    let router = axum::Router::new().route("/kv", list);
    other_server(router.fallback(answer)).await
}

/// A file with this text, for as long as its path is kept.
pub fn file_with(text: &str) -> TempPath {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file.into_temp_path()
}

/// An export of so many entries, `i/0` with the value 0, and so on.
pub fn export_of(entries: usize) -> String {
    let lines = (0..entries).map(|n| format!("{{\"key\":\"i/{n}\",\"value\":{n}}}\n"));
    format!(
        "{{\"export\":{{\"format\":1,\"prefix\":\"\"}}}}\n{}{{\"end\":{{\"entries\":{entries},\"revision\":1}}}}\n",
        lines.collect::<String>()
    )
}

/// A new terminal: the side of the person, and that of the program.
pub fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap());
    (person.into(), program.unwrap())
}
