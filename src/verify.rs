//! `ifmatch verify`: checks the files of a store that is not running.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::storage::file::{LeadsToData, Verified, verify};

/// Check a data file and its log while no service has them open; nothing is changed.
#[derive(Debug, Args)]
pub struct Verify {
    /// The data file
    #[arg(
        long,
        env = "IFMATCH_DATA",
        value_name = "FILE",
        default_value = "data.json"
    )]
    pub data: PathBuf,
}

/// Checks the files, and says what is whole, or what is not and where. Exit code 1 if something is damaged.
pub async fn run(arguments: &Verify) -> ExitCode {
    let path = arguments.data.clone();
    let verified = tokio::task::spawn_blocking(move || verify(&path)).await;
    let printed = match verified {
        Ok(Ok(verified)) => print(&verified),
        Ok(Err(error)) => {
            eprintln!("ifmatch: {error}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("ifmatch: the files could not be checked: {error}");
            return ExitCode::FAILURE;
        }
    };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ifmatch: the result could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(verified: &Verified) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if !output.is_terminal() {
        let line = serde_json::to_string(verified).map_err(io::Error::other)?;
        return writeln!(output, "{line}");
    }
    let Verified {
        entries,
        revision,
        state,
        log,
    } = verified;
    writeln!(
        output,
        "data: {entries} entries, revision {revision}, state {state}: whole"
    )?;
    let Some(log) = log else {
        return writeln!(output, "log: there is none");
    };
    writeln!(
        output,
        "log: {} commits in {} segments ({} bytes), revisions {} to {}, the last at {}: whole",
        log.commits,
        log.segments,
        log.bytes,
        log.oldest_revision,
        log.newest_revision,
        log.newest_at
    )?;
    let together = match log.leads_to_data {
        LeadsToData::Yes => "The log leads to the content of the data file.",
        LeadsToData::BeyondIt => "The data file is a checkpoint; the log has the commits since.",
        LeadsToData::Past => {
            "The log has later commits than the data file. The next start leaves them out, and the history up \
             to the data file stays."
        }
        LeadsToData::Edited => {
            "The data file was edited. The next start makes a commit of what was changed."
        }
        LeadsToData::No => {
            "The data file is of another past, or something was edited in it that was written before the log began. \
             The next start begins a new history."
        }
    };
    writeln!(output, "{together}")?;
    if log.torn_bytes > 0 {
        let torn = log.torn_bytes;
        writeln!(
            output,
            "The last {torn} bytes are of a commit that was cut off; the next start removes them."
        )?;
    }
    if log.void_segments > 0 {
        let void = log.void_segments;
        writeln!(
            output,
            "{void} older segments belong to another past, and are kept until they are too old."
        )?;
    }
    Ok(())
}
