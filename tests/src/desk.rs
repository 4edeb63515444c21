//! A user of the library on a service, for tests that drive several programs from one thread.
//!
//! Everything here blocks, with a limit: tests against foreign programs are written in the order in which things
//! happen, and none of those programs knows an asynchronous runtime.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use attache::{
    Address, Availability, Change, Event, EventKind, Freshness, Host, HostConfig, Messenger, SessionState,
    Snapshot,
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One signed-in user. Dropping it ends it without signing out.
pub struct Desk {
    me: Messenger,
    host: Host,
    seen: Arc<Seen>,
    runtime: Runtime,
    _folder: TempDir,
}

#[derive(Default)]
struct Seen {
    events: Mutex<Vec<Event>>,
    news: Condvar,
}

/// An account as an operator writes it down.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// `alice` of `sip:alice@example.test`.
    pub user: String,
    /// The password.
    pub password: String,
    /// `example.test`.
    pub domain: String,
    /// The outbound proxy, such as `sip:127.0.0.1:5060;transport=tcp`.
    pub service: String,
    /// Further lines of the `[[account]]` table.
    pub account: String,
    /// Further tables before it.
    pub host: String,
    /// The file with the root that vouches for the service over TLS, for programs that are not configured by
    /// [`host`](Self::host).
    pub root: Option<PathBuf>,
}

impl Login {
    /// The address of record.
    #[must_use]
    pub fn address(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

impl Desk {
    /// Starts a host with this account, and waits until it is signed in.
    ///
    /// # Errors
    /// When it is not in time; says what happened instead.
    pub fn sign_in(login: &Login) -> Result<Self> {
        let desk = Self::start(login)?;
        desk.until("the sign-in", |snapshot| snapshot.session == SessionState::SignedIn)?;
        Ok(desk)
    }

    /// Starts a host with this account, and does not wait.
    ///
    /// # Errors
    /// When the configuration is refused or the host does not start.
    pub fn start(login: &Login) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let text = format!(
            "{}\n[[account]]\naddress = \"{}\"\npassword = \"{}\"\nservice = \"{}\"\n{}\n",
            login.host,
            login.address(),
            login.password,
            login.service,
            login.account
        );
        let mut config = HostConfig::from_toml(&text, &folder.path().join("attache.toml"))?;
        // Signed in only once somebody takes notes.
        for account in &mut config.accounts {
            account.sign_in = false;
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let host = runtime.block_on(Host::start(config))?;
        let me = host.messengers().pop().context("the host has no account")?;
        let seen = Arc::new(Seen::default());
        let mut changes = me.view().changes;
        let notes = seen.clone();
        runtime.spawn(async move {
            while let Some(change) = changes.next().await {
                if let Change::Event(event) = change {
                    lock(&notes.events).push(event);
                }
                notes.news.notify_all();
            }
        });
        runtime.block_on(me.command(attache::Command::SignIn))?;
        Ok(Self { me, host, seen, runtime, _folder: folder })
    }

    /// The library's own handle, for what has no method here.
    #[must_use]
    pub fn messenger(&self) -> &Messenger {
        &self.me
    }

    /// Runs something of the library to its end.
    ///
    /// # Errors
    /// When it takes longer than [`PATIENCE`].
    pub fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> Result<T> {
        let result = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
        result.map_err(|_| anyhow!("{what} did not end within {PATIENCE:?}; {}", self.events()))
    }

    /// Waits until the state is as wanted.
    ///
    /// # Errors
    /// When it is not in time; says what happened instead.
    pub fn until(&self, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Its number before the look: what comes after that makes the next look.
            let seen = lock(&self.seen.events).len();
            if wanted(&self.me.snapshot()) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{}: {what} did not come within {PATIENCE:?}; {}", self.me.address(), self.events());
            }
            let events = lock(&self.seen.events);
            if events.len() == seen {
                let pause = left.min(Duration::from_millis(100));
                drop(self.seen.news.wait_timeout(events, pause).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// The first event, of those that came or come in time, of which something is wanted. Takes it out.
    ///
    /// # Errors
    /// When it does not come; says what came instead.
    pub fn event<T>(&self, what: &str, wanted: impl Fn(&EventKind) -> Option<T>) -> Result<T> {
        self.wait_for(what, |events| {
            let (at, found) =
                events.iter().enumerate().find_map(|(at, event)| Some((at, wanted(&event.kind)?)))?;
            events.remove(at);
            Some(found)
        })
    }

    /// How many such events came and were not taken out.
    pub fn count_events(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        lock(&self.seen.events).iter().filter(|event| wanted(&event.kind)).count()
    }

    fn wait_for<T>(&self, what: &str, wanted: impl Fn(&mut Vec<Event>) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut events = lock(&self.seen.events);
        loop {
            if let Some(found) = wanted(&mut events) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(events);
                bail!("{}: {what} did not come within {PATIENCE:?}; {}", self.me.address(), self.events());
            }
            let waited = self.seen.news.wait_timeout(events, left.min(Duration::from_millis(250)));
            events = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Publishes, and waits until the service has taken it.
    ///
    /// # Errors
    /// When it does not.
    pub fn publish(&self, availability: Availability, note: &str) -> Result<()> {
        Ok(self.wait("the publication", self.me.publish(availability, note))??)
    }

    /// Adds a contact.
    ///
    /// # Errors
    /// When it is refused.
    pub fn add(&self, address: &str) -> Result<()> {
        self.wait("adding a contact", self.me.add_contact(&Address::parse(address)?, ""))??;
        Ok(())
    }

    /// Sends a text, and waits until the service has taken it.
    ///
    /// # Errors
    /// When it does not.
    pub fn send(&self, to: &str, text: &str) -> Result<()> {
        self.wait("the message", self.me.deliver(&Address::parse(to)?, text))??;
        Ok(())
    }

    /// Waits until a contact is seen live with this availability; returns the note.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn sees(&self, contact: &str, availability: Availability) -> Result<String> {
        let address = Address::parse(contact)?;
        let look = || self.me.presence(&address);
        self.wait_for(&format!("{contact} as {}", availability.name()), |_| {
            let presence = look()?;
            let seen = presence.availability == Some(availability) && presence.freshness == Freshness::Live;
            seen.then(|| presence.note.to_string())
        })
        .with_context(|| format!("last seen: {:?}", look()))
    }

    /// Waits for this text from somebody.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn hears(&self, from: &str, text: &str) -> Result<()> {
        let from = Address::parse(from)?;
        self.event(&format!("`{text}` from {from}"), |kind| match kind {
            EventKind::MessageReceived(it) if it.sender == from && it.content.text() == text => Some(()),
            _ => None,
        })
    }

    /// Signs out and ends.
    pub fn leave(self) {
        self.runtime.block_on(self.host.shutdown());
    }

    /// Everything that came and was not taken out, for a failure's words.
    #[must_use]
    pub fn events(&self) -> String {
        let events = lock(&self.seen.events);
        let lines: Vec<String> =
            events.iter().map(|event| format!("{} {:?}", event.seq, event.kind)).collect();
        format!("these came:\n{}", lines.join("\n"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
