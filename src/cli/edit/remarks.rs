//! What `edit` says above the text in the editor.

use std::time::SystemTime;

use serde_json::json;

use crate::cli::draft::{self, Draft};
use crate::cli::entry::Entry;
use crate::cli::text::{ago, printable};
use crate::model::Key;

/// What the editor opens with.
pub fn first_draft(key: &Key, base: Option<&Entry>) -> Draft {
    let key = printable(key.as_str());
    match base {
        Some(entry) => Draft::new(
            &[
                format!(
                    "{key}, {}. To save, save the file and close the editor;",
                    entry.version_in_words()
                ),
                "to leave the entry unchanged, change nothing or empty the file.".to_owned(),
            ],
            draft::to_text(&entry.value.to_tree()),
        ),
        None => Draft::new(
            &[format!(
                "{key} is new. Write any JSON value; to create nothing, change nothing."
            )],
            draft::to_text(&json!({})),
        ),
    }
}

/// The same with the text of an earlier edit.
pub fn resumed_draft(key: &Key, base: Option<&Entry>, text: &str) -> Draft {
    let made_from = base.map_or_else(
        || "for a new entry".to_owned(),
        |entry| format!("from {}", entry.version_in_words()),
    );
    // The remark above the first text was not typed by the user.
    first_draft(key, base).edited(text).with_remark(&[
        format!(
            "{}, the text of an earlier edit, made {made_from}. It is saved when you close the",
            printable(key.as_str())
        ),
        "editor, even if you change nothing; to save nothing, empty the file.".to_owned(),
    ])
}

/// The version of an entry, in words.
pub fn name(entry: Option<&Entry>, absent: &str) -> String {
    match entry {
        Some(entry) => entry.version_in_words(),
        None => absent.to_owned(),
    }
}

/// Who saved an entry, and when, if that is known.
pub fn saved_by(entry: &Entry) -> Option<String> {
    let name = printable(entry.modified_by.as_deref()?);
    let when = ago(&entry.modified_at, SystemTime::now());
    Some(format!("{name} saved version {}, {when}", entry.version))
}

/// What stands above a text with conflicts in these places.
pub fn remark(places: &[String], theirs: Option<&Entry>, theirs_name: &str) -> [String; 2] {
    let places: Vec<_> = places
        .iter()
        .map(|place| match place.as_str() {
            "" => "the whole value".to_owned(),
            place => printable(place).into_owned(),
        })
        .collect();
    let places = places.join(", ");
    let both_changed = match theirs.and_then(saved_by) {
        // Others may have saved versions before that one.
        Some(saved) => format!("{saved}. It and your text both change {places}."),
        None => format!("You and somebody else ({theirs_name}) both changed {places}."),
    };
    [
        both_changed,
        "In each place, keep what is to be saved, and delete the rest and the marker lines."
            .to_owned(),
    ]
}
