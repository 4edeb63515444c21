//! What the host knows while one instance of a guest runs: the data of its store.

use core::fmt;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use attache_messenger::{
    code::Code,
    error::{Error, Retry},
    id::{AccountId, RequestId},
    snapshot::Snapshot,
};
use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use crate::{
    grant::Grant,
    imports::output::GuestOutput,
    instance::Instance,
    leases::Leases,
    log::Level,
    meters::Meters,
    plugin::Plugin,
    units::{ByteSize, Period},
};

/// Requests of one instance that have not completed; the oldest are forgotten beyond this.
const REQUESTS: usize = 1024;

/// The data of a guest's store.
pub(crate) struct GuestState {
    pub(crate) instance: Arc<Instance>,
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryLimiter,
    pub(crate) cpu: CpuMeter,
    pub(crate) timers: BTreeMap<u64, Instant>,
    /// Whether the guest exports `timer-events`.
    pub(crate) takes_timers: bool,
    /// Who sent the message in hand (see [`crate::quota::person`]), if no person wrote it.
    pub(crate) automatic_sender: Option<String>,
    /// Who is watched, until this state is dropped.
    pub(crate) leases: Leases,
    requests: HashSet<RequestId>,
    calls_left: u32,
}

impl GuestState {
    pub(crate) fn new(instance: Arc<Instance>, takes_timers: bool, tick: Duration) -> Self {
        let limits = &instance.plugin.limits;
        let log = &instance.log;
        let mut wasi = WasiCtx::builder();
        // Closed: no files, no network, no environment, no arguments. What is left are clocks, randomness and output.
        wasi.stdout(GuestOutput::new(Arc::clone(log), "stdout", Level::Info))
            .stderr(GuestOutput::new(Arc::clone(log), "stderr", Level::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(64 * 1024);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        Self {
            wasi: wasi.build(),
            table,
            memory: MemoryLimiter::new(
                limits.memory,
                limits.table_elements,
                limits.instances,
                Arc::clone(&instance.meters),
            ),
            cpu: CpuMeter::new(tick),
            timers: BTreeMap::new(),
            takes_timers,
            automatic_sender: None,
            leases: Leases::new(Arc::clone(&instance)),
            requests: HashSet::new(),
            calls_left: 0,
            instance,
        }
    }

    pub(crate) fn plugin(&self) -> &Plugin {
        &self.instance.plugin
    }

    /// Gives the guest what it may use for one event.
    pub(crate) fn begin(&mut self, cpu: Period) {
        self.calls_left = self.instance.plugin.limits.host_calls_per_event;
        self.cpu.begin(cpu.0);
    }

    /// Counts one host call.
    pub(crate) fn spend_call(&mut self) -> wasmtime::Result<()> {
        match self.calls_left.checked_sub(1) {
            Some(left) => {
                self.calls_left = left;
                Ok(())
            }
            None => Err(Stopped::HostCalls(self.plugin().limits.host_calls_per_event).into()),
        }
    }

    /// Refuses what was not granted, with a sentence that names the line to change.
    pub(crate) fn granted(&self, function: &str, grant: Grant) -> Result<(), Error> {
        if self.plugin().grants.has(grant) {
            return Ok(());
        }
        let sentence = self.plugin().denial(function, grant);
        self.instance.denied(function, &sentence);
        Err(Error::new(Code::Denied, sentence).retry(Retry::AfterChange))
    }

    /// The account as it is now, if this instance serves it.
    pub(crate) fn snapshot(&self, account: u64) -> Result<Arc<Snapshot>, Error> {
        let account = self.account(account)?;
        self.plugin().backend.snapshot(account).ok_or_else(|| unknown_account(account))
    }

    /// The account, if this instance serves it.
    pub(crate) fn account(&self, account: u64) -> Result<AccountId, Error> {
        let account = AccountId(account);
        let accounts = self.instance.accounts();
        if accounts.iter().any(|served| served.account == account) {
            Ok(account)
        } else {
            Err(unknown_account(account))
        }
    }

    /// Waits for something outside the guest. The time does not count as the guest's.
    pub(crate) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.cpu.pause(Instant::now());
        let value = future.await;
        self.cpu.resume(Instant::now());
        value
    }

    /// Does what may take the host a while, on the guest's account: all of the time counts as the guest's.
    pub(crate) fn work<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.cpu.pause(Instant::now());
        let value = work(self);
        self.cpu.charge(Instant::now());
        value
    }

    /// Remembers a request, so that its completion is told to this plugin and to no other.
    pub(crate) fn remember(&mut self, request: RequestId) {
        if self.requests.len() >= REQUESTS
            && let Some(oldest) = self.requests.iter().min().copied()
        {
            self.requests.remove(&oldest);
        }
        self.requests.insert(request);
    }

    /// Whether a request is this instance's; it is forgotten with that.
    pub(crate) fn completes(&mut self, request: RequestId) -> bool {
        self.requests.remove(&request)
    }
}

