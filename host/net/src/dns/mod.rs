//! Where a domain's SIP service is, as RFC 3263 finds out: NAPTR says which transports, SRV which servers, and A and AAAA
//! where they are.
//!
//! What comes out is a list in the order in which to try it; falling over to the next is the machine's business. A
//! record type that name servers do not answer about, as some home routers do with NAPTR, counts as absent, and is not
//! asked for again for a while.

mod select;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attache_sip::transport::{Destination, Transport};
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, timeout};

use crate::resolve::{MAX_ADDRESSES, Query, ResolveError, Resolver, Resolving, literal};
use crate::socket::source_address;

/// Most servers of one SRV answer that are looked up.
const MAX_SERVERS: usize = 16;
/// How long a question that no name server answered is not asked again (RFC 2308 §7 allows five minutes).
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// Most such questions that are remembered.
const MAX_FAILURES: usize = 1024;

/// How a [`DnsResolver`] asks.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// The name servers to ask. Empty: those of the operating system.
    pub name_servers: Vec<SocketAddr>,
    /// The transports that can be used. Their order decides where a domain has no NAPTR records, and between equal ones.
    /// WebSocket is only used where NAPTR names it or it is asked for.
    pub transports: Vec<Transport>,
    /// Time for one question to one name server; there is one repetition.
    pub patience: Duration,
    /// Time for everything that a query needs.
    pub timeout: Duration,
    /// Where the random order of equal servers begins. `None`: anywhere.
    pub seed: Option<u64>,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            name_servers: Vec::new(),
            transports: vec![Transport::Tls, Transport::Tcp, Transport::Udp, Transport::Wss, Transport::Ws],
            patience: Duration::from_secs(2),
            timeout: Duration::from_secs(15),
            seed: None,
        }
    }
}

/// Asks name servers as RFC 3263 describes. One serves all accounts of a process: answers are kept as long as they
/// allow, failures for half a minute.
pub struct DnsResolver {
    dns: TokioResolver,
    options: DnsOptions,
    failures: Mutex<HashMap<Question, (Instant, Arc<str>)>>,
    random: AtomicU64,
}

type Question = (Name, RecordType);

