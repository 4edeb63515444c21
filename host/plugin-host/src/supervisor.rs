//! The task of one instance: starts the guest, feeds it, and starts it again when it fails.
//!
//! The guest lives in this task and nowhere else. A trap, a limit or a time-out ends the guest, never the task: the
//! store is dropped, the pause grows with each failure, and what must be delivered comes again from the journal.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use attache_messenger::{
    event::{Event, EventKind},
    id::AccountId,
    storage::StorageError,
    time::Timestamp,
};
use futures_util::FutureExt as _;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    bindings::called::exports::attache::messenger::lifecycle::StopReason,
    convert::from_journal,
    family::Families,
    guest::{Guest, Handled, Killed, StartFailure},
    instance::{Instance, Served},
    mailbox::{Pending, Slot},
    minute::CpuMinute,
    plugin::Code,
    status::InstanceState,
    stream::{Failure, Live, Stream, Verdict},
};

/// Slots that are taken out of the mailbox at once; after as many events the task lets others run.
const TURN: usize = 64;
/// Presence changes in one call.
const PRESENCE: usize = 256;
/// Journal entries that are read at once.
const JOURNAL: u32 = 64;
/// Handled events after which the cursor is written without waiting for its delay.
const UNWRITTEN: u64 = 256;
/// When a cursor that could not be written is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);
/// How often, and with which pause, cursors are written at the end.
const FINAL_WRITES: u32 = 5;
const FINAL_PAUSE: Duration = Duration::from_millis(200);

/// Supervises an instance until it is told to stop, whatever happens: a fault of the host itself ends nobody else, and
/// is tried again after the longest pause.
pub(crate) async fn supervise(instance: Arc<Instance>) {
    loop {
        let supervisor = Supervisor::new(Arc::clone(&instance));
        if AssertUnwindSafe(supervisor.run()).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(plugin = %instance.plugin.name, "a fault of the plugin host ended an instance");
        instance.failed("a fault of the plugin host".to_owned());
        let pause = instance.plugin.shared.supervision.backoff_max;
        instance.set_state(InstanceState::BackingOff { until: Timestamp::from(SystemTime::now()) + pause });
        instance.mailbox.close(&mut VecDeque::new());
        let mut stop = instance.stop.subscribe();
        let _ = tokio::time::timeout(pause, stop.wait_for(Option::is_some)).await;
    }
}

/// The task of one instance.
struct Supervisor {
    instance: Arc<Instance>,
    code: watch::Receiver<Option<Arc<Code>>>,
    stop: watch::Receiver<Option<StopReason>>,
    streams: Vec<Stream>,
    slots: VecDeque<Slot>,
    cpu: CpuMinute,
    /// Until when everything but messages waits.
    throttled: Option<Instant>,
    /// Events that wait because of that, oldest first; no more than the mailbox takes.
    held: VecDeque<Slot>,
    attempt: u32,
    failures_in_row: u32,
    failures: VecDeque<Instant>,
    /// When to ask the store again for the cursors that it did not answer.
    streams_at: Option<Instant>,
    /// Events handled that the counters do not show yet.
    delivered: u64,
    unwritten: u64,
    write_at: Option<Instant>,
    writing: Option<JoinHandle<Vec<(AccountId, u64)>>>,
}

/// Why a guest ended.
enum Exit {
    Stop(StopReason),
    /// There is newer code.
    Reload,
    Killed(String),
}

impl Supervisor {
    fn new(instance: Arc<Instance>) -> Self {
        Self {
            code: instance.plugin.code.subscribe(),
            stop: instance.stop.subscribe(),
            streams: Vec::new(),
            slots: VecDeque::new(),
            cpu: CpuMinute::new(instance.plugin.limits.cpu_per_minute.0, Instant::now()),
            throttled: None,
            held: VecDeque::new(),
            attempt: 0,
            failures_in_row: 0,
            failures: VecDeque::new(),
            streams_at: None,
            delivered: 0,
            unwritten: 0,
            write_at: None,
            writing: None,
            instance,
        }
    }

