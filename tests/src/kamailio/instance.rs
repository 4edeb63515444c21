//! What differs between two instances: the options once checked, and the files made from them.
//!
//! `kamailio.cfg` is the same text for all; it includes `instance.cfg`, written here. The tables are those that
//! Debian ships for `db_text`, with every column made nullable: as shipped, the module refuses rows that Kamailio's
//! own modules write.

use std::fmt::Write as _;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Digest, Options};
use crate::certificates::Identity;

/// The log's name in the instance's folder.
pub(super) const LOG: &str = "kamailio.log";
/// The configuration's name in the instance's folder.
pub(super) const CONFIG: &str = "kamailio.cfg";
/// The folder, within the instance's, for the control socket.
pub(super) const RUNTIME: &str = "run";
/// Where Debian keeps the empty tables.
pub(super) const SHIPPED_TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

const CONFIG_TEXT: &str = include_str!("../../kamailio/kamailio.cfg");
const TABLES_FOLDER: &str = "db";
const TABLES: [&str; 10] = [
    "active_watchers",
    "presentity",
    "pua",
    "rls_presentity",
    "rls_watchers",
    "silo",
    "subscriber",
    "version",
    "watchers",
    "xcap",
];
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
/// Digest credentials longer than this exceed Kamailio's own buffers.
const PASSWORD_LIMIT: usize = 128;

/// Checked options.
#[derive(Debug)]
pub(super) struct Instance {
    domain: String,
    identity: Option<Identity>,
    /// The part of `instance.cfg` that does not depend on the port.
    settings: String,
    /// Rows of the `subscriber` table; taken out of `Debug` by `Rows`, since they hold passwords.
    subscribers: Rows,
}

struct Rows(String);

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows", self.0.lines().count())
    }
}

