//! The service that a test of foreign clients runs on: somebody else's, or ours.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use attache_service::{Service, ServiceConfig};
use attache_sip::digest::{Algorithm, Secret, ha1};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    certificates::{Authority, Identity},
    desk::Login,
    kamailio::{Kamailio, Options},
};

/// The domain that every server here serves.
pub const DOMAIN: &str = "example.test";

/// Who everybody is: user names and passwords.
const USERS: [(&str, &str); 4] =
    [("alice", "wonderland"), ("bob", "builder"), ("carol", "singer"), (OLD_FASHIONED, "diver")];

/// The user whom our own service challenges with MD5 alone, for clients that give up when a challenge names another
/// algorithm beside it (baresip 1.0).
pub const OLD_FASHIONED: &str = "dave";

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Kamailio, as Debian ships it.
    Kamailio,
    /// The service of this project.
    Embedded,
}

/// A running service with Alice, Bob, Carol and Dave. Dropping it ends it.
pub struct Server {
    running: Running,
    /// With `root.pem`, whom to believe over TLS.
    folder: TempDir,
}

enum Running {
    Kamailio(Box<Kamailio>),
    Embedded(Embedded),
}

/// Our own service on a runtime of its own.
struct Embedded {
    service: Option<Service>,
    runtime: Runtime,
}

/// How a client reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// Encrypted streams.
    Tls,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// As URIs name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl Server {
    /// Starts one; on Kamailio with everything that [`Options`] has, so that watchers are let in by rules only when
    /// [`Options::force_active`] does not do it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, true)
    }

    /// As [`start`](Self::start); says whether Kamailio lets every watcher in at once.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(kind: Kind, force_active: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        let identity = authority.identity(DOMAIN)?;
        fs::write(folder.path().join("root.pem"), authority.root())?;
        let running = match kind {
            Kind::Kamailio => {
                let options = Options {
                    users: USERS.to_vec(),
                    domain: DOMAIN,
                    force_active,
                    tls: Some(identity),
                    websocket: true,
                    xcap: true,
                    lists: true,
                    calls: true,
                    registrations: true,
                    ..Options::default()
                };
                Running::Kamailio(Box::new(Kamailio::start(&options)?))
            }
            Kind::Embedded => Running::Embedded(Embedded::start(folder.path(), &identity)?),
        };
        Ok(Self { running, folder })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When it does not listen for that.
    pub fn addr(&self, transport: Transport) -> Result<SocketAddr> {
        match &self.running {
            Running::Kamailio(kamailio) => Ok(match transport {
                Transport::Udp | Transport::Tcp | Transport::Ws => kamailio.udp_addr(),
                Transport::Tls | Transport::Wss => kamailio.tls_addr(),
            }),
            Running::Embedded(embedded) => embedded.addr(transport),
        }
    }

    /// The file with the root that vouches for it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Where it keeps documents.
    ///
    /// # Errors
    /// When it keeps none.
    pub fn xcap_root(&self) -> Result<String> {
        match &self.running {
            Running::Kamailio(kamailio) => Ok(kamailio.xcap_root()),
            Running::Embedded(_) => bail!("the embedded service keeps no documents here"),
        }
    }

    /// How one of its users signs in.
    ///
    /// # Errors
    /// When there is no such user, or the server does not listen for that.
    pub fn login(&self, user: &str, transport: Transport) -> Result<Login> {
        let (name, password) =
            USERS.iter().find(|(name, _)| *name == user).with_context(|| format!("no user {user}"))?;
        Ok(Login {
            user: (*name).to_owned(),
            password: (*password).to_owned(),
            domain: DOMAIN.to_owned(),
            service: format!("sip:{};transport={}", self.addr(transport)?, transport.name()),
            host: format!("[host.tls]\nroots = '{}'\n", self.root().display()),
            root: Some(self.root()),
            ..Login::default()
        })
    }

    /// What it wrote down, for a failure's words.
    #[must_use]
    pub fn log(&self) -> String {
        match &self.running {
            Running::Kamailio(kamailio) => kamailio.log(),
            Running::Embedded(_) => "the embedded service writes no log here".to_owned(),
        }
    }
}

impl Embedded {
    fn start(folder: &Path, identity: &Identity) -> Result<Self> {
        let users: String = USERS
            .iter()
            .map(|(name, password)| {
                let secret = if *name == OLD_FASHIONED {
                    let hash = ha1(Algorithm::Md5, name, DOMAIN, &Secret::new(*password));
                    format!("ha1-md5 = \"{hash}\"")
                } else {
                    format!("password = \"{password}\"")
                };
                format!("[[user]]\nname = \"{name}\"\n{secret}\n")
            })
            .collect();
        fs::write(folder.join("certificate.pem"), &identity.certificate)?;
        fs::write(folder.join("key.pem"), &identity.key)?;
        let mut config = ServiceConfig::parse(&format!(
            "[service]\nlisten = \"127.0.0.1:0\"\nlisten-tls = \"127.0.0.1:0\"\nlisten-ws = \"127.0.0.1:0\"\n\
             listen-wss = \"127.0.0.1:0\"\ndomains = [\"{DOMAIN}\"]\n\
             [service.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n{users}"
        ))?;
        config.base = folder.to_owned();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let entered = runtime.enter();
        let service = Service::start(&config)?;
        drop(entered);
        Ok(Self { service: Some(service), runtime })
    }

    fn addr(&self, transport: Transport) -> Result<SocketAddr> {
        use attache_sip::transport::Transport as Kind;
        let locals = self.service.as_ref().map(Service::local_addrs).unwrap_or_default();
        let wanted = match transport {
            Transport::Udp => Kind::Udp,
            Transport::Tcp => Kind::Tcp,
            Transport::Tls => Kind::Tls,
            Transport::Ws => Kind::Ws,
            Transport::Wss => Kind::Wss,
        };
        let found = locals.iter().find(|(kind, _)| *kind == wanted);
        let (_, addr) = found.with_context(|| format!("nothing listens for {}", transport.name()))?;
        Ok((Ipv4Addr::LOCALHOST, addr.port()).into())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            self.runtime.block_on(service.shutdown());
        }
    }
}
