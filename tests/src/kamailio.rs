//! A real SIP service to test against: Kamailio 5.6 as Debian 12 ships it, run as a child process on loopback.
//!
//! Interoperability is only shown against software written by others. [`Kamailio`] gives a test a registrar with
//! digest, a presence agent and a MESSAGE relay with an offline store of its own, on ports of its own and with data
//! of its own, so that tests run side by side and leave nothing behind, a killed test runner included.
//!
//! Everything here blocks its thread, for tens of milliseconds as a rule. An asynchronous test that must keep its
//! timers exact calls it through `spawn_blocking`.
//!
//! # Layout
//! - `instance`: what differs between two instances: checked [`Options`] and the files written from them
//! - `process`: the process group, its guard, ports and the readiness probe
//! - `relay`: a relay for message sessions, with a configuration of its own, `tests/kamailio/msrp.cfg`
//! - `tests/kamailio/kamailio.cfg`: the configuration proper, which all instances share; the `README.md` beside it
//!   lists Kamailio's quirks

mod instance;
mod process;
mod relay;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{certificates::Identity, debian::Program};
use instance::Instance;
pub(crate) use process::free_port;
use process::{Group, Readiness};
pub use relay::MsrpRelay;

/// The packages that the configuration needs; the other modules come with the first.
const PROGRAM: Program = Program {
    name: "Kamailio",
    packages: &[
        "kamailio",
        "kamailio-presence-modules",
        "kamailio-tls-modules",
        "kamailio-websocket-modules",
    ],
    files: &[process::KAMAILIO, instance::SHIPPED_TABLES],
    // One module of each package.
    libraries: &[
        "kamailio/modules/msilo.so",
        "kamailio/modules/presence_xml.so",
        "kamailio/modules/tls.so",
        "kamailio/modules/websocket.so",
    ],
    daemon: Some("kamailio"),
};
/// How long Kamailio may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long Kamailio may take to end by itself: its timer process notices after a second or two.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// Ports tried before giving up. Each clash needs another program to take a port within milliseconds.
const PORT_ATTEMPTS: usize = 8;
/// As much of the log's end as [`Kamailio::log`] returns, in bytes.
const LOG_TAIL: u64 = 16 * 1024;

/// What one instance serves. Everything a test may want otherwise is a field here, and nowhere else.
///
/// ```
/// use attache_tests::kamailio::Options;
///
/// let options = Options { users: vec![("alice", "secret"), ("bob", "secret")], ..Options::default() };
/// assert_eq!(options.domain, "example.test");
/// ```
#[derive(Clone)]
pub struct Options<'a> {
    /// Who may register: user names and passwords. Names are 1 to 64 ASCII letters, digits, `.`, `_` or `-`.
    pub users: Vec<(&'a str, &'a str)>,
    /// The domain served, and the digest realm. It needs no DNS: clients reach it through [`Kamailio::udp_addr`] or
    /// [`Kamailio::tcp_addr`] as their outbound proxy.
    pub domain: &'a str,
    /// Whether every watcher is let in at once. Without it, and without rules, a subscription stays pending.
    pub force_active: bool,
    /// The digest algorithm of challenges.
    pub digest: Digest,
    /// How long a nonce is good, in whole seconds; then the next challenge says `stale=true`.
    pub nonce_expires: Duration,
    /// The shortest registration, subscription or publication accepted, in whole seconds; a shorter one gets 423.
    pub min_expires: Duration,
    /// The longest registration, subscription or publication granted, in whole seconds.
    pub max_expires: Duration,
    /// How long a client may leave a relayed request unanswered, in whole milliseconds. A MESSAGE then goes to the
    /// offline store, a subscription whose NOTIFY was not answered is ended.
    pub answer_timeout: Duration,
    /// Who it proves to be over TLS; none: it does not listen for that.
    pub tls: Option<Identity>,
    /// Whether WebSocket clients are served, on the port for TCP and, with TLS, on that for TLS.
    pub websocket: bool,
    /// Whether it keeps documents (`resource-lists`, `rls-services`, `pres-rules`) under
    /// [`Kamailio::xcap_root`]. With [`force_active`](Self::force_active) its presence agent ignores the rules.
    pub xcap: bool,
    /// Whether it serves lists (RFC 4662) that `rls-services` documents name. Wants [`xcap`](Self::xcap).
    pub lists: bool,
    /// Whether it publishes who is in a call (RFC 4235), to be subscribed to as `dialog`.
    pub calls: bool,
    /// Whether it publishes with which devices users are registered (RFC 3680), to be subscribed to as `reg`.
    pub registrations: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            domain: "example.test",
            force_active: true,
            digest: Digest::Md5,
            nonce_expires: Duration::from_secs(300),
            min_expires: Duration::from_secs(1),
            max_expires: Duration::from_secs(3600),
            answer_timeout: Duration::from_secs(5),
            tls: None,
            websocket: false,
            xcap: false,
            lists: false,
            calls: false,
            registrations: false,
        }
    }
}

impl std::fmt::Debug for Options<'_> {
    /// Passwords are left out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("users", &self.users.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("domain", &self.domain)
            .field("force_active", &self.force_active)
            .field("digest", &self.digest)
            .field("nonce_expires", &self.nonce_expires)
            .field("min_expires", &self.min_expires)
            .field("max_expires", &self.max_expires)
            .field("answer_timeout", &self.answer_timeout)
            .field("tls", &self.tls.is_some())
            .field("websocket", &self.websocket)
            .field("xcap", &self.xcap)
            .field("lists", &self.lists)
            .field("calls", &self.calls)
            .field("registrations", &self.registrations)
            .finish()
    }
}

