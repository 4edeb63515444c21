//! What the documents say of the code holds.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Names of all functions in the Rust files below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                functions(&path, names)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for line in fs::read_to_string(&path)?.lines() {
                if let Some((_, rest)) = line.split_once("fn ") {
                    names.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                }
            }
        }
    }
    Ok(())
}

fn all_functions() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for folder in ["examples", "host", "plugins", "tests", "xtask"] {
        functions(&root().join(folder), &mut names)?;
    }
    Ok(names)
}

#[test]
fn every_protocol_row_names_tests_that_exist() -> Result<()> {
    let text = fs::read_to_string(root().join("docs/protocols.md"))?;
    let names = all_functions()?;
    for row in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        if row.starts_with("|---") || cells[0].starts_with("RFC, section") || cells[0].starts_with("Program")
        {
            continue;
        }
        assert_eq!(cells.len(), 4, "four cells, none empty: {row}");
        let tests: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test is named: {row}");
        for name in tests {
            assert!(names.contains(name), "there is no test `{name}`: {row}");
        }
    }
    Ok(())
}

/// pain: 15
#[test]
fn the_configuration_in_the_readme_is_read_and_its_code_is_compiled() -> Result<()> {
    let text = fs::read_to_string(root().join("README.md"))?;
    let blocks = |kind: &str| -> Vec<String> {
        let begin = format!("\n```{kind}\n");
        let blocks = text.split(&begin).skip(1);
        blocks.filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned())).collect()
    };
    let of_host: Vec<String> = blocks("toml").into_iter().filter(|it| it.starts_with("[host]")).collect();
    assert!(!of_host.is_empty(), "the README shows no configuration");
    let folder = tempfile::tempdir()?;
    fs::create_dir_all(folder.path().join("target/plugins"))?;
    fs::write(folder.path().join("target/plugins/auto-reply.wasm"), b"looked at when it is loaded")?;
    for example in of_host {
        let file = folder.path().join("attache.toml");
        fs::write(&file, &example)?;
        attache::HostConfig::from_file_without_secrets(&file)?;
    }
    // Its code is compiled with the examples of the documentation.
    let library = fs::read_to_string(root().join("host/attache/src/lib.rs"))?;
    assert!(library.contains("include_str!(\"../../../README.md\")"));
    assert!(text.contains("\n```rust,no_run\n"));
    Ok(())
}

#[test]
fn every_invariant_names_tests_that_exist() -> Result<()> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let (_, invariants) = text.split_once("## Invariants").context("the invariants are gone")?;
    let names = all_functions()?;
    let mut checked = 0;
    for line in invariants.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let (_, tests) = line.rsplit_once("** ").with_context(|| format!("no test is named: {line}"))?;
        for name in tests.split('`').skip(1).step_by(2) {
            assert!(names.contains(name), "there is no test `{name}`, which holds: {line}");
            checked += 1;
        }
    }
    assert!(checked >= 30, "only {checked} tests are named");
    Ok(())
}
