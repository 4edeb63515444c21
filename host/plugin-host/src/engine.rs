//! The WebAssembly engine, and the clock that interrupts guests.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmtime::{Config, Engine, EngineWeak};

use crate::{error::StartError, options::HostOptions, units::ByteSize};

/// How often a running guest is interrupted: it is charged for the time, and other guests get their turn.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The engine for all plugins. Its settings are part of the key of compiled code.
///
/// Instances are allocated on demand, not from a pool: they live as long as a person is signed in, so the
/// microseconds that a pool saves at each start are worth less than having no fixed number of plugins.
pub(crate) fn engine(options: &HostOptions) -> Result<Engine, StartError> {
    let stack = options.stack.clamp(ByteSize::kib(64), ByteSize::mib(8)).as_usize();
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        // The contract has synchronous functions only; without this, each call costs several times more.
        .concurrency_support(false)
        .max_wasm_stack(stack)
        // Host functions run on the same stack, on top of the guest's.
        .async_stack_size(stack + (1 << 20));
    Engine::new(&config).map_err(|error| StartError::Engine(format!("{error:#}")))
}

/// The clock: one thread that moves the engine's epoch on while any guest runs, and sleeps while none does.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("attache-epochs".to_owned()).spawn(move || of_thread.run(&engine))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Guests run until the guard is dropped.
    pub(crate) fn enter(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            let _guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_one();
        }
        Running(Arc::clone(&self.shared))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_one();
        }
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0_u32;
        while !self.stop.load(Ordering::SeqCst) {
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            drop(engine);
            idle = if self.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle < 20 {
                thread::sleep(TICK);
                continue;
            }
            let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.parked.store(true, Ordering::SeqCst);
            // Checked again after `parked` is visible, so that no guest starts unseen.
            while self.running.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
                guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.parked.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}

/// Guests run.
#[derive(Debug)]
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
