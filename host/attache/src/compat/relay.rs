//! From the events of accounts to callbacks, on a thread of their own.
//!
//! A task for each account passes its changes on into one bounded queue. When callbacks are slow, the queue fills, the account's
//! stream falls behind, and what was missed comes as a reset: the difference between what callbacks were told and what holds
//! is told then. So nothing waits for callbacks, and nothing that still holds is lost.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{ADDRESS_TYPE, Cookie, DMessengerEvents, HRESULT, Result, messenger::Inner, told::Told};
use crate::{AccountId, Change, Code, Error, GroupId, Host, Snapshot};

/// Changes that wait for callbacks.
const QUEUE: usize = 256;

/// Something to tell callbacks of.
pub(super) enum Job {
    /// An account is there, as this says.
    Account(crate::Messenger, Arc<Snapshot>),
    Change(AccountId, Change),
    Done(Done, HRESULT),
    /// An account is gone.
    Gone(AccountId),
    /// The host has shut down.
    End,
}

/// What a call was about whose outcome no event tells.
#[derive(Clone, Debug)]
pub(super) enum Done {
    ContactListAdd,
    ContactListRemove,
    AddedToGroup(GroupId),
    RemovedFromGroup(GroupId),
    GroupAdded,
    GroupNameChanged(GroupId),
    GroupRemoved,
    FriendlyName,
    Block(bool),
    MyStatus,
    Resolved { kind: ADDRESS_TYPE, name: String, address: String },
}

/// Who is told, and what waits to be told.
pub(super) struct Relay {
    jobs: mpsc::Sender<Job>,
    sinks: Mutex<Vec<(Cookie, Arc<dyn DMessengerEvents>)>>,
    next: AtomicU64,
    /// Accounts that are followed.
    followed: Arc<Mutex<BTreeSet<AccountId>>>,
    ended: AtomicBool,
}

impl Relay {
    pub(super) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let relay = Self {
            jobs,
            sinks: Mutex::default(),
            next: AtomicU64::new(1),
            followed: Arc::default(),
            ended: AtomicBool::new(false),
        };
        (relay, queue)
    }

    pub(super) fn advise(&self, events: Arc<dyn DMessengerEvents>) -> Cookie {
        let cookie = Cookie(self.next.fetch_add(1, Ordering::Relaxed));
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push((cookie, events));
        cookie
    }

    pub(super) fn unadvise(&self, cookie: Cookie) {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = sinks.extract_if(.., |(known, _)| *known == cookie).collect();
        drop(sinks);
        // Dropped without the lock: it may hold the last handle of something.
        drop(gone);
    }

    pub(super) async fn post(&self, done: Done, hresult: HRESULT) {
        let _ = self.jobs.send(Job::Done(done, hresult)).await;
    }

    /// Tells of the end, after everything that waits to be told.
    pub(super) async fn post_end(&self) {
        let _ = self.jobs.send(Job::End).await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Passes on the changes of accounts that are not followed yet.
    pub(super) fn follow(&self, host: &Host, runtime: &Handle) {
        for account in host.messengers() {
            let id = account.address().account_id();
            if !self.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
                continue;
            }
            // The view is taken now: what the caller does next is a change.
            let view = account.view();
            runtime.spawn(pass_on(account, view, self.jobs.clone(), self.followed.clone()));
        }
    }

    /// Tells everybody, with no lock held.
    pub(super) fn tell(&self, what: impl Fn(&dyn DMessengerEvents)) {
        let sinks: Vec<_> = self
            .sinks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(_, sink)| sink.clone())
            .collect();
        for sink in sinks {
            if catch_unwind(AssertUnwindSafe(|| what(&*sink))).is_err() {
                tracing::error!("a callback panicked");
            }
        }
    }

    fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.tell(DMessengerEvents::on_app_shutdown);
            let sinks = core::mem::take(&mut *self.sinks.lock().unwrap_or_else(PoisonError::into_inner));
            drop(sinks);
        }
    }
}

async fn pass_on(
    account: crate::Messenger,
    mut view: crate::View,
    jobs: mpsc::Sender<Job>,
    followed: Arc<Mutex<BTreeSet<AccountId>>>,
) {
    let id = account.address().account_id();
    if jobs.send(Job::Account(account, view.snapshot)).await.is_err() {
        return;
    }
    loop {
        let job = tokio::select! {
            change = view.changes.next() => match change {
                Some(change) => Job::Change(id, change),
                None => break,
            },
            // Nobody is there to be told.
            () = jobs.closed() => return,
        };
        if jobs.send(job).await.is_err() {
            return;
        }
    }
    followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let _ = jobs.send(Job::Gone(id)).await;
}

/// Starts the thread of callbacks. It ends with the messenger.
pub(super) fn run(inner: Weak<Inner>, mut jobs: mpsc::Receiver<Job>) -> Result<()> {
    let thread = std::thread::Builder::new().name("attache-callbacks".to_owned()).spawn(move || {
        let mut told = Told::default();
        while let Some(job) = jobs.blocking_recv() {
            let Some(inner) = inner.upgrade() else { return };
            if told.tell(&inner, job) {
                inner.relay.end();
            }
        }
    });
    thread.map(drop).map_err(|error| {
        Error::new(Code::Internal, "no thread for callbacks can be started").because(error.to_string()).into()
    })
}
