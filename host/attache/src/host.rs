//! The host: accounts, plugins and the store of one application.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use attache_messenger::{
    command::{Answer, Command},
    compose::Reason,
    engine::EngineConfig,
    id::{AccountId, ContactId},
    people::{DirectoryEntry, PersonQuery, Resolved},
    storage::{BoxFuture, Storage},
};
use attache_msrp::MsrpConfig;
use attache_net::{BindOptions, MsrpOptions, MsrpSockets, Query, Resolver, Sockets, Tls};
use attache_plugin_host::{Backend, HostOptions, PluginConfig, PluginHost, PluginStatus, ServiceFacts};
use attache_sip::transport::Transport;
use attache_store::{MemoryStore, Store};

use crate::{
    AccountConfig, Address, Code, Credential, Directory, Error, HostConfig, Messenger, Secret, Snapshot,
    account::{self, Setup, Shared},
    common::Common,
    delegates::Delegates,
    place::Place,
    services::{ServiceName, VERSION},
};

/// Connections of our own are pinged so often, so that nothing on the way forgets them (RFC 5626, section 4.4.1).
const KEEP_ALIVE: Duration = Duration::from_secs(95);

/// How soon the doctor asks a quiet service what it can do.
const LOOK: Duration = Duration::from_millis(500);

/// Accounts, plugins and their store. A handle: cheap to clone, `Send + Sync`.
///
/// Needs a tokio runtime with time and network; accounts run as tasks on the one that
/// [`start`](Self::start) was called on, plugins on threads of their own.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    accounts: Arc<Accounts>,
    storage: Arc<dyn Storage>,
    plugins: Arc<PluginHost>,
    store: Option<Arc<Store>>,
    directory: Option<Arc<dyn Directory>>,
    delegates: Delegates,
    locale: String,
    /// Whether it shuts down, or has.
    ends: AtomicBool,
    /// Numbers accounts as they come.
    added: AtomicU64,
    /// What runs the accounts.
    pub(crate) runtime: tokio::runtime::Handle,
    /// What accounts share; another one after a reload that changed it.
    pub(crate) common: Mutex<Arc<Common>>,
    /// Accounts of the configuration, as they stand there.
    pub(crate) configured: Mutex<BTreeMap<AccountId, AccountConfig>>,
    /// What cannot change at run time.
    pub(crate) fixed: Fixed,
    /// One reload at a time.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    /// Accounts that are being added.
    adding: Mutex<BTreeSet<AccountId>>,
}

/// What a host keeps until it is started again.
pub(crate) struct Fixed {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) plugins: Vec<PluginConfig>,
}

impl Inner {
    /// Keeps an account from being added twice at once; none when it is there or on its way.
    fn claim(&self, account: AccountId) -> Option<Claim<'_>> {
        let mut adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.accounts.get(account).is_none() && adding.insert(account);
        free.then(|| Claim { inner: self, account })
    }
}

/// Given back also when adding fails or is cancelled.
struct Claim<'a> {
    inner: &'a Inner,
    account: AccountId,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.inner.adding.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
    }
}

/// Shared with plugins, which must not keep the host alive.
#[derive(Default)]
struct Accounts {
    by_id: ArcSwap<BTreeMap<AccountId, Arc<Shared>>>,
    /// The account that is meant when none is named; the first one when none was chosen.
    chosen: Mutex<Option<AccountId>>,
}

impl Accounts {
    fn get(&self, account: AccountId) -> Option<Arc<Shared>> {
        self.by_id.load().get(&account).cloned()
    }

    /// In the order in which they were added.
    fn in_order(&self) -> Vec<Arc<Shared>> {
        let mut accounts: Vec<_> = self.by_id.load().values().cloned().collect();
        accounts.sort_by_key(|shared| shared.order);
        accounts
    }

