//! The chores that run other programs: demo, test, bench, soak, ci.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use attache_componentise::Cache;
use serde_json::Value;

use crate::steps::Steps;
use crate::{guests, licences, process};

/// Builds what the demo needs, and becomes it.
pub(crate) fn demo(root: &Path, stay: bool) -> Result<()> {
    let plugins = guests::build(root, &guests::default_folder(root))?;
    eprintln!("demo: building the host (a few minutes the first time)");
    let program = build_example(root, "example-two-desks")?;
    let mut command = Command::new(program);
    command.current_dir(root).env("ATTACHE_PLUGINS", plugins);
    if stay {
        command.arg("--stay");
    }
    process::become_command(&mut command)
}

/// Builds the program of a package and returns its path, wherever the target folder is. Not optimised itself: its
/// dependencies are, a little, and a newcomer waits for the compiler far longer than for the demo.
fn build_example(root: &Path, package: &str) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args(["build", "--quiet", "--package", package, "--message-format=json-render-diagnostics"]);
    let messages = process::read(&mut command)?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs.next_back().with_context(|| format!("cargo built no program of {package}"))
}

/// Every test there is; with filters only those of the workspace that match.
pub(crate) fn test(root: &Path, filters: &[&str]) -> Result<()> {
    let mut steps = Steps::new();
    test_steps(root, filters, &mut steps);
    steps.finish()
}

fn test_steps(root: &Path, filters: &[&str], steps: &mut Steps) {
    let mut plugins = None;
    // Tests that need plugins say so themselves, so the others are still worth running.
    steps.run("plugins and guests", || {
        plugins = Some(guests::build(root, &guests::default_folder(root))?);
        Ok(())
    });
    steps.run("programs of others", peers);
    steps.run("tests of the workspace", || {
        let mut command = test_command(root, filters, &[]);
        command.envs(plugins.as_deref().map(|folder| ("ATTACHE_PLUGINS", folder)));
        process::run(&mut command)
    });
    if !filters.is_empty() {
        return;
    }
    steps.run("benches, one round", || {
        let mut command = cargo(root);
        command.args(["test", "--quiet", "--package", "attache-benches", "--benches", "--", "--test"]);
        command.envs(plugins.as_deref().map(|folder| ("ATTACHE_PLUGINS", folder)));
        process::run(&mut command)
    });
    steps.run("examples in the documentation", || {
        process::run(cargo(root).args(["test", "--quiet", "--workspace", "--doc"]))
    });
    for manifest in guests::manifests(root) {
        steps.run(&format!("tests of {}", shown(root, &manifest)), || {
            process::run(guest_cargo(root, &manifest)?.args(["test", "--quiet", "--workspace", "--locked"]))
        });
    }
}

/// The programs of others that tests run, and the packages of Debian 12 that bring them.
const PEERS: [(&str, &str); 4] = [
    (
        "/usr/sbin/kamailio",
        "kamailio kamailio-presence-modules kamailio-tls-modules kamailio-websocket-modules",
    ),
    ("/usr/bin/baresip", "baresip-core"),
    ("/usr/bin/linphonec", "linphone-cli"),
    ("/usr/bin/python3", "python3-venv"),
];

/// The tests against programs of others install them where they can. Where they cannot, better say so at once than
/// after minutes.
fn peers() -> Result<()> {
    let missing: Vec<_> = PEERS.into_iter().filter(|(path, _)| !Path::new(path).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|(path, _)| *path).collect::<Vec<_>>().join(", ");
    let root = process::read(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if root && Path::new("/usr/bin/apt-get").exists() {
        eprintln!(
            "{names}: not installed; the first test that needs one installs it with apt (about a minute)"
        );
        return Ok(());
    }
    let packages = missing.iter().map(|(_, packages)| *packages).collect::<Vec<_>>().join(" ");
    bail!(
        "{names}: not installed, and some tests want them as Debian 12 ships them; there, run as root: \
         apt-get update && apt-get install {packages}"
    )
}

/// The test runner: nextest where it is, because it runs the crates' tests side by side and shows what hangs.
fn test_command(root: &Path, filters: &[&str], options: &[&str]) -> Command {
    let mut command = cargo(root);
    if process::succeeds(cargo(root).args(["nextest", "--version"])) {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(options).args(filters);
    } else {
        command.args(["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
        command.args(options).arg("--").args(filters);
    }
    command
}

/// Takes figures.
pub(crate) fn bench(root: &Path, arguments: &[&str]) -> Result<()> {
    let plugins = guests::build(root, &guests::default_folder(root))?;
    let mut command = cargo(root);
    command.args(["bench", "--package", "attache-benches"]).env("ATTACHE_PLUGINS", plugins);
    if !arguments.is_empty() {
        command.arg("--").args(arguments);
    }
    process::run(&mut command)
}

/// The tests for long, optimised.
pub(crate) fn soak(root: &Path, filters: &[&str]) -> Result<()> {
    let plugins = guests::build(root, &guests::default_folder(root))?;
    let mut command = test_command(root, filters, &["--release"]);
    process::run(command.env("ATTACHE_SOAK", "1").env("ATTACHE_PLUGINS", plugins))
}

/// Everything that a change must pass.
pub(crate) fn ci(root: &Path) -> Result<()> {
    let mut steps = Steps::new();
    steps.run("format", || process::run(cargo(root).args(["fmt", "--all", "--check"])));
    for manifest in guests::manifests(root) {
        steps.run(&format!("format of {}", shown(root, &manifest)), || {
            process::run(guest_cargo(root, &manifest)?.args(["fmt", "--all", "--check"]))
        });
    }
    steps.run("licences", || licences::check(root));
    steps.run("lints", || {
        let mut command = cargo(root);
        command.args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]);
        process::run(&mut command)
    });
    for manifest in guests::manifests(root) {
        steps.run(&format!("lints of {}", shown(root, &manifest)), || {
            let mut command = guest_cargo(root, &manifest)?;
            command.args([
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]);
            process::run(&mut command)
        });
    }
    steps.run("documentation", || {
        let mut command = cargo(root);
        command.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
        process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
    });
    test_steps(root, &[], &mut steps);
    steps.finish()
}

/// The cargo that runs this program, in the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// cargo for a workspace of guests on this machine's own target, which tests and lints need. What it builds goes
/// where guests go, so that a fresh clone finds it.
fn guest_cargo(root: &Path, manifest: &Path) -> Result<Command> {
    let mut command = cargo(root);
    command.current_dir(manifest.parent().unwrap_or(root));
    command.env("CARGO_TARGET_DIR", Cache::of_user()?.guest_target());
    Ok(command)
}

fn shown(root: &Path, manifest: &Path) -> String {
    manifest.parent().unwrap_or(manifest).strip_prefix(root).unwrap_or(manifest).display().to_string()
}
