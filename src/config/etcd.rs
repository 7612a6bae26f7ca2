//! The flags of a store that is on an etcd cluster.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::duration;
use crate::changed_file::ChangedFile;
use crate::storage::etcd::{Address, DEFAULT_QUOTA_BYTES, EtcdSettings, Password, StoreSettings};

/// How long a file may be that a flag names, in bytes.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Where the entries are if not in a data file.
#[derive(Debug, Clone, Args)]
pub struct EtcdFlags {
    /// An etcd cluster in which the entries are instead of a data file, so that several processes share
    /// them: its members, and what the service's keys there begin with (`/ifmatch` if you leave it out)
    #[arg(
        long,
        env = "IFMATCH_STORE",
        value_name = "etcd://HOST:PORT,HOST:PORT/ROOT",
        conflicts_with_all = ["data", "journal_above", "history", "history_max_bytes"]
    )]
    pub store: Option<Address>,

    /// The user of etcd that the service is
    #[arg(
        long,
        env = "IFMATCH_ETCD_USER",
        value_name = "NAME",
        requires = "store",
        requires = "etcd_password_file"
    )]
    pub etcd_user: Option<String>,

    /// A file with the password of --etcd-user; a line break at its end is not part of it
    #[arg(
        long,
        env = "IFMATCH_ETCD_PASSWORD_FILE",
        value_name = "FILE",
        requires = "etcd_user"
    )]
    pub etcd_password_file: Option<PathBuf>,

    /// A file with the certificates of the authorities that vouch for etcd, in PEM format. The connections to
    /// etcd are then encrypted
    #[arg(long, env = "IFMATCH_ETCD_CA", value_name = "FILE", requires = "store")]
    pub etcd_ca: Option<PathBuf>,

    /// A file with the certificate that the service shows to etcd, in PEM format
    #[arg(
        long,
        env = "IFMATCH_ETCD_CERT",
        value_name = "FILE",
        requires = "etcd_ca",
        requires = "etcd_key"
    )]
    pub etcd_cert: Option<PathBuf>,

    /// A file with the private key of --etcd-cert, in PEM format
    #[arg(
        long,
        env = "IFMATCH_ETCD_KEY",
        value_name = "FILE",
        requires = "etcd_cert"
    )]
    pub etcd_key: Option<PathBuf>,

    /// How much etcd may store, in bytes: the --quota-backend-bytes of its members. At 80 % of it `/health`
    /// says so
    #[arg(
        long,
        env = "IFMATCH_ETCD_QUOTA",
        value_name = "BYTES",
        default_value_t = DEFAULT_QUOTA_BYTES,
        requires = "store"
    )]
    pub etcd_quota: u64,

    /// Compacts etcd, for all who share it: what was replaced or deleted longer ago than this is forgotten. At
    /// least --idempotency-window
    #[arg(
        long,
        env = "IFMATCH_ETCD_COMPACT_AFTER",
        value_name = "TIME",
        value_parser = duration,
        requires = "store"
    )]
    pub etcd_compact_after: Option<Duration>,
}

impl EtcdFlags {
    /// How the store works, with the files that the flags name.
    ///
    /// # Errors
    /// Why a file cannot be read, or what contradicts each other.
    pub async fn settings(
        &self,
        idempotency_window: Duration,
        watch_buffer_bytes: usize,
    ) -> Result<StoreSettings, String> {
        if self
            .etcd_compact_after
            .is_some_and(|time| time < idempotency_window)
        {
            return Err(format!(
                "--etcd-compact-after is shorter than --idempotency-window, which is {}: a write that is repeated could \
                 not be answered as it was",
                humantime::format_duration(idempotency_window)
            ));
        }
        let password = content(self.etcd_password_file.as_deref()).await?;
        let password = password
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| "the file of --etcd-password-file is not UTF-8 text".to_owned())?;
        let without_line_break = |text: String| {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            Password::from(text.strip_suffix('\r').unwrap_or(text).to_owned())
        };
        Ok(StoreSettings {
            connection: EtcdSettings {
                user: self.etcd_user.clone(),
                password: password.map(without_line_break),
                ca: content(self.etcd_ca.as_deref()).await?,
                certificate: content(self.etcd_cert.as_deref()).await?,
                key: content(self.etcd_key.as_deref()).await?,
                ..EtcdSettings::default()
            },
            idempotency_window,
            watch_buffer_bytes,
            quota_bytes: self.etcd_quota,
            compact_after: self.etcd_compact_after,
            ..StoreSettings::default()
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
