//! The file of `--ca`: the certificates of authorities that may vouch for an https service.

use std::fs;
use std::path::PathBuf;

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::failure::Failure;

/// A file of certificates in PEM.
#[derive(Debug, Clone)]
pub struct CaFile {
    /// Where it is.
    pub path: PathBuf,
    /// The file of logins that names it; `None` if a flag or the environment does.
    pub stored_in: Option<PathBuf>,
}

impl CaFile {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the file, and how to name another.
    pub fn read(&self) -> Result<Vec<Certificate>, Failure> {
        let read = self.read_as_given();
        read.map_err(|failure| match &self.stored_in {
            None => failure,
            Some(logins) => Failure::Input(format!(
                "{failure}\nAn earlier `ifmatch login --ca` has stored the name of this file in {}. Name another \
                 one with --ca FILE; `ifmatch login --ca FILE URL` stores that",
                logins.display()
            )),
        })
    }

    fn read_as_given(&self) -> Result<Vec<Certificate>, Failure> {
        let path = &self.path;
        let invalid = |reason: &str| {
            Failure::Input(format!(
                "{}: {reason}; --ca needs certificates in PEM, which begin with -----BEGIN CERTIFICATE-----",
                path.display()
            ))
        };
        let pem = fs::read(path).map_err(|error| Failure::file(path, error))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let found = found.map_err(|error| invalid(&error.to_string()))?;
        if found.is_empty() {
            return Err(invalid("there is no certificate in it"));
        }
        let root = |certificate: CertificateDer| {
            let root = Certificate::from_der(&certificate);
            // reqwest would look at it only later, and then does not say which file it is in.
            let added = RootCertStore::empty().add(certificate);
            added
                .map_err(|error| invalid(&format!("a certificate in it is not valid: {error}")))?;
            root.map_err(|error| invalid(&error.to_string()))
        };
        found.into_iter().map(root).collect()
    }
}
