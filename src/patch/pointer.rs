//! JSON Pointer (RFC 6901).

use std::borrow::Cow;

/// A place in a document, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Pointer(Box<str>);

/// One step of a pointer, as it was written.
#[derive(Clone, Copy)]
pub struct Token<'a>(&'a str);

impl Pointer {
    /// Parses a pointer, or says what is wrong with it.
    pub fn read(text: String) -> Result<Self, &'static str> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err("does not begin with / (RFC 6901)");
        }
        if text
            .split('~')
            .skip(1)
            .any(|rest| !rest.starts_with(['0', '1']))
        {
            return Err("has a ~ that is neither ~0 nor ~1 (RFC 6901)");
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many steps below the whole document the place is.
    pub fn levels(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'/').count()
    }

    pub fn tokens(&self) -> impl Iterator<Item = Token<'_>> {
        self.0.split('/').skip(1).map(Token)
    }

    /// Whether the place is below another.
    pub fn is_below(&self, above: &Self) -> bool {
        let rest = self.0.strip_prefix(&*above.0);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl<'a> Token<'a> {
    /// The name of the member that is meant, as it is between the quotes in compact JSON.
    pub fn name(self) -> Cow<'a, str> {
        let is_special = |byte: u8| byte < b' ' || matches!(byte, b'~' | b'"' | b'\\');
        if !self.0.bytes().any(is_special) {
            return Cow::Borrowed(self.0);
        }
        let name = self.0.replace("~1", "/").replace("~0", "~");
        let mut quoted = serde_json::Value::String(name).to_string();
        quoted.pop();
        quoted.remove(0);
        Cow::Owned(quoted)
    }

    /// The element that is meant.
    pub fn index(self) -> Option<usize> {
        let is_decimal = self.0.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = is_decimal && (self.0 == "0" || !self.0.starts_with('0'));
        is_plain.then(|| self.0.parse().ok()).flatten()
    }

    /// Whether the place behind the last element is meant.
    pub fn is_end(self) -> bool {
        self.0 == "-"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_names_or_positions() {
        let pointer = Pointer::read("/a~1b/~01/\"\\\n/é/-/0/10/01/+1/".to_owned()).unwrap();
        let names: Vec<_> = pointer.tokens().map(Token::name).collect();
        let expected = [
            "a/b",
            "~1",
            r#"\"\\\n"#,
            "é",
            "-",
            "0",
            "10",
            "01",
            "+1",
            "",
        ];
        assert_eq!(names, expected);
        let positions: Vec<_> = pointer.tokens().filter_map(Token::index).collect();
        assert_eq!(positions, [0, 10]);
        assert_eq!(pointer.levels(), 10);
        assert_eq!(Pointer::read(String::new()).unwrap().tokens().count(), 0);
        assert_eq!(Token("18446744073709551616").index(), None);
    }

    #[test]
    fn below_counts_whole_steps() {
        let below = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| Pointer::read(text.to_owned()).unwrap());
            one.is_below(&other)
        };
        assert!(below("/a/b", "/a") && below("/a", "") && below("/a/", "/a"));
        assert!(!below("/ab", "/a") && !below("/a", "/a") && !below("/a", "/a/b"));
    }

    #[test]
    fn an_invalid_pointer_says_why() {
        for text in ["a", "a/b", "/~", "/~2", "/~~0"] {
            assert!(Pointer::read(text.to_owned()).is_err(), "{text}");
        }
    }
}
