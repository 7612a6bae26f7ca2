//! The files with what this service shows to etcd and what it trusts. They are read again whenever that is needed, because
//! whoever issues certificates and passwords renews them while the service runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::changed_file::ChangedFile;

/// How long a file may be, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Where the [settings](super::EtcdSettings) with the same names are read from: for each connection and for each login
/// again. If what is there then cannot be used, the last that could be is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The password; a line break at its end is not part of it.
    pub password: Option<PathBuf>,
    /// The certificates of the authorities.
    pub ca: Option<PathBuf>,
    /// The certificate of this service.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// A password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(…)")
    }
}

/// What connections trust and show, in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    pub ca: Option<Vec<u8>>,
    pub certificate: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
}

impl CredentialFiles {
    /// The password that is in its file now.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) async fn read_password(&self) -> Result<Option<Password>, String> {
        let password = content(self.password.as_deref()).await?;
        let password = password.map(String::from_utf8).transpose();
        let password = password
            .map_err(|_| "the file of --etcd-password-file is not UTF-8 text".to_owned())?;
        Ok(password.map(|text| {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Password::from(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }))
    }

    /// The certificates and the key that are in their files now.
    ///
    /// # Errors
    /// Why one cannot be read.
    pub(super) async fn read_certificates(&self) -> Result<Certificates, String> {
        Ok(Certificates {
            ca: content(self.ca.as_deref()).await?,
            certificate: content(self.certificate.as_deref()).await?,
            key: content(self.key.as_deref()).await?,
        })
    }
}

/// What is in a file, if there is one.
async fn content(path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = path else {
        return Ok(None);
    };
    let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let file = ChangedFile::open(path.to_owned()).await.map_err(failed)?;
    file.read(FILE_MAX_BYTES).await.map(Some).map_err(failed)
}

/// What was read from files: the last that could be used.
pub struct Renewed<T> {
    what: &'static str,
    last: Mutex<Last<T>>,
}

struct Last<T> {
    value: T,
    /// Why what is there now cannot be used.
    failure: Option<String>,
}

impl<T: Clone + PartialEq> Renewed<T> {
    /// `what` is for the log.
    pub fn new(what: &'static str, value: T) -> Self {
        let failure = None;
        Self {
            what,
            last: Mutex::new(Last { value, failure }),
        }
    }

    /// The last one.
    pub fn last(&self) -> T {
        self.last.lock().value.clone()
    }

    /// What is to be used after it was read again. That it cannot be is logged once.
    pub fn renew(&self, read: Result<T, String>) -> T {
        let mut last = self.last.lock();
        let what = self.what;
        match read {
            Ok(value) => {
                if value != last.value {
                    tracing::info!("the {what} for etcd has changed: it is used from now on");
                }
                *last = Last {
                    value,
                    failure: None,
                };
            }
            Err(reason) => {
                if last.failure.is_none() {
                    tracing::warn!(
                        reason,
                        "the {what} for etcd cannot be read again: the last one is used"
                    );
                }
                last.failure = Some(reason);
            }
        }
        last.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_leaves_the_last() {
        let renewed = Renewed::new("number", 1);
        assert_eq!(renewed.renew(Err("missing".to_owned())), 1);
        assert_eq!(renewed.renew(Ok(2)), 2);
        assert_eq!(renewed.renew(Err("missing".to_owned())), 2);
        assert_eq!(renewed.last(), 2);
    }
}
