//! TLS of message sessions: both sides show a certificate, and know each other's from session descriptions (RFC 4975,
//! section 14.4, RFC 8122).
//!
//! Whoever connects knows whose certificate it wants. Whoever is connected to learns what was shown, and decides when it
//! hears which session the connection is for.

use std::sync::Arc;

use attache_msrp::Fingerprint;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName as Authority, Error, OtherError,
    ServerConfig, SignatureScheme,
};

use super::own::Own;
use super::verify::NameRules;
use super::{BOTH_VERSIONS, CertificateProblem, Identity, Tls, TlsError};

/// TLS for message sessions.
pub(crate) struct SessionTls {
    trust: Tls,
    own: Option<Arc<Own>>,
    server: Option<Arc<ServerConfig>>,
}

impl SessionTls {
    /// Who this node is and whom it believes as `trust` has it; `ephemeral`: with a certificate that is made now and
    /// forgotten with this, so that it says nothing of anybody beyond the sessions that name it.
    ///
    /// # Errors
    /// When the system has no entropy for a key.
    pub(crate) fn new(trust: Tls, ephemeral: bool) -> Result<Self, TlsError> {
        let provider = &trust.0.provider;
        let own = match ephemeral {
            true => Some(Arc::new(Own::load(self_signed()?, provider)?)),
            false => trust.0.own.clone(),
        };
        let server = own.as_ref().map(|own| {
            let algorithms = provider.signature_verification_algorithms;
            let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
                .with_safe_default_protocol_versions()
                .expect(BOTH_VERSIONS)
                .with_client_cert_verifier(Arc::new(AnyClient(algorithms)))
                .with_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesServerCert>);
            // Each connection proves anew who it is from.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            Arc::new(config)
        });
        Ok(Self { trust, own, server })
    }

    /// That of the certificate that is shown now.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.own.as_ref()?.fingerprint()
    }

    /// For connections that are accepted.
    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.server.clone()
    }

    /// For a connection to one whose certificate is among these, or where there are none, vouched for by an authority.
    pub(crate) fn client(&self, fingerprints: &[Fingerprint]) -> Arc<ClientConfig> {
        let provider = &self.trust.0.provider;
        let verifier: Arc<dyn ServerCertVerifier> = if fingerprints.is_empty() {
            Arc::new(self.trust.verifier(NameRules::Sip))
        } else {
            let algorithms = provider.signature_verification_algorithms;
            Arc::new(Known { fingerprints: fingerprints.into(), algorithms })
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .expect(BOTH_VERSIONS)
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Arc::new(match &self.own {
            Some(own) => builder.with_client_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesClientCert>),
            None => builder.with_no_client_auth(),
        })
    }
}

/// A certificate for a new key on the curve P-256, which names nobody.
fn self_signed() -> Result<Identity, TlsError> {
    let failed = |error: rcgen::Error| TlsError::Identity(error.to_string());
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "message sessions");
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Identity::Der { chain: vec![certificate.der().to_vec()], key: key.serialize_der() })
}

/// Believes those whose certificate is known, whatever it says.
#[derive(Debug)]
struct Known {
    fingerprints: Box<[Fingerprint]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.fingerprints.contains(&Fingerprint::of(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        let problem = OtherError(Arc::new(CertificateProblem::NotTheOneNamed));
        Err(Error::InvalidCertificate(CertificateError::Other(problem)))
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

/// Has a peer prove that the certificate that it shows is its own. Whether it is the right one is for the session to say;
/// one who shows none can only use sessions that want none.
#[derive(Debug)]
struct AnyClient(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[Authority] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
