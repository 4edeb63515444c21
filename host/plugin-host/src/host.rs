//! The host: plugins, accounts, and who gets which event.

use core::fmt;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use attache_mapped::CodeFolder;
use attache_messenger::{address::Address, event::Event, id::AccountId, storage::StorageError};
use tokio::{
    runtime::{Handle, Runtime},
    sync::Semaphore,
    task::JoinHandle,
};

use crate::{
    backend::Backend,
    bindings::called::exports::attache::messenger::lifecycle::StopReason,
    config::{ConfigError, PluginConfig, Scope},
    engine::{self, Ticker},
    error::StartError,
    family::Families,
    imports,
    instance::{Instance, Served},
    options::{HostOptions, Supervision},
    plugin::{Plugin, Shared},
    status::{LoadState, PluginStatus},
    supervisor::supervise,
};

/// How long [`PluginHost::shutdown`] waits for plugins before it stops them hard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Journal entries that are counted at once.
const PAGE: u32 = 256;

/// Which instances get an account's events.
type Routes = HashMap<AccountId, Arc<[Arc<Instance>]>>;

/// Runs plugins, on threads of its own. Dropping it stops them at once; [`PluginHost::shutdown`] lets them say
/// goodbye.
pub struct PluginHost {
    inner: Arc<Inner>,
    /// Taken when the host is dropped, because a runtime must not be dropped in the ordinary way inside another.
    runtime: Option<Runtime>,
}

struct Inner {
    plugins: Vec<Arc<Plugin>>,
    routes: ArcSwap<Routes>,
    members: Mutex<Members>,
    backend: Arc<dyn Backend>,
    handle: Handle,
}

#[derive(Default)]
struct Members {
    accounts: BTreeMap<AccountId, Address>,
    instances: Vec<Running>,
    /// Told to stop, and perhaps not there yet.
    leaving: Vec<Running>,
    stopped: bool,
}

struct Running {
    instance: Arc<Instance>,
    task: JoinHandle<()>,
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.inner.plugins.iter().map(|plugin| &*plugin.name).collect();
        f.debug_struct("PluginHost").field("plugins", &names).finish_non_exhaustive()
    }
}

impl PluginHost {
    /// Starts the host and begins to load the plugins, in parallel and in the background. A plugin that is wrong
    /// stops nobody: its [`PluginStatus`] says why it was refused. The same holds for a cache folder that cannot be
    /// used: the log says why, and plugins are compiled at each start.
    ///
    /// # Errors
    /// When WebAssembly or threads do not work on this machine.
    pub fn start(
        options: HostOptions,
        plugins: Vec<PluginConfig>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, StartError> {
        let engine = engine::engine(&options)?;
        let linker = imports::link(&engine).map_err(|error| StartError::Engine(format!("{error:#}")))?;
        let folder = options.cache_dir.as_deref().and_then(|path| match CodeFolder::open(path) {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::warn!("compiled plugins are not kept: {error}");
                None
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.workers.max(1))
            .thread_name("attache-plugins")
            .max_blocking_threads(16)
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            ticker: Ticker::start(engine.weak())?,
            engine,
            linker,
            folder,
            compiling: Semaphore::new(2),
            supervision: options.supervision.clone(),
            caps: options.caps.clone(),
        });

        let mut names = Vec::new();
        let mut ready = Vec::new();
        for config in plugins {
            let duplicate = names.contains(&config.name);
            names.push(Arc::clone(&config.name));
            let wrong = match config.validate() {
                Ok(()) if duplicate => Some(ConfigError::DuplicateName(config.name.to_string())),
                Ok(()) => None,
                Err(error) => Some(error),
            };
            let plugin = Arc::new(Plugin::new(config, Arc::clone(&backend), Arc::clone(&shared)));
            match wrong {
                Some(error) => {
                    tracing::error!(plugin = %plugin.name, "plugin refused: {error}");
                    plugin.refuse(&error);
                }
                None => {
                    runtime.spawn(Arc::clone(&plugin).reload());
                }
            }
            ready.push(plugin);
        }
        let inner = Arc::new(Inner {
            plugins: ready,
            routes: ArcSwap::default(),
            members: Mutex::default(),
            backend,
            handle: runtime.handle().clone(),
        });
        runtime.spawn(trim(Arc::downgrade(&inner), options.supervision));
        Ok(Self { inner, runtime: Some(runtime) })
    }

    /// Completes when every plugin is loaded or refused. Cancellation safe.
    pub async fn loaded(&self) {
        for plugin in &self.inner.plugins {
            let mut load = plugin.load.subscribe();
            // The sender lives in the plugin, so this ends with the state and with nothing else.
            let _ = load.wait_for(|state| !matches!(state, LoadState::Loading)).await;
        }
    }

