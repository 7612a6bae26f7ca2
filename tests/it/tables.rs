//! README's tables, compared with what they list.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory as _};
use ifmatch::cli::Arguments;
use ifmatch::config::Config;
use serde_json::Value;

use crate::support::contract::{error_codes, responses};

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The cells of the table with these columns in a section of README, row by row.
fn table(section: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let readme = file("README.md");
    let (_, section) = readme.split_once(&format!("# {section}\n")).expect(section);
    let head = format!("| {} |\n", columns.join(" | "));
    let (_, rows) = section
        .split_once(&head)
        .expect("the section has the table");
    let rows = rows
        .lines()
        .take_while(|line| line.starts_with('|'))
        .skip(1);
    let cells = |row: &str| {
        let row = row.trim_matches('|').split(" | ");
        row.map(|cell| cell.trim().to_owned()).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    for row in &rows {
        assert_eq!(row.len(), columns.len(), "{row:?}");
    }
    rows
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_flags_of_the_service_are_those_of_its_help() {
    let config = Config::command();
    let flags = config.get_arguments();
    let flags: BTreeSet<String> = flags
        .map(|flag| {
            let name = flag.get_long().unwrap();
            let variable = format!("IFMATCH_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().unwrap(), variable.as_str());
            let default: Vec<_> = flag.get_default_values().iter().collect();
            let default = default.first().map(|value| value.to_str().unwrap());
            format!("--{name} {}", default.unwrap_or_default())
        })
        .collect();
    let rows: BTreeSet<String> = table("Flags", &["flag", "default", "meaning"])
        .iter()
        .map(|row| {
            let name = quoted(&row[0]).next().unwrap();
            // `off` and `none` have no backticks.
            format!("{name} {}", quoted(&row[1]).next().unwrap_or_default())
        })
        .collect();
    assert_eq!(rows, flags);
}

/// A command with its whole name or, if it only groups others, those.
fn with_subcommands<'a>(before: &str, command: &'a Command) -> Vec<(String, &'a Command)> {
    let name = format!("{before} {}", command.get_name());
    if !command.has_subcommands() {
        return vec![(name, command)];
    }
    let commands = command.get_subcommands();
    commands
        .flat_map(|command| with_subcommands(&name, command))
        .collect()
}

#[test]
fn the_commands_are_those_of_the_help_with_their_arguments() {
    let program = Arguments::command();
    let usage = |(name, command): (String, &Command)| {
        let mut usage = name;
        for argument in command
            .get_arguments()
            .filter(|argument| argument.is_positional())
        {
            let name = &argument.get_value_names().unwrap()[0];
            usage += &if argument.is_required_set() {
                format!(" {name}")
            } else {
                format!(" [{name}]")
            };
        }
        usage
    };
    // The sentence above the table is about it.
    let commands = program.get_subcommands();
    let commands: BTreeSet<String> = commands
        .filter(|command| command.get_name() != "serve")
        .flat_map(|command| with_subcommands("ifmatch", command))
        .map(usage)
        .collect();
    let rows = table("Command line", &["command", "what it does"]);
    let rows: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let usage = quoted(&row[0]).next().unwrap().to_owned();
            let mut names = usage.split(' ').skip(1);
            let name = names.next().unwrap();
            let mut command = program.find_subcommand(name).expect(name);
            if let Some(subcommand) = names.next().and_then(|name| command.find_subcommand(name)) {
                command = subcommand;
            }
            for flag in quoted(&row[1]).filter_map(|text| text.strip_prefix("--")) {
                let flag = flag.split(' ').next().unwrap();
                let mut known = command.get_arguments();
                assert!(known.any(|known| known.get_long() == Some(flag)), "{flag}");
            }
            usage
        })
        .collect();
    assert_eq!(rows, commands);
}

/// README's errors, as statuses with codes.
fn listed_errors() -> Vec<(String, String)> {
    let rows = table("Errors", &["status", "error", "when"]);
    let listed = rows.iter().flat_map(|row| {
        let codes = quoted(&row[1]);
        codes.map(|code| (row[0].clone(), code.to_owned()))
    });
    listed.collect()
}

#[test]
fn the_errors_are_those_of_the_contract() {
    let listed = listed_errors();
    let codes: BTreeSet<&str> = listed.iter().map(|(_, code)| code.as_str()).collect();
    assert_eq!(codes, error_codes());
    for (status, response) in responses() {
        let example = &response["content"]["application/json"]["example"];
        if let Some(code) = example.get("error").and_then(Value::as_str) {
            let example = (status.to_owned(), code.to_owned());
            assert!(listed.contains(&example), "{example:?}");
        }
    }
}

/// They take any other response with a status from 500 for a gateway's, and then do not know whether a write was
/// applied.
#[test]
fn the_command_line_and_the_console_know_each_server_error() {
    for client in ["src/cli/refusal.rs", "console/api.js"] {
        let text = file(client);
        let listed = listed_errors().into_iter();
        for (status, code) in listed.filter(|(status, _)| status.starts_with('5')) {
            let pair = format!("{status}, \"{code}\"");
            assert!(text.contains(&pair), "{client}: {pair}");
        }
    }
}
