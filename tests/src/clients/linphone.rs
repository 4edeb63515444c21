//! linphonec: settings in a file, commands on its standard input, what it sees on its standard output.
//!
//! It publishes that its user is there when it starts and takes it back when it ends; there is no command between.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use super::{
    Client, Status,
    process::{self, PATIENCE, Presence, Process},
};
use crate::{debian, desk::Login, kamailio};

const PROGRAM: debian::Program = debian::Program {
    name: "linphonec",
    packages: &["linphone-cli"],
    files: &["/usr/bin/linphonec"],
    libraries: &[],
    daemon: None,
};

/// A running linphonec.
pub struct Linphone {
    process: Process,
    contact: String,
    presence: Presence,
    texts: usize,
    calls: usize,
    folder: TempDir,
}

pub(super) fn ensure_installed() -> Result<()> {
    PROGRAM.ensure()
}

impl Linphone {
    /// Starts it with one contact and waits until it is registered.
    ///
    /// # Errors
    /// When it is missing, or does not register in time.
    pub fn sign_in(login: &Login, contact: &str) -> Result<Self> {
        ensure_installed()?;
        let folder = tempfile::Builder::new().prefix("linphone-").tempdir()?;
        // It makes none of these itself, and keeps nothing without them.
        fs::create_dir_all(folder.path().join(".local/share/linphone"))?;
        fs::create_dir_all(folder.path().join(".config/linphone"))?;
        let port = kamailio::free_port()?;
        let Login { user, password, domain, service, .. } = login;
        // It checks the chain; names of certificates it compares with the address that it connects to, as a name.
        let root = login.root.as_deref().unwrap_or(Path::new("/etc/ssl/certs")).display();
        fs::write(
            folder.path().join("linphonerc"),
            format!(
                "[sip]\nroot_ca={root}\nverify_server_cn=0\nsip_port={port}\nsip_tcp_port={port}\nsip_tls_port=-1\nbind_address=127.0.0.1\n\
                 default_proxy=0\nuse_ipv6=0\nguess_hostname=0\nmedia_encryption=none\n\
                 contact=sip:{user}@127.0.0.1\n\
                 [net]\ndns_srv_enabled=0\n\
                 [proxy_0]\nreg_proxy=<{service}>\nreg_route=<{service}>\nreg_identity=sip:{user}@{domain}\n\
                 reg_expires=600\nreg_sendregister=1\npublish=1\npublish_expires=600\n\
                 [auth_info_0]\nusername={user}\nuserid={user}\npasswd={password}\nrealm={domain}\ndomain={domain}\n\
                 [misc]\nstore_friends=0\n\
                 [friend_0]\nurl=<{contact}>\npol=accept\nsubscribe=1\n"
            ),
        )?;
        let mut command = process::command("/usr/bin/linphonec");
        command.arg("-c").arg(folder.path().join("linphonerc"));
        command.args(["-S", "-d", "6", "-l"]).arg(folder.path().join("log"));
        command.env("HOME", folder.path()).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
        let mut process = Process::spawn(command)?;
        let deadline = Instant::now() + PATIENCE;
        let mut answers = 0;
        loop {
            process.write_line("status register")?;
            let answer = process.wait_for(&mut answers, "whether linphone is registered", |line| {
                line.contains("registered").then(|| line.to_owned())
            })?;
            if answer.contains("registered, identity=") {
                break;
            }
            ensure!(Instant::now() < deadline, "linphone is not registered: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            process,
            contact: contact.to_owned(),
            presence: Presence::default(),
            texts: 0,
            calls: 0,
            folder,
        })
    }

    /// Waits until it rings, and picks it up.
    ///
    /// # Errors
    /// When it does not ring in time.
    pub fn pick_up(&mut self) -> Result<()> {
        self.process.wait_for(&mut self.calls, "an incoming call", |line| {
            line.contains("Receiving new incoming call").then_some(())
        })?;
        self.process.write_line("answer")
    }

    /// Waits until this is in what it writes down, where every message on the wire is, and returns all of that.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn logs(&self, words: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = String::from_utf8_lossy(&fs::read(self.folder.path().join("log"))?).into_owned();
            if log.contains(words) {
                return Ok(log);
            }
            ensure!(Instant::now() < deadline, "`{words}` is not in linphone's log:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Client for Linphone {
    fn sees(&mut self, status: Status) -> Result<()> {
        let contact = format!("<{}>", self.contact);
        self.presence.wait_for(&mut self.process, status, |line| {
            let (who, word) = line.split_once("Friend ")?.1.rsplit_once(" is ")?;
            if who.contains(&contact) { Status::of_word(word) } else { None }
        })
    }

    fn hears(&mut self, text: &str) -> Result<()> {
        let words = format!("Message received from {}: {text}", self.contact);
        self.process
            .wait_for(&mut self.texts, &format!("`{text}`"), |line| line.contains(&words).then_some(()))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.process.write_line(&format!("chat {} {text}", self.contact))
    }

    fn said(&mut self) -> String {
        self.process.said()
    }

    fn go_online(&mut self) -> Result<()> {
        // Since it registered.
        Ok(())
    }

    fn go_offline(&mut self) -> Result<()> {
        self.process.write_line("quit")
    }
}
