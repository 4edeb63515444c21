//! People for the tests of the `attache` command: a folder with a configuration each, and a running program.

#![allow(dead_code, reason = "each test program uses a part")]

use std::{fs, path::Path};

use anyhow::Result;
use attache_service::{Service, ServiceConfig};
use attache_tests::{
    console::Console,
    kamailio::{Kamailio, Options},
};
use serde_json::json;

/// Where `attache` is.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_attache"))
}

/// Kamailio with Alice and Bob.
pub(crate) fn kamailio() -> Result<Kamailio> {
    Kamailio::ensure_installed()?;
    Kamailio::start(&Options {
        users: vec![("alice", "wonderland"), ("bob", "builder")],
        ..Options::default()
    })
}

/// The embedded service in this process, and the runtime that it needs.
pub(crate) struct Embedded {
    service: Service,
    _runtime: tokio::runtime::Runtime,
}

impl Embedded {
    /// With Alice, Bob and Carol.
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let _inside = runtime.enter();
        let config = ServiceConfig::parse(
            "[service]\nlisten = \"127.0.0.1:0\"\ndomains = [\"example.test\"]\n\
             [[user]]\nname = \"alice\"\npassword = \"wonderland\"\n\
             [[user]]\nname = \"bob\"\npassword = \"builder\"\n\
             [[user]]\nname = \"carol\"\npassword = \"christmas\"\n",
        )?;
        let service = Service::start(&config)?;
        drop(_inside);
        Ok(Self { service, _runtime: runtime })
    }

    /// Where it is.
    pub(crate) fn uri(&self) -> String {
        format!("sip:{}", self.service.local_addrs()[0].1)
    }
}

/// A configuration file for one account, with whatever else is appended.
pub(crate) fn config(
    folder: &Path,
    user: &str,
    password: &str,
    service: &str,
    rest: &str,
) -> Result<std::path::PathBuf> {
    let file = folder.join(format!("{user}.toml"));
    fs::write(
        &file,
        format!(
            "[host]\ndata-dir = \"{user}\"\n\n[[account]]\naddress = \"sip:{user}@example.test\"\n\
             password = \"{password}\"\nservice = \"{service}\"\n\n{rest}"
        ),
    )?;
    Ok(file)
}

/// Starts `attache run` and waits until the account is signed in.
pub(crate) fn signed_in(config: &Path) -> Result<Console> {
    let mut console = Console::run(program(), config)?;
    console
        .event("the sign-in", |line| line["event"] == "session-changed" && line["state"] == "signed-in")?;
    Ok(console)
}

/// Waits until a contact is seen with an availability, live.
pub(crate) fn sees(console: &mut Console, contact: &str, availability: &str, note: &str) -> Result<()> {
    console.event(&format!("{contact} as {availability} `{note}`"), |line| {
        line["event"] == "presence-changed"
            && line["contact"] == json!(contact)
            && line["availability"] == json!(availability)
            && line["note"] == json!(note)
            && line["freshness"] == "live"
    })?;
    Ok(())
}

/// Waits for a message with this text.
pub(crate) fn receives(console: &mut Console, from: &str, text: &str) -> Result<serde_json::Value> {
    console.event(&format!("`{text}` from {from}"), |line| {
        line["event"] == "message-received" && line["from"] == json!(from) && line["text"] == json!(text)
    })
}
