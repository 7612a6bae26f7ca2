//! The JSON that a command sends.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value as Tree;

use super::failure::Failure;
use super::output::note;
use crate::json::{self, MAX_DEPTH_LEVELS};

/// How deep the input may be nested: in a JSON Patch, values are two levels below the top. The service
/// checks the exact limit.
const INPUT_MAX_DEPTH_LEVELS: usize = MAX_DEPTH_LEVELS + 2;

/// JSON that comes from an argument, a file or standard input.
#[derive(Debug, Args)]
pub struct Input {
    /// The JSON itself; without it and without --file, or as `-`, it is read from standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    pub text: Option<String>,
    /// Read the JSON from a file; `-` is standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
}

/// The input, unchanged and as a tree. It refuses what a mistake or a broken pipe produces: an empty input,
/// and a duplicate member, one of which the service would drop.
pub fn read(input: Input) -> Result<(Vec<u8>, Tree), Failure> {
    let file = input.file.filter(|file| file != Path::new("-"));
    let text = input.text.filter(|text| text != "-");
    let (source, json) = match (text, file) {
        (Some(text), _) => ("the JSON".to_owned(), text.into_bytes()),
        (None, Some(file)) => from_file(&file)?,
        (None, None) => from_stdin()?,
    };
    if json.iter().all(u8::is_ascii_whitespace) {
        let empty = format!("{source}: it is empty; nothing was written");
        return Err(Failure::Input(empty));
    }
    let tree = json::parse_distinct_within(&json, INPUT_MAX_DEPTH_LEVELS)
        .map_err(|error| Failure::Input(format!("{source}: {error}; nothing was written")))?;
    Ok((json, tree))
}

fn from_file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let json = fs::read(path).map_err(|error| Failure::file(path, error))?;
    Ok((path.display().to_string(), json))
}

fn from_stdin() -> Result<(String, Vec<u8>), Failure> {
    let name = "standard input";
    let mut json = Vec::new();
    if io::stdin().is_terminal() {
        note("Type the JSON, then press Ctrl-D.");
    }
    let read = io::stdin().read_to_end(&mut json);
    read.map_err(|error| Failure::file(Path::new(name), error))?;
    Ok((name.to_owned(), json))
}