    /// Lets the plugins whose `accounts` match serve an account. `seq` is the position of the account's event stream:
    /// the number of its last event so far. A plugin that is new to the account gets the events after it, and one
    /// that is not gets what it has not handled, from the journal, with `redelivered` set up to `seq`.
    ///
    /// Call it before the account's first event is published. Adding an account twice changes nothing.
    pub fn add_account(&self, account: AccountId, address: Address, seq: u64) {
        let mut members = self.inner.members();
        if members.stopped || members.accounts.contains_key(&account) {
            return;
        }
        for plugin in &self.inner.plugins {
            if plugin.is_misconfigured() || !plugin.serves(&address) {
                continue;
            }
            let served = Served { account, baseline: seq };
            self.inner.handle.spawn(begin(Arc::downgrade(&self.inner), Arc::clone(plugin), served.clone()));
            let shared_instance = members
                .instances
                .iter()
                .find(|running| plugin.scope == Scope::Host && Arc::ptr_eq(&running.instance.plugin, plugin));
            match shared_instance {
                Some(running) => {
                    running.instance.accounts().push(served);
                    running.instance.mailbox.wake();
                }
                None => {
                    let of = (plugin.scope == Scope::Account).then_some(account);
                    let instance = Arc::new(Instance::new(Arc::clone(plugin), of, vec![served]));
                    if let Some(code) = &*plugin.code.borrow() {
                        instance.want(code.wants);
                    }
                    let task = self.inner.handle.spawn(supervise(Arc::clone(&instance)));
                    members.instances.push(Running { instance, task });
                }
            }
        }
        members.accounts.insert(account, address);
        self.inner.route(&members);
    }

    /// Ends the instances of an account, in the background; [`Self::shutdown`] waits for those as well. What they
    /// have not handled stays in the journal.
    pub fn remove_account(&self, account: AccountId) {
        let mut members = self.inner.members();
        if members.accounts.remove(&account).is_none() {
            return;
        }
        members.leaving.retain(|running| !running.task.is_finished());
        for running in core::mem::take(&mut members.instances) {
            let instance = &running.instance;
            let mut accounts = instance.accounts();
            accounts.retain(|served| served.account != account);
            let last = accounts.is_empty();
            drop(accounts);
            if last {
                instance.stop.send_replace(Some(StopReason::Shutdown));
                members.leaving.push(running);
            } else {
                instance.mailbox.forget(account);
                members.instances.push(running);
            }
        }
        self.inner.route(&members);
    }

    /// Hands events to the plugins that want them. Never waits, and allocates nothing but mailbox slots.
    ///
    /// Must-deliver events are to be published after their journal entries are durable: a plugin that is behind gets
    /// them from there.
    pub fn publish(&self, events: &Arc<[Event]>) {
        let routes = self.inner.routes.load();
        let mut begin = 0;
        while let Some(first) = events.get(begin) {
            let run = events[begin..].iter().take_while(|event| event.account == first.account).count();
            if let Some(instances) = routes.get(&first.account) {
                for instance in instances.iter() {
                    instance.offer(events, begin..begin + run);
                }
            }
            begin += run;
        }
    }

    /// Reads a plugin's component again and starts its instances afresh, out of quarantine as well. Where the
    /// component is refused, what runs goes on. False when there is no such plugin.
    pub fn reset(&self, plugin: &str) -> bool {
        let Some(plugin) = self.inner.plugins.iter().find(|it| &*it.name == plugin && !it.is_misconfigured())
        else {
            return false;
        };
        plugin.load.send_replace(LoadState::Loading);
        self.inner.handle.spawn(Arc::clone(plugin).reload());
        true
    }

    /// What an operator can see, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        let members = self.inner.members();
        let status = |plugin: &Arc<Plugin>| PluginStatus {
            name: Arc::clone(&plugin.name),
            component: plugin.component.clone(),
            load: plugin.load.borrow().clone(),
            warnings: plugin.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            instances: members
                .instances
                .iter()
                .filter(|running| Arc::ptr_eq(&running.instance.plugin, plugin))
                .map(|running| running.instance.status())
                .collect(),
        };
        self.inner.plugins.iter().map(status).collect()
    }

    /// Tells every plugin to stop, waits for them for up to five seconds, and writes their cursors down. Events
    /// published from now on are not delivered. Cancellation safe: what is not waited for is stopped hard.
    pub async fn shutdown(&self) {
        let running = {
            let mut members = self.inner.members();
            members.stopped = true;
            self.inner.routes.store(Arc::default());
            let mut running = core::mem::take(&mut members.instances);
            running.append(&mut members.leaving);
            running
        };
        for it in &running {
            it.instance.stop.send_replace(Some(StopReason::Shutdown));
        }
        // The timer has to be the plugin host's own: the caller may run on anything.
        let aborts: Vec<_> = running.iter().map(|it| it.task.abort_handle()).collect();
        let all = self.inner.handle.spawn(async move {
            let wait = async {
                for it in running {
                    let _ = it.task.await;
                }
            };
            if tokio::time::timeout(PATIENCE, wait).await.is_err() {
                tracing::warn!("plugins did not stop in time, and were stopped hard");
                aborts.iter().for_each(tokio::task::AbortHandle::abort);
            }
        });
        let _ = all.await;
    }
}

