//! Who may use the service over HTTP.

use super::cors::AllowedOrigins;
use super::hosts::AllowedHosts;
use super::proxies::TrustedProxies;
use crate::access::Authority;

/// Who may use the service over HTTP.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The hosts that it answers for.
    pub(super) hosts: AllowedHosts,
    /// The origins of other pages that may use it.
    pub(super) origins: AllowedOrigins,
    /// The proxies that are trusted to say who asks.
    pub(super) proxies: TrustedProxies,
    /// Who asks.
    pub(super) authority: Authority,
}

impl Guard {
    /// A guard of a service that answers for `hosts`, where everybody may do everything.
    #[must_use]
    pub fn new(hosts: AllowedHosts) -> Self {
        Self {
            hosts,
            origins: AllowedOrigins::default(),
            proxies: TrustedProxies::default(),
            authority: Authority::open(),
        }
    }

    /// The same, for pages of these other origins too.
    #[must_use]
    pub fn with_origins(self, origins: AllowedOrigins) -> Self {
        Self { origins, ..self }
    }

    /// The same, behind `proxies` that are trusted.
    #[must_use]
    pub fn with_proxies(self, proxies: TrustedProxies) -> Self {
        Self { proxies, ..self }
    }

    /// The same, where `authority` decides who may do what.
    #[must_use]
    pub fn with_authority(self, authority: Authority) -> Self {
        Self { authority, ..self }
    }
}

impl From<AllowedHosts> for Guard {
    fn from(hosts: AllowedHosts) -> Self {
        Self::new(hosts)
    }
}
