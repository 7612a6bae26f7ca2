//! The parts of header fields (RFC 9110 §5.6).

/// The parts of a text between separators that are not in a quoted string (RFC 9110 §5.6.4).
pub fn unquoted_split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return character == separator && !is_quoted,
        }
        false
    })
}

/// The text of `token / quoted-string`.
pub fn word(text: &str) -> String {
    let quoted = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(quoted) = quoted else {
        return text.to_owned();
    };
    let mut is_escaped = false;
    let is_kept = |character: &char| {
        is_escaped = *character == '\\' && !is_escaped;
        !is_escaped
    };
    quoted.chars().filter(is_kept).collect()
}
