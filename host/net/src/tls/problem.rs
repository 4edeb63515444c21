//! What is wrong with a certificate, in words that say what to do about it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;

use super::certificate::{CertificateSummary, Date};

/// Why a peer's certificate was refused.
///
/// [`Display`](fmt::Display) is a sentence for an operator: what is wrong, and what to change.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Its time is over, or this machine's clock is fast.
    Expired {
        /// Its last moment.
        since: SystemTime,
        /// What this machine takes for the present.
        now: SystemTime,
    },
    /// Its time has not come, or this machine's clock is slow.
    NotYetValid {
        /// Its first moment.
        from: SystemTime,
        /// What this machine takes for the present.
        now: SystemTime,
    },
    /// No authority that is trusted here vouches for it.
    UnknownIssuer {
        /// Who issued it.
        issuer: String,
        /// It vouches for itself.
        is_self_issued: bool,
    },
    /// It is somebody else's.
    WrongName {
        /// The domain or address that was asked for.
        wanted: String,
        /// Those that it names.
        names: Vec<String>,
    },
    /// It was issued for something other than a server.
    WrongPurpose,
    /// It is not the one that the session description names by its fingerprint.
    NotTheOneNamed,
    /// The domain that was asked for is none that a certificate could name.
    BadName(String),
    /// Anything else, in the words of the library that looked.
    Other(String),
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { since, now } => write!(
                f,
                "the certificate expired on {}, and this machine's clock says {}: have it renewed, or set the clock",
                Date(*since),
                Date(*now)
            ),
            Self::NotYetValid { from, now } => write!(
                f,
                "the certificate is not valid before {}, and this machine's clock says {}: set the clock, or wait",
                Date(*from),
                Date(*now)
            ),
            Self::NotTheOneNamed => f.write_str(
                "the certificate is not the one that the session description names: somebody else answers there",
            ),
            Self::UnknownIssuer { issuer, is_self_issued: true } => write!(
                f,
                "the certificate is signed by itself ({issuer}): if it is the right one, give it as a root certificate"
            ),
            Self::UnknownIssuer { issuer, .. } => write!(
                f,
                "the certificate was issued by {issuer}, an authority that is not trusted here: give that authority's \
                 certificate as a root, or have the server send the missing intermediate certificate"
            ),
            Self::WrongName { wanted, names } if names.is_empty() => write!(
                f,
                "the certificate names nobody in its subjectAltName, so it cannot be for {wanted}: have it issued with one"
            ),
            Self::WrongName { wanted, names } => write!(
                f,
                "the certificate is for {}, not for {wanted}: use a name that it has, or have it issued for {wanted}",
                names.join(", ")
            ),
            Self::WrongPurpose => write!(
                f,
                "the certificate was not issued for a server: have it issued with the usage serverAuth or sipDomain"
            ),
            Self::BadName(name) => {
                write!(f, "no certificate can be for `{name}`: name the service by its domain")
            }
            Self::Other(words) => write!(f, "the certificate is not acceptable: {words}"),
        }
    }
}

impl std::error::Error for CertificateProblem {}

impl CertificateProblem {
    /// From what webpki found.
    pub(crate) fn new(error: &webpki::Error, summary: Option<&CertificateSummary>) -> Self {
        match error {
            webpki::Error::CertExpired { time, not_after } => {
                Self::Expired { since: system(*not_after), now: system(*time) }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { from: system(*not_before), now: system(*time) }
            }
            webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity => Self::UnknownIssuer {
                issuer: summary
                    .map_or_else(|| "an unknown authority".into(), |summary| summary.issuer.clone()),
                is_self_issued: summary.is_some_and(CertificateSummary::is_self_issued),
            },
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::WrongPurpose,
            other => Self::Other(format!("{other:?}")),
        }
    }
}

fn system(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.as_secs())
}
