//! pjsua2 through its Python binding: a script of ours, driven by JSON lines.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Client, Status,
    process::{self, Presence, Process},
};
use crate::desk::Login;

const PACKAGE: &str = "pjsua2-python==2.15.1.post1";
const SCRIPT: &str = include_str!("pjsua.py");

/// A running pjsua2.
pub struct Pjsua {
    process: Process,
    contact: String,
    presence: Presence,
    texts: usize,
    typing: usize,
    calls: usize,
    _folder: TempDir,
}

/// The Python that has pjsua2: a virtual environment in the user's cache, made where it is missing.
pub(super) fn ensure_installed() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    let folder = cache.join("attache").join(PACKAGE);
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    if ready.exists() {
        return Ok(python);
    }
    fs::create_dir_all(cache.join("attache"))?;
    let lock = File::create(cache.join("attache/pjsua2.lock"))?;
    lock.lock()?;
    if ready.exists() {
        return Ok(python);
    }
    install(&folder, &python).with_context(|| {
        format!(
            "pjsua2 cannot be installed; with Python 3 and its venv module (Debian: apt-get install python3-venv) run: \
             python3 -m venv {folder} && {folder}/bin/pip install {PACKAGE} && touch {folder}/ready",
            folder = folder.display()
        )
    })?;
    File::create(ready)?;
    Ok(python)
}

fn install(folder: &Path, python: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder))?;
    run(Command::new(python).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
    run(Command::new(python).args(["-c", "import pjsua2"]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

impl Pjsua {
    /// Starts it with one contact and waits until it is registered.
    ///
    /// # Errors
    /// When it is missing, or does not register in time.
    pub fn sign_in(login: &Login, contact: &str) -> Result<Self> {
        let python = ensure_installed()?;
        let folder = tempfile::Builder::new().prefix("pjsua-").tempdir()?;
        let script = folder.path().join("pjsua.py");
        fs::write(&script, SCRIPT)?;
        let transport = login.service.rsplit_once("transport=").map_or("udp", |(_, name)| name);
        let mut command = process::command(python.to_str().context("the cache's name is not UTF-8")?);
        command.arg(&script);
        let mut process = Process::spawn(command)?;
        let setup = json!({
            "address": login.address(),
            "user": login.user,
            "password": login.password,
            "domain": login.domain,
            "service": format!("{};lr", login.service),
            "transport": transport,
            "contacts": [contact],
            "roots": login.root,
            "log": folder.path().join("log"),
        });
        process.write_line(&setup.to_string())?;
        let registered =
            process.wait_for(&mut 0, "pjsua's registration", |line| event(line, "registered"))?;
        if registered["code"] != json!(200) {
            bail!("pjsua was not registered: {registered}");
        }
        Ok(Self {
            process,
            contact: contact.to_owned(),
            presence: Presence::default(),
            texts: 0,
            typing: 0,
            calls: 0,
            _folder: folder,
        })
    }

    /// Publishes that its user is occupied, with a note.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn go_busy(&mut self, note: &str) -> Result<()> {
        self.tell(&json!({ "do": "online", "open": true, "busy": true, "note": note }))
    }

    /// Waits for a message that ends in this text, whatever a service has put before it.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn hears_ending(&mut self, text: &str) -> Result<()> {
        self.process.wait_for(&mut self.texts, &format!("`…{text}`"), |line| {
            event(line, "message")?["text"].as_str()?.ends_with(text).then_some(())
        })
    }

    /// Tells its contact that its user types, or no longer.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn type_something(&mut self, typing: bool) -> Result<()> {
        self.tell(&json!({ "do": "typing", "to": self.contact, "typing": typing }))
    }

    /// Waits until it is told that somebody types, or no longer.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn sees_typing(&mut self, typing: bool) -> Result<()> {
        self.process.wait_for(&mut self.typing, "a typing notice", |line| {
            (event(line, "typing")?["typing"] == json!(typing)).then_some(())
        })
    }

    /// Waits until a call of its user, who picks up every one, is in a state such as `CONFIRMED` or `DISCONNECTED`.
    ///
    /// # Errors
    /// When none is in time.
    pub fn until_call(&mut self, state: &str) -> Result<()> {
        self.process.wait_for(&mut self.calls, &format!("a call that is {state}"), |line| {
            (event(line, "call")?["state"] == json!(state)).then_some(())
        })
    }

    /// Ends all calls of its user.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn hang_up(&mut self) -> Result<()> {
        self.tell(&json!({ "do": "hang-up" }))
    }

    fn tell(&mut self, command: &Value) -> Result<()> {
        self.process.write_line(&command.to_string())
    }
}

impl Client for Pjsua {
    fn sees(&mut self, status: Status) -> Result<()> {
        self.presence.wait_for(&mut self.process, status, |line| {
            let seen = event(line, "presence")?;
            Some(match (seen["open"] == json!(true), seen["busy"] == json!(true)) {
                (true, true) => Status::Busy,
                (true, false) => Status::Online,
                (false, _) => Status::Offline,
            })
        })
    }

    fn hears(&mut self, text: &str) -> Result<()> {
        self.process.wait_for(&mut self.texts, &format!("`{text}`"), |line| {
            (event(line, "message")?["text"] == json!(text)).then_some(())
        })
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.tell(&json!({ "do": "send", "to": self.contact, "text": text }))
    }

    fn said(&mut self) -> String {
        self.process.said()
    }

    fn go_online(&mut self) -> Result<()> {
        self.tell(&json!({ "do": "online", "open": true }))
    }

    fn go_offline(&mut self) -> Result<()> {
        self.tell(&json!({ "do": "online", "open": false }))
    }
}

/// The event in a line, if that is its name.
fn event(line: &str, name: &str) -> Option<Value> {
    let event: Value = serde_json::from_str(line).ok()?;
    (event["event"] == json!(name)).then_some(event)
}