fn unknown_account(account: AccountId) -> Error {
    Error::new(Code::AccountNotFound, format!("this plugin does not serve an account {account}"))
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Why the host stopped a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stopped {
    Cpu(Period),
    Time(Period),
    HostCalls(u32),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(limit) => write!(f, "used more than its {limit} of CPU time"),
            Self::Time(limit) => write!(f, "took longer than {limit}"),
            Self::HostCalls(limit) => write!(f, "made more than its {limit} host calls"),
        }
    }
}

impl std::error::Error for Stopped {}

/// CPU time of the guest, by the epoch clock: at most one tick for each time that the clock finds it running, so
/// that waiting for a host call, or for other guests on the same thread, is not charged.
///
/// Reading the clock costs a tenth of a short call, so it is read once for many calls in a row, and an event may be
/// charged up to one tick for those before it.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    tick: Duration,
    budget: Duration,
    /// In this event.
    used: Duration,
    /// Since it was last asked, in all events.
    total: Duration,
    mark: Instant,
}

impl CpuMeter {
    fn new(tick: Duration) -> Self {
        Self {
            tick,
            budget: Duration::ZERO,
            used: Duration::ZERO,
            total: Duration::ZERO,
            mark: Instant::now(),
        }
    }

    fn begin(&mut self, budget: Duration) {
        self.budget = budget;
        self.used = Duration::ZERO;
    }

    fn pause(&mut self, now: Instant) {
        self.add(now, self.tick);
    }

    /// Since the mark, the host worked for the guest without a pause.
    fn charge(&mut self, now: Instant) {
        self.add(now, Duration::MAX);
    }

    fn add(&mut self, now: Instant, most: Duration) {
        let passed = now.saturating_duration_since(self.mark).min(most);
        self.used += passed;
        self.total += passed;
        self.mark = now;
    }

    /// From here on, time is the guest's.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.mark = now;
    }

    /// The epoch clock found the guest running.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), Stopped> {
        self.pause(now);
        if self.used > self.budget { Err(Stopped::Cpu(Period(self.budget))) } else { Ok(()) }
    }

    /// CPU time since this was last called. From here on, time is not the guest's.
    pub(crate) fn settle(&mut self, now: Instant) -> Duration {
        self.pause(now);
        core::mem::take(&mut self.total)
    }
}

/// Holds memories and tables down to their limits, in total.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    memory: u64,
    memory_limit: ByteSize,
    elements: usize,
    elements_limit: usize,
    instances: usize,
    meters: Arc<Meters>,
    /// What was refused last. The guest's allocator turns it into a trap that says nothing of memory.
    pub(crate) refused: Option<String>,
}

impl MemoryLimiter {
    fn new(memory_limit: ByteSize, elements_limit: u32, instances: u32, meters: Arc<Meters>) -> Self {
        meters.memory.set(0);
        let elements_limit = elements_limit as usize;
        let instances = instances as usize;
        Self { memory: 0, memory_limit, elements: 0, elements_limit, instances, meters, refused: None }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current) as u64);
        if total > self.memory_limit.0 {
            self.refused = Some(format!("its memory limit of {} is used up", self.memory_limit));
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory = total;
        self.meters.memory.set(total);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        if total > self.elements_limit {
            self.refused = Some(format!("its limit of {} table elements is used up", self.elements_limit));
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_limited_in_total() {
        let meters = Arc::new(Meters::default());
        let mut limiter = MemoryLimiter::new(ByteSize::mib(1), 10, 4, Arc::clone(&meters));
        assert!(limiter.memory_growing(0, 600 << 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 600 << 10, None).unwrap());
        assert!(limiter.memory_growing(600 << 10, 1 << 20, None).unwrap());
        assert_eq!(meters.memory.get(), 1 << 20);
        assert!(limiter.refused.unwrap().contains("1MiB"));
    }

    #[test]
    fn waiting_and_other_guests_are_not_charged() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut cpu = CpuMeter::new(Duration::from_millis(5));
        cpu.resume(at(0));
        cpu.begin(Duration::from_millis(12));
        cpu.pause(at(1));
        cpu.resume(at(1_000));
        cpu.tick(at(1_004)).unwrap();
        cpu.tick(at(2_000)).unwrap();
        assert_eq!(cpu.tick(at(2_005)), Err(Stopped::Cpu(Period::millis(12))));
        assert_eq!(cpu.settle(at(2_005)), Duration::from_millis(15));
        assert_eq!(cpu.settle(at(2_005)), Duration::ZERO);
    }

    #[test]
    fn the_work_of_a_host_call_is_charged_in_full_and_a_wait_is_not() {
        let (tick, begin) = (Duration::from_millis(5), Instant::now());
        let at = |millis| begin + Duration::from_millis(millis);
        let mut meter = CpuMeter::new(tick);
        meter.resume(begin);
        meter.begin(Duration::from_millis(50));
        meter.charge(at(40));
        assert!(meter.tick(at(1_000)).is_ok(), "one tick for the time in which others ran");
        meter.charge(at(1_010));
        assert_eq!(meter.tick(at(1_010)), Err(Stopped::Cpu(Period(Duration::from_millis(50)))));
        assert_eq!(meter.settle(at(1_010)), Duration::from_millis(55));
    }
}
