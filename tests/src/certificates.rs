//! Certificates of a test's own: an authority that nobody else believes, and who it vouches for.

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Somebody's certificate and key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl core::fmt::Debug for Identity {
    /// The key is left out.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one, with a key that it shares with no other.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate, in PEM: what those who shall believe it need.
    #[must_use]
    pub fn root(&self) -> String {
        self.issuer.pem()
    }

    /// Vouches for a domain, both as a name and as the SIP URI that RFC 5922 wants, and for this machine's loopback
    /// address, which foreign programs look for.
    ///
    /// # Errors
    /// When the domain is none.
    pub fn identity(&self, domain: &str) -> Result<Identity> {
        let mut params = CertificateParams::new(vec![domain.to_owned(), "127.0.0.1".to_owned()])?;
        params.subject_alt_names.push(SanType::URI(format!("sip:{domain}").try_into()?));
        params.distinguished_name = name(domain);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
