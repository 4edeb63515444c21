//! Debian's packages, installed where that is possible, without the daemons that they would start.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

const APT: &str = "/usr/bin/apt-get";
/// What a package asks before it starts a daemon; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &[u8] =
    b"#!/bin/sh\n# Tests run services themselves: no daemon while they are installed.\nexit 101\n";

/// A program by others that tests run.
pub(crate) struct Program {
    /// What people call it.
    pub(crate) name: &'static str,
    /// The packages that it comes in.
    pub(crate) packages: &'static [&'static str],
    /// Paths that are there once it is installed.
    pub(crate) files: &'static [&'static str],
    /// Below `/usr/lib/<architecture>/`: files that are there once it is installed.
    pub(crate) libraries: &'static [&'static str],
    /// A daemon that one of the packages enables for the next start of the machine.
    pub(crate) daemon: Option<&'static str>,
}

impl Program {
    /// Makes sure that it is there: as root on Debian or Ubuntu by installing what is missing.
    ///
    /// # Errors
    /// Elsewhere, or when apt fails: the error names the command to run.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.missing().is_none() {
            return Ok(());
        }
        // One at a time, in this process and among all: apt would fail on its lock. A folder can be locked as well as
        // a file, and this one exists wherever apt does.
        let lock = File::open("/var/lib/dpkg");
        if let Ok(lock) = &lock {
            lock.lock().context("waiting for another installation")?;
        }
        let name = self.name;
        let Some(missing) = self.missing() else { return Ok(()) };
        let command = format!("apt-get update && apt-get install {}", self.packages.join(" "));
        if !Path::new(APT).exists() {
            bail!(
                "{name} is not installed ({missing}), and there is no apt-get to install it with. \
                 These tests want it as Debian 12 ships it; there, run as root: {command}"
            );
        }
        if !is_root() {
            bail!("{name} is not installed ({missing}). Run as root: {command}");
        }
        self.install().with_context(|| format!("installing {name} failed; run as root: {command}"))
    }

    fn install(&self) -> Result<()> {
        let policy = Policy::forbid_daemons(self.daemon.unwrap_or(self.name))?;
        apt(&["update"])?;
        let mut arguments = vec!["install", "--no-install-recommends"];
        arguments.extend(self.packages);
        apt(&arguments)?;
        drop(policy);
        if let Some(daemon) = self.daemon {
            // Nobody asked for one; and where this fails there is nothing that would start it.
            let _ = Command::new("update-rc.d").args([daemon, "disable"]).output();
        }
        match self.missing() {
            None => Ok(()),
            Some(missing) => bail!("apt succeeded, but {missing}"),
        }
    }

    /// What is not there, in words.
    fn missing(&self) -> Option<String> {
        if let Some(path) = self.files.iter().find(|path| !Path::new(path).exists()) {
            return Some(format!("{path} is missing"));
        }
        if self.libraries.is_empty() {
            return None;
        }
        let folders: Vec<_> =
            fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        let library = self
            .libraries
            .iter()
            .find(|library| !folders.iter().any(|folder| folder.join(library).exists()))?;
        Some(format!("{library} is missing"))
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

fn is_root() -> bool {
    // A process's own entry belongs to its effective user.
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// Keeps packages from starting daemons, for as long as it lives.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid_daemons(daemon: &str) -> Result<Self> {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match created {
            Ok(mut file) => {
                // Owned before it is written, so that a failure removes it.
                let policy = Self { ours: true };
                file.write_all(POLICY_TEXT).context(POLICY)?;
                Ok(policy)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let answer = Command::new(POLICY).args([daemon, "start"]).status().context(POLICY)?;
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
