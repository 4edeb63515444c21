//! Whether a peer is who it should be.
//!
//! Two rules for names. SIP has its own (RFC 5922 §7): a certificate speaks for a domain, named by a `sip:` URI, or by a
//! host name where there is no such URI; nothing matches by wildcard, for one server of a domain must not speak for the
//! others. HTTPS and secure WebSocket have the web's (RFC 9110 §4.3.4, RFC 7118 §8). Paths to a root are webpki's
//! business either way. A common name is never looked at: RFC 5922 allows it only for certificates without any
//! subjectAltName, which no authority has issued for years.

use std::sync::Arc;

use attache_sip::uri::{Scheme, Uri};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};

use super::certificate::CertificateSummary;
use super::problem::CertificateProblem;

/// What SIP's certificates may be issued for: id-kp-serverAuth, id-kp-sipDomain (RFC 5924 §4), and anything.
const SIP_PURPOSES: [KeyPurposeId<'static>; 3] = [
    KeyPurposeId::new(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01]),
    KeyPurposeId::new(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x14]),
    KeyPurposeId::new(&[0x55, 0x1d, 0x25, 0x00]),
];

/// Whose rules for names.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum NameRules {
    /// RFC 5922.
    Sip,
    /// RFC 9525.
    Web,
}

/// Checks servers' certificates.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) roots: Arc<[TrustAnchor<'static>]>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) rules: NameRules,
}

impl Verifier {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        let summary = CertificateSummary::read(end_entity);
        let problem = |error: webpki::Error| CertificateProblem::new(&error, summary.as_ref());
        let certificate = EndEntityCert::try_from(end_entity).map_err(problem)?;
        certificate
            .verify_for_usage(
                self.algorithms.all,
                &self.roots,
                intermediates,
                now,
                Purpose(self.rules),
                None,
                None,
            )
            .map_err(problem)?;
        if self.names(&certificate, name) {
            return Ok(());
        }
        let names = summary.map(|summary| summary.names()).unwrap_or_default();
        Err(CertificateProblem::WrongName { wanted: name.to_str().into_owned(), names })
    }

    fn names(&self, certificate: &EndEntityCert<'_>, name: &ServerName<'_>) -> bool {
        match (name, self.rules) {
            (ServerName::DnsName(wanted), NameRules::Sip) => speaks_for(certificate, wanted.as_ref()),
            _ => certificate.verify_is_valid_for_subject_name(name).is_ok(),
        }
    }
}

/// RFC 5922 §7.1 and §7.2: whether the certificate has the domain among its identities.
fn speaks_for(certificate: &EndEntityCert<'_>, domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let mut has_sip_identity = false;
    for uri in certificate.valid_uri_names() {
        if let Some(host) = sip_identity(uri) {
            has_sip_identity = true;
            if host.eq_ignore_ascii_case(domain) {
                return true;
            }
        }
    }
    // A name such as `*.example.com` equals no domain that anybody can ask for.
    !has_sip_identity && certificate.valid_dns_names().any(|name| name.eq_ignore_ascii_case(domain))
}

/// The domain that a URI in a certificate stands for; `None` for other schemes, and for a URI with a user part, which
/// stands for that user alone.
fn sip_identity(uri: &str) -> Option<String> {
    let uri = Uri::parse_str(uri).ok()?;
    if uri.scheme() != Scheme::Sip || uri.user().is_some() {
        return None;
    }
    uri.host().map(|host| host.to_string())
}

/// A server's certificate is for servers, or for SIP domains (RFC 5924), or does not say.
struct Purpose(NameRules);

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let serves = KeyUsage::server_auth();
        if self.0 == NameRules::Web {
            return serves.validate(purposes);
        }
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if SIP_PURPOSES.contains(&purpose) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        if present.is_empty() {
            return Ok(());
        }
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext {
            required: serves,
            present,
        }))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check(end_entity, intermediates, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            // The alert that the peer sees says only that its certificate is bad; this end knows more.
            Err(problem) => {
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(problem)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
