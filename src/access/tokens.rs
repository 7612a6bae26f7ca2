//! The file of tokens: TOML text → who has which token.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use toml::value::{Datetime, Offset};

use super::grants::{Grant, Grants};
use super::principal::Principal;
use super::secret::TokenHash;
use crate::model::{KEY_MAX_BYTES, Name, Timestamp};

/// How much of a hash tells which token it may be; the rest is compared in constant time.
const INDEX_BYTES: usize = 8;

/// Everybody who is known, by their tokens or by what else identifies them.
#[derive(Debug, Default)]
pub struct Tokens {
    by_hash: HashMap<[u8; INDEX_BYTES], Vec<Token>>,
    by_identity: HashMap<Identity, Arc<Principal>>,
}

/// What identifies a caller who has no token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A client certificate with this SHA-256.
    Certificate([u8; 32]),
    /// A client certificate with this name among its alternative names (RFC 5280 §4.2.1.6).
    CertificateName(String),
    /// A proxy that is trusted has signed them in under this name.
    User(String),
}

#[derive(Debug, Clone)]
struct Token {
    hash: TokenHash,
    principal: Arc<Principal>,
}

/// Why a text is not a file of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It is not TOML, or has members that it should not have.
    #[error("{0}")]
    Syntax(String),
    /// A token is not valid.
    #[error("token {number} ({name}): {reason}")]
    Invalid {
        /// Which, counted from 1.
        number: usize,
        /// Its name.
        name: Name,
        /// What is wrong.
        reason: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Written>,
}

