//! Whether the service's certificate is valid now, and for how long.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::time::Instant;
use webpki::{EndEntityCert, KeyUsage};

use crate::model::Timestamp;

/// How long before its end a certificate should be renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(14 * DAY.as_secs());
/// How often the same warning is logged.
const WARN_EVERY: Duration = DAY;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is wrong with the dates of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objection {
    Expired(Timestamp),
    NotYetValid(Timestamp),
    ExpiresSoon(Timestamp),
}

/// Warns of a certificate that clients refuse, or soon will.
#[derive(Debug)]
pub struct ValidityWarning {
    certificate: CertificateDer<'static>,
    logged: Option<Instant>,
}

impl ValidityWarning {
    /// For a certificate that has just been read.
    pub fn new(certificate: CertificateDer<'static>) -> Self {
        Self {
            certificate,
            logged: None,
        }
    }

    /// Logs what is wrong with the certificate in the file at `path`, once a day at most.
    pub fn log_if_due(&mut self, path: &Path) {
        let is_due = |logged: Instant| logged.elapsed() >= WARN_EVERY;
        if !self.logged.is_none_or(is_due) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let Some(objection) = objection_to(&self.certificate, now.unwrap_or_default()) else {
            return;
        };
        self.logged = Some(Instant::now());
        let certificate = path.display();
        match objection {
            Objection::Expired(at) => tracing::warn!(
                %certificate, expired = %at,
                "the certificate has expired, so clients refuse it: put a new one and its key in place; they are \
                 read without a restart"
            ),
            Objection::NotYetValid(from) => tracing::warn!(
                %certificate, valid_from = %from,
                "the certificate is not valid yet, so clients refuse it: check the clock of this machine, or use \
                 another certificate"
            ),
            Objection::ExpiresSoon(at) => tracing::warn!(
                %certificate, expires = %at,
                "the certificate expires soon: put a new one and its key in place before; they are read without a \
                 restart"
            ),
        }
    }
}

/// What is wrong so long after 1970.
fn objection_to(certificate: &CertificateDer<'_>, now: Duration) -> Option<Objection> {
    let moment = |time: UnixTime| Timestamp::from_millis(time.as_secs().saturating_mul(1000));
    match date_error(certificate, now) {
        Some(webpki::Error::CertExpired { not_after, .. }) => {
            return Some(Objection::Expired(moment(not_after)));
        }
        Some(webpki::Error::CertNotValidYet { not_before, .. }) => {
            return Some(Objection::NotYetValid(moment(not_before)));
        }
        _ => {}
    }
    match date_error(certificate, now + RENEW_BEFORE) {
        Some(webpki::Error::CertExpired { not_after, .. }) => {
            Some(Objection::ExpiresSoon(moment(not_after)))
        }
        _ => None,
    }
}

/// The error of a verification without authorities, which looks at the dates first.
fn date_error(certificate: &CertificateDer<'_>, at: Duration) -> Option<webpki::Error> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let at = UnixTime::since_unix_epoch(at);
    let usage = KeyUsage::server_auth();
    let verified = certificate.verify_for_usage(&[], &[], &[], at, usage, None, None);
    verified.err()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn what_is_wrong_with_the_dates_of_a_certificate() {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2030, 3, 1);
        params.not_after = date_time_ymd(2030, 6, 1);
        let [from, until] = ["2030-03-01T00:00:00Z", "2030-06-01T00:00:00Z"]
            .map(|moment| moment.parse::<Timestamp>().unwrap());
        // Also one that is an authority itself, as `openssl req -x509` makes it.
        for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            params.is_ca = is_ca;
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            for (now, objection) in [
                ("2030-02-28T23:59:59Z", Some(Objection::NotYetValid(from))),
                ("2030-03-01T00:00:00Z", None),
                ("2030-05-17T23:59:59Z", None),
                ("2030-05-18T00:00:01Z", Some(Objection::ExpiresSoon(until))),
                ("2030-06-01T00:00:00Z", Some(Objection::ExpiresSoon(until))),
                ("2030-06-01T00:00:01Z", Some(Objection::Expired(until))),
            ] {
                let moment: Timestamp = now.parse().unwrap();
                let since_1970 = Duration::from_secs(moment.seconds());
                let found = objection_to(certificate.der(), since_1970);
                assert_eq!(found, objection, "{now}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_warns_once_a_day_at_most() {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2001, 1, 1);
        params.not_before = date_time_ymd(2000, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut warning = ValidityWarning::new(certificate.der().clone());
        let path = Path::new("tls.crt");
        warning.log_if_due(path);
        let first = warning.logged.unwrap();
        tokio::time::advance(WARN_EVERY / 2).await;
        warning.log_if_due(path);
        assert_eq!(warning.logged, Some(first));
        tokio::time::advance(WARN_EVERY / 2).await;
        warning.log_if_due(path);
        assert!(warning.logged > Some(first));
    }
}
