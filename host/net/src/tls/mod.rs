//! TLS: whom to believe, and who this node is.
//!
//! [`TlsOptions`] says it in an operator's words; [`Tls`] is what is made of it, once, and shared by every connection,
//! every account and the HTTP client of a process. Only TLS 1.2 and 1.3 are spoken, and no cipher suite without forward
//! secrecy (RFC 8996, RFC 9325).

mod certificate;
mod inspect;
mod own;
mod problem;
mod session;
mod verify;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor};
use rustls::server::ResolvesServerCert;
use rustls::{ClientConfig, ServerConfig};

pub use certificate::CertificateSummary;
pub use inspect::Inspection;
pub use problem::CertificateProblem;
pub(crate) use session::SessionTls;

use crate::error::FlowError;
use own::{Own, certificates};
use verify::{NameRules, Verifier};

/// Why both versions of TLS can always be offered.
const BOTH_VERSIONS: &str = "the provider has cipher suites for both versions";

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
    /// Files of PEM. They are read when a [`Tls`] is made, and by [`Tls::reload`].
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
    own: Option<Arc<Own>>,
    server: Option<Arc<ServerConfig>>,
    source: Roots,
    trust: Mutex<Trust>,
}

/// Whom to believe at this time. Locked for as long as a connection needs to take what it begins with.
#[derive(Default)]
struct Trust {
    /// Those of the system are read when first needed: they are many, and a service may open no connection of its own.
    roots: Option<Arc<[TrustAnchor<'static>]>>,
    clients: Option<Clients>,
}

#[derive(Clone)]
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
        let trust = Mutex::new(Trust { roots: read_roots(&options.roots)?, clients: None });
        let own = options
            .identity
            .clone()
            .map(|identity| Own::load(identity, &provider).map(Arc::new))
            .transpose()?;
        let server = own.as_ref().map(|own| {
            let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .expect(BOTH_VERSIONS)
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesServerCert>);
            Arc::new(config)
        });
        let source = options.roots.clone();
        Ok(Self(Arc::new(Inner { provider, own, server, source, trust })))
    }

    /// Whether it has a certificate of its own, without which nobody can be let in.
    pub fn can_serve(&self) -> bool {
        self.0.server.is_some()
    }

    /// This node's own certificate.
    pub fn own_certificate(&self) -> Option<CertificateSummary> {
        self.0.own.as_ref()?.summary()
    }

    /// Reads the files of this node's own certificate and of the roots again, as after a renewal; those of the system when
    /// they are needed next. Connections that are open go on; those that follow show the new certificate and believe the
    /// new roots alone, for no session of before is resumed.
    ///
    /// # Errors
    /// When one of the files cannot be used; then all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let roots = read_roots(&self.0.source)?;
        self.0.own.as_ref().map_or(Ok(()), |own| own.reload(&self.0.provider))?;
        *self.trust() = Trust { roots, clients: None };
        Ok(())
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.0.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.0.server.clone()
    }

    /// For connections whose names are checked as SIP wants.
    pub(crate) fn sip_client(&self) -> Arc<ClientConfig> {
        self.clients().sip
    }

    /// For connections whose names are checked as on the web.
    pub(crate) fn web_client(&self) -> Arc<ClientConfig> {
        self.clients().web
    }

    fn clients(&self) -> Clients {
        let mut trust = self.trust();
        if let Some(clients) = &trust.clients {
            return clients.clone();
        }
        let sip = self.client_with(Arc::new(self.verifier_in(&mut trust, NameRules::Sip)));
        let mut web = self.client_with(Arc::new(self.verifier_in(&mut trust, NameRules::Web)));
        web.alpn_protocols = vec![b"http/1.1".to_vec()];
        trust.clients.insert(Clients { sip: Arc::new(sip), web: Arc::new(web) }).clone()
    }

    fn verifier(&self, rules: NameRules) -> Verifier {
        self.verifier_in(&mut self.trust(), rules)
    }

    fn verifier_in(&self, trust: &mut Trust, rules: NameRules) -> Verifier {
        let roots = Arc::clone(trust.roots.get_or_insert_with(system_roots));
        let algorithms = self.0.provider.signature_verification_algorithms;
        Verifier { roots, algorithms, rules }
    }

    fn client_with(&self, verifier: Arc<dyn ServerCertVerifier>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.0.provider))
            .with_safe_default_protocol_versions()
            .expect(BOTH_VERSIONS)
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match &self.0.own {
            Some(own) => builder.with_client_cert_resolver(Arc::clone(own) as Arc<dyn ResolvesClientCert>),
            None => builder.with_no_client_auth(),
        }
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

/// `None` for those of the system.
fn read_roots(source: &Roots) -> Result<Option<Arc<[TrustAnchor<'static>]>>, TlsError> {
    match source {
        Roots::System => Ok(None),
        Roots::File(path) => anchors(&certificates(path)?).map(Some),
        Roots::Only(roots) => {
            let roots: Vec<_> = roots.iter().cloned().map(CertificateDer::from).collect();
            anchors(&roots).map(Some)
        }
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
