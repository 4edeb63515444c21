//! baresip: settings in files, commands as JSON in netstrings over TCP (`ctrl_tcp`), what it sees on its standard output.

use std::{
    fs,
    io::{BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Client, Status,
    process::{self, PATIENCE, Process},
};
use crate::{debian, desk::Login, kamailio};

const PROGRAM: debian::Program = debian::Program {
    name: "baresip",
    packages: &["baresip-core"],
    files: &["/usr/bin/baresip", "/usr/lib/baresip/modules/ctrl_tcp.so"],
    libraries: &[],
    daemon: None,
};

/// A running baresip.
pub struct Baresip {
    process: Process,
    control: BufReader<TcpStream>,
    texts: usize,
    calls: usize,
    _folder: TempDir,
}

pub(super) fn ensure_installed() -> Result<()> {
    PROGRAM.ensure()
}

impl Baresip {
    /// Starts it with one contact and waits until it is registered.
    ///
    /// # Errors
    /// When it is missing, or does not register in time.
    pub fn sign_in(login: &Login, contact: &str) -> Result<Self> {
        ensure_installed()?;
        let folder = tempfile::Builder::new().prefix("baresip-").tempdir()?;
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, kamailio::free_port()?));
        let Login { user, password, domain, service, .. } = login;
        let transport = service.rsplit_once("transport=").map_or("udp", |(_, name)| name);
        let roots = match &login.root {
            Some(root) => format!("sip_cafile {}\n", root.display()),
            None => String::new(),
        };
        fs::write(
            folder.path().join("config"),
            format!(
                "{roots}poll_method epoll\n\
                 sip_listen 127.0.0.1:0\n\
                 module_path /usr/lib/baresip/modules\n\
                 module stdio.so\n\
                 module g711.so\n\
                 module_tmp account.so\n\
                 module_app contact.so\n\
                 module_app menu.so\n\
                 module_app ctrl_tcp.so\n\
                 ctrl_tcp_listen {control}\n"
            ),
        )?;
        fs::write(
            folder.path().join("accounts"),
            format!(
                "<sip:{user}@{domain};transport={transport}>;auth_pass={password};outbound=\"{service}\";\
                 regint=600;pubint=600;answermode=manual\n"
            ),
        )?;
        fs::write(folder.path().join("contacts"), format!("\"Contact\" <{contact}>;presence=p2p\n"))?;
        let mut command = process::command("/usr/bin/baresip");
        command.args(["-v", "-f"]).arg(folder.path());
        let mut process = Process::spawn(command)?;
        process
            .wait_for(&mut 0, "baresip's registration", |line| line.contains("[1 binding]").then_some(()))?;
        let control = BufReader::new(connect(control)?);
        let mut baresip = Self { process, control, texts: 0, calls: 0, _folder: folder };
        // Only now: loaded with the others, it publishes twice at once, trips over its own credentials, and is silent for
        // half a minute.
        baresip.command("insmod", "presence")?;
        Ok(baresip)
    }

    /// Carries out a command and returns what it printed.
    ///
    /// # Errors
    /// When baresip refuses it, or says nothing in time.
    pub fn command(&mut self, command: &str, params: &str) -> Result<String> {
        let text = json!({ "command": command, "params": params, "token": "test" }).to_string();
        write!(self.control.get_mut(), "{}:{text},", text.len())?;
        loop {
            let answer = self.netstring().with_context(|| format!("no answer to {command}"))?;
            if answer["response"] == json!(true) {
                ensure!(answer["ok"] == json!(true), "baresip refused `{command} {params}`: {answer}");
                return Ok(answer["data"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    /// Calls somebody, and waits until the call is established.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn call(&mut self, target: &str) -> Result<()> {
        self.command("dial", target)?;
        self.process.wait_for(&mut self.calls, "an established call", |line| {
            line.to_ascii_lowercase().contains("call established").then_some(())
        })
    }

    /// Waits until it rings, and picks it up.
    ///
    /// # Errors
    /// When it does not ring in time, or baresip cannot be told.
    pub fn pick_up(&mut self) -> Result<()> {
        self.process.wait_for(&mut self.calls, "an incoming call", |line| {
            line.to_ascii_lowercase().contains("incoming call").then_some(())
        })?;
        self.command("accept", "").map(drop)
    }

    /// Waits until its call is established.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn until_talking(&mut self) -> Result<()> {
        self.process.wait_for(&mut self.calls, "an established call", |line| {
            line.to_ascii_lowercase().contains("call established").then_some(())
        })
    }

    /// Waits until its call has ended.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn until_over(&mut self) -> Result<()> {
        self.process.wait_for(&mut self.calls, "the end of the call", |line| {
            let line = line.to_ascii_lowercase();
            (line.contains("session closed")
                || line.contains("call terminated")
                || line.contains("terminated (duration"))
            .then_some(())
        })
    }

    /// Ends the call.
    ///
    /// # Errors
    /// When baresip cannot be told.
    pub fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "").map(drop)
    }

    fn netstring(&mut self) -> Result<Value> {
        let mut length = 0;
        loop {
            let mut byte = [0];
            self.control.read_exact(&mut byte)?;
            match byte[0] {
                digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
                b':' => break,
                other => bail!("{other:?} is in no netstring's length"),
            }
            ensure!(length < 1 << 20, "a netstring of {length} bytes");
        }
        let mut text = vec![0; length + 1];
        self.control.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text[..length])?)
    }
}

impl Client for Baresip {
    /// It tells changes between two states it knows, but not the first one: asking is what always works.
    fn sees(&mut self, status: Status) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = process::without_colours(&self.command("contacts", "")?);
            let line = shown.lines().find(|line| line.contains("<sip:")).unwrap_or_default();
            if line.split_whitespace().find_map(Status::of_word) == Some(status) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the contact is not {status:?} within {PATIENCE:?}: {shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn hears(&mut self, text: &str) -> Result<()> {
        let quoted = format!(": \"{text}\"");
        self.process
            .wait_for(&mut self.texts, &format!("`{text}`"), |line| line.ends_with(&quoted).then_some(()))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.command("message", text).map(drop)
    }

    fn said(&mut self) -> String {
        self.process.said()
    }

    fn go_online(&mut self) -> Result<()> {
        self.command("presence_online", "").map(drop)
    }

    fn go_offline(&mut self) -> Result<()> {
        self.command("presence_offline", "").map(drop)
    }
}

/// It says that it is registered before or after it listens for commands, as it likes.
fn connect(control: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(control) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("baresip takes no commands");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
