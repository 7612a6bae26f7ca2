//! Who asks, as the service says it, and the same in words.

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::failure::Failure;
use super::output::Output;
use super::text::{printable, shell_quoted, timestamp};
use crate::access::Grant;
use crate::model::Name;

/// Who asks, as the service sends it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Caller {
    /// `None` for everyone without a token.
    pub name: Option<Name>,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Until when, in RFC 3339.
    pub expires_at: Option<String>,
}

impl Caller {
    /// Asks the service.
    pub async fn ask(client: &Client) -> Result<Self, Failure> {
        let response = client.send(client.get("/whoami", &[])).await?;
        let body = response.bytes().await;
        let body = body.map_err(|error| client.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| client.not_ifmatch(&error))
    }

    /// Prints it.
    pub fn print(&self, server: &str, output: &Output) -> Result<(), Failure> {
        if !output.is_terminal() {
            return output.json(self);
        }
        for line in self.in_words(server) {
            output.line(&line)?;
        }
        Ok(())
    }

    fn in_words(&self, server: &str) -> Vec<String> {
        let name = self.name.as_ref().map(Name::as_str);
        let name = printable(name.unwrap_or("nobody in particular (without a token)"));
        let mut lines = vec![format!("{name}, at {server}")];
        if self.grants.is_empty() {
            lines.push("  may do nothing".to_owned());
        }
        let grants = self.grants.iter();
        lines.extend(grants.map(|grant| format!("  may {}", grant_in_words(grant))));
        if let Some(end) = &self.expires_at {
            lines.push(format!("  until {} UTC", timestamp(end)));
        }
        lines
    }
}

/// `read and update doc/…`
pub fn grant_in_words(grant: &Grant) -> String {
    let actions: Vec<_> = grant.actions.iter().map(|action| action.as_str()).collect();
    let actions = match actions.split_last() {
        None => "do nothing with".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    };
    match grant.prefix.as_str() {
        "" => format!("{actions} every key"),
        prefix => format!(
            "{actions} keys that begin with {}",
            shell_quoted(&printable(prefix))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_in_words() {
        let json = r#"{"name":"ann","grants":[{"prefix":"doc/","actions":["read","update"]},
            {"prefix":"a b","actions":["read","create","delete"]},{"prefix":"","actions":["read"]}],
            "expires_at":"2027-01-01T00:00:00.000Z"}"#;
        let caller: Caller = serde_json::from_str(json).unwrap();
        assert_eq!(
            caller.in_words("https://kv.example"),
            [
                "ann, at https://kv.example",
                "  may read and update keys that begin with doc/",
                "  may read, create and delete keys that begin with 'a b'",
                "  may read every key",
                "  until 2027-01-01 00:00:00 UTC",
            ]
        );
        let caller: Caller =
            serde_json::from_str(r#"{"name":null,"grants":[],"expires_at":null}"#).unwrap();
        assert_eq!(
            caller.in_words("http://a"),
            [
                "nobody in particular (without a token), at http://a",
                "  may do nothing"
            ]
        );
    }
}
