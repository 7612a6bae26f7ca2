//! Why a service with TLS does not start.

use std::fs;
use std::time::Duration;

use tempfile::tempdir;

use crate::support::binary::{Process, command, run};
use crate::support::tls::{Authority, flags};

#[tokio::test]
async fn a_file_that_cannot_be_used_stops_the_start_and_is_named() {
    let authority = Authority::new("ours");
    let pair = authority.issue();
    let other = authority.issue();
    for (certificate, key, client_ca, said) in [
        (None, Some(&pair.key), None, "tls.crt: No such file"),
        (Some(&pair.certificate), None, None, "tls.key: No such file"),
        (
            Some(&pair.key),
            Some(&pair.key),
            None,
            "no certificate in PEM format in ",
        ),
        (
            Some(&pair.certificate),
            Some(&pair.certificate),
            None,
            "no private key without a password in PEM format in ",
        ),
        (
            Some(&pair.certificate),
            Some(&other.key),
            None,
            "does not belong to the first certificate in ",
        ),
        (
            Some(&pair.certificate),
            Some(&pair.key),
            Some(&pair.key),
            "no certificate in PEM format in ",
        ),
    ] {
        let folder = tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut command = command(folder.path());
        command
            .args(["--listen", "127.0.0.1:0"])
            .args(flags(folder.path()));
        for (name, content) in [
            ("tls.crt", certificate),
            ("tls.key", key),
            ("ca.crt", client_ca),
        ] {
            if let Some(content) = content {
                fs::write(path(name), content).unwrap();
            }
        }
        if client_ca.is_some() {
            command.arg("--tls-client-ca").arg(path("ca.crt"));
        }
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(1));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(said), "{message}");
        assert!(
            message.contains(folder.path().to_str().unwrap()),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!path("data.json.lock").exists(), "a lock is left behind");
    }
}

#[tokio::test]
async fn a_certificate_needs_its_key() {
    for flag in ["--tls-cert", "--tls-key", "--tls-client-ca"] {
        let folder = tempdir().unwrap();
        let mut command = command(folder.path());
        command.args([flag, "a.pem"]);
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(2));
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("required"), "{message}");
    }
}

#[tokio::test]
async fn a_certificate_that_clients_refuse_is_a_warning_with_what_to_do() {
    let authority = Authority::new("ours");
    for (from, until, said) in [
        (2001, 2002, "has expired"),
        (4000, 4001, "is not valid yet"),
    ] {
        let folder = tempdir().unwrap();
        let bad = authority.issue_dated("localhost", from, until);
        bad.write(folder.path());
        let flags = flags(folder.path());
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let process = Process::start(folder.path(), &flags).await;
        authority.issue().replace(folder.path());
        process.until_logged("were read again", 1).await;
        bad.replace(folder.path());
        process.until_logged("were read again", 2).await;
        process.until_logged(said, 2).await;
        let log = process.stop().await.log;
        let warnings: Vec<_> = log.lines().filter(|line| line.contains(said)).collect();
        // At the start, and when it was put in place again.
        assert_eq!(warnings.len(), 2, "{log}");
        for line in warnings {
            assert!(line.contains("WARN") && line.contains("tls.crt"), "{line}");
            let year = if until == 2002 {
                "2002-01-01"
            } else {
                "4000-01-01"
            };
            let advice = ["put a new one", "check the clock"];
            assert!(line.contains(year), "{line}");
            assert!(advice.iter().any(|advice| line.contains(advice)), "{line}");
        }
        assert_eq!(log.matches("WARN").count(), 2, "{log}");
    }
}

#[tokio::test]
async fn a_certificate_that_expires_within_two_weeks_is_a_warning() {
    let authority = Authority::new("ours");
    for (days, warnings) in [(13, 1), (15, 0)] {
        let folder = tempdir().unwrap();
        let time = Duration::from_secs(days * 24 * 60 * 60);
        authority.issue_lasting(time).write(folder.path());
        let flags = flags(folder.path());
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let process = Process::start(folder.path(), &flags).await;
        let log = process.stop().await.log;
        let found = log.lines().filter(|line| line.contains("WARN")).count();
        assert_eq!(found, warnings, "{log}");
        assert_eq!(log.matches("expires soon").count(), warnings, "{log}");
    }
}
