//! Kamailio's processes, ports and the probe that tells when it answers.
//!
//! Kamailio is a dozen processes. They get a process group of their own, so that all of them can be ended together
//! and nothing else is. A guard process waits at a pipe from the test runner: when the runner dies without running
//! any destructor, the pipe closes, and the guard kills the group and removes its folder.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::instance;

/// The program as Debian installs it.
pub(super) const KAMAILIO: &str = "/usr/sbin/kamailio";
/// Below the range from which Linux takes the ports of outgoing connections, so that a port stays free while its
/// instance is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How long a port may stay taken after its owner was killed.
const FREE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// Between two requests to end.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// One probe's patience; a lost one is sent again.
const PROBE: Duration = Duration::from_millis(50);

pub(super) enum Readiness {
    Ready,
    PortTaken,
}

/// The processes of one instance. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    guard: Child,
}

impl Group {
    pub(super) fn spawn(dir: &Path) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(dir.join(instance::LOG))?;
        let mut leader = Command::new(KAMAILIO)
            // In the foreground, logging to stderr; megabytes of shared and private memory, of which only what is used
            // counts (a few thousand unanswered NOTIFYs fill 64); folders of its own.
            .args(["-DD", "-E", "-m", "512", "-M", "16", "-Y"])
            .arg(dir.join(instance::RUNTIME))
            .arg("-w")
            .arg(dir)
            .arg("-f")
            .arg(dir.join(instance::CONFIG))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context(KAMAILIO)?;
        let guard = Command::new("/bin/sh")
            .args(["-c", "read -r _; kill -s KILL -- \"-$1\"; rm -rf -- \"$2\"", "guard"])
            .arg(leader.id().to_string())
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt at the terminal is for the test runner; the guard must outlive it.
            .process_group(0)
            .spawn();
        match guard {
            Ok(guard) => Ok(Self { leader, guard }),
            Err(error) => {
                kill_group(&mut leader);
                Err(error).context("/bin/sh")
            }
        }
    }

    /// Waits until this very instance answers OPTIONS over UDP and TCP. `token` is what tells it from another one on
    /// the same UDP port, which Linux allows them to share for as long as one of them has not failed yet.
    pub(super) fn wait_until_ready(
        &mut self,
        addr: SocketAddr,
        token: &str,
        deadline: Instant,
    ) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(addr)?;
        socket.set_read_timeout(Some(PROBE))?;
        let mut answer = [0; 2048];
        let mut number = 0;
        loop {
            if let Some(status) = self.leader.try_wait()? {
                bail!("it ended with {status}");
            }
            ensure!(Instant::now() < deadline, "no answer in time");
            number += 1;
            // Refused while nothing listens yet, and then at once: without the pause this would spin.
            let received = socket.send(options(addr, &socket.local_addr()?, "UDP", token, number).as_bytes());
            match received.and_then(|_| socket.recv(&mut answer)) {
                Ok(length) if is_answer(&answer[..length], token) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => thread::sleep(POLL),
            }
        }
        let mut stream =
            TcpStream::connect_timeout(&addr, deadline.saturating_duration_since(Instant::now()))
                .context("no TCP connection")?;
        let left = deadline.saturating_duration_since(Instant::now()).max(PROBE);
        stream.set_read_timeout(Some(left))?;
        stream.write_all(options(addr, &stream.local_addr()?, "TCP", token, 0).as_bytes())?;
        let mut length = 0;
        while !is_answer(&answer[..length], token) {
            let count = stream.read(&mut answer[length..]).context("no answer over TCP")?;
            ensure!(count > 0, "no answer over TCP");
            length += count;
        }
        Ok(())
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.leader.try_wait()?.is_some())
    }

    /// Asks the leader to end, and waits for it. Asks again and again: Kamailio misses a signal that arrives between
    /// its look at the pending ones and its wait for the next, as happens soon after a start.
    pub(super) fn terminate(&mut self, limit: Duration) -> Result<()> {
        let leader = self.leader.id().to_string();
        let began = Instant::now();
        let mut asked: Option<Instant> = None;
        while self.leader.try_wait()?.is_none() {
            ensure!(began.elapsed() < limit, "Kamailio does not end within {limit:?}");
            if asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN) {
                signal("TERM", &leader)?;
                asked = Some(Instant::now());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        kill_group(&mut self.leader);
        // Only now, and before its pipe closes: from here on the group's id may be given to others. Both calls fail
        // only when the guard is gone already.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

/// Kills the group, then reaps its leader: an id is not given to others before that. Where the leader ended by itself
/// and was reaped, its workers, if any are left, still hold the id.
fn kill_group(leader: &mut Child) {
    // Fails when there is nobody left to kill.
    let _ = signal("KILL", &format!("-{}", leader.id()));
    let _ = leader.wait();
}

/// The standard library signals no group, and its `Child` knows `SIGKILL` alone; a shell knows both.
fn signal(name: &str, target: &str) -> Result<()> {
    let status = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" -- \"$2\"", "signal", name, target])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("/bin/sh")?;
    ensure!(status.success(), "no process to send SIG{name} to");
    Ok(())
}

/// A port that nothing uses just now, neither for UDP nor for TCP.
pub(crate) fn free_port() -> Result<u16> {
    // Each runner begins elsewhere, each instance of a runner one further: clashes are rare, not just survived.
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let span = PORTS.end - PORTS.start;
    let next = NEXT.get_or_init(|| {
        let random = std::hash::RandomState::new().build_hasher().finish();
        AtomicU16::new((random % u64::from(span)) as u16)
    });
    for _ in 0..span {
        let port = PORTS.start + next.fetch_add(1, Ordering::Relaxed) % span;
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("no free port from {} to {}", PORTS.start, PORTS.end - 1)
}

/// Waits until the workers of a killed instance have let go of its port.
pub(super) fn wait_until_free(port: u16) -> Result<()> {
    let deadline = Instant::now() + FREE_LIMIT;
    while !is_free(port) {
        ensure!(Instant::now() < deadline, "port {port} is still taken");
        thread::sleep(POLL);
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    let addr = (Ipv4Addr::LOCALHOST, port);
    UdpSocket::bind(addr).is_ok() && TcpListener::bind(addr).is_ok()
}

fn options(to: SocketAddr, from: &SocketAddr, transport: &str, token: &str, number: u32) -> String {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};rport;branch=z9hG4bK{token}{number}\r\n\
         Max-Forwards: 1\r\n\
         From: <sip:probe@{from}>;tag={number}\r\n\
         To: <sip:{to}>\r\n\
         Call-ID: {token}-{transport}\r\n\
         CSeq: {number} OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Whether it is a whole 200 of the instance with this token. The token is in the Call-ID of every answer, too.
fn is_answer(bytes: &[u8], token: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.starts_with("SIP/2.0 200")
        && text.ends_with("\r\n\r\n")
        && text.lines().any(|line| line.strip_prefix("Server: ") == Some(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_offered() {
        let port = free_port().unwrap();
        let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
        drop(held);
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
    }

    #[test]
    fn an_answer_of_another_instance_is_not_taken_for_this_ones() {
        let answer = "SIP/2.0 200 OK\r\nCall-ID: mine-UDP\r\nServer: other\r\n\r\n";
        assert!(!is_answer(answer.as_bytes(), "mine"));
        assert!(is_answer(answer.as_bytes(), "other"));
    }
}