    fn primary(&self) -> Option<AccountId> {
        let chosen = *self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let there = chosen.filter(|id| self.get(*id).is_some());
        there.or_else(|| self.in_order().first().map(|shared| shared.address.account_id()))
    }

    fn choose(&self, account: AccountId) {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(account);
    }

    fn insert(&self, id: AccountId, shared: &Arc<Shared>) {
        self.by_id.rcu(|accounts| {
            let mut accounts = BTreeMap::clone(accounts);
            accounts.insert(id, shared.clone());
            accounts
        });
    }

    /// Removes this account, and none that took its place meanwhile; whether it was there.
    fn remove(&self, id: AccountId, shared: &Arc<Shared>) -> bool {
        let is_it = |accounts: &BTreeMap<_, Arc<Shared>>| {
            accounts.get(&id).is_some_and(|known| Arc::ptr_eq(known, shared))
        };
        let before = self.by_id.rcu(|accounts| {
            let mut accounts = BTreeMap::clone(accounts);
            if is_it(&accounts) {
                accounts.remove(&id);
            }
            accounts
        });
        is_it(&before)
    }
}

/// What plugins reach of the host.
struct Reach {
    accounts: Weak<Accounts>,
    storage: Arc<dyn Storage>,
    directory: Option<Arc<dyn Directory>>,
    locale: String,
}

impl Reach {
    fn account(&self, account: AccountId) -> Option<Arc<Shared>> {
        self.accounts.upgrade()?.get(account)
    }

    fn messenger(&self, account: AccountId) -> Result<Messenger, Error> {
        let shared = self.account(account);
        let shared =
            shared.ok_or_else(|| Error::new(Code::AccountNotFound, "the host has no such account"))?;
        Ok(Messenger::new(shared, self.storage.clone(), self.directory.clone()))
    }
}

impl Backend for Reach {
    fn snapshot(&self, account: AccountId) -> Option<Arc<Snapshot>> {
        self.account(account).map(|shared| shared.snapshot())
    }

    fn command(&self, account: AccountId, command: Command) -> BoxFuture<'_, Answer> {
        let shared = self.account(account);
        Box::pin(async move {
            match shared {
                Some(shared) => shared.command(command).await,
                None => Err(Error::new(Code::AccountNotFound, "the host has no such account")),
            }
        })
    }

    fn why(&self, account: AccountId, contact: ContactId) -> BoxFuture<'_, Result<Vec<Reason>, Error>> {
        let shared = self.account(account);
        Box::pin(async move {
            match shared {
                Some(shared) => shared.with(move |engine, _| engine.why(contact)).await,
                None => Err(Error::new(Code::AccountNotFound, "the host has no such account")),
            }
        })
    }

    fn resolve(&self, account: AccountId, query: PersonQuery) -> BoxFuture<'_, Result<Resolved, Error>> {
        Box::pin(async move { self.messenger(account)?.resolve(&query).await })
    }

    fn search_directory(
        &self,
        account: AccountId,
        text: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DirectoryEntry>, Error>> {
        Box::pin(async move { self.messenger(account)?.search_directory(&text, limit).await })
    }

    fn mail_to(&self, account: AccountId, address: Address) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(async move { self.messenger(account)?.mail_to(&address).await })
    }

    fn services(&self) -> Vec<ServiceFacts> {
        let Some(accounts) = self.accounts.upgrade() else { return Vec::new() };
        let primary = accounts.primary();
        let facts = |shared: Arc<Shared>| {
            let account = shared.address.account_id();
            let service = Messenger::new(shared, self.storage.clone(), None).service();
            let capabilities = service.capabilities;
            ServiceFacts {
                id: service.id,
                name: service.name,
                account,
                primary: primary == Some(account),
                messages: capabilities.messages,
                presence: capabilities.presence,
                calls: capabilities.calls,
                conferences: capabilities.conferences,
                contacts: capabilities.contacts,
            }
        };
        accounts.in_order().into_iter().map(facts).collect()
    }

    fn host(&self) -> (String, String) {
        (VERSION.to_owned(), self.locale.clone())
    }

    fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }
}

