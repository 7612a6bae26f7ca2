//! `token new` and `token check`: tokens, and the file that says who has which.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::access::{Guarded, lines, mode_of};
use crate::support::binary::{BINARY, bare_command};
use crate::support::cli::{Cli, Ran, file_with, finish};

fn token(arguments: &[&str]) -> Command {
    let mut command = bare_command(BINARY);
    command.arg("token").args(arguments);
    command
}

async fn run(arguments: &[&str]) -> Ran {
    finish(token(arguments)).await
}

/// The one word of a text that is a token.
fn token_in(text: &str) -> Option<&str> {
    let mut tokens = text
        .split_whitespace()
        .filter(|word| word.starts_with("ifm_"));
    let token = tokens.next()?;
    assert_eq!(tokens.next(), None, "{text}");
    assert!(ifmatch::access::is_well_formed(token), "{token}");
    Some(token)
}

#[tokio::test]
async fn a_new_token_opens_a_service_that_has_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens.toml");
    let name = "Ann \"Öz\" \\ 🦀";
    let made = run(&[
        "new",
        "--name",
        name,
        "--allow",
        "a=\"b\\/=read,update,create,read",
        "--allow",
        "=read",
        "--expires",
        "90d",
    ])
    .await;
    made.assert_code(0).assert_says(&["shown only now", name]);
    let secret = token_in(&made.stderr).unwrap();
    assert_eq!(token_in(&made.stdout), None, "{made:?}");
    // The file's last line has no end, as some editors leave it.
    let other = lines("bob", "bob-token", "allow = []");
    std::fs::write(&tokens, other.trim_end().to_owned() + &made.stdout).unwrap();
    let cli = Cli::start_in(folder, &["--tokens", tokens.to_str().unwrap()]).await;
    let run = async |arguments: &[&str]| {
        let mut command = cli.command(arguments);
        command.env("IFMATCH_TOKEN", secret);
        finish(command).await
    };
    let who = run(&["whoami"]).await.assert_code(0).json();
    assert_eq!(who["name"], name);
    assert_eq!(
        who["grants"],
        serde_json::json!([
            {"prefix": "a=\"b\\/", "actions": ["read", "update", "create"]},
            {"prefix": "", "actions": ["read"]}
        ])
    );
    assert!(who["expires_at"].is_string(), "{who}");
    run(&["put", "a=\"b\\/x", "1"]).await.assert_code(0);
    run(&["put", "c", "1"]).await.assert_code(5);
    run(&["rm", "a=\"b\\/x", "--force"]).await.assert_code(5);
}

#[tokio::test]
async fn a_new_token_can_be_saved_in_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("ann.token");
    let path = saved.to_str().unwrap();
    let new = [
        "new",
        "--name",
        "ann",
        "--allow",
        "=read",
        "--save-token",
        path,
    ];
    let made = run(&new).await;
    made.assert_code(0);
    assert_eq!(made.stderr, "");
    assert_eq!(token_in(&made.stdout), None, "{made:?}");
    assert_eq!(mode_of(&saved), 0o600);
    let text = std::fs::read_to_string(&saved).unwrap();
    assert!(token_in(&text).is_some() && text.ends_with('\n'), "{text}");

    // It would take away somebody's token.
    let again = run(&new).await;
    again.assert_code(1).assert_says(&[
        "ann.token: this file exists",
        "it was left unchanged and no token was made",
        "Give --save-token another name",
    ]);
    assert_eq!(again.stdout, "");
    assert_eq!(std::fs::read_to_string(&saved).unwrap(), text);

    let tokens = folder.path().join("tokens.toml");
    std::fs::write(&tokens, &made.stdout).unwrap();
    let cli = Cli::start_in(folder, &["--tokens", tokens.to_str().unwrap()]).await;
    let who = cli.run(&["whoami", "--token-file", path]).await;
    assert_eq!(who.assert_code(0).json()["name"], "ann");
    assert_eq!(who.stderr, "");
}

#[tokio::test]
async fn a_token_whose_lines_cannot_be_written_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("ann.token");
    let mut command = token(&["new", "--name", "ann", "--allow", "=read", "--save-token"]);
    command.arg(&saved);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    command.stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output();
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!saved.exists());
}

