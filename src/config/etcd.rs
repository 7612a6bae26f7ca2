//! The flags of a store that is on an etcd cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;
use crate::storage::etcd::{
    Address, CredentialFiles, DEFAULT_QUOTA_BYTES, EtcdSettings, StoreSettings,
};

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
        let files = CredentialFiles {
            password: self.etcd_password_file.clone(),
            ca: self.etcd_ca.clone(),
            certificate: self.etcd_cert.clone(),
            key: self.etcd_key.clone(),
        };
        Ok(StoreSettings {
            connection: EtcdSettings {
                user: self.etcd_user.clone(),
                ..EtcdSettings::of_files(files).await?
            },
            idempotency_window,
            watch_buffer_bytes,
            quota_bytes: self.etcd_quota,
            compact_after: self.etcd_compact_after,
            ..StoreSettings::default()
        })
    }
}
