//! One plugin: its configuration, and its component from the file to code that can be instantiated.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use attache_mapped::{CodeFolder, Key};
use attache_messenger::{address::Address, storage::StorageError};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};
use wasmtime::{
    Engine,
    component::{Component, InstancePre, Linker},
};

use crate::{
    backend::Backend,
    config::{AccountPattern, ConfigError, PluginConfig, Scope, Sha256Pin},
    engine::Ticker,
    error::LoadError,
    exports::{ExportIndices, wanted},
    family::Families,
    grant::{Grant, GrantSet},
    instance::Served,
    limits::Limits,
    options::Supervision,
    state::GuestState,
    status::LoadState,
    surface::{self, Needs},
};

/// What all plugins of a host share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestState>,
    pub(crate) ticker: Ticker,
    pub(crate) folder: Option<CodeFolder>,
    /// Compilations at the same time: each uses all processors already.
    pub(crate) compiling: Semaphore,
    pub(crate) supervision: Supervision,
    pub(crate) caps: Limits,
}

/// One plugin.
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) component: PathBuf,
    pin: Option<Sha256Pin>,
    pub(crate) accounts: Vec<AccountPattern>,
    pub(crate) grants: GrantSet,
    pub(crate) limits: Limits,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) scope: Scope,
    grants_place: String,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) shared: Arc<Shared>,
    /// The newest code that is fit to run; replaced by a reload.
    pub(crate) code: watch::Sender<Option<Arc<Code>>>,
    pub(crate) load: watch::Sender<LoadState>,
    held_down: Vec<&'static str>,
    misconfigured: std::sync::atomic::AtomicBool,
    pub(crate) warnings: Mutex<Vec<String>>,
}

/// A component that can be instantiated.
pub(crate) struct Code {
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) exports: ExportIndices,
    pub(crate) wants: Families,
}

/// What loading found out.
struct Loaded {
    code: Code,
    needs: Needs,
    sha256: Sha256Pin,
    cached: bool,
}

impl Plugin {
    pub(crate) fn new(config: PluginConfig, backend: Arc<dyn Backend>, shared: Arc<Shared>) -> Self {
        let (limits, held_down) = config.limits.capped(&shared.caps);
        Self {
            grants_place: config.grants_place(),
            grants: config.grants.iter().collect(),
            name: config.name,
            component: config.component,
            pin: config.sha256,
            accounts: config.accounts,
            limits,
            config: config.config,
            scope: config.scope,
            backend,
            shared,
            code: watch::Sender::new(None),
            load: watch::Sender::new(LoadState::Loading),
            held_down,
            misconfigured: false.into(),
            warnings: Mutex::default(),
        }
    }

    pub(crate) fn serves(&self, address: &Address) -> bool {
        self.accounts
            .iter()
            .any(|pattern| pattern.matches(address.canonical()) || pattern.matches(address.as_str()))
    }

    /// Where this plugin goes on for an account, after the baseline of one that it is new to.
    pub(crate) async fn begin(&self, served: &Served) -> Result<u64, StorageError> {
        let storage = self.backend.storage();
        if let Some(cursor) = storage.cursor(served.account, &self.name).await? {
            return Ok(cursor);
        }
        storage.set_cursor(served.account, &self.name, served.baseline).await?;
        Ok(served.baseline)
    }

    /// The sentence for a call without its grant.
    pub(crate) fn denial(&self, what: &str, grant: Grant) -> String {
        let Self { name, grants_place, .. } = self;
        format!("plugin `{name}` may not call {what}: add \"{grant}\" to grants in {grants_place}")
    }

    /// The configuration is wrong: the plugin is there to be seen, and never runs.
    pub(crate) fn refuse(&self, error: &ConfigError) {
        self.misconfigured.store(true, std::sync::atomic::Ordering::Relaxed);
        self.load.send_replace(LoadState::Refused { reason: error.to_string() });
    }

    /// Whether its configuration keeps it from ever running.
    pub(crate) fn is_misconfigured(&self) -> bool {
        self.misconfigured.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Loads the component, and makes it the code that instances start with. A failure leaves the code as it was.
    pub(crate) async fn reload(self: Arc<Self>) {
        let begun = Instant::now();
        let result = self.load_component().await;
        match result {
            Ok(loaded) => {
                *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) =
                    self.warnings_of(&loaded.needs);
                let Loaded { code, sha256, cached, .. } = loaded;
                let took = begun.elapsed();
                tracing::info!(plugin = %self.name, cached, took_ms = took.as_millis(), "plugin loaded");
                self.code.send_replace(Some(Arc::new(code)));
                self.load.send_replace(LoadState::Loaded { sha256: sha256.to_string(), cached, took });
            }
            Err(error) => {
                tracing::error!(plugin = %self.name, "plugin refused: {error}");
                self.load.send_replace(LoadState::Refused { reason: error.to_string() });
            }
        }
    }

