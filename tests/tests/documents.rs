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

#[test]
fn every_invariant_names_tests_that_exist() -> Result<()> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let (_, invariants) = text.split_once("## Invariants").context("the invariants are gone")?;
    let mut names = BTreeSet::new();
    for folder in ["host", "tests", "plugins"] {
        functions(&root().join(folder), &mut names)?;
    }
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
