//! The tables of `tests/seed-api`: names and numbers of the 2007 API, and what answers them here.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

use super::contract::Contract;

/// What became of a member or event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// As it was.
    Keep,
    /// The job, without the window.
    Adapt,
    /// Gone; the note says what to use instead.
    Drop,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Adapt => "adapt",
            Self::Drop => "drop",
        }
    }
}

/// One name of the 2007 API.
pub(super) struct Row {
    /// As published, with its interface for members and events.
    pub(super) name: String,
    /// Rows that a test can name together: the enumeration of a constant, `codes`.
    pub(super) family: Option<String>,
    pub(super) verdict: Verdict,
    /// The number, for constants and codes.
    pub(super) value: Option<String>,
    /// What it is for.
    pub(super) job: String,
    /// Paths of the Rust API.
    pub(super) rust: Vec<String>,
    /// Paths below `attache::compat`.
    pub(super) compat: Vec<String>,
    /// Paths of the contract.
    pub(super) wit: Vec<String>,
    /// What to know.
    pub(super) note: String,
    /// Whether the number was in the documentation.
    pub(super) published: bool,
}

/// What its users suffered.
pub(super) struct Pain {
    pub(super) number: String,
    pub(super) pain: String,
    pub(super) holds: String,
}

pub(super) struct Tables {
    pub(super) members: Vec<Row>,
    pub(super) events: Vec<Row>,
    pub(super) constants: Vec<Row>,
    pub(super) codes: Vec<Row>,
    pub(super) pains: Vec<Pain>,
}

impl Tables {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let lines = |name: &str, columns: &[&str]| rows(&folder.join(name), columns);
        let members = ["name", "verdict", "job", "rust", "compat", "wit", "note"];
        let member = |cells: &[String]| -> Result<Row> {
            Ok(Row {
                name: cells[0].clone(),
                family: None,
                verdict: verdict(&cells[1])?,
                value: None,
                job: cells[2].clone(),
                rust: words(&cells[3]),
                compat: words(&cells[4]),
                wit: words(&cells[5]),
                note: cells[6].clone(),
                published: true,
            })
        };
        let constants = ["name", "enumeration", "value", "job", "rust", "compat", "wit", "note"];
        let codes = ["name", "number", "published", "rust", "compat", "wit"];
        Ok(Self {
            members: lines("members.tsv", &members)?.iter().map(|row| member(row)).collect::<Result<_>>()?,
            events: lines("events.tsv", &members)?.iter().map(|row| member(row)).collect::<Result<_>>()?,
            constants: lines("constants.tsv", &constants)?
                .iter()
                .map(|cells| Row {
                    name: cells[0].clone(),
                    family: Some(cells[1].clone()),
                    verdict: Verdict::Keep,
                    value: Some(cells[2].clone()),
                    job: cells[3].clone(),
                    rust: words(&cells[4]),
                    compat: words(&cells[5]),
                    wit: words(&cells[6]),
                    note: cells[7].clone(),
                    published: true,
                })
                .collect(),
            codes: lines("codes.tsv", &codes)?
                .iter()
                .map(|cells| Row {
                    name: cells[0].clone(),
                    family: Some("codes".to_owned()),
                    verdict: Verdict::Keep,
                    value: Some(cells[1].clone()),
                    job: String::new(),
                    rust: words(&cells[3]),
                    compat: words(&cells[4]),
                    wit: words(&cells[5]),
                    note: String::new(),
                    published: cells[2] == "yes",
                })
                .collect(),
            pains: lines("pains.tsv", &["number", "pain", "holds"])?
                .iter()
                .map(|cells| Pain {
                    number: cells[0].clone(),
                    pain: cells[1].clone(),
                    holds: cells[2].clone(),
                })
                .collect(),
        })
    }

    /// Every row that a test has to prove.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        [&self.members, &self.events, &self.constants, &self.codes].into_iter().flatten()
    }

    /// What the rows lack, apart from tests.
    pub(super) fn check(&self, contract: &Contract) -> Vec<String> {
        let mut problems = Vec::new();
        for row in self.rows() {
            let name = &row.name;
            if row.rust.is_empty() && row.published {
                problems.push(format!("{name}: no path of the Rust API"));
            }
            if row.wit.is_empty() {
                problems.push(format!("{name}: no path of the contract"));
            }
            for path in row.wit.iter().filter(|path| !contract.has(path)) {
                problems.push(format!("{name}: wit/ has no `{path}`"));
            }
            let dropped = row.verdict == Verdict::Drop;
            if dropped != row.compat.is_empty() {
                problems.push(format!("{name}: a row has a path below `compat`, or is dropped"));
            }
            if dropped && row.note.is_empty() {
                problems.push(format!("{name}: nothing says what to use instead"));
            }
        }
        problems
    }
}

fn verdict(name: &str) -> Result<Verdict> {
    [Verdict::Keep, Verdict::Adapt, Verdict::Drop]
        .into_iter()
        .find(|verdict| verdict.name() == name)
        .with_context(|| format!("`{name}` is no verdict"))
}

fn words(cell: &str) -> Vec<String> {
    cell.split_whitespace().map(str::to_owned).collect()
}

/// Rows of a table whose first line names these columns.
fn rows(file: &Path, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let mut lines = text.lines();
    ensure!(lines.next() == Some(columns.join("\t").as_str()), "{}: other columns", file.display());
    let mut rows = Vec::new();
    for line in lines {
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        if cells.len() != columns.len() || cells.iter().any(|cell| cell.contains('|')) {
            bail!("{}: {} cells without `|` are wanted: {line}", file.display(), columns.len());
        }
        rows.push(cells);
    }
    Ok(rows)
}
