//! The page, for people who move a program over.

use core::fmt::Write as _;

use super::{
    collect::Proofs,
    table::{Row, Tables, Verdict},
};

const HEAD: &str = "\
# What answers the 2007 Automation API

Made by `cargo xtask seed-api` from `tests/seed-api/*.tsv` and from what tests say they prove; not for editing. A test fails when a row
has no test, or names a path that is not there.

Names are those of the 2007 documentation. `compat` is `attache::compat`, the facade under the old names; all else is the API to
write new programs on. Paths of the contract lead into `wit/`: `INTERFACE.FUNCTION`, or `INTERFACE.TYPE.FIELD`.
";

pub(super) fn make(tables: &Tables, proofs: &Proofs) -> String {
    let mut text = HEAD.to_owned();
    let kept: Vec<&Row> = tables.members.iter().filter(|row| row.verdict != Verdict::Drop).collect();
    let dropped: Vec<&Row> = tables.members.iter().filter(|row| row.verdict == Verdict::Drop).collect();
    let events: Vec<&Row> = tables.events.iter().collect();
    section(&mut text, "Members", "Methods and properties.", &kept, proofs);
    let what = "Members that are gone: they were dead in 2007 already, or were about windows.";
    section(&mut text, "Members that are gone, and what to use instead", what, &dropped, proofs);
    let what = "Callbacks of `attache::compat::DMessengerEvents`; the modern API has a stream.";
    section(&mut text, "Events", what, &events, proofs);
    constants(&mut text, tables, proofs);
    codes(&mut text, tables, proofs);
    pains(&mut text, tables, proofs);
    text
}

fn section(text: &mut String, title: &str, what: &str, rows: &[&Row], proofs: &Proofs) {
    heading(text, title, what);
    text.push_str(
        "| Name | Job | Rust | `compat` | Contract | Test | Note |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            row.name,
            row.job,
            paths(&row.rust),
            paths(&row.compat),
            paths(&row.wit),
            tests(&proofs.of(row)),
            row.note,
        );
    }
}

fn constants(text: &mut String, tables: &Tables, proofs: &Proofs) {
    heading(text, "Constants", "All are constants of `attache::compat` with the published values.");
    text.push_str(
        "| Name | Value | Meaning | Rust | Contract | Test | Note |\n|---|---|---|---|---|---|---|\n",
    );
    for row in &tables.constants {
        let value = row.value.as_deref().unwrap_or_default();
        let _ = writeln!(
            text,
            "| `{}` | {value} | {} | {} | {} | {} | {} |",
            row.name,
            row.job,
            paths(&row.rust),
            paths(&row.wit),
            tests(&proofs.of(row)),
            row.note,
        );
    }
}

fn codes(text: &mut String, tables: &Tables, proofs: &Proofs) {
    let what = "Published codes, and below them the others that programs met. Numbers are the same in `attache::Code`, in \
                constants of `attache::compat` and in the contract's `types.error.code`. Those that are not told here are kept \
                for programs that compare them: they were about windows, or about services of their time.";
    heading(text, "Codes", what);
    for published in [true, false] {
        if !published {
            text.push('\n');
        }
        text.push_str("| Name | Number | Rust | Contract | Told here | Test |\n|---|---|---|---|---|---|\n");
        for row in tables.codes.iter().filter(|row| row.published == published) {
            let number = row.value.as_deref().unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{}` | {number} | {} | {} | {} | {} |",
                row.name,
                paths(if row.rust.is_empty() { &row.compat } else { &row.rust }),
                paths(&row.wit),
                if row.rust.iter().any(|path| proofs.is_told(path)) { "yes" } else { "" },
                tests(&proofs.of(row)),
            );
        }
    }
}

fn pains(text: &mut String, tables: &Tables, proofs: &Proofs) {
    heading(text, "What its users suffered", "And what holds here instead.");
    text.push_str("| # | Then | Now | Test |\n|---|---|---|---|\n");
    for pain in &tables.pains {
        let tests = tests(&proofs.of_pain(&pain.number));
        let _ = writeln!(text, "| {} | {} | {} | {tests} |", pain.number, pain.pain, pain.holds);
    }
}

fn heading(text: &mut String, title: &str, what: &str) {
    let _ = write!(text, "\n## {title}\n\n{what}\n\n");
}

fn paths(paths: &[String]) -> String {
    let short = |path: &String| {
        let path = path.strip_prefix("attache::").unwrap_or(path);
        let path = path.split("::<").next().unwrap_or(path);
        format!("`{}`", path.strip_prefix("compat::").unwrap_or(path))
    };
    paths.iter().map(short).collect::<Vec<_>>().join(", ")
}

/// In red where there is none.
fn tests(tests: &[&str]) -> String {
    if tests.is_empty() {
        return "**none yet**".to_owned();
    }
    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join(", ")
}