impl Host {
    /// Opens the store, loads the plugins, and signs in the accounts that say so. Waits for no service, though up to
    /// five seconds for the addresses of all of them; a plugin that does not load is reported by [`plugins`](Self::plugins) and stops nothing else.
    ///
    /// # Errors
    /// When the data folder, a socket, or a file that TLS settings name cannot be opened.
    pub async fn start(config: HostConfig) -> Result<Self, Error> {
        let common = Common::new(&config)?;
        let (storage, store): (Arc<dyn Storage>, Option<Arc<Store>>) = match &config.data_dir {
            Some(dir) => {
                let store = Store::open(dir).map_err(|error| {
                    Error::new(Code::Storage, format!("the data folder {} cannot be opened", dir.display()))
                        .because(error.to_string())
                })?;
                let store = Arc::new(store);
                (store.clone(), Some(store))
            }
            None => (Arc::new(MemoryStore::new()), None),
        };
        let accounts = Arc::new(Accounts::default());
        let locale = config.locale.unwrap_or_else(system_locale);
        let reach = Arc::new(Reach {
            accounts: Arc::downgrade(&accounts),
            storage: storage.clone(),
            directory: config.directory.clone(),
            locale: locale.clone(),
        });
        let mut options = HostOptions::default();
        options.cache_dir = config.data_dir.as_ref().map(|dir| dir.join("cache"));
        if let Some(caps) = config.plugin_caps {
            options.caps = caps;
        }
        let fixed = Fixed { data_dir: config.data_dir, plugins: config.plugins.clone() };
        let plugins = PluginHost::start(options, config.plugins, reach).map_err(|error| {
            Error::new(Code::Internal, "the plugin host cannot start").because(error.to_string())
        })?;
        let inner = Inner {
            accounts,
            storage,
            plugins: Arc::new(plugins),
            store,
            directory: config.directory,
            delegates: Delegates { tokens: config.tokens, media: config.media },
            locale,
            ends: AtomicBool::default(),
            added: AtomicU64::default(),
            runtime: tokio::runtime::Handle::current(),
            common: Mutex::new(Arc::new(common)),
            configured: Mutex::default(),
            fixed,
            reloading: tokio::sync::Mutex::default(),
            adding: Mutex::default(),
        };
        let host = Self { inner: Arc::new(inner) };
        let adding = config.accounts.into_iter().map(|account| host.add_configured(account));
        if let Err(error) = futures_util::future::try_join_all(adding).await {
            host.shutdown().await;
            return Err(error);
        }
        Ok(host)
    }

    /// Adds an account of the configuration.
    pub(crate) async fn add_configured(&self, config: AccountConfig) -> Result<(), Error> {
        self.add_account(config.clone()).await?;
        self.configured().insert(config.address.account_id(), config);
        Ok(())
    }

    pub(crate) fn configured(&self) -> std::sync::MutexGuard<'_, BTreeMap<AccountId, AccountConfig>> {
        self.inner.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the TLS files of an account again that has settings of its own; a file that cannot be used leaves all as it was.
    pub(crate) fn renew_tls(&self, account: &AccountConfig) {
        let Some(shared) =
            account.tls.as_ref().and_then(|_| self.inner.accounts.get(account.address.account_id()))
        else {
            return;
        };
        if let Err(error) = shared.tls.reload() {
            tracing::warn!(account = %account.address, %error, "the TLS files are not taken over");
        }
    }

