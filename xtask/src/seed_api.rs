//! `docs/seed-api.md`: what answers each member, event, constant and code of the 2007 Automation API.
//!
//! The page is made of two things that cannot drift apart from the code. `tests/seed-api/*.tsv` says for each name which
//! path of the Rust API and of the contract answers it; a test names what it proves in comments above it:
//!
//! ```text
//! /// seed: IMessenger.Signout DMessengerEvents.OnSignout
//! /// pain: 9
//! #[test]
//! fn signing_out_asks_nothing() { … }
//! ```
//!
//! `seed: MISTATUS.*` stands for all constants of an enumeration, `seed: codes.*` for all codes. Rust paths become the file
//! `host/attache/tests/seed_paths.rs`, which compiles only while they all exist; paths of the contract are looked up in `wit/`.

mod collect;
mod contract;
mod page;
mod paths;
mod table;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// The page.
const PAGE: &str = "docs/seed-api.md";
/// The Rust paths, as code.
const PATHS: &str = "host/attache/tests/seed_paths.rs";

/// Writes the page and the file of paths. Fails, after writing, when a row is not proved.
pub(crate) fn write(root: &Path) -> Result<()> {
    let made = make(root)?;
    for (file, text) in [(PAGE, &made.page), (PATHS, &made.paths)] {
        fs::write(root.join(file), text).with_context(|| file.to_owned())?;
        eprintln!("{file}");
    }
    if made.problems.is_empty() {
        return Ok(());
    }
    bail!("{} rows do not hold:\n{}", made.problems.len(), made.problems.join("\n"))
}

struct Made {
    page: String,
    paths: String,
    /// What is wrong, one sentence each.
    problems: Vec<String>,
}

fn make(root: &Path) -> Result<Made> {
    let tables = table::Tables::read(&root.join("tests/seed-api"))?;
    let proofs = collect::proofs(root)?;
    let contract = contract::Contract::read(&root.join("wit"))?;
    let mut problems = tables.check(&contract);
    problems.extend(proofs.check(&tables));
    Ok(Made { page: page::make(&tables, &proofs), paths: paths::make(&tables), problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Made {
        make(&crate::root()).expect("tables, tests and contract are readable")
    }

    /// pain: 14
    #[test]
    fn every_row_of_the_seed_api_names_paths_and_tests_that_exist() {
        let made = made();
        assert!(made.problems.is_empty(), "{}", made.problems.join("\n"));
    }

    #[test]
    fn the_page_of_the_seed_api_is_up_to_date() {
        let made = made();
        for (file, text) in [(PAGE, made.page), (PATHS, made.paths)] {
            let there = fs::read_to_string(crate::root().join(file)).expect("it is checked in");
            assert!(there == text, "{file} is out of date: run `cargo xtask seed-api`");
        }
    }

    #[test]
    fn the_tables_have_all_of_the_2007_api() {
        let tables = table::Tables::read(&crate::root().join("tests/seed-api")).expect("readable");
        let published = tables.codes.iter().filter(|code| code.published).count();
        let dropped = tables.members.iter().filter(|row| row.verdict == table::Verdict::Drop).count();
        assert_eq!((tables.members.len(), tables.events.len(), tables.constants.len()), (87, 28, 81));
        assert_eq!((dropped, published, tables.pains.len()), (15, 119, 25));
    }
}
