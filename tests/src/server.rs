//! The service that a test of foreign clients runs on: somebody else's, or ours.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use attache_service::{Service, ServiceConfig};
use attache_sip::digest::{Algorithm, Secret, ha1};
use tokio::runtime::{Builder, Runtime};

use crate::{
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
pub enum Server {
    /// Somebody else's.
    Kamailio(Box<Kamailio>),
    /// Ours.
    Embedded(Embedded),
}

/// Our own service on a runtime of its own.
pub struct Embedded {
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
}

impl Transport {
    /// As URIs name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Kamailio => {
                let options = Options { users: USERS.to_vec(), domain: DOMAIN, ..Options::default() };
                Ok(Self::Kamailio(Box::new(Kamailio::start(&options)?)))
            }
            Kind::Embedded => {
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
                let config = ServiceConfig::parse(&format!(
                    "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"{DOMAIN}\"]\n{users}"
                ))?;
                let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
                let entered = runtime.enter();
                let service = Service::start(&config)?;
                drop(entered);
                Ok(Self::Embedded(Embedded { service: Some(service), runtime }))
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When it does not listen for that.
    pub fn addr(&self, transport: Transport) -> Result<SocketAddr> {
        match self {
            Self::Kamailio(kamailio) => Ok(kamailio.udp_addr()),
            Self::Embedded(embedded) => {
                let locals = embedded.service.as_ref().map(Service::local_addrs).unwrap_or_default();
                let wanted = match transport {
                    Transport::Udp => attache_sip::transport::Transport::Udp,
                    Transport::Tcp => attache_sip::transport::Transport::Tcp,
                };
                let found = locals.iter().find(|(kind, _)| *kind == wanted);
                let (_, addr) = found.with_context(|| format!("nothing listens for {}", transport.name()))?;
                Ok((Ipv4Addr::LOCALHOST, addr.port()).into())
            }
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
            ..Login::default()
        })
    }

    /// What it wrote down, for a failure's words.
    #[must_use]
    pub fn log(&self) -> String {
        match self {
            Self::Kamailio(kamailio) => kamailio.log(),
            Self::Embedded(_) => "the embedded service writes no log here".to_owned(),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            self.runtime.block_on(service.shutdown());
        }
    }
}