    pub(crate) fn common(&self) -> Arc<Common> {
        self.inner.common.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds an account, and signs it in when its configuration says so; does not wait for the service.
    ///
    /// # Errors
    /// [`Code::AlreadyInList`] when the host has it, [`Code::InvalidArgument`] for a value out of its range or TLS settings that
    /// cannot be used, [`Code::Storage`], or that no socket can be had.
    pub async fn add_account(&self, config: AccountConfig) -> Result<Messenger, Error> {
        self.add(config, false).await
    }

    /// As [`add_account`](Self::add_account); for `refuses_messages` see [`Setup`].
    pub(crate) async fn add(
        &self,
        config: AccountConfig,
        refuses_messages: bool,
    ) -> Result<Messenger, Error> {
        let address = config.address.clone();
        let id = address.account_id();
        let order = self.inner.added.fetch_add(1, Ordering::Relaxed);
        let _claim = self.inner.claim(id).ok_or_else(|| {
            Error::new(Code::AlreadyInList, format!("{address} is an account of this host already"))
        })?;
        if let Err(wrong) = config.tuning.validate() {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            return Err(Error::new(Code::InvalidArgument, wrong.join("; ")));
        }
        let common = self.common();
        let (tls, http) = common.secure(&config)?;
        let place = Place::new(remotes(&*common.resolver, &config).await, Instant::now());
        let local = match place.sources() {
            [] => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            sources => sources.to_vec(),
        };
        let options = BindOptions {
            addresses: local.iter().map(|ip| SocketAddr::new(*ip, 0)).collect(),
            tls: Some(tls.clone()),
            keep_alive: Some(KEEP_ALIVE),
            ws_path: config.ws_path.clone().unwrap_or_else(|| "/".to_owned()),
            limits: attache_net::Limits {
                max_message: attache_messenger::engine::Limits::default().message,
                ..attache_net::Limits::default()
            },
            ..BindOptions::default()
        };
        let net = Sockets::bind(options).map_err(|error| {
            Error::new(Code::TcpError, format!("no socket for {address} on {local:?}"))
                .because(error.to_string())
        })?;
        // Somebody who only looks has no conversations.
        let streams = if refuses_messages { None } else { Some(bind_streams(&local, &tls, &common)?) };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| {
            Error::new(Code::Internal, "the system has no entropy").because(error.to_string())
        })?;
        let sign_in = config.sign_in;
        let service = ServiceName::new(&address, config.service_name.as_deref(), config.conference.is_some());
        let token = match &config.credential {
            Credential::Token(token) => token.clone(),
            Credential::Password(_) => None,
        };
        let mut engine = engine_config(config, net.local_addresses(), seed);
        engine.budget = Some(common.budget.clone());
        engine.msrp = streams.as_ref().map(|streams| stream_config(streams, &local));
        // A store that nothing outlives need not hold what people said.
        engine.keep_presence = self.inner.store.is_some();
        if refuses_messages {
            // Somebody who only looks wants to know soon what the service answers to OPTIONS.
            engine.keep_alive = LOOK;
            // And shall not be seen by others.
            engine.publish = false;
        }
        let ready = account::prepare(Setup {
            config: engine,
            net,
            streams,
            place,
            tls,
            http,
            resolver: common.resolver.clone(),
            storage: self.inner.storage.clone(),
            plugins: self.inner.plugins.clone(),
            refuses_messages,
            delegates: if refuses_messages { Delegates::default() } else { self.inner.delegates.clone() },
            service,
            token,
            order,
        })
        .await?;
        // Known before it begins: the first thing that a plugin does may be to ask for it.
        self.inner.accounts.insert(id, &ready.shared);
        let shared = ready.begin();
        // Only that it was taken on: the service may be away for hours.
        if sign_in && let Err(error) = shared.command(Command::SignIn).await {
            shared.stop().await;
            self.inner.accounts.remove(id, &shared);
            return Err(error);
        }
        Ok(self.handle(shared))
    }

    fn handle(&self, shared: Arc<Shared>) -> Messenger {
        Messenger::new(shared, self.inner.storage.clone(), self.inner.directory.clone())
    }

