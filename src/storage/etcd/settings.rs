//! How a cluster is reached.

use std::fmt;
use std::time::Duration;

use super::credentials::{Certificates, CredentialFiles, Password};

/// How a cluster is reached: who this service is there, what its connections trust, and how long it waits.
///
/// With `ca` all connections are encrypted (TLS 1.2 or 1.3), without they are not.
#[derive(Clone)]
pub struct EtcdSettings {
    /// The user of etcd, with a password.
    pub user: Option<String>,
    /// The password of the user.
    pub password: Option<Password>,
    /// The certificates, in PEM, of the authorities that vouch for the members.
    pub ca: Option<Vec<u8>>,
    /// The certificate of this service, in PEM, its own first; with a key.
    pub certificate: Option<Vec<u8>>,
    /// The private key of that certificate, in PEM.
    pub key: Option<Vec<u8>>,
    /// Where these are read again.
    pub files: CredentialFiles,
    /// How long a connection may take to come about, TLS included.
    pub connect_timeout: Duration,
    /// How long one member may take for an answer. A read goes to another member then.
    pub request_timeout: Duration,
    /// How often a member that is watched is asked whether it is there. At least 5 s: by default etcd ends
    /// connections that ask more often.
    pub keep_alive: Duration,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            ca: None,
            certificate: None,
            key: None,
            files: CredentialFiles::default(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(6),
        }
    }
}

impl EtcdSettings {
    /// With what is in these files now, and later.
    ///
    /// # Errors
    /// Why one cannot be read.
    pub async fn of_files(files: CredentialFiles) -> Result<Self, String> {
        let Certificates {
            ca,
            certificate,
            key,
        } = files.read_certificates().await?;
        Ok(Self {
            password: files.read_password().await?,
            ca,
            certificate,
            key,
            files,
            ..Self::default()
        })
    }

    pub(super) fn certificates(&self) -> Certificates {
        Certificates {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }
}

impl fmt::Debug for EtcdSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EtcdSettings")
            .field("user", &self.user)
            .field("has_password", &self.password.is_some())
            .field("has_ca", &self.ca.is_some())
            .field("has_certificate", &self.certificate.is_some())
            .field("files", &self.files)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_in_the_debug_text() {
        let settings = EtcdSettings {
            user: Some("ann".to_owned()),
            password: Some(Password::from("hunter2".to_owned())),
            key: Some(b"hunter2".to_vec()),
            ..EtcdSettings::default()
        };
        let text = format!("{settings:?} {:?}", settings.password);
        assert!(text.contains("ann") && !text.contains("hunter2"), "{text}");
    }
}