/// The hash of digest challenges (RFC 7616, section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digest {
    /// `algorithm=MD5`, as most deployed services ask.
    #[default]
    Md5,
    /// `algorithm=SHA-256` (RFC 8760).
    Sha256,
}

/// A Kamailio of this test's own. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Kamailio {
    // Before `dir`: the processes end before their files go.
    group: Option<Group>,
    port: u16,
    tls_port: u16,
    instance: Instance,
    started_in: Duration,
    dir: TempDir,
}

impl Kamailio {
    /// Starts an instance and waits until it answers over UDP and TCP, at most ten seconds. Installs Debian's
    /// packages first, where that is needed and possible (see [`Kamailio::ensure_installed`]).
    ///
    /// # Errors
    /// When an option is out of range, when Kamailio is missing, and when it ends or keeps silent; the last two
    /// carry the end of its log.
    pub fn start(options: &Options<'_>) -> Result<Self> {
        let instance = Instance::new(options)?;
        Self::ensure_installed()?;
        let dir = tempfile::Builder::new().prefix("kamailio-").tempdir().context("no temporary folder")?;
        instance.write_shared(dir.path())?;
        let mut kamailio =
            Self { group: None, port: 0, tls_port: 0, instance, started_in: Duration::ZERO, dir };
        for _ in 0..PORT_ATTEMPTS {
            kamailio.port = free_port()?;
            kamailio.tls_port = free_port()?;
            match kamailio.launch()? {
                Readiness::Ready => return Ok(kamailio),
                // Somebody took the port between the look and the bind.
                Readiness::PortTaken => {}
            }
        }
        bail!("no free port after {PORT_ATTEMPTS} attempts\n{}", kamailio.log())
    }

    /// Makes sure that Kamailio and the modules used here are there. As root on Debian or Ubuntu it installs what is
    /// missing, without letting the package start a daemon of its own.
    ///
    /// # Errors
    /// Elsewhere, or when apt fails: the error names the command to run.
    pub fn ensure_installed() -> Result<()> {
        PROGRAM.ensure()
    }

    /// Where it listens for UDP.
    #[must_use]
    pub fn udp_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it listens for TCP.
    #[must_use]
    pub fn tcp_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it listens for TLS, when [`Options::tls`] says so.
    #[must_use]
    pub fn tls_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tls_port).into()
    }

    /// Where documents are kept, when [`Options::xcap`] says so.
    #[must_use]
    pub fn xcap_root(&self) -> String {
        format!("http://{}/xcap-root", self.tcp_addr())
    }

    /// The domain it serves.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.instance.domain()
    }

    /// How long the last start took, from the spawn to the answer to a probe.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The folder with its configuration, tables and log, for a test that wants to look inside.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The end of its log, at most 16 KiB, to print when a test fails. One line a request, without bodies.
    #[must_use]
    pub fn log(&self) -> String {
        tail(&self.dir.path().join(instance::LOG)).unwrap_or_else(|error| format!("no log: {error}"))
    }

    /// Ends it in order, as an operator would: what it keeps is on disk afterwards. Takes a second or two. Without
    /// effect when it does not run.
    ///
    /// # Errors
    /// When it has to be killed after all, or its ports are not free afterwards.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        let ended = group.terminate(STOP_LIMIT);
        drop(group);
        process::wait_until_free(self.port)?;
        ended
    }

    /// Kills it and its workers at once (`SIGKILL`), as a crash would. Registrations are lost; offline messages are
    /// kept; publications and subscriptions are kept up to the last second. Without effect when it does not run.
    ///
    /// # Errors
    /// When its ports are not free afterwards.
    pub fn kill(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        drop(group);
        process::wait_until_free(self.port)
    }

    /// Starts it again on the same ports with the same data, after [`stop`](Self::stop) where it still runs.
    ///
    /// # Errors
    /// As [`Kamailio::start`]; and when another program took its port meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        instance::repair_tables(self.dir.path())?;
        match self.launch()? {
            Readiness::Ready => Ok(()),
            Readiness::PortTaken => bail!("another program took port {}", self.port),
        }
    }

    fn launch(&mut self) -> Result<Readiness> {
        let dir = self.dir.path();
        let token = self.instance.write_for_ports(dir, self.port, self.tls_port)?;
        let began = Instant::now();
        let log_began = std::fs::metadata(dir.join(instance::LOG)).map_or(0, |data| data.len());
        let mut group = Group::spawn(dir)?;
        let outcome = group.wait_until_ready(self.udp_addr(), &token, began + START_LIMIT);
        self.started_in = began.elapsed();
        match outcome {
            Ok(()) => {
                self.group = Some(group);
                Ok(Readiness::Ready)
            }
            Err(error) => {
                drop(group);
                if log_since(&dir.join(instance::LOG), log_began).contains("Address already in use") {
                    return Ok(Readiness::PortTaken);
                }
                Err(error.context(format!("Kamailio does not start; the end of its log:\n{}", self.log())))
            }
        }
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    Ok(log_since(path, length.saturating_sub(LOG_TAIL)))
}

/// The log from `offset` on, at most 16 KiB of it; empty when there is none.
fn log_since(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.take(LOG_TAIL).read_to_end(&mut bytes)
    });
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}
