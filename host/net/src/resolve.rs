//! From a host's name to addresses.
//!
//! The machines decide what has to be resolved and in which order to try what comes back; here is only the asking.
//! [`SystemResolver`] asks the operating system, which knows addresses alone; [`DnsResolver`](crate::DnsResolver) asks
//! name servers for all that RFC 3263 describes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use attache_sip::transport::{Destination, Transport};
use tokio::time::timeout;

/// Most addresses taken from one answer.
pub const MAX_ADDRESSES: usize = 16;

/// What has to be resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    /// A name, an IPv4 address, or an IPv6 address with or without brackets.
    pub host: String,
    /// `None`: the service's own, or the transport's default.
    pub port: Option<u16>,
    /// `None`: as the service prefers; UDP where it does not say (RFC 3263, section 4.1).
    pub transport: Option<Transport>,
    /// Whether only encrypted transports will do (`sips:`).
    pub secure: bool,
}

/// Why there is no address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("no address for `{0}`")]
    NotFound(String),
    /// The name servers did not answer in time.
    #[error("no answer about `{0}` within {1} s")]
    Timeout(String, u64),
    /// Asking failed.
    #[error("cannot resolve `{0}`: {1}")]
    Failed(String, String),
}

/// A boxed future, as a trait object needs it.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<Destination>, ResolveError>> + Send + 'a>>;

/// Something that resolves names.
pub trait Resolver: Send + Sync + 'static {
    /// Destinations in the order in which to try them; at least one, at most [`MAX_ADDRESSES`].
    ///
    /// # Errors
    /// When there is none, or none could be found out.
    fn resolve(&self, query: Query) -> Resolving<'_>;
}

/// Asks the operating system.
#[derive(Clone, Debug)]
pub struct SystemResolver {
    patience: Duration,
}

impl SystemResolver {
    /// Gives up after this time.
    pub fn new(patience: Duration) -> Self {
        Self { patience }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

impl Resolver for SystemResolver {
    fn resolve(&self, query: Query) -> Resolving<'_> {
        Box::pin(async move {
            if let Some(found) = literal(&query) {
                return Ok(vec![found]);
            }
            let (transport, port) = query.place();
            let destination = |remote| Destination { transport, remote };
            let lookup = tokio::net::lookup_host((query.host.as_str(), port));
            // Collected here, because what is found borrows the name.
            let found = timeout(self.patience, async {
                lookup.await.map(|found| found.map(destination).take(MAX_ADDRESSES).collect::<Vec<_>>())
            })
            .await;
            let mut destinations = match found {
                Err(_) => return Err(ResolveError::Timeout(query.host, self.patience.as_secs())),
                Ok(Err(error)) => return Err(failure(query.host, &error)),
                Ok(Ok(found)) => found,
            };
            destinations.dedup();
            if destinations.is_empty() { Err(ResolveError::NotFound(query.host)) } else { Ok(destinations) }
        })
    }
}

impl Query {
    /// Transport and port, where nobody says otherwise.
    fn place(&self) -> (Transport, u16) {
        let usual = if self.secure { Transport::Tls } else { Transport::Udp };
        let transport = self.transport.unwrap_or(usual);
        (transport, self.port.unwrap_or(transport.default_port()))
    }
}

/// Where a query leads whose host is written as an address.
pub(crate) fn literal(query: &Query) -> Option<Destination> {
    let host = query.host.as_str();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address: IpAddr = bare.parse().ok()?;
    let (transport, port) = query.place();
    Some(Destination { transport, remote: SocketAddr::new(address, port) })
}

fn failure(host: String, error: &io::Error) -> ResolveError {
    match error.kind() {
        io::ErrorKind::NotFound => ResolveError::NotFound(host),
        _ => ResolveError::Failed(host, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(host: &str, port: Option<u16>, transport: Option<Transport>) -> Vec<String> {
        let query = Query { host: host.into(), port, transport, secure: false };
        let found = SystemResolver::default().resolve(query).await.unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup() {
        assert_eq!(resolved("192.0.2.1", None, None).await, ["udp:192.0.2.1:5060"]);
        assert_eq!(
            resolved("[2001:db8::1]", Some(5080), Some(Transport::Tcp)).await,
            ["tcp:[2001:db8::1]:5080"]
        );
        assert_eq!(resolved("2001:db8::1", None, Some(Transport::Tls)).await, ["tls:[2001:db8::1]:5061"]);
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found = resolved("localhost", Some(5070), Some(Transport::Tcp)).await;
        assert!(found.iter().any(|one| one == "tcp:127.0.0.1:5070" || one == "tcp:[::1]:5070"), "{found:?}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_an_error_that_names_it() {
        let query = Query { host: "no such name.invalid".into(), port: None, transport: None, secure: false };
        let error = SystemResolver::default().resolve(query).await.unwrap_err();
        assert!(error.to_string().contains("no such name.invalid"), "{error}");
    }
}