    /// Signs an account out and forgets it; what the store holds of it stays.
    ///
    /// # Errors
    /// [`Code::AccountNotFound`].
    pub async fn remove_account(&self, address: &Address) -> Result<(), Error> {
        let id = address.account_id();
        let shared = self.inner.accounts.get(id).ok_or_else(|| {
            Error::new(Code::AccountNotFound, format!("{address} is no account of this host"))
        })?;
        shared.stop().await;
        if self.inner.accounts.remove(id, &shared) {
            self.configured().remove(&id);
        }
        Ok(())
    }

    /// The account with this address.
    #[must_use]
    pub fn messenger(&self, address: &Address) -> Option<Messenger> {
        let shared = self.inner.accounts.get(address.account_id())?;
        Some(self.handle(shared))
    }

    /// Every account, in the order in which they were added.
    #[must_use]
    pub fn messengers(&self) -> Vec<Messenger> {
        self.inner.accounts.in_order().into_iter().map(|shared| self.handle(shared)).collect()
    }

    /// The account that is meant when none is named: the one that was chosen, or else the one that was added first. None
    /// without accounts.
    #[must_use]
    pub fn primary(&self) -> Option<Messenger> {
        let primary = self.inner.accounts.primary()?;
        Some(self.handle(self.inner.accounts.get(primary)?))
    }

    /// Chooses the account that is meant when none is named.
    ///
    /// # Errors
    /// [`Code::AccountNotFound`].
    pub fn set_primary(&self, address: &Address) -> Result<(), Error> {
        let id = address.account_id();
        if self.inner.accounts.get(id).is_none() {
            return Err(Error::new(Code::AccountNotFound, format!("{address} is no account of this host")));
        }
        self.inner.accounts.choose(id);
        Ok(())
    }

    /// The language and country of the person, as a tag of BCP 47 such as `en-GB`: [`HostConfig::locale`], or that of the
    /// environment.
    #[must_use]
    pub fn locale(&self) -> &str {
        &self.inner.locale
    }

    /// Completes when every plugin is loaded or was refused. Cancellation safe.
    pub async fn plugins_loaded(&self) {
        self.inner.plugins.loaded().await;
    }

    /// Reads a plugin's component again and starts it afresh, also out of quarantine. False when there is no such plugin.
    #[must_use]
    pub fn reset_plugin(&self, name: &str) -> bool {
        self.inner.plugins.reset(name)
    }

    /// Whether it shuts down, or has.
    pub(crate) fn ends(&self) -> bool {
        self.inner.ends.load(Ordering::Acquire)
    }

    /// How every plugin is.
    #[must_use]
    pub fn plugins(&self) -> Vec<PluginStatus> {
        self.inner.plugins.status()
    }

    /// Signs every account out, stops the plugins and closes the store. Takes at most a few seconds,
    /// whether the service answers or not. Handles stay valid and answer [`Code::Closed`].
    pub async fn shutdown(&self) {
        self.inner.ends.store(true, Ordering::Release);
        // Forgotten when they have ended, so that another one who shuts down waits for them as well.
        loop {
            let accounts = self.inner.accounts.by_id.load_full();
            if accounts.is_empty() {
                break;
            }
            let mut stopping = tokio::task::JoinSet::new();
            for (id, shared) in accounts.iter() {
                let (inner, id, shared) = (self.inner.clone(), *id, shared.clone());
                stopping.spawn(async move {
                    shared.stop().await;
                    inner.accounts.remove(id, &shared);
                });
            }
            while stopping.join_next().await.is_some() {}
        }
        self.inner.plugins.shutdown().await;
        if let Some(store) = &self.inner.store {
            store.close().await;
        }
    }
}

/// What the environment says (POSIX, section 8.2), as a tag of BCP 47; `en` where it says nothing.
fn system_locale() -> String {
    let said = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok());
    let said = said.unwrap_or_default();
    let tag = said.split(['.', '@']).next().unwrap_or_default().replace('_', "-");
    let plain = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if tag.len() < 2 || tag == "POSIX" || !plain { "en".to_owned() } else { tag }
}