    /// Runs until it is told to stop.
    async fn run(mut self) {
        while self.stop.borrow().is_none() {
            let Some(code) = self.code.borrow_and_update().clone() else {
                self.wait_for_news(None).await;
                continue;
            };
            self.instance.set_state(InstanceState::Starting);
            self.attempt = self.attempt.saturating_add(1);
            if self.attempt > 1 {
                self.instance.meters.restarts.add(1);
            }
            self.instance.want(code.wants);
            self.instance.mailbox.open();
            if code.wants.overlaps(Families::MESSAGES) {
                self.open_streams().await;
            }
            let reason = match Guest::start(&self.instance, &code, self.attempt).await {
                Err(StartFailure::Final(reason)) => {
                    self.give_up(reason).await;
                    continue;
                }
                Err(StartFailure::Killed(reason)) => reason,
                Ok(guest) => match self.feed(guest, &code).await {
                    Exit::Stop(_) | Exit::Reload => continue,
                    Exit::Killed(reason) => reason,
                },
            };
            self.pause_after(reason).await;
        }
        self.instance.want(Families::default());
        self.finish_cursors().await;
        self.instance.set_state(InstanceState::Stopped);
    }

    /// The plugin cannot run as it is: wait for another component, or the end.
    async fn give_up(&mut self, reason: String) {
        tracing::error!(plugin = %self.instance.plugin.name, "plugin does not start: {reason}");
        self.instance.failed(reason);
        self.instance.set_state(InstanceState::Failed);
        self.close_mailbox();
        self.wait_for_news(None).await;
    }

    fn close_mailbox(&mut self) {
        self.slots.append(&mut self.held);
        self.instance.mailbox.close(&mut self.slots);
    }

    /// Waits as long as the failures so far ask for.
    async fn pause_after(&mut self, reason: String) {
        let policy = &self.instance.plugin.shared.supervision;
        let now = Instant::now();
        self.instance.meters.traps.add(1);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.failures.push_back(now);
        self.failures.retain(|at| now.saturating_duration_since(*at) < policy.failure_window);
        let quarantined = self.failures_in_row >= policy.quarantine_after
            || self.failures.len() >= policy.quarantine_after_in_window as usize;
        let pause = if quarantined {
            policy.quarantine
        } else {
            let doubled = policy.backoff_min.saturating_mul(1 << (self.failures_in_row - 1).min(20));
            jitter(doubled.min(policy.backoff_max))
        };
        let until = Timestamp::from(SystemTime::now()) + pause;
        let name = &self.instance.plugin.name;
        if quarantined {
            tracing::error!(plugin = %name, "plugin quarantined until {until}: {reason}");
            self.instance.set_state(InstanceState::Quarantined { until });
        } else {
            tracing::warn!(plugin = %name, "plugin failed, starts again in {pause:?}: {reason}");
            self.instance.set_state(InstanceState::BackingOff { until });
        }
        self.instance.failed(reason);
        if quarantined {
            // One more failure afterwards, with nothing handled in between, and it is back in here.
            self.failures_in_row = policy.quarantine_after.saturating_sub(1);
            self.failures.clear();
            self.close_mailbox();
        }
        if self.wait_for_news(Some(now + pause)).await {
            self.failures_in_row = 0;
            self.failures.clear();
        }
    }

