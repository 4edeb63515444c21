//! What the accounts of a process share: name look-up, TLS, HTTP, and one budget for requests that nobody waits for.

use std::{net::SocketAddr, sync::Arc};

use attache_net::{
    DnsOptions, DnsResolver, HttpClient, HttpClientOptions, Resolver, SystemResolver, Tls, TlsOptions,
};
use attache_sip::budget::Budget;

use crate::{AccountConfig, Code, Error, HostConfig, Identity, Roots, TlsConfig};

/// Made once, and anew when a reload changed it.
pub(crate) struct Common {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) budget: Arc<Budget>,
    tls: Tls,
    http: HttpClient,
    settings: Settings,
}

/// What a [`Common`] is made of.
#[derive(Clone, Eq, PartialEq)]
struct Settings {
    tls: TlsConfig,
    name_servers: Vec<SocketAddr>,
    refresh_budget: u32,
}

impl Settings {
    fn of(config: &HostConfig) -> Self {
        Self {
            tls: config.tls.clone(),
            name_servers: config.name_servers.clone(),
            refresh_budget: config.refresh_budget.max(1),
        }
    }
}

impl Common {
    pub(crate) fn new(config: &HostConfig) -> Result<Self, Error> {
        let settings = Settings::of(config);
        let resolver = resolver(&settings.name_servers)?;
        let tls = ready(&settings.tls)?;
        let http = HttpClient::new(HttpClientOptions::new(resolver.clone(), Some(tls.clone())));
        let budget =
            Arc::new(Budget::new(settings.refresh_budget, settings.refresh_budget.saturating_mul(2)));
        Ok(Self { resolver, budget, tls, http, settings })
    }

    /// Whether another configuration would make the same.
    pub(crate) fn suits(&self, config: &HostConfig) -> bool {
        self.settings == Settings::of(config)
    }

    /// Reads the files of the same settings again, which may have been renewed.
    pub(crate) fn renew(&self) -> Result<(), Error> {
        self.tls.reload().map_err(|error| unusable(&error))
    }

    /// TLS and HTTP for an account, which may have settings of its own.
    pub(crate) fn secure(&self, account: &AccountConfig) -> Result<(Tls, HttpClient), Error> {
        match &account.tls {
            None => Ok((self.tls.clone(), self.http.clone())),
            Some(own) => {
                let tls = ready(own)?;
                let options = HttpClientOptions::new(self.resolver.clone(), Some(tls.clone()));
                Ok((tls, HttpClient::new(options)))
            }
        }
    }
}

/// Looks services up by RFC 3263; by address alone where the system names no name server.
fn resolver(name_servers: &[SocketAddr]) -> Result<Arc<dyn Resolver>, Error> {
    let options = DnsOptions { name_servers: name_servers.to_vec(), ..DnsOptions::default() };
    match DnsResolver::new(options) {
        Ok(resolver) => Ok(Arc::new(resolver)),
        Err(error) if name_servers.is_empty() => {
            tracing::warn!(%error, "services are found by their address records alone");
            Ok(Arc::new(SystemResolver::default()))
        }
        Err(error) => {
            Err(Error::new(Code::InvalidArgument, "the name servers cannot be used")
                .because(error.to_string()))
        }
    }
}

/// Reads the files that TLS settings name.
pub(crate) fn ready(config: &TlsConfig) -> Result<Tls, Error> {
    let options = TlsOptions {
        roots: match &config.roots {
            Roots::System => attache_net::Roots::System,
            Roots::File(path) => attache_net::Roots::File(path.clone()),
        },
        identity: config.identity.as_ref().map(|Identity { certificate, key }| {
            attache_net::Identity::Files { certificate: certificate.clone(), key: key.clone() }
        }),
    };
    Tls::new(&options).map_err(|error| unusable(&error))
}

fn unusable(error: &attache_net::TlsError) -> Error {
    Error::new(Code::InvalidArgument, "the TLS settings cannot be used").because(error.to_string())
}