impl Instance {
    pub(super) fn new(options: &Options<'_>) -> Result<Self> {
        let domain = options.domain;
        let plain = |text: &str, extra: &str| {
            (1..=64).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        ensure!(plain(domain, ".-"), "not a domain: {domain:?}");
        let mut subscribers = String::new();
        for (number, (name, password)) in options.users.iter().enumerate() {
            ensure!(plain(name, "._-"), "not a user name: {name:?}");
            ensure!(
                (1..=PASSWORD_LIMIT).contains(&password.len()),
                "the password of {name} must have 1 to {PASSWORD_LIMIT} bytes"
            );
            // Columns: id, username, domain, password, ha1, ha1b.
            writeln!(subscribers, "{}:{name}:{domain}:{}:::", number + 1, escape(password))?;
        }

        let mut settings = String::new();
        writeln!(settings, "alias=\"{domain}\"")?;
        let digest = match options.digest {
            Digest::Md5 => "MD5",
            Digest::Sha256 => "SHA-256",
        };
        writeln!(settings, "#!define DIGEST \"{digest}\"")?;
        for (name, value, unit) in [
            ("NONCE_EXPIRE", options.nonce_expires, Duration::from_secs(1)),
            ("MIN_EXPIRES", options.min_expires, Duration::from_secs(1)),
            ("MAX_EXPIRES", options.max_expires, Duration::from_secs(1)),
            ("FR_TIMER", options.answer_timeout, Duration::from_millis(1)),
        ] {
            let count = value.as_nanos() / unit.as_nanos();
            ensure!((1..=i32::MAX as u128).contains(&count), "{name} is out of range: {value:?}");
            writeln!(settings, "#!define {name} {count}")?;
        }
        writeln!(settings, "#!define REALM \"{domain}\"")?;
        for (wanted, name) in [
            (options.force_active, "FORCE_ACTIVE"),
            (options.tls.is_some(), "TLS"),
            (options.websocket, "WEBSOCKET"),
            (options.xcap, "XCAP"),
            (options.websocket || options.xcap, "HTTP"),
            (options.lists, "LISTS"),
            (options.calls, "CALLS"),
            (options.registrations, "REGISTRATIONS"),
            (options.lists || options.calls || options.registrations, "PUA"),
        ] {
            if wanted {
                writeln!(settings, "#!define WITH_{name}")?;
            }
        }
        let identity = options.tls.clone();
        Ok(Self { domain: domain.to_owned(), identity, settings, subscribers: Rows(subscribers) })
    }

    /// Whether it listens for TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.identity.is_some()
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// Writes the configuration proper and the tables.
    pub(super) fn write_shared(&self, dir: &Path) -> Result<()> {
        let text = dir.to_str().context("the temporary folder's name is not UTF-8")?;
        if let Some(bad) = text.chars().find(|c| c.is_ascii_control() || matches!(c, '"' | '\\')) {
            bail!("the temporary folder's name holds {bad:?}, which a configuration can't: {text}");
        }
        fs::write(dir.join(CONFIG), CONFIG_TEXT)?;
        if let Some(identity) = &self.identity {
            fs::write(dir.join(CERTIFICATE), &identity.certificate)?;
            fs::write(dir.join(KEY), &identity.key)?;
        }
        fs::create_dir(dir.join(RUNTIME))?;
        fs::create_dir(dir.join(TABLES_FOLDER))?;
        for table in TABLES {
            let mut rows = shipped_table(table)?;
            if table == "subscriber" {
                rows.push_str(&self.subscribers.0);
            }
            fs::write(dir.join(TABLES_FOLDER).join(table), rows)?;
        }
        Ok(())
    }

    /// Writes `instance.cfg` and returns the token that this start, and no other, sends in its `Server` header field.
    pub(super) fn write_for_ports(&self, dir: &Path, port: u16, tls: u16) -> Result<String> {
        let token = format!("attache-test-{:016x}", std::hash::RandomState::new().build_hasher().finish());
        let mut text = format!(
            "listen=udp:127.0.0.1:{port}\n\
             listen=tcp:127.0.0.1:{port}\n\
             server_header=\"Server: {token}\"\n\
             #!define SELF \"sip:127.0.0.1:{port}\"\n\
             #!define RLS \"sip:rls@127.0.0.1:{port}\"\n\
             #!define REGINFO \"sip:reginfo@127.0.0.1:{port}\"\n\
             #!define DBURL \"text://{tables}\"\n\
             {settings}",
            tables = dir.join(TABLES_FOLDER).display(),
            settings = self.settings,
        );
        if self.has_tls() {
            writeln!(text, "listen=tls:127.0.0.1:{tls}")?;
            writeln!(text, "#!define TLS_CERTIFICATE \"{}\"", dir.join(CERTIFICATE).display())?;
            writeln!(text, "#!define TLS_KEY \"{}\"", dir.join(KEY).display())?;
        }
        fs::write(dir.join("instance.cfg"), text)?;
        Ok(token)
    }
}

/// Makes the tables readable again after a kill. Kamailio writes a table in place, so one that was being written
/// ends in the middle of a row; it would refuse to start with it.
pub(super) fn repair_tables(dir: &Path) -> Result<()> {
    for table in TABLES {
        let path = dir.join(TABLES_FOLDER).join(table);
        let text = fs::read(&path).with_context(|| format!("table {table}"))?;
        // A line feed within a value is escaped: each one ends a row.
        match text.iter().rposition(|byte| *byte == b'\n') {
            Some(last) if last + 1 == text.len() => {}
            Some(last) => fs::write(&path, &text[..=last])?,
            None => fs::write(&path, shipped_table(table)?)?,
        }
    }
    Ok(())
}

/// A table as Debian ships it, with every column made nullable.
fn shipped_table(name: &str) -> Result<String> {
    let path = Path::new(SHIPPED_TABLES).join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (columns, rows) =
        text.split_once('\n').with_context(|| format!("no columns in {}", path.display()))?;
    Ok(format!("{}\n{rows}", nullable(columns)))
}

fn nullable(columns: &str) -> String {
    ["(int)", "(double)", "(string)"].iter().fold(columns.to_owned(), |text, kind| {
        text.replace(kind, &format!("{},null)", kind.trim_end_matches(')')))
    })
}

/// A value as `db_text` stores it.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            ':' => out.push_str("\\:"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_becomes_nullable() {
        assert_eq!(
            nullable("id(int,auto) a(string) b(int) c(double) d(string,null)"),
            "id(int,auto) a(string,null) b(int,null) c(double,null) d(string,null)"
        );
    }

    #[test]
    fn a_value_cannot_end_its_column_or_row() {
        assert_eq!(escape("a:b\\c\nd"), "a\\:b\\\\c\\nd");
    }

    #[test]
    fn a_name_that_would_break_the_configuration_is_refused() {
        for domain in ["", "exa mple", "a\"b", "a\nb"] {
            assert!(Instance::new(&Options { domain, ..Options::default() }).is_err(), "{domain:?}");
        }
        let users = vec![("al:ice", "secret")];
        assert!(Instance::new(&Options { users, ..Options::default() }).is_err());
    }

    #[test]
    fn passwords_are_not_in_debug_output() {
        let options = Options { users: vec![("alice", "s3cr3t")], ..Options::default() };
        let instance = Instance::new(&options).unwrap();
        assert!(!format!("{options:?} {instance:?}").contains("s3cr3t"));
    }
}