impl DnsResolver {
    /// Sets up the asking; nobody is asked yet.
    ///
    /// # Errors
    /// When the operating system's configuration cannot be read, or names no server.
    pub fn new(options: DnsOptions) -> Result<Self, ResolveError> {
        let unusable = |error: hickory_resolver::net::NetError| {
            ResolveError::Failed("(the system's name servers)".into(), error.to_string())
        };
        let mut builder = if options.name_servers.is_empty() {
            TokioResolver::builder_tokio().map_err(unusable)?
        } else {
            let servers = options.name_servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let asking = builder.options_mut();
        asking.timeout = options.patience;
        asking.attempts = 1;
        // A wrong answer that came once must not hold for days.
        asking.positive_max_ttl = Some(Duration::from_secs(24 * 3600));
        asking.negative_max_ttl = Some(Duration::from_secs(300));
        asking.negative_min_ttl = Some(Duration::from_secs(5));
        let seed = options.seed.unwrap_or_else(|| {
            let mut seed = [0; 8];
            // Without random numbers equal servers are merely not used equally.
            let _ = getrandom::fill(&mut seed);
            u64::from_le_bytes(seed)
        });
        let dns = builder.build().map_err(unusable)?;
        Ok(Self { dns, options, failures: Mutex::default(), random: AtomicU64::new(seed) })
    }

    /// Forgets all answers and failures, as after a change of network.
    pub fn forget(&self) {
        self.dns.clear_cache();
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn locate(&self, query: &Query) -> Result<Vec<Destination>, Failure> {
        let Query { host, port, transport, secure } = query;
        let usual = if *secure { Transport::Tls } else { Transport::Udp };
        let fixed = transport.unwrap_or(usual);
        let domain = host.strip_suffix('.').unwrap_or(host);
        if let Some(port) = port {
            return self.addresses(&host_name(domain)?, fixed, *port).await;
        }
        if transport.is_some() {
            return match self.servers(&srv_name(domain, fixed)?, fixed).await {
                Ok(Servers::Some(found)) => Ok(found),
                // Some routers never answer about SRV records.
                Ok(Servers::Absent) | Err(_) => {
                    self.addresses(&host_name(domain)?, fixed, fixed.default_port()).await
                }
                Ok(Servers::Refused) => Ok(Vec::new()),
            };
        }
        let mut failure = None;
        let offers = match self.lookup(&full_name(domain)?, RecordType::NAPTR).await {
            Ok(records) => {
                let records = records.iter().filter_map(|record| match record {
                    RData::NAPTR(naptr) => Some(naptr),
                    _ => None,
                });
                select::offers(records, &self.options.transports, *secure)
            }
            Err(_) => Vec::new(),
        };
        let mut found = Vec::new();
        for offer in offers {
            let outcome = if offer.is_srv {
                self.servers(&offer.name, offer.transport).await.map(Servers::into_vec)
            } else {
                self.addresses(&offer.name, offer.transport, offer.transport.default_port()).await
            };
            match outcome {
                Ok(more) => found.extend(more),
                Err(error) => failure = Some(error),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        // Whoever keeps answers from us must not choose a weaker transport than the domain offers.
        if let Some(failure) = failure {
            return Err(failure);
        }
        let mut failure = None;
        let mut is_refused = false;
        let direct = [Transport::Tls, Transport::Tcp, Transport::Udp];
        let usable = self.options.transports.iter().copied();
        let usable = usable.filter(|one| direct.contains(one) && (!secure || one.is_secure()));
        let servers = usable.map(|one| async move { self.servers(&srv_name(domain, one)?, one).await });
        let host = host_name(domain)?;
        // The host's own addresses are asked for beside, for most small domains have nothing else.
        let host = self.addresses(&host, usual, usual.default_port());
        let (servers, host) = tokio::join!(join_all(servers), host);
        for outcome in servers {
            match outcome {
                Ok(Servers::Some(more)) => found.extend(more),
                Ok(Servers::Refused) => is_refused = true,
                Ok(Servers::Absent) => {}
                Err(error) => failure = Some(error),
            }
        }
        if found.is_empty() && !is_refused {
            match host {
                Ok(host) => found = host,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(failure) if found.is_empty() => Err(failure),
            _ => Ok(found),
        }
    }

    /// The places that the SRV records of a name lead to.
    async fn servers(&self, name: &Name, transport: Transport) -> Result<Servers, Failure> {
        let records = self.lookup(name, RecordType::SRV).await?;
        let records: Vec<SRV> = records
            .into_iter()
            .filter_map(|record| match record {
                RData::SRV(srv) => Some(srv),
                _ => None,
            })
            .collect();
        if records.is_empty() {
            return Ok(Servers::Absent);
        }
        // RFC 2782: a root for a target says that there is no such service here, on purpose.
        let records: Vec<_> = records.into_iter().filter(|record| !record.target.is_root()).collect();
        if records.is_empty() {
            return Ok(Servers::Refused);
        }
        let mut ordered = select::order_servers(records, |most| self.draw(most));
        ordered.truncate(MAX_SERVERS);
        let asked = ordered.iter().map(|record| self.addresses(&record.target, transport, record.port));
        let mut found = Vec::new();
        let mut failure = None;
        for outcome in join_all(asked).await {
            match outcome {
                Ok(more) => found.extend(more),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(failure) if found.is_empty() => Err(failure),
            _ => Ok(Servers::Some(found)),
        }
    }

    async fn addresses(
        &self,
        name: &Name,
        transport: Transport,
        port: u16,
    ) -> Result<Vec<Destination>, Failure> {
        let (six, four) = tokio::join!(self.lookup(name, RecordType::AAAA), self.lookup(name, RecordType::A));
        // One family's trouble does not matter where the other has an answer.
        let (six, four) = match (six, four) {
            (Ok(six), Ok(four)) => (six, four),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.is_empty() => (one, Vec::new()),
            (Err(failure), _) | (_, Err(failure)) => return Err(failure),
        };
        let (six, four) = six
            .iter()
            .chain(&four)
            .filter_map(RData::ip_addr)
            .take(2 * MAX_ADDRESSES)
            .partition::<Vec<IpAddr>, _>(IpAddr::is_ipv6);
        let reachable = |address| source_address(SocketAddr::new(address, port)).is_ok();
        let ordered = select::order_addresses(six, four, reachable);
        Ok(ordered.into_iter().map(|ip| Destination { transport, remote: (ip, port).into() }).collect())
    }

    /// The records of a name; none is no failure.
    async fn lookup(&self, name: &Name, kind: RecordType) -> Result<Vec<RData>, Failure> {
        let key = (name.clone(), kind);
        if let Some((until, why)) = self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && *until > Instant::now()
        {
            return Err(Failure(Arc::clone(why)));
        }
        match self.dns.lookup(name.clone(), kind).await {
            Ok(found) => Ok(found
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind)
                .map(|record| record.data.clone())
                .collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => {
                tracing::debug!(%name, %kind, %error, "name servers give no answer");
                let why: Arc<str> = error.to_string().into();
                let now = Instant::now();
                let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
                if failures.len() >= MAX_FAILURES {
                    failures.retain(|_, (until, _)| *until > now);
                }
                if failures.len() < MAX_FAILURES {
                    failures.insert(key, (now + FAILURE_KEPT, Arc::clone(&why)));
                }
                Err(Failure(why))
            }
        }
    }

    /// A number from 0 up to and including `most`. Nobody gains by guessing it.
    fn draw(&self, most: u64) -> u64 {
        // SplitMix64.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.random.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % (most + 1)
    }
}

impl Resolver for DnsResolver {
    fn resolve(&self, query: Query) -> Resolving<'_> {
        Box::pin(async move {
            if let Some(found) = literal(&query) {
                return Ok(vec![found]);
            }
            let patience = self.options.timeout;
            let found = timeout(patience, self.locate(&query)).await;
            let mut found = match found {
                Err(_) => return Err(ResolveError::Timeout(query.host, patience.as_secs())),
                Ok(Err(Failure(why))) => return Err(ResolveError::Failed(query.host, why.to_string())),
                Ok(Ok(found)) => found,
            };
            // The same place may be reached by several records; the best of them counts.
            let mut seen = Vec::with_capacity(MAX_ADDRESSES);
            found.retain(|one| {
                let is_new = seen.len() < MAX_ADDRESSES && !seen.contains(one);
                if is_new {
                    seen.push(*one);
                }
                is_new
            });
            if found.is_empty() { Err(ResolveError::NotFound(query.host)) } else { Ok(found) }
        })
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why nothing was found out, in the library's words.
struct Failure(Arc<str>);

/// What SRV records say.
enum Servers {
    /// Nothing.
    Absent,
    /// That there is no such service.
    Refused,
    /// Where it is.
    Some(Vec<Destination>),
}

impl Servers {
    fn into_vec(self) -> Vec<Destination> {
        match self {
            Self::Some(found) => found,
            Self::Absent | Self::Refused => Vec::new(),
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        let ConnectionConfig { port, .. } = connection;
        *port = address.port();
    }
    server
}

/// A name that is complete as it is.
fn full_name(text: &str) -> Result<Name, Failure> {
    let mut name = Name::from_utf8(text).map_err(|error| Failure(error.to_string().into()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// A host's name; one without a dot may be one of the system's own domain.
fn host_name(text: &str) -> Result<Name, Failure> {
    let mut name = full_name(text)?;
    name.set_fqdn(text.contains('.'));
    Ok(name)
}

fn srv_name(domain: &str, transport: Transport) -> Result<Name, Failure> {
    full_name(&format!("{}.{domain}", select::srv_prefix(transport)))
}
