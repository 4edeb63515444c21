//! TLS: whom to believe, and who this node is.
//!
//! [`TlsOptions`] says it in an operator's words; [`Tls`] is what is made of it, once, and shared by every connection,
//! every account and the HTTP client of a process. Only TLS 1.2 and 1.3 are spoken, and no cipher suite without forward
//! secrecy (RFC 8996, RFC 9325).

mod certificate;
mod problem;
mod verify;

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor};
use rustls::{ClientConfig, ServerConfig};

pub use certificate::CertificateSummary;
pub use problem::CertificateProblem;

use crate::error::FlowError;
use verify::{NameRules, Verifier};

/// Whom to believe, and who this node is.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// The authorities that may vouch for others.
    pub roots: Roots,
    /// This node's own certificate: what a server shows to everybody, and a client to a server that asks for it.
    pub identity: Option<Identity>,
}

/// The authorities that may vouch for others.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// Those of the operating system, read when they are first needed.
    #[default]
    System,
    /// Those in a file of PEM, and no others.
    File(PathBuf),
    /// These certificates in DER, and no others.
    Only(Vec<Vec<u8>>),
}

/// A certificate, those that lead from it to a root, and its private key.
#[derive(Clone)]
pub enum Identity {
    /// Files of PEM. They are read when a [`Tls`] is made.
    Files {
        /// The certificate, then those that lead to a root, which itself may be missing.
        certificate: PathBuf,
        /// The private key: PKCS #8, PKCS #1 or SEC 1.
        key: PathBuf,
    },
    /// DER.
    Der {
        /// As in the file.
        chain: Vec<Vec<u8>>,
        /// As in the file.
        key: Vec<u8>,
    },
}

// The key is a secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { certificate, .. } => {
                f.debug_struct("Files").field("certificate", certificate).finish_non_exhaustive()
            }
            Self::Der { chain, .. } => {
                f.debug_struct("Der").field("certificates", &chain.len()).finish_non_exhaustive()
            }
        }
    }
}

/// Why TLS cannot be used as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A root certificate is unreadable.
    #[error("root certificate {number} cannot be used: {reason}")]
    Root {
        /// Which, counted from 1.
        number: usize,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not belong together, or one of them is of a kind that is not known.
    #[error("certificate and key cannot be used: {0}")]
    Identity(String),
}

/// TLS, ready to be used. A clone is the same one.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    provider: Arc<CryptoProvider>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    server: Option<Arc<ServerConfig>>,
    /// `None`: those of the system.
    roots: Option<Arc<[TrustAnchor<'static>]>>,
    /// Made when first needed: the system's roots are many, and a service may open no connection of its own.
    clients: OnceLock<Clients>,
}

