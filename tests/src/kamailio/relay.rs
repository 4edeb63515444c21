//! Kamailio as a relay for message sessions (RFC 4976).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::process::Group;
use super::{Kamailio, PORT_ATTEMPTS, START_LIMIT, free_port, instance, tail};

const CONFIG_TEXT: &str = include_str!("../../kamailio/msrp.cfg");
const POLL: Duration = Duration::from_millis(20);

/// A relay that serves the user `alice` with the password `wonderland`. It ends when it is dropped.
#[derive(Debug)]
pub struct MsrpRelay {
    port: u16,
    dir: TempDir,
    group: Group,
}

impl MsrpRelay {
    /// Starts it on a free port of loopback, over TCP.
    ///
    /// # Errors
    /// When Kamailio is missing, or ends or keeps silent; then with the end of its log.
    pub fn start() -> Result<Self> {
        Kamailio::ensure_installed()?;
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port()?;
            let dir =
                tempfile::Builder::new().prefix("msrp-relay-").tempdir().context("no temporary folder")?;
            fs::create_dir(dir.path().join(instance::RUNTIME))?;
            let config = CONFIG_TEXT.replace("@PORT@", &port.to_string());
            fs::write(dir.path().join(instance::CONFIG), config)?;
            let mut relay = Self { port, group: Group::spawn(dir.path())?, dir };
            if relay.wait()? {
                return Ok(relay);
            }
        }
        bail!("no free port after {PORT_ATTEMPTS} attempts")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The end of its log, at most 16 KiB, to print when a test fails.
    #[must_use]
    pub fn log(&self) -> String {
        tail(&self.dir.path().join(instance::LOG)).unwrap_or_else(|error| format!("no log: {error}"))
    }

    /// Whether it listens; not when somebody else took its port.
    fn wait(&mut self) -> Result<bool> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let log = self.log();
            if log.contains("Address already in use") {
                return Ok(false);
            }
            if self.group.has_ended()? {
                break;
            }
            if TcpStream::connect(self.address()).is_ok() {
                return Ok(true);
            }
            thread::sleep(POLL);
        }
        bail!("Kamailio does not start as a relay; the end of its log:\n{}", self.log())
    }
}
