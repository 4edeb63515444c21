//! Chores of the workspace, run as `cargo xtask COMMAND`.
//!
//! One program instead of a folder of scripts, so that the chores run the same everywhere that Rust does, and are
//! compiled and checked like the rest. It must itself compile in seconds, so it has next to no dependencies.
//!
//! # Layout
//! - `guests`: the wasm standard library, plugins and test guests
//! - `chores`: demo, test, bench, soak, ci
//! - `licences`, `spdx`: what may be linked
//! - `seed_api`: the page of what answers the 2007 API
//! - `steps`: named steps with times and a summary
//! - `process`: children that end with us

mod chores;
mod guests;
mod licences;
mod process;
mod seed_api;
mod spdx;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Chores of the Attaché workspace.

usage: cargo xtask COMMAND

  setup                 find or fetch the standard library that plugins are built with
  plugins [--out DIR]   build plugins/* and tests/guests/* to DIR/NAME.wasm (default: target/plugins)
  plugin PATH [--out DIR]  build the plugin of a crate of your own to DIR/NAME.wasm
  demo [--stay]         tell the story of two desks in the terminal; --stay keeps it open for you to type
                        (--terminal names the same thing)
  test [FILTER…]        run every test; with filters, those of the workspace whose names contain one
  bench [ARGUMENT…]     take figures; arguments go to the benches
  soak [FILTER…]        run the tests for long, optimised (ATTACHE_SOAK=1)
  seed-api              write docs/seed-api.md from its tables and from what tests say they prove
  licences              check licences, sources and lock files; list duplicate versions
  ci                    everything that a change must pass: format, lints, docs, licences, tests

environment:
  ATTACHE_WASM_STD      installed, rustup or debian: where the wasm standard library comes from; otherwise
                        the first that works
  XDG_CACHE_HOME        where fetched packages and compiled plugins are kept (default: ~/.cache)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match process::end_children_on_signals().and_then(|()| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let (command, rest) = arguments.split_first().unwrap_or((&"help", &[]));
    if matches!(*command, "help" | "--help" | "-h")
        || rest.iter().any(|argument| ["--help", "-h"].contains(argument))
    {
        print!("{HELP}");
        return Ok(());
    }
    let root = root();
    match (*command, rest) {
        ("setup", []) => guests::set_up().map(drop),
        ("plugins", []) => guests::build(&root, &guests::default_folder(&root)).map(drop),
        ("plugin", [plugin]) => {
            guests::build_one(&root, &guests::default_folder(&root), Path::new(plugin)).map(drop)
        }
        ("plugin", [plugin, "--out", folder]) => {
            guests::build_one(&root, Path::new(folder), Path::new(plugin)).map(drop)
        }
        ("plugins", ["--out", folder]) => guests::build(&root, Path::new(folder)).map(drop),
        ("demo", options) => {
            let stay = options.contains(&"--stay");
            if let Some(unknown) = options.iter().find(|option| !["--stay", "--terminal"].contains(option)) {
                bail!("demo has no option `{unknown}`; it has --stay and --terminal");
            }
            chores::demo(&root, stay)
        }
        ("test", filters) => chores::test(&root, filters),
        ("bench", arguments) => chores::bench(&root, arguments),
        ("soak", filters) => chores::soak(&root, filters),
        ("licences", []) => licences::check(&root),
        ("seed-api", []) => seed_api::write(&root),
        ("ci", []) => chores::ci(&root),
        ("setup" | "plugins" | "seed-api" | "licences" | "ci", [unexpected, ..]) => {
            bail!("`{command}` does not take `{unexpected}`; see `cargo xtask help`")
        }
        _ => bail!("there is no chore `{command}`; see `cargo xtask help`"),
    }
}

/// The checkout. Cargo says at run time which one it is, for a target folder may serve several.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).parent().expect("xtask lies in the workspace's folder").to_owned()
}
