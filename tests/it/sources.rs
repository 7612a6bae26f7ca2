//! What the layers may know of one another, read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The files outside of `home` that have one of `words` in a line of code.
fn strangers(home: &str, words: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 15, "the sources are there: {files:?}");
    let mut strangers = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            if !name.starts_with(home) && words.iter().any(|word| line.contains(word)) {
                strangers.push(format!("{name}: {line}"));
            }
        }
    }
    strangers
}

/// A client: it speaks HTTP, and reads and writes its user's files.
const COMMAND_LINE: &str = "cli/";

#[test]
fn the_command_line_knows_of_the_service_what_it_answers() {
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")) {
        let text = fs::read_to_string(&file).unwrap();
        for module in ["api", "service", "storage", "precondition", "patch"] {
            let named = text.contains(&format!("crate::{module}"));
            assert!(!named, "{}: {module}", file.display());
        }
    }
}

#[test]
fn only_the_api_knows_http() {
    let words = ["axum", "http::", "hyper", "StatusCode", "HeaderMap"];
    let found: Vec<_> = strangers("api/", &words)
        .into_iter()
        .filter(|stranger| !stranger.starts_with(COMMAND_LINE))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn only_the_file_engine_and_the_command_line_open_files() {
    let words = ["std::fs", "tokio::fs", "File::", "OpenOptions", "tempfile"];
    // The second replaces files for the file engine and the command line alike.
    let others = ["storage/conformance/", "atomic_file/", COMMAND_LINE];
    let found: Vec<_> = strangers("storage/file/", &words)
        .into_iter()
        .filter(|stranger| !others.iter().any(|other| stranger.starts_with(other)))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_is_pure_does_not_wait_and_does_no_io() {
    for pure in [
        "json/mod.rs",
        "json/compact.rs",
        "merge.rs",
        "model/mod.rs",
        "model/key.rs",
        "precondition.rs",
        "storage/file/format.rs",
        "storage/file/journal.rs",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(pure);
        let text = fs::read_to_string(&path).unwrap();
        for word in [".await", "tokio", "std::fs", "std::net", "SystemTime::now"] {
            assert!(!text.contains(word), "{pure}: {word}");
        }
    }
}

#[test]
fn only_main_and_the_front_page_name_an_engine() {
    let found: Vec<_> = strangers("storage/", &["FileStore", "MemoryStore"])
        .into_iter()
        .filter(|stranger| !stranger.starts_with("main.rs") && !stranger.starts_with("lib.rs"))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}