    async fn load_component(self: &Arc<Self>) -> Result<Loaded, LoadError> {
        let plugin = Arc::clone(self);
        let panicked = |_| self.incompatible("loading it failed in a way that is a fault of the host");
        let read = tokio::task::spawn_blocking(move || plugin.read()).await.map_err(panicked)??;
        let (needs, sha256, bytes) = read;
        let key = Key::new(&self.shared.engine, &sha256.0);
        let shared = Arc::clone(&self.shared);
        let cached = tokio::task::spawn_blocking(move || shared.folder.as_ref()?.load(&shared.engine, key))
            .await
            .map_err(panicked)?;
        let was_cached = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => self.compile(bytes, key).await?,
        };
        let pre = self.shared.linker.instantiate_pre(&component).map_err(|error| self.incompatible(error))?;
        let exports = ExportIndices::find(&pre, &needs).map_err(|error| self.incompatible(error))?;
        let code = Code { pre, exports, wants: wanted(&needs, self.grants) };
        Ok(Loaded { code, needs, sha256, cached: was_cached })
    }

    /// Reads and checks the file, without compiling it.
    fn read(&self) -> Result<(Needs, Sha256Pin, Vec<u8>), LoadError> {
        let path = &self.component;
        let bytes = read_file(path, self.limits.component_size)?;
        let sha256 = Sha256Pin(Sha256::digest(&bytes).into());
        if let Some(pinned) = self.pin
            && pinned != sha256
        {
            return Err(LoadError::Pin { path: path.clone(), pinned, found: sha256 });
        }
        let needs = surface::needs(path, &bytes)?;
        Ok((needs, sha256, bytes))
    }

    async fn compile(self: &Arc<Self>, bytes: Vec<u8>, key: Key) -> Result<Component, LoadError> {
        let _permit = self.shared.compiling.acquire().await;
        let shared = Arc::clone(&self.shared);
        let name = Arc::clone(&self.name);
        let job = tokio::task::spawn_blocking(move || {
            let component = Component::new(&shared.engine, &bytes)?;
            if let Some(folder) = &shared.folder
                && let Err(error) = folder.store(key, &component)
            {
                tracing::warn!(plugin = %name, "cannot keep compiled code: {error}");
            }
            Ok::<_, wasmtime::Error>(component)
        });
        // A compiler cannot be stopped: beyond the limit it runs to its end in the background, and fills the cache.
        match tokio::time::timeout(self.limits.compile_time.0, job).await {
            Err(_) => {
                Err(LoadError::CompileTime { path: self.component.clone(), limit: self.limits.compile_time })
            }
            Ok(Err(_)) => Err(self.incompatible("the compiler failed")),
            Ok(Ok(Err(error))) => {
                Err(LoadError::Invalid { path: self.component.clone(), reason: format!("{error:#}") })
            }
            Ok(Ok(Ok(component))) => Ok(component),
        }
    }

    fn incompatible(&self, reason: impl core::fmt::Display) -> LoadError {
        LoadError::Incompatible { path: self.component.clone(), reason: format!("{reason:#}") }
    }

    fn warnings_of(&self, needs: &Needs) -> Vec<String> {
        let Self { name, grants_place, .. } = self;
        let mut warnings = Vec::new();
        for grant in needs.export_grants.iter().filter(|grant| !self.grants.has(**grant)) {
            warnings.push(format!(
                "plugin `{name}` gets no events that need \"{grant}\": add it to grants in {grants_place}"
            ));
        }
        for grant in needs.import_grants.iter().filter(|grant| !self.grants.has(**grant)) {
            warnings.push(format!(
                "plugin `{name}` imports what needs \"{grant}\", and will be denied: add it to grants in {grants_place}"
            ));
        }
        for key in &self.held_down {
            warnings.push(format!("the limit `{key}` of plugin `{name}` is held down by the application"));
        }
        for warning in &warnings {
            tracing::warn!(plugin = %name, "{warning}");
        }
        warnings
    }
}

/// Reads a file, but no more of it than its limit allows.
fn read_file(path: &Path, limit: crate::units::ByteSize) -> Result<Vec<u8>, LoadError> {
    let failed = |reason| LoadError::Read { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(limit.0.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit.0 {
        return Err(LoadError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