/// What an account's engine is made with.
fn engine_config(config: AccountConfig, local: Vec<(Transport, SocketAddr)>, seed: [u8; 32]) -> EngineConfig {
    let (password, credential) = match config.credential {
        Credential::Password(password) => (password, None),
        Credential::Token(token) => (Secret::default(), Some(attache_sip::agent::Credential::bearer(token))),
    };
    let mut engine = EngineConfig::new(config.address, password, local, seed);
    engine.credential = credential;
    engine.xcap = config.xcap;
    engine.xcap_user = config.xcap_user;
    engine.flows = if config.outbound { engine.flows } else { 1 };
    engine.calls = config.calls;
    engine.display_name = config.display_name.into();
    engine.phones = config.phones;
    engine.email = config.email.map(Into::into);
    engine.auth_user = config.auth_user;
    engine.service = config.service;
    engine.list = config.list;
    engine.phone = config.phone;
    engine.conference = config.conference;
    engine.incoming_calls = config.incoming_calls;
    config.messages.apply(&mut engine);
    config.tuning.apply(&mut engine);
    engine
}

/// Sockets for message sessions, on the first of this machine's addresses.
fn bind_streams(local: &[IpAddr], tls: &Tls, common: &Common) -> Result<MsrpSockets, Error> {
    let addresses: Vec<_> = local.first().map(|ip| SocketAddr::new(*ip, 0)).into_iter().collect();
    let options = MsrpOptions {
        addresses: addresses.clone(),
        tls_addresses: addresses,
        tls: Some(tls.clone()),
        // Of people, authorities know nothing; and a machine's own certificate would tell peers which machine it is.
        ephemeral: true,
        resolver: common.resolver.clone(),
        ..MsrpOptions::default()
    };
    MsrpSockets::bind(options).map_err(|error| {
        Error::new(Code::TcpError, format!("no socket for message sessions on {local:?}"))
            .because(error.to_string())
    })
}

fn stream_config(streams: &MsrpSockets, local: &[IpAddr]) -> MsrpConfig {
    let source = local.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (host, port, tls_port) = account::stream_address(&streams.local_addresses(), source);
    // One account is a person, not a switch: less will do than what a machine may have by itself.
    let limits = attache_msrp::Limits {
        memory: STREAM_MEMORY,
        outgoing_memory: STREAM_MEMORY,
        ..attache_msrp::Limits::default()
    };
    MsrpConfig { host, port, tls_port, fingerprint: streams.fingerprint(), limits }
}

/// Most bytes of messages that an account holds because they are under way in sessions, in each direction.
const STREAM_MEMORY: usize = 16 * 1024 * 1024;

/// Where the service is; nowhere when that is not known in time.
async fn remotes(resolver: &dyn Resolver, config: &AccountConfig) -> Vec<SocketAddr> {
    let service = config.service.as_deref().unwrap_or(config.address.as_str());
    let Ok(uri) = attache_sip::uri::UriBuf::parse(service) else { return Vec::new() };
    let uri = uri.as_uri();
    let Some(host) = uri.host() else { return Vec::new() };
    let secure = uri.scheme() == attache_sip::uri::Scheme::Sips;
    let query = Query { host: host.to_string(), port: uri.port(), transport: uri.transport(), secure };
    let asked = tokio::time::timeout(RESOLVE, resolver.resolve(query)).await;
    let found = asked.ok().and_then(Result::ok).unwrap_or_default();
    found.into_iter().map(|found| found.remote).collect()
}

/// Longest wait for the service's name when an account is added.
const RESOLVE: Duration = Duration::from_secs(5);

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host")
            .field("accounts", &self.inner.accounts.by_id.load().len())
            .finish_non_exhaustive()
    }
}