/// A token as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Name,
    sha256: Option<String>,
    certificate: Option<String>,
    certificate_name: Option<String>,
    user: Option<String>,
    expires: Option<Datetime>,
    allow: Vec<Grant>,
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TokensError`], which names the place.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let file: File =
            toml::from_str(text).map_err(|error| TokensError::Syntax(error.to_string()))?;
        let mut tokens = Self::default();
        for (index, written) in file.token.into_iter().enumerate() {
            let name = written.name.clone();
            let added = written.read().and_then(|read| tokens.add(&read));
            added.map_err(|reason| TokensError::Invalid {
                number: index + 1,
                name,
                reason,
            })?;
        }
        Ok(tokens)
    }

    fn add(&mut self, read: &Read) -> Result<(), &'static str> {
        if let Some(hash) = read.hash {
            if self.find(&hash).is_some() {
                return Err("another token has the same sha256");
            }
            let bucket = self.by_hash.entry(index_of(&hash)).or_default();
            bucket.push(Token {
                hash,
                principal: read.principal(),
            });
        }
        for identity in &read.identities {
            let other = self.by_identity.insert(identity.clone(), read.principal());
            if other.is_some() {
                return Err("another token has the same certificate, certificate_name or user");
            }
        }
        Ok(())
    }

    /// Everybody may do what `more` allows, too. To be called before anybody is given a principal of these.
    pub(crate) fn add_grants(&mut self, more: &Grants) {
        let tokens = self.by_hash.values_mut().flatten();
        let tokens = tokens.map(|token| &mut token.principal);
        for principal in tokens.chain(self.by_identity.values_mut()) {
            *principal = Arc::new(principal.with_grants(more));
        }
    }

    /// How many tokens, certificates and users are known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.principals().count()
    }

    /// Who has the token with this hash.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<&Arc<Principal>> {
        let candidates = self.by_hash.get(&index_of(hash))?;
        let token = candidates
            .iter()
            .find(|token| token.hash.ct_eq(hash).into())?;
        Some(&token.principal)
    }

    /// Who is identified so.
    pub(crate) fn identified(&self, identity: &Identity) -> Option<&Arc<Principal>> {
        self.by_identity.get(identity)
    }

    /// Everybody who is known, in no order, once for each thing by which they are known.
    pub(crate) fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        let tokens = self
            .by_hash
            .values()
            .flatten()
            .map(|token| &token.principal);
        tokens.chain(self.by_identity.values())
    }

    /// Takes the place of `before`: who has the same rights in both goes on, and every other one of `before` is
    /// revoked.
    pub(crate) fn take_over(&mut self, before: &Self) {
        for token in self.by_hash.values_mut().flatten() {
            carry_over(before.find(&token.hash), &mut token.principal);
        }
        for (identity, principal) in &mut self.by_identity {
            carry_over(before.identified(identity), principal);
        }
        let current: HashSet<_> = self.principals().map(Arc::as_ptr).collect();
        for principal in before.principals() {
            if !current.contains(&Arc::as_ptr(principal)) {
                principal.revoke();
            }
        }
    }
}

fn carry_over(before: Option<&Arc<Principal>>, principal: &mut Arc<Principal>) {
    if let Some(before) = before
        && before.has_same_rights(principal)
    {
        *principal = Arc::clone(before);
    }
}

/// Somebody in the file, and by what they are known.
struct Read {
    hash: Option<TokenHash>,
    identities: Vec<Identity>,
    name: Name,
    grants: Grants,
    expires_at: Option<Timestamp>,
}

impl Read {
    /// One for each thing by which they are known: if one is taken away, the streams that it has opened end.
    fn principal(&self) -> Arc<Principal> {
        let grants = self.grants.clone();
        Arc::new(Principal::new(self.name.clone(), grants, self.expires_at))
    }
}

impl Written {
    fn read(self) -> Result<Read, &'static str> {
        let hash = self.sha256.as_deref().map(digest_of).transpose();
        let hash =
            hash.map_err(|()| "sha256 must be the 64 hexadecimal digits of the token's SHA-256")?;
        let mut identities = Vec::new();
        if let Some(fingerprint) = &self.certificate {
            // OpenSSL writes colons between the digits.
            let digest = digest_of(&fingerprint.replace(':', "")).map_err(
                |()| "certificate must be the 64 hexadecimal digits of the certificate's SHA-256",
            )?;
            identities.push(Identity::Certificate(digest));
        }
        identities.extend(self.certificate_name.map(Identity::CertificateName));
        identities.extend(self.user.map(Identity::User));
        if hash.is_none() && identities.is_empty() {
            return Err("it needs sha256, certificate, certificate_name or user");
        }
        for grant in &self.allow {
            if grant.prefix.len() > KEY_MAX_BYTES
                || grant.prefix.contains(|c: char| c.is_ascii_control())
            {
                return Err("a prefix is longer than a key may be, or has a control character");
            }
            if grant.actions.is_empty() {
                return Err("actions is empty: name some of read, create, update, delete");
            }
        }
        Ok(Read {
            hash,
            identities,
            name: self.name,
            grants: Grants::new(self.allow),
            expires_at: self.expires.map(moment_of).transpose()?,
        })
    }
}

fn digest_of(hexadecimal: &str) -> Result<[u8; 32], ()> {
    let mut digest = [0; 32];
    hex::decode_to_slice(hexadecimal, &mut digest).map_err(|_| ())?;
    Ok(digest)
}

fn index_of(hash: &TokenHash) -> [u8; INDEX_BYTES] {
    let mut index = [0; INDEX_BYTES];
    index.copy_from_slice(&hash[..INDEX_BYTES]);
    index
}

/// A date stands for its first moment in UTC.
fn moment_of(datetime: Datetime) -> Result<Timestamp, &'static str> {
    const INVALID: &str =
        "expires must be a date, or a time with its zone, such as 2027-01-01T00:00:00Z";
    let Datetime {
        date: Some(date),
        time,
        offset,
    } = datetime
    else {
        return Err(INVALID);
    };
    let (time, minutes) = match (time, offset) {
        (None, None) => ("00:00:00".to_owned(), 0),
        (Some(time), Some(Offset::Z)) => (time.to_string(), 0),
        (Some(time), Some(Offset::Custom { minutes })) => (time.to_string(), i64::from(minutes)),
        _ => return Err(INVALID),
    };
    let local: Timestamp = format!("{date}T{time}Z").parse().map_err(|_| INVALID)?;
    // The clock of a zone east of Greenwich is ahead.
    let millis = i64::try_from(local.millis()).map_err(|_| INVALID)? - minutes * 60 * 1000;
    Ok(Timestamp::from_millis(
        u64::try_from(millis).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Action;
    use crate::access::secret::hash_of;

    fn file(name: &str, token: &str, rest: &str) -> String {
        let hash = hex::encode(hash_of(token.as_bytes()));
        format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\n{rest}\n")
    }

    const READ: &str = r#"allow = [{ prefix = "doc/", actions = ["read"] }]"#;

    #[test]
    fn a_token_is_found_by_its_hash() {
        let text = format!(
            "{}{}",
            file("ann", "one", READ),
            file("ann", "other", "allow = []")
        );
        let tokens = Tokens::parse(&text).unwrap();
        let ann = tokens.find(&hash_of(b"one")).unwrap();
        assert_eq!(ann.name().unwrap().as_str(), "ann");
        assert!(ann.grants().allow(Action::Read, &"doc/a".parse().unwrap()));
        assert!(!ann.grants().allow(Action::Read, &"a".parse().unwrap()));
        assert!(tokens.find(&hash_of(b"other")).is_some());
        assert!(tokens.find(&hash_of(b"two")).is_none());
        assert!(Tokens::parse("").unwrap().find(&hash_of(b"")).is_none());
    }

    #[test]
    fn when_a_token_expires() {
        for (written, moment) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00.000Z"),
            ("2027-01-01", "2027-01-01T00:00:00.000Z"),
            ("2027-01-01T02:30:00+02:30", "2027-01-01T00:00:00.000Z"),
            ("2026-12-31 19:00:00.5-05:00", "2027-01-01T00:00:00.500Z"),
        ] {
            let text = file("ann", "one", &format!("expires = {written}\n{READ}"));
            let tokens = Tokens::parse(&text).unwrap();
            let end = tokens.find(&hash_of(b"one")).unwrap().expires_at();
            assert_eq!(end.unwrap().to_string(), moment, "{written}");
        }
        for invalid in ["2027-01-01T00:00:00", "12:00:00", "\"2027-01-01\"", "0"] {
            let text = file("ann", "one", &format!("expires = {invalid}\n{READ}"));
            assert!(Tokens::parse(&text).is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_file_that_is_not_valid_is_refused_as_a_whole() {
        let valid = file("ann", "one", READ);
        assert!(Tokens::parse(&valid).is_ok());
        for invalid in [
            "x = 1".to_owned(),
            "[[token]]".to_owned(),
            "[[token]".to_owned(),
            format!("{valid}{valid}"),
            file("", "one", READ),
            file("ann", "one", ""),
            file("ann", "one", "allow = [{ prefix = \"\", actions = [] }]"),
            file(
                "ann",
                "one",
                "allow = [{ prefix = \"\", actions = [\"write\"] }]",
            ),
            file(
                "ann",
                "one",
                "allow = [{ prefix = \"\\u0000\", actions = [\"read\"] }]",
            ),
            file("ann", "one", "allow = [{ actions = [\"read\"] }]"),
            file("ann", "one", &format!("{READ}\nadmin = true")),
            format!("[[token]]\nname = \"ann\"\nsha256 = \"00\"\n{READ}"),
            format!("[[token]]\nname = \"ann\"\n{READ}"),
            format!("[[token]]\nname = \"ann\"\ncertificate = \"00\"\n{READ}"),
            format!("[[token]]\nname = \"ann\"\nuser = \"a\"\n{READ}\n").repeat(2),
        ] {
            assert!(Tokens::parse(&invalid).is_err(), "{invalid}");
        }
    }

    #[tokio::test]
    async fn who_loses_or_gains_a_right_is_revoked_and_everyone_else_goes_on() {
        let before = [
            file("same", "1", READ),
            file("gone", "2", READ),
            file("changed", "3", READ),
            file("renamed", "4", READ),
        ];
        let before = Tokens::parse(&before.concat()).unwrap();
        let after = [
            file("new", "5", READ),
            file("other name", "4", READ),
            file(
                "changed",
                "3",
                "allow = [{ prefix = \"\", actions = [\"read\"] }]",
            ),
            file("same", "1", READ),
        ];
        let mut after = Tokens::parse(&after.concat()).unwrap();
        after.take_over(&before);
        let old = |token: &str| Arc::clone(before.find(&hash_of(token.as_bytes())).unwrap());
        let same = after.find(&hash_of(b"1")).unwrap();
        assert!(Arc::ptr_eq(same, &old("1")));
        for token in ["2", "3", "4"] {
            old(token).revoked().unwrap().await;
        }
        let mut goes_on = Box::pin(same.revoked().unwrap());
        assert!(futures_util::poll!(&mut goes_on).is_pending());
    }
}
