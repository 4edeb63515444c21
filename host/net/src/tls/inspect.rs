//! A look at a peer's certificate, also at one that is refused: for diagnosis, not for talking.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attache_sip::transport::{Destination, Transport};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::verify::{NameRules, Verifier};
use super::{CertificateSummary, Tls, handshake_error, server_name};
use crate::error::FlowError;
use crate::options::Limits;
use crate::stream;

/// What a look at a peer has shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The peer's certificate, whether it is good or not.
    pub certificate: Option<CertificateSummary>,
    /// The version of TLS that was agreed on, such as `TLS 1.3`.
    pub version: Option<&'static str>,
    /// What a connection would come to.
    pub outcome: Result<(), FlowError>,
}

impl Tls {
    /// Connects to a peer as a message to this destination and domain would, looks at its certificate, and hangs up.
    /// For secure WebSocket the web's rules for names hold, for everything else those of SIP. Takes at most as long as
    /// the default limits allow to connect and shake hands, 15 s. Must be called within a tokio runtime.
    pub async fn inspect(&self, destination: Destination, domain: Option<&str>) -> Inspection {
        let rules = if destination.transport == Transport::Wss { NameRules::Web } else { NameRules::Sip };
        let seen = Arc::new(Witness { verifier: self.verifier(rules), seen: Mutex::default() });
        let looked = self.look(destination, domain, &seen).await;
        let certificate = seen.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        match looked {
            Ok(version) => Inspection { certificate, version, outcome: Ok(()) },
            Err(reason) => Inspection { certificate, version: None, outcome: Err(reason) },
        }
    }

    async fn look(
        &self,
        destination: Destination,
        domain: Option<&str>,
        seen: &Arc<Witness>,
    ) -> Result<Option<&'static str>, FlowError> {
        let limits = Limits::default();
        let name = server_name(domain, destination.remote.ip())?;
        let stream = stream::connect(destination, &limits).await?;
        let mut config = self.client_with(Arc::clone(seen) as Arc<dyn ServerCertVerifier>);
        // A session that goes on shows no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        let patience: Duration = limits.handshake_timeout;
        let connected = timeout(patience, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        let stream = connected.map_err(|_| FlowError::HandshakeTimeout(patience.as_secs()))?;
        let stream = stream.map_err(handshake_error)?;
        Ok(match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Some("TLS 1.2"),
            Some(ProtocolVersion::TLSv1_3) => Some("TLS 1.3"),
            _ => None,
        })
    }
}

/// Remembers what it was shown.
#[derive(Debug)]
struct Witness {
    verifier: Verifier,
    seen: Mutex<Option<CertificateSummary>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = CertificateSummary::read(end_entity);
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