    /// Waits for other code (true), the end, or a time.
    async fn wait_for_news(&mut self, until: Option<Instant>) -> bool {
        if self.writing.is_none() {
            self.begin_write();
        }
        let sleep = async {
            match until {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.stop.changed() => false,
            _ = self.code.changed() => true,
            () = sleep => false,
        }
    }

    /// Feeds a live guest until it ends.
    async fn feed(&mut self, mut guest: Guest, code: &Code) -> Exit {
        self.instance.set_state(InstanceState::Running);
        self.instance.backlog.set(0);
        self.throttled = None;
        let mut told = Vec::new();
        let exit = loop {
            if let Err(exit) = self.turn(&mut guest, code, &mut told).await {
                break exit;
            }
        };
        self.settle(&mut guest);
        let reason = match &exit {
            Exit::Killed(_) => return exit,
            Exit::Stop(reason) => *reason,
            Exit::Reload => StopReason::Upgraded,
        };
        if let Err(Killed { reason, .. }) = guest.stop(reason).await {
            self.instance.failed(format!("at stop, {reason}"));
        }
        exit
    }

    /// One round: everything that is due, or a wait for it.
    async fn turn(&mut self, guest: &mut Guest, code: &Code, told: &mut Vec<AccountId>) -> Result<(), Exit> {
        if let Some(reason) = *self.stop.borrow() {
            return Err(Exit::Stop(reason));
        }
        if self.code.has_changed().unwrap_or(false) {
            return Err(Exit::Reload);
        }
        if code.wants.overlaps(Families::MESSAGES) {
            self.settle(guest);
            self.open_streams().await;
        }
        self.throttle();
        let mut busy = false;
        if self.throttled.is_none() {
            if code.wants.overlaps(Families::PRESENCE) {
                self.tell_snapshots(guest, told).await?;
            }
            busy |= self.timers(guest).await?;
        }
        busy |= self.catch_up(guest).await?;
        busy |= self.mail(guest).await?;
        if self.throttled.is_none() {
            busy |= self.presence(guest).await?;
            busy |= self.watched(guest).await?;
        }
        self.settle(guest);
        self.throttle();
        self.write_cursors().await;
        if busy {
            tokio::task::yield_now().await;
        } else {
            self.wait(self.throttled.or(guest.next_timer())).await;
        }
        Ok(())
    }

    /// Finds out whether this minute's CPU time is used up.
    fn throttle(&mut self) {
        let now = Instant::now();
        let total = Duration::from_nanos(self.instance.meters.cpu_nanos.get());
        let until = self.cpu.used_up(total, now);
        if until == self.throttled {
            return;
        }
        self.throttled = until;
        self.instance.set_state(match until {
            Some(at) => {
                let limit = self.instance.plugin.limits.cpu_per_minute;
                tracing::warn!(plugin = %self.instance.plugin.name,
                    "plugin used {limit} of CPU time in a minute: all but messages waits for the next");
                let wait = at.saturating_duration_since(now);
                InstanceState::Throttled { until: Timestamp::from(SystemTime::now()) + wait }
            }
            None => InstanceState::Running,
        });
    }

    /// Keeps an event for the next minute, if there is room.
    fn hold(&mut self, slot: Slot) {
        if self.held.len() < self.instance.plugin.limits.mailbox as usize {
            self.held.push_back(slot);
        } else {
            self.instance.meters.dropped.add(1);
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, timer: Option<Instant>) {
        let now = Instant::now();
        let times = self.streams.iter().filter_map(|stream| stream.wakes_at(now));
        let written = self.writing.as_ref().map(|_| now + WRITE_AGAIN);
        let next = times.chain(timer).chain(self.write_at).chain(written).chain(self.streams_at).min();
        let instance = Arc::clone(&self.instance);
        let mut code = self.code.clone();
        let mut ready = pin!(instance.mailbox.ready());
        let sleep = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut ready => {}
            () = sleep => {}
            // Only looked at here: `turn` decides what they mean.
            _ = self.stop.wait_for(Option::is_some) => {}
            _ = code.changed() => {}
        }
    }

    /// Streams for accounts that are new, and none for those that are gone.
    async fn open_streams(&mut self) {
        let served = {
            let served = self.instance.accounts();
            let known = |account| self.streams.iter().any(|stream| stream.account == account);
            if served.len() == self.streams.len() && served.iter().all(|it| known(it.account)) {
                return;
            }
            served.clone()
        };
        if self.streams_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.streams_at = None;
        self.streams.retain(|stream| served.iter().any(|it| it.account == stream.account));
        for it in served {
            if self.streams.iter().any(|stream| stream.account == it.account) {
                continue;
            }
            match self.open_stream(&it).await {
                Ok(stream) => self.streams.push(stream),
                Err(error) => {
                    self.instance.failed(format!("the plugin's cursor is not available: {error}"));
                    self.streams_at = Some(Instant::now() + Duration::from_secs(1));
                }
            }
        }
    }

    async fn open_stream(&self, served: &Served) -> Result<Stream, StorageError> {
        let cursor = self.instance.plugin.begin(served).await?;
        Ok(Stream::new(served.account, cursor, cursor, served.baseline))
    }

    /// Tells the presence of all contacts of accounts that have not been told yet.
    async fn tell_snapshots(&mut self, guest: &mut Guest, told: &mut Vec<AccountId>) -> Result<(), Exit> {
        let untold: Vec<AccountId> = {
            let served = self.instance.accounts();
            told.retain(|account| served.iter().any(|it| it.account == *account));
            served.iter().map(|it| it.account).filter(|account| !told.contains(account)).collect()
        };
        for account in untold {
            let Some(snapshot) = self.instance.plugin.backend.snapshot(account) else { continue };
            told.push(account);
            self.instance.mailbox.told(account, snapshot.seq);
            let at = Timestamp::from(SystemTime::now());
            let entry = |(id, entry): (&_, &attache_messenger::snapshot::ContactEntry)| Pending {
                account,
                contact: *id,
                seq: snapshot.seq,
                at,
                presence: Arc::clone(&entry.presence),
                note_changed: !entry.presence.note.is_empty(),
            };
            let all: Vec<Pending> = snapshot.contacts.iter().map(entry).collect();
            let kind = EventKind::PresenceChanged(Arc::from([]));
            let event = Event { seq: snapshot.seq, at, account, kind };
            let outcome = guest.presence(&all, Some(&event)).await;
            self.lossy(outcome, 1)?;
        }
        Ok(())
    }

    async fn timers(&mut self, guest: &mut Guest) -> Result<bool, Exit> {
        let now = Instant::now();
        let mut busy = false;
        for _ in 0..TURN {
            let Some(token) = guest.due_timer(now) else { break };
            let outcome = guest.timer(token).await;
            self.lossy(outcome, 1)?;
            busy = true;
        }
        Ok(busy)
    }

    /// Hands over what the journal holds.
    async fn catch_up(&mut self, guest: &mut Guest) -> Result<bool, Exit> {
        let mut busy = false;
        for index in 0..self.streams.len() {
            let now = Instant::now();
            if let Some(after) = self.streams[index].wants_journal(now) {
                let account = self.streams[index].account;
                let storage = self.instance.plugin.backend.storage();
                self.settle(guest);
                match storage.read_journal(account, after, JOURNAL).await {
                    Ok(entries) => {
                        let events = entries.into_iter().filter_map(|entry| from_journal(entry, account));
                        if !self.streams[index].read(events, Instant::now()) {
                            self.instance.meters.dropped.add(1);
                            self.instance
                                .failed("messages were published that the journal does not hold".to_owned());
                        }
                    }
                    Err(error) => {
                        self.instance.failed(format!("cannot read the journal: {error}"));
                        self.streams[index].read_failed(Instant::now());
                    }
                }
            }
            while let Some(event) = self.streams[index].next() {
                busy = true;
                self.message(guest, index, &event).await?;
            }
        }
        Ok(busy)
    }

    /// Hands over what is in the mailbox, in order.
    async fn mail(&mut self, guest: &mut Guest) -> Result<bool, Exit> {
        let missed = self.instance.mailbox.take(&mut self.slots, TURN);
        let busy = !self.slots.is_empty() || !missed.is_empty();
        // Before any event: one that kills the guest must not make this forgotten. Live messages that are still in
        // the slots then come from the journal as well.
        for (account, seq) in missed {
            if let Some(stream) = self.streams.iter_mut().find(|stream| stream.account == account)
                && seq > stream.cursor
            {
                stream.catch_up(seq, None);
            }
        }
        let busy = busy || (self.throttled.is_none() && !self.held.is_empty());
        if self.throttled.is_none() {
            // These came first, and are fewer than a turn's or as many as the mailbox takes.
            while let Some(slot) = self.held.pop_back() {
                self.slots.push_front(slot);
            }
        }
        while let Some(slot) = self.slots.pop_front() {
            let event = slot.event();
            if !event.kind.must_deliver() {
                if self.throttled.is_some() {
                    self.hold(slot);
                    continue;
                }
                match guest.control(event).await {
                    Ok(false) => {}
                    outcome => self.lossy(outcome.map(|_| ()), 1)?,
                }
                continue;
            }
            let Some(index) = self.streams.iter().position(|stream| stream.account == event.account) else {
                continue;
            };
            if self.streams[index].live(event.seq) == Live::Deliver {
                self.message(guest, index, event).await?;
            }
        }
        Ok(busy)
    }

    async fn presence(&mut self, guest: &mut Guest) -> Result<bool, Exit> {
        let changes = self.instance.mailbox.take_presence(PRESENCE);
        if changes.is_empty() {
            return Ok(false);
        }
        let outcome = guest.presence(&changes, None).await;
        self.lossy(outcome, changes.len() as u64)?;
        Ok(self.instance.mailbox.has_presence())
    }

    async fn watched(&mut self, guest: &mut Guest) -> Result<bool, Exit> {
        let changes = self.instance.mailbox.take_watched(PRESENCE);
        if changes.is_empty() {
            return Ok(false);
        }
        let outcome = guest.watched(&changes).await;
        self.lossy(outcome, changes.len() as u64)?;
        Ok(true)
    }

    /// Hands over one must-deliver event.
    async fn message(&mut self, guest: &mut Guest, index: usize, event: &Event) -> Result<(), Exit> {
        let redelivered = self.streams[index].redelivered(event.seq);
        if redelivered {
            self.instance.meters.redelivered.add(1);
        }
        let outcome = guest.message(event, redelivered).await;
        let (how, reason) = match outcome {
            Ok(Handled::Ok) => {
                self.streams[index].acknowledge(event.seq);
                self.unwritten += 1;
                self.handled();
                return Ok(());
            }
            Ok(Handled::Refused(reason)) => (Failure::Refused, reason),
            Err(Killed { reason, timed_out: true }) => (Failure::TimedOut, reason),
            Err(Killed { reason, timed_out: false }) => (Failure::Killed, reason),
        };
        let policy = &self.instance.plugin.shared.supervision;
        match self.streams[index].failed(event.seq, how, policy, Instant::now()) {
            Verdict::DeadLetter => {
                self.unwritten += 1;
                self.instance.dead_letter(event, reason.clone());
            }
            Verdict::Again => {
                self.instance.failed(format!("{} was not handled: {reason}", event.kind.name()));
            }
        }
        match how {
            Failure::Refused => Ok(()),
            Failure::Killed | Failure::TimedOut => {
                Err(Exit::Killed(format!("in {}, {reason}", event.kind.name())))
            }
        }
    }

    /// What becomes of an event that does not come again.
    fn lossy(&mut self, outcome: Result<(), Killed>, count: u64) -> Result<(), Exit> {
        match outcome {
            Ok(()) => {
                self.handled();
                Ok(())
            }
            Err(Killed { reason, .. }) => {
                self.instance.meters.dropped.add(count);
                Err(Exit::Killed(reason))
            }
        }
    }

    fn handled(&mut self) {
        self.delivered += 1;
        self.failures_in_row = 0;
    }

    /// Accounts for what was done since the last time. Before anything that waits.
    fn settle(&mut self, guest: &mut Guest) {
        guest.leave();
        if self.delivered > 0 {
            self.instance.meters.delivered.add(core::mem::take(&mut self.delivered));
        }
    }

    /// Writes the cursors down, in the background, when enough has been handled or long enough ago.
    async fn write_cursors(&mut self) {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.collect_written().await;
        }
        if self.unwritten > 0 && self.write_at.is_none() {
            self.write_at = Some(Instant::now() + self.instance.plugin.shared.supervision.cursor_delay);
        }
        let Some(at) = self.write_at else { return };
        let now = Instant::now();
        if self.unwritten < UNWRITTEN && now < at {
            return;
        }
        if self.writing.is_some() {
            // Looked at again in a while, so that nothing spins on a slow store.
            self.write_at = Some(now + self.instance.plugin.shared.supervision.cursor_delay);
            return;
        }
        self.begin_write();
    }

