//! The token that requests carry. Nothing shows its text.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;

use super::failure::Failure;
use super::output::warn;
use super::text::shell_quoted;
use crate::access::is_well_formed;

/// The variable with the token itself. There is no flag for that: other users of the machine see flags.
pub const VARIABLE: &str = "IFMATCH_TOKEN";
/// The longest token, in bytes.
const TOKEN_MAX_BYTES: u64 = 4096;
/// What the service's own tokens begin with.
const BEGINNING: &str = "ifm_";
/// The permissions of others than the owner.
pub const OF_OTHERS: u32 = 0o077;

/// The text of a token: visible ASCII.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

/// Where a token comes from.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// `--token-file`
    File(PathBuf),
    /// [`VARIABLE`]
    Environment,
    /// What `ifmatch login` has stored.
    Stored(PathBuf),
    /// It was typed, or came from standard input.
    Input,
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Stored(path) => path.display().fmt(f),
            Self::Environment => f.write_str(VARIABLE),
            Self::Input => f.write_str("your input"),
        }
    }
}

impl TokenText {
    /// The token in a text, which may end with a line break. `source` is for messages.
    pub fn parse(text: &[u8], source: &dyn fmt::Display) -> Result<Self, Failure> {
        let wrong = |what: &str| Err(Failure::Input(format!("{source}: {what}")));
        let text = text.trim_ascii();
        if text.is_empty() {
            return wrong("there is no token in it");
        }
        if text.len() as u64 > TOKEN_MAX_BYTES {
            return wrong(&format!(
                "it is longer than {TOKEN_MAX_BYTES} bytes, so it is not a token"
            ));
        }
        match str::from_utf8(text) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                if text.starts_with(BEGINNING) && !is_well_formed(text) {
                    return wrong(
                        "the token was not copied whole, or was changed: copy it again, all 40 characters",
                    );
                }
                Ok(Self(text.to_owned()))
            }
            _ => wrong(
                "it is not a token: a token is one word of visible ASCII characters, alone in its file",
            ),
        }
    }

    /// The token in the file of `--token-file`.
    pub fn from_file(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::file(path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_file() && metadata.permissions().mode() & OF_OTHERS != 0 {
            let quoted = shell_quoted(&path.to_string_lossy());
            warn(&format!(
                "others may use the token in {}: chmod 600 {quoted}",
                path.display()
            ));
        }
        Self::parse(&read(file).map_err(failed)?, &path.display())
    }

    /// The token in [`VARIABLE`], if that is set and not empty.
    pub fn from_environment() -> Result<Option<Self>, Failure> {
        match env::var_os(VARIABLE) {
            Some(text) if !text.is_empty() => {
                Self::parse(text.as_encoded_bytes(), &VARIABLE).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The token on standard input.
    pub fn from_stdin() -> Result<Self, Failure> {
        let name = "standard input";
        let text = read(io::stdin().lock()).map_err(|error| Failure::file(name.as_ref(), error))?;
        Self::parse(&text, &name)
    }

    /// The value of `Authorization` (RFC 6750 §2.1).
    pub fn bearer(&self) -> HeaderValue {
        // Visible ASCII is always allowed.
        let value = HeaderValue::try_from(format!("Bearer {}", self.0));
        let mut value = value.unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// The text, for the file in which it is stored.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// As much as a token can have, and a little more, so that it is seen to be too long.
fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(TOKEN_MAX_BYTES * 2).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::new_token;

    #[test]
    fn a_token_is_one_visible_word_and_is_never_shown() {
        let new = new_token().unwrap();
        for text in [new.as_str(), "x", "a.b-c_d~e+f/g="] {
            for (before, after) in [("", ""), ("", "\n"), (" ", "\r\n\n")] {
                let token = format!("{before}{text}{after}");
                let token = TokenText::parse(token.as_bytes(), &"file").unwrap();
                assert_eq!(token.reveal(), text);
                assert_eq!(
                    token.bearer().as_bytes(),
                    format!("Bearer {text}").as_bytes()
                );
                let shown = format!("{token:?} {:?}", token.bearer());
                assert!(text.len() == 1 || !shown.contains(text), "{shown}");
            }
        }
        for (text, reason) in [
            ("", "no token"),
            (" \n", "no token"),
            ("secret secret", "one word"),
            ("secret\nsecret", "one word"),
            ("sécret", "one word"),
            ("secret\u{7f}", "one word"),
            (&"s".repeat(4097), "longer"),
            (&new[..39], "not copied whole"),
            ("ifm_secret", "not copied whole"),
        ] {
            let failure = TokenText::parse(text.as_bytes(), &"file").unwrap_err();
            let message = failure.to_string();
            assert!(
                message.starts_with("file: ") && message.contains(reason),
                "{message}"
            );
            assert!(
                text.trim().is_empty() || !message.contains(text),
                "{message}"
            );
        }
    }
}