struct Clients {
    sip: Arc<ClientConfig>,
    web: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files and checks what they hold.
    ///
    /// # Errors
    /// When a file cannot be read, or what it holds cannot be used.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = match &options.roots {
            Roots::System => None,
            Roots::File(path) => Some(anchors(&certificates(path)?)?),
            Roots::Only(roots) => {
                Some(anchors(&roots.iter().cloned().map(CertificateDer::from).collect::<Vec<_>>())?)
            }
        };
        let identity = options.identity.as_ref().map(load).transpose()?;
        let server = identity.as_ref().map(|(chain, key)| {
            let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| TlsError::Identity(error.to_string()))?
                .with_no_client_auth()
                .with_single_cert(chain.clone(), key.clone_key())
                .map_err(|error| TlsError::Identity(error.to_string()))?;
            Ok(Arc::new(config))
        });
        let server = server.transpose()?;
        let clients = OnceLock::new();
        Ok(Self(Arc::new(Inner { provider, identity, server, roots, clients })))
    }

    /// Whether it has a certificate of its own, without which nobody can be let in.
    pub fn can_serve(&self) -> bool {
        self.0.server.is_some()
    }

    /// This node's own certificate.
    pub fn own_certificate(&self) -> Option<CertificateSummary> {
        CertificateSummary::read(self.0.identity.as_ref()?.0.first()?)
    }

    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.0.server.clone()
    }

    /// For connections whose names are checked as SIP wants.
    pub(crate) fn sip_client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.clients().sip)
    }

    /// For connections whose names are checked as on the web.
    pub(crate) fn web_client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.clients().web)
    }

    fn clients(&self) -> &Clients {
        self.0.clients.get_or_init(|| {
            let roots = self.0.roots.clone().unwrap_or_else(system_roots);
            Clients { sip: self.client(&roots, NameRules::Sip), web: self.client(&roots, NameRules::Web) }
        })
    }

    fn client(&self, roots: &Arc<[TrustAnchor<'static>]>, rules: NameRules) -> Arc<ClientConfig> {
        let inner = &self.0;
        let verifier = Verifier {
            roots: Arc::clone(roots),
            algorithms: inner.provider.signature_verification_algorithms,
            rules,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&inner.provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &inner.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .expect("the server's half took the same certificate and key"),
            None => builder.with_no_client_auth(),
        };
        if rules == NameRules::Web {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        Arc::new(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("can_serve", &self.can_serve()).finish_non_exhaustive()
    }
}

/// What the peer has to prove: the domain that was asked for, or the address.
pub(crate) fn server_name(domain: Option<&str>, address: IpAddr) -> Result<ServerName<'static>, FlowError> {
    let Some(domain) = domain else { return Ok(ServerName::IpAddress(address.into())) };
    let bare = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(domain);
    ServerName::try_from(bare.strip_suffix('.').unwrap_or(bare).to_owned())
        .map_err(|_| FlowError::Certificate(CertificateProblem::BadName(domain.into())))
}

/// Why a handshake failed.
pub(crate) fn handshake_error(error: io::Error) -> FlowError {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => FlowError::Tls("the peer closed the connection".into()),
            _ => error.into(),
        };
    };
    match tls {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(cause))) => {
            match cause.downcast_ref::<CertificateProblem>() {
                Some(problem) => FlowError::Certificate(problem.clone()),
                None => FlowError::Tls(tls.to_string()),
            }
        }
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            FlowError::Tls("the peer does not speak TLS on this port".into())
        }
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => FlowError::Tls(format!(
            "the peer offers nothing that is safe to use; TLS 1.2 is the least: {tls}"
        )),
        other => FlowError::Tls(other.to_string()),
    }
}

fn system_roots() -> Arc<[TrustAnchor<'static>]> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    // Some systems carry one or two that nobody can read any more; the others are still good.
    let anchors: Vec<_> = found
        .certs
        .iter()
        .filter_map(|der| webpki::anchor_from_trusted_cert(der).ok().map(|anchor| anchor.to_owned()))
        .collect();
    if anchors.is_empty() {
        tracing::warn!("this system has no root certificates: no TLS server can be believed");
    }
    anchors.into()
}

fn anchors(roots: &[CertificateDer<'_>]) -> Result<Arc<[TrustAnchor<'static>]>, TlsError> {
    let anchor = |(index, der)| {
        webpki::anchor_from_trusted_cert(der)
            .map(|anchor| anchor.to_owned())
            .map_err(|error| TlsError::Root { number: index + 1, reason: format!("{error:?}") })
    };
    roots.iter().enumerate().map(anchor).collect()
}

fn load(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    match identity {
        Identity::Files { certificate, key } => {
            let text = read(key)?;
            let found = PrivateKeyDer::from_pem_slice(&text);
            Ok((
                certificates(certificate)?,
                found.map_err(|_| TlsError::Pem { path: key.clone(), what: "private key" })?,
            ))
        }
        Identity::Der { chain, key } => Ok((
            chain.iter().cloned().map(CertificateDer::from).collect(),
            PrivateKeyDer::try_from(key.clone()).map_err(|error| TlsError::Identity(error.into()))?,
        )),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let no_certificate = || TlsError::Pem { path: path.into(), what: "certificate" };
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| no_certificate())?;
    if found.is_empty() { Err(no_certificate()) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|cause| TlsError::File { path: path.into(), cause })
}