    /// Writes the cursors down before the end: waits for what is under way, and tries again what failed.
    async fn finish_cursors(&mut self) {
        for attempt in 0..FINAL_WRITES {
            self.collect_written().await;
            if self.moved().is_empty() {
                return;
            }
            if attempt > 0 {
                tokio::time::sleep(FINAL_PAUSE).await;
            }
            self.begin_write();
        }
        self.collect_written().await;
    }

    fn moved(&self) -> Vec<(AccountId, u64)> {
        let moved = self.streams.iter().filter(|stream| stream.cursor > stream.written);
        moved.map(|stream| (stream.account, stream.cursor)).collect()
    }

    /// With no write under way.
    fn begin_write(&mut self) {
        let moved = self.moved();
        self.unwritten = 0;
        self.write_at = None;
        if moved.is_empty() {
            return;
        }
        let plugin = Arc::clone(&self.instance.plugin);
        self.writing = Some(tokio::spawn(async move {
            let storage = plugin.backend.storage();
            let mut written = Vec::with_capacity(moved.len());
            for (account, seq) in moved {
                match storage.set_cursor(account, &plugin.name, seq).await {
                    Ok(()) => written.push((account, seq)),
                    Err(error) => tracing::warn!(plugin = %plugin.name, "cannot write the cursor: {error}"),
                }
            }
            written
        }));
    }

    /// Waits for the background, and takes note of what it has written.
    async fn collect_written(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        for (account, seq) in writing.await.unwrap_or_default() {
            if let Some(stream) = self.streams.iter_mut().find(|stream| stream.account == account) {
                stream.written = stream.written.max(seq);
            }
        }
        // What failed, and what was handled meanwhile.
        if self.write_at.is_none() && self.unwritten == 0 && !self.moved().is_empty() {
            self.write_at = Some(Instant::now() + WRITE_AGAIN);
        }
    }
}

/// Between half and one and a half of a time, so that plugins that failed together do not start together.
fn jitter(time: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    time / 2 + time.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds() {
        let time = Duration::from_secs(2);
        for _ in 0..1_000 {
            let jittered = jitter(time);
            assert!(jittered >= time / 2 && jittered <= time * 3 / 2, "{jittered:?}");
        }
    }
}