impl Drop for PluginHost {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Inner {
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(&self, members: &Members) {
        let mut routes: HashMap<AccountId, Vec<Arc<Instance>>> = HashMap::new();
        for running in &members.instances {
            for served in running.instance.accounts().iter() {
                routes.entry(served.account).or_default().push(Arc::clone(&running.instance));
            }
        }
        let routes = routes.into_iter().map(|(account, instances)| (account, instances.into())).collect();
        self.routes.store(Arc::new(routes));
    }

    /// Holds the journal down that is kept for plugins that failed for good.
    async fn give_up_backlogs(&self, most: usize) {
        let failed: Vec<(AccountId, Arc<Instance>)> = {
            let members = self.members();
            let instances = members.instances.iter().map(|running| &running.instance).filter(|instance| {
                instance.has_failed()
                    || matches!(*instance.plugin.load.borrow(), LoadState::Refused { .. })
                        && instance.plugin.code.borrow().is_none()
            });
            let of_account = |instance: &Arc<Instance>| {
                let accounts: Vec<_> = instance.accounts().iter().map(|served| served.account).collect();
                let instance = Arc::clone(instance);
                accounts.into_iter().map(move |account| (account, Arc::clone(&instance)))
            };
            instances.flat_map(of_account).collect()
        };
        for (account, instance) in failed {
            if let Err(error) = self.give_up_backlog(account, &instance, most).await {
                tracing::warn!(plugin = %instance.plugin.name, "cannot look at the journal: {error}");
            }
        }
    }

    async fn give_up_backlog(
        &self,
        account: AccountId,
        instance: &Instance,
        most: usize,
    ) -> Result<(), StorageError> {
        let storage = self.backend.storage();
        let name = &instance.plugin.name;
        let Some(cursor) = storage.cursor(account, name).await? else { return Ok(()) };
        let mut kept = VecDeque::new();
        let (mut after, mut cut, mut given_up) = (cursor, None, 0);
        loop {
            let page = storage.read_journal(account, after, PAGE).await?;
            for entry in &page {
                after = entry.seq;
                kept.push_back(entry.seq);
                if kept.len() > most {
                    cut = kept.pop_front();
                    given_up += 1;
                }
            }
            if page.len() < PAGE as usize {
                break;
            }
        }
        instance.backlog.set(kept.len() as u64);
        if let Some(cut) = cut {
            storage.set_cursor(account, name, cut).await?;
            instance.meters.dead_letters.add(given_up);
            tracing::error!(plugin = %name, account = account.0,
                "{given_up} messages given up: the plugin cannot run, and the journal keeps {most} for it");
        }
        Ok(())
    }

    /// The accounts, each with the plugins whose cursors are kept, and its journal for them: all that are configured
    /// for it.
    async fn readers(&self) -> Vec<(AccountId, Vec<String>)> {
        let accounts = self.members().accounts.clone();
        let mut readers = Vec::with_capacity(accounts.len());
        for (account, address) in accounts {
            let mut names = Vec::new();
            for plugin in self.plugins.iter().filter(|plugin| plugin.serves(&address)) {
                let subscribed =
                    plugin.code.borrow().as_ref().map(|code| code.wants.overlaps(Families::MESSAGES));
                let storage = self.backend.storage();
                let reads = match subscribed {
                    // It has never begun, so the journal holds nothing that was ever for it.
                    None if plugin.is_misconfigured() => {
                        !matches!(storage.cursor(account, &plugin.name).await, Ok(None))
                    }
                    None | Some(true) => true,
                    // What happens is not for it. Its cursor goes along, so that the journal is not kept for it.
                    Some(false) => match self.backend.snapshot(account) {
                        Some(snapshot) => {
                            let moved = storage.set_cursor(account, &plugin.name, snapshot.seq).await;
                            if let Err(error) = moved {
                                tracing::warn!(plugin = %plugin.name, "cannot write the cursor: {error}");
                            }
                            true
                        }
                        None => true,
                    },
                };
                if reads {
                    names.push(plugin.name.to_string());
                }
            }
            readers.push((account, names));
        }
        readers
    }
}

/// Writes down where a plugin that is new to an account begins. At once, and not when the plugin runs: until it is
/// compiled, the journal must be kept for it, and a crash must not move the beginning.
async fn begin(inner: std::sync::Weak<Inner>, plugin: Arc<Plugin>, served: Served) {
    loop {
        let Err(error) = plugin.begin(&served).await else { return };
        tracing::warn!(plugin = %plugin.name, "cannot write the cursor: {error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(inner) = inner.upgrade() else { return };
        if !inner.members().accounts.contains_key(&served.account) {
            return;
        }
    }
}

/// Rids the journal of what every plugin has handled, now and then.
async fn trim(inner: std::sync::Weak<Inner>, policy: Supervision) {
    loop {
        tokio::time::sleep(policy.trim_interval).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.give_up_backlogs(policy.backlog as usize).await;
        let storage = inner.backend.storage();
        for (account, names) in inner.readers().await {
            if let Err(error) = storage.trim_journal(account, names).await {
                tracing::warn!("cannot trim the journal: {error}");
            }
        }
    }
}