#[tokio::test]
async fn a_token_that_no_service_would_accept_is_not_made() {
    let long = format!("{}=read", "x".repeat(513));
    for (arguments, reason) in [
        (&["--name", "ann"][..], "--allow"),
        (&["--allow", "=read"], "--name"),
        (&["--name", "", "--allow", "=read"], "a name has"),
        (&["--name", "a\tb", "--allow", "=read"], "a name has"),
        (&["--name", "ann", "--allow", "doc/"], "PREFIX=ACTION"),
        (
            &["--name", "ann", "--allow", "doc/="],
            "none of read, create",
        ),
        (
            &["--name", "ann", "--allow", "doc/=write"],
            "\"write\" is none of",
        ),
        (
            &["--name", "ann", "--allow", "doc/=read,"],
            "none of read, create",
        ),
        (
            &["--name", "ann", "--allow", "a\nb=read"],
            "control character",
        ),
        (&["--name", "ann", "--allow", &long], "longer than a key"),
        (
            &["--name", "ann", "--allow", "doc/*=read"],
            "not a pattern, so doc/* covers only keys that have the * in them: give doc/, which",
        ),
        (
            &["--name", "ann", "--allow", "*=read"],
            "give the empty prefix",
        ),
        (
            &["--name", "ann", "--allow", "=read", "--expires", "90"],
            "90d",
        ),
        (
            &["--name", "ann", "--allow", "=read", "--expires", "0d"],
            "90d",
        ),
        (
            &[
                "--name",
                "ann",
                "--allow",
                "=read",
                "--expires",
                "2020-01-01",
            ],
            "in the past",
        ),
        (
            &["--name", "ann", "--allow", "=read", "--expires", "12:00:00"],
            "expires must be",
        ),
        (
            &[
                "--name",
                "ann",
                "--allow",
                "=read",
                "--expires",
                "2027-01-01T00:00:00",
            ],
            "expires must be",
        ),
        (
            &["--name", "ann", "--allow", "=read", "--token-file", "x"],
            "--token-file is",
        ),
    ] {
        let ran = run(&[&["new"], arguments].concat()).await;
        assert!([1, 2].contains(&ran.code), "{ran:?}");
        ran.assert_says(&[reason]);
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert!(!ran.stderr.contains("ifm_"), "{ran:?}");
    }
    for expires in [
        "2999-01-01",
        "2999-01-01T12:00:00+02:00",
        "1h 30m",
        "9000000y",
    ] {
        run(&[
            "new",
            "--name",
            "ann",
            "--allow",
            "=read",
            "--expires",
            expires,
        ])
        .await
        .assert_code(0);
    }
}

#[tokio::test]
async fn a_check_lists_whose_tokens_a_file_has() {
    let guarded = Guarded::start().await;
    let path = guarded.tokens();
    let ran = run(&["check", path.to_str().unwrap()]).await;
    ran.assert_code(0);
    let shown: Vec<serde_json::Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |member: &str| {
        shown
            .iter()
            .map(|line| line[member].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("name"), ["ann", "bob", "late", "root", "writer"]);
    assert_eq!(of("is_expired"), [false, false, true, false, false]);
    assert_eq!(shown[2]["expires_at"], "2020-01-01T00:00:00.000Z");
    assert_eq!(shown[1]["grants"][0]["prefix"], "doc/");
    run(&["check", file_with("").to_str().unwrap()])
        .await
        .assert_code(0);
}

#[tokio::test]
async fn a_check_warns_of_a_prefix_that_looks_like_a_pattern() {
    let allow = r#"allow = [{ prefix = "doc/*", actions = ["read"] }, { prefix = "cfg/", actions = ["read"] }]
user = "ann""#;
    let file = file_with(&lines("ann", "ann-token", allow));
    let path = file.to_str().unwrap();
    let checked = run(&["check", path]).await;
    checked
        .assert_code(0)
        .assert_says(&["covers only keys that have the * in them"]);
    let warning = format!("ifmatch: warning: {path}: ann: ");
    assert_eq!(checked.stderr.matches(&warning).count(), 1, "{checked:?}");
    assert_eq!(checked.stderr.lines().count(), 1, "{checked:?}");
    assert_eq!(checked.stdout.lines().count(), 2, "{checked:?}");
}

#[tokio::test]
async fn a_check_names_the_place_of_a_mistake_as_the_service_does() {
    let ann = lines("ann", "ann-token", "allow = []");
    for (text, place) in [
        (format!("{ann}[[token]\n"), "line 5"),
        (
            format!("{ann}{ann}"),
            "token 2 (ann): another token has the same sha256",
        ),
        (
            lines(
                "ann",
                "x",
                "allow = [{ prefix = \"\", actions = [\"write\"] }]",
            ),
            "write",
        ),
    ] {
        let file = file_with(&text);
        let path = file.to_str().unwrap();
        let checked = run(&["check", path]).await;
        checked.assert_code(1).assert_says(&[path, place]);
        assert_eq!(checked.stdout, "");
        let mut serve = bare_command(BINARY);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--tokens", path]);
        let served = finish(serve).await;
        served.assert_code(1);
        let line = served
            .stderr
            .lines()
            .find(|line| line.starts_with("ifmatch: "));
        assert!(
            checked.stderr.starts_with(line.unwrap()),
            "{checked:?} {served:?}"
        );
    }
    let missing = run(&["check", "/nonexistent/tokens.toml"]).await;
    missing
        .assert_code(1)
        .assert_says(&["/nonexistent/tokens.toml"]);
}
