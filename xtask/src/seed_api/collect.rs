//! What tests say they prove.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};

use super::table::{Row, Tables};

/// Where tests are.
const FOLDERS: [&str; 5] = ["examples", "host", "plugins", "tests", "xtask"];

/// Tests by what they prove, and what is wrong with what they say.
#[derive(Default)]
pub(super) struct Proofs {
    by_name: BTreeMap<String, BTreeSet<String>>,
    by_pain: BTreeMap<String, BTreeSet<String>>,
    problems: Vec<String>,
    /// Codes that the code of the host tells, by their names in Rust.
    told: BTreeSet<String>,
}

/// Every proof of the workspace.
pub(super) fn proofs(root: &Path) -> Result<Proofs> {
    let mut proofs = Proofs::default();
    for folder in FOLDERS {
        proofs.folder(&root.join(folder))?;
    }
    Ok(proofs)
}

impl Proofs {
    /// The tests of a row, by name: those that name it before those that name its family.
    pub(super) fn of(&self, row: &Row) -> Vec<&str> {
        let named = self.by_name.get(&row.name).into_iter().flatten();
        let family = row.family.as_ref().and_then(|family| self.by_name.get(&format!("{family}.*")));
        let mut tests: Vec<&str> = Vec::new();
        for test in named.chain(family.into_iter().flatten()) {
            if !tests.contains(&test.as_str()) {
                tests.push(test);
            }
        }
        tests
    }

    /// Whether the host tells a code, by its Rust path; the others are numbers to compare with.
    pub(super) fn is_told(&self, path: &str) -> bool {
        path.rsplit("::").next().is_some_and(|name| self.told.contains(name))
    }

    /// The tests of a pain.
    pub(super) fn of_pain(&self, number: &str) -> Vec<&str> {
        self.by_pain.get(number).into_iter().flatten().map(String::as_str).collect()
    }

    /// Rows without a test, and tests that name no row.
    pub(super) fn check(&self, tables: &Tables) -> Vec<String> {
        let mut problems = self.problems.clone();
        let mut known = BTreeSet::new();
        for row in tables.rows() {
            if self.of(row).is_empty() {
                problems.push(format!("{}: no test names it", row.name));
            }
            known.insert(row.name.clone());
            known.extend(row.family.as_ref().map(|family| format!("{family}.*")));
        }
        for (name, tests) in self.by_name.iter().filter(|(name, _)| !known.contains(*name)) {
            problems.push(format!("{name}: no row has this name, which {tests:?} prove"));
        }
        for pain in &tables.pains {
            if self.of_pain(&pain.number).is_empty() {
                problems.push(format!("pain {}: no test names it", pain.number));
            }
        }
        let pains: BTreeSet<&str> = tables.pains.iter().map(|pain| pain.number.as_str()).collect();
        for (number, tests) in self.by_pain.iter().filter(|(number, _)| !pains.contains(number.as_str())) {
            problems.push(format!("pain {number}: there is none, and {tests:?} prove it"));
        }
        problems
    }

    fn folder(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    self.folder(&path)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.file(&path, &fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, text: &str) {
        let of_host = path.components().any(|part| part.as_os_str() == "src") && !path.ends_with("code.rs");
        if of_host {
            let words = text.split("Code::").skip(1);
            self.told.extend(words.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect()));
        }
        let (mut names, mut pains, mut is_test) = (Vec::new(), Vec::new(), false);
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("/// seed: ") {
                names.extend(rest.split_whitespace());
            } else if let Some(rest) = line.strip_prefix("/// pain: ") {
                pains.extend(rest.split_whitespace());
            } else if line == "#[test]" || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if line.starts_with("//") || line.starts_with("#[") {
            } else {
                self.function(path, line, is_test, &mut names, &mut pains);
                is_test = false;
            }
        }
    }

    /// Takes what was said above a line of code.
    fn function(
        &mut self,
        path: &Path,
        line: &str,
        is_test: bool,
        names: &mut Vec<&str>,
        pains: &mut Vec<&str>,
    ) {
        if names.is_empty() && pains.is_empty() {
            return;
        }
        let name: Option<String> = line
            .split_once("fn ")
            .map(|(_, rest)| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        match name {
            Some(test) if is_test => {
                for name in names.drain(..) {
                    self.by_name.entry(name.to_owned()).or_default().insert(test.clone());
                }
                for pain in pains.drain(..) {
                    self.by_pain.entry(pain.to_owned()).or_default().insert(test.clone());
                }
            }
            _ => {
                self.problems.push(format!("{}: {names:?} stand above what is no test", path.display()));
                names.clear();
                pains.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_belongs_to_the_test_below_it_and_to_nothing_else() {
        let mut proofs = Proofs::default();
        let text = "/// Why.\n/// seed: A.B C.*\n/// pain: 3\n#[tokio::test(flavor = \"x\")]\n\
                    async fn it_holds() {\n}\n/// seed: D.E\nfn helper() {}\n";
        proofs.file(Path::new("x.rs"), text);
        let names: Vec<&str> = proofs.by_name.keys().map(String::as_str).collect();
        assert_eq!(names, ["A.B", "C.*"]);
        assert_eq!(proofs.of_pain("3"), ["it_holds"]);
        assert_eq!(proofs.problems.len(), 1, "{:?}", proofs.problems);
    }
}
