//! Debian's packages, installed where that is possible, without the daemon that they would start.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use super::instance::SHIPPED_TABLES;

/// The program as Debian installs it.
pub(super) const KAMAILIO: &str = "/usr/sbin/kamailio";

/// The packages that the configuration needs; the other modules come with the first.
const PACKAGES: [&str; 2] = ["kamailio", "kamailio-presence-modules"];
/// One module of each package.
const MODULES: [&str; 2] = ["msilo.so", "presence_xml.so"];
const APT: &str = "/usr/bin/apt-get";
/// What a package asks before it starts a daemon; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &[u8] =
    b"#!/bin/sh\n# Tests run Kamailio themselves: no daemon while it is installed.\nexit 101\n";

pub(super) fn ensure() -> Result<()> {
    if missing().is_none() {
        return Ok(());
    }
    // One at a time, in this process and among all: apt would fail on its lock. A folder can be locked as well as a
    // file, and this one exists wherever apt does.
    let lock = File::open("/var/lib/dpkg");
    if let Ok(lock) = &lock {
        lock.lock().context("waiting for another installation")?;
    }
    let Some(missing) = missing() else { return Ok(()) };
    let command = format!("apt-get update && apt-get install {}", PACKAGES.join(" "));
    if !Path::new(APT).exists() {
        bail!(
            "Kamailio is not installed ({missing}), and there is no apt-get to install it with. \
             These tests want Kamailio 5.6 as Debian 12 ships it; there, run as root: {command}"
        );
    }
    if !is_root() {
        bail!("Kamailio is not installed ({missing}). Run as root: {command}");
    }
    install().with_context(|| format!("installing Kamailio failed; run as root: {command}"))
}

fn install() -> Result<()> {
    let policy = Policy::forbid_daemons()?;
    apt(&["update"])?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(PACKAGES);
    apt(&arguments)?;
    drop(policy);
    // The package also enables its daemon for the next start of the machine. Nobody asked for one; and where this
    // fails there is nothing that would start it.
    let _ = Command::new("update-rc.d").args(["kamailio", "disable"]).output();
    match missing() {
        None => Ok(()),
        Some(missing) => bail!("apt succeeded, but {missing}"),
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new(APT)
        .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2"])
        .args(["-o", "Dpkg::Options::=--force-confold"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null())
        .output()
        .context(APT)?;
    if !output.status.success() {
        bail!("apt-get {} ended with {}:\n{}", arguments.join(" "), output.status, end_of(&output));
    }
    Ok(())
}

fn end_of(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// What is not there, in words.
fn missing() -> Option<String> {
    for path in [KAMAILIO, SHIPPED_TABLES] {
        if !Path::new(path).exists() {
            return Some(format!("{path} is missing"));
        }
    }
    // /usr/lib/<architecture>/kamailio/modules
    let folders: Vec<_> = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("kamailio/modules"))
        .filter(|path| path.is_dir())
        .collect();
    let module = MODULES.iter().find(|module| !folders.iter().any(|folder| folder.join(module).exists()))?;
    Some(format!("Kamailio's module {module} is missing"))
}

fn is_root() -> bool {
    // A process's own entry belongs to its effective user.
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// Keeps packages from starting daemons, for as long as it lives.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid_daemons() -> Result<Self> {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match created {
            Ok(mut file) => {
                // Owned before it is written, so that a failure removes it.
                let policy = Self { ours: true };
                file.write_all(POLICY_TEXT).context(POLICY)?;
                Ok(policy)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let answer = Command::new(POLICY).args(["kamailio", "start"]).status().context(POLICY)?;
                if answer.code() != Some(101) {
                    bail!("{POLICY} lets packages start their daemons, and the daemon must not run");
                }
                Ok(Self { ours: false })
            }
            Err(error) => Err(error).context(POLICY),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
