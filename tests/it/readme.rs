//! The README's examples, typed one by one.

use std::path::Path;

use crate::support::binary::{self, BINARY, Process};

/// Hides what differs from run to run: moments, in RFC 3339 and as they are shown to people.
fn without_moments(text: &str) -> String {
    const MOMENT: &[u8] = b"dddd-dd-dd?dd:dd:dd";
    let is_like = |(byte, like): (u8, &u8)| match like {
        b'd' => byte.is_ascii_digit(),
        b'?' => matches!(byte, b'T' | b' '),
        like => byte == *like,
    };
    let mut hidden = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_moment = rest.len() >= MOMENT.len() && rest.bytes().zip(MOMENT).all(is_like);
        let end = if is_moment {
            hidden.push('…');
            let after = &rest[MOMENT.len()..];
            rest.len()
                - after
                    .trim_start_matches(|at: char| at == '.' || at.is_ascii_digit())
                    .len()
        } else {
            hidden.push(next);
            next.len_utf8()
        };
        rest = &rest[end..];
    }
    hidden
}

/// The commands of the README's consoles, each with what it shows below it.
fn examples(readme: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    for console in readme.split("```console\n").skip(1) {
        let (console, _) = console.split_once("```").unwrap();
        for line in console.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => examples.push((command.to_owned(), String::new())),
                None => examples.last_mut().unwrap().1 += &format!("{line}\n"),
            }
        }
    }
    examples
}

/// The section whose service has tokens and TLS.
const FOR_A_TEAM: &str = "\n## For a team\n";

async fn run(command: &str, folder: &Path, server: &str) -> Option<String> {
    run_with(command, folder, &[("IFMATCH_SERVER", server)]).await
}

async fn run_with(command: &str, folder: &Path, variables: &[(&str, &str)]) -> Option<String> {
    // The binary is found as after `cargo install`.
    let binaries = Path::new(BINARY).parent()?.display();
    let path = format!("{binaries}:{}", std::env::var("PATH").ok()?);
    let output = tokio::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .envs(variables.iter().copied())
        .env("XDG_CONFIG_HOME", folder)
        .output()
        .await
        .ok()?;
    Some(
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned(),
    )
}

#[tokio::test]
async fn every_example_gives_what_the_readme_shows() {
    let folder = tempfile::tempdir().unwrap();
    if run("curl --version", folder.path(), "")
        .await
        .is_none_or(|shown| shown.is_empty())
    {
        println!("skipped: the README's examples need curl");
        return;
    }
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (alone, _) = readme.split_once(FOR_A_TEAM).unwrap();
    let mut examples = examples(alone).into_iter();
    let (start, started) = examples.next().unwrap();
    assert_eq!(start, "cargo run --release");
    assert_eq!(started, "listening on http://127.0.0.1:8080\n");
    let process = Process::start(folder.path(), &[]).await;
    let mut typed = 0;
    for (command, shown) in examples {
        let command = command.replace("localhost:8080", &process.address);
        let output = run(&command, folder.path(), &process.address)
            .await
            .unwrap();
        assert_eq!(
            without_moments(&output),
            without_moments(shown.trim_end()),
            "{command}"
        );
        typed += 1;
    }
    assert!(typed >= 11, "{typed} examples");
}

#[tokio::test]
async fn a_team_gets_tokens_and_tls_as_the_readme_shows() {
    let folder = tempfile::tempdir().unwrap();
    let has_openssl = run("openssl version", folder.path(), "").await;
    if has_openssl.is_none_or(|shown| shown.is_empty()) {
        println!("skipped: the README's certificate needs openssl");
        return;
    }
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once(FOR_A_TEAM).unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut process = None;
    let mut variables = Vec::new();
    let mut typed = 0;
    for (command, shown) in examples(section) {
        if let Some(flags) = command.strip_prefix("ifmatch serve --listen 0.0.0.0:8443 ") {
            assert_eq!(shown, "listening on https://0.0.0.0:8443\n");
            // Beyond loopback as there, at a port that is free.
            let mut serve = binary::command(folder.path());
            serve.current_dir(folder.path());
            serve.args(["--listen", "0.0.0.0:0"]).args(flags.split(' '));
            process = Some(Process::spawn(serve).await);
        } else if let Some(exported) = command.strip_prefix("export ") {
            let port = process
                .as_ref()
                .unwrap()
                .address
                .rsplit(':')
                .next()
                .unwrap();
            let exported = exported.replace("8443", port);
            for variable in exported.split(' ') {
                let (name, value) = variable.split_once('=').unwrap();
                variables.push((name.to_owned(), value.to_owned()));
            }
        } else {
            let variables: Vec<_> = variables
                .iter()
                .map(|(name, value): &(String, String)| (&**name, &**value))
                .collect();
            // A teammate's machine finds the service by its name.
            let address = process.as_ref().map(|process| process.address.as_str());
            let port = address.and_then(|address| address.rsplit(':').next());
            let connect = format!(
                "curl --connect-to kv.example:8443:127.0.0.1:{} ",
                port.unwrap_or_default()
            );
            let typed_there = command.replace("curl ", &connect);
            let output = run_with(&typed_there, folder.path(), &variables)
                .await
                .unwrap();
            assert_eq!(
                without_moments(&output),
                without_moments(shown.trim_end()),
                "{command}"
            );
        }
        typed += 1;
    }
    assert!(typed >= 10, "{typed} examples");
}
