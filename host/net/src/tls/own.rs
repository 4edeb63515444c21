//! This node's own certificate, which can be renewed while it is in use.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use attache_msrp::Fingerprint;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{CertificateSummary, Identity, TlsError};

/// A certificate with its key, and where they come from. Handshakes take what is there when they begin.
#[derive(Debug)]
pub(super) struct Own {
    source: Identity,
    shown: ArcSwap<Shown>,
}

/// What is shown at this time.
#[derive(Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    fingerprint: Option<Fingerprint>,
}

impl Shown {
    fn new(key: CertifiedKey) -> Arc<Self> {
        let fingerprint = key.cert.first().map(|certificate| Fingerprint::of(certificate));
        Arc::new(Self { key: Arc::new(key), fingerprint })
    }
}

impl Own {
    pub(super) fn load(source: Identity, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let key = read_identity(&source, provider)?;
        Ok(Self { source, shown: ArcSwap::new(Shown::new(key)) })
    }

    /// Reads the files again; what was there stays when they cannot be used.
    pub(super) fn reload(&self, provider: &CryptoProvider) -> Result<(), TlsError> {
        self.shown.store(Shown::new(read_identity(&self.source, provider)?));
        Ok(())
    }

    pub(super) fn summary(&self) -> Option<CertificateSummary> {
        CertificateSummary::read(self.shown.load().key.cert.first()?)
    }

    /// That of the certificate that is shown now.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.shown.load().fingerprint
    }

    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.shown.load().key)
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.key();
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn read_identity(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = match identity {
        Identity::Files { certificate, key } => {
            let chain = certificates(certificate)?;
            let found = PrivateKeyDer::from_pem_slice(&read(key)?);
            (chain, found.map_err(|_| TlsError::Pem { path: key.clone(), what: "private key" })?)
        }
        Identity::Der { chain, key } => (
            chain.iter().cloned().map(CertificateDer::from).collect(),
            PrivateKeyDer::try_from(key.clone()).map_err(|error| TlsError::Identity(error.into()))?,
        ),
    };
    if chain.is_empty() {
        return Err(TlsError::Identity("there is no certificate".into()));
    }
    CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Identity(error.to_string()))
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let no_certificate = || TlsError::Pem { path: path.into(), what: "certificate" };
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| no_certificate())?;
    if found.is_empty() { Err(no_certificate()) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|cause| TlsError::File { path: path.into(), cause })
}
