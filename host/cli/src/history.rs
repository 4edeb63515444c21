//! `attache history`: what plugins have archived, read from the data folder.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use attache::{Address, ArchiveEntry, ArchiveQuery, Timestamp};
use clap::{Args, Subcommand, ValueEnum};

use crate::{Failure, json, text};

/// What to do with the archive.
#[derive(Subcommand)]
pub(crate) enum Action {
    /// The latest messages, oldest first.
    List {
        #[command(flatten)]
        filter: Filter,
    },
    /// Messages that hold all of these words; a word that ends in `*` matches a beginning.
    Search {
        #[command(flatten)]
        filter: Filter,
        /// Words.
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Every message, oldest first, to a file or standard output.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// Where to write; standard output if left out.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Which messages, and how to print them.
#[derive(Args)]
pub(crate) struct Filter {
    /// The configuration file, for the data folder and the accounts.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only this account.
    #[arg(long, value_name = "ADDRESS")]
    account: Option<String>,
    /// Only messages with this person.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<String>,
    /// Only messages from this moment on, such as 2026-01-31T09:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only messages before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At most this many (`export`: all).
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How to print messages.
#[derive(Copy, Clone, Eq, PartialEq, ValueEnum)]
enum Format {
    /// A line for a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Messages read at a time by an export.
const PAGE: u32 = 500;

pub(crate) async fn run(action: Action) -> Result<(), Failure> {
    let (filter, words, export, output) = match action {
        Action::List { filter } => (filter, None, false, None),
        Action::Search { filter, words } => (filter, Some(words.join(" ")), false, None),
        Action::Export { filter, output } => (filter, None, true, output),
    };
    let config = crate::read_without_secrets(&filter.config)?;
    let dir = config.data_dir.as_ref().with_context(|| {
        format!("{} has no host.data-dir, so nothing is archived", filter.config.display())
    })?;
    let archive = attache::Archive::open(dir)?;
    let accounts = chosen(&config, filter.account.as_deref())?;
    let time = |text: &Option<String>| {
        let parse = |text: &String| {
            Timestamp::parse(text).map_err(|error| Failure::Usage(format!("`{text}` is {error}")))
        };
        text.as_ref().map(parse).transpose()
    };
    let address = |text: &str| Address::parse(text).map_err(|error| Failure::Usage(error.to_string()));
    let query = ArchiveQuery {
        text: words,
        peer: filter.peer.as_deref().map(address).transpose()?,
        since: time(&filter.since)?,
        until: time(&filter.until)?,
        limit: if export { PAGE } else { filter.limit },
        ..ArchiveQuery::default()
    };
    let mut out: Box<dyn Write> = match &output {
        Some(path) => Box::new(std::io::BufWriter::new(
            private_file(path).with_context(|| format!("{} cannot be written", path.display()))?,
        )),
        None => Box::new(std::io::stdout().lock()),
    };
    for account in accounts {
        let mut entries = archive.search(account, query.clone()).await?;
        let mut page = entries.len();
        while export && page == PAGE as usize {
            let after = entries.last().map(|last| (last.at, last.message));
            let older = archive.search(account, ArchiveQuery { after, ..query.clone() }).await?;
            page = older.len();
            entries.extend(older);
        }
        entries.reverse();
        let written = entries.iter().try_for_each(|entry| print(&mut out, account, entry, filter.format));
        if written.is_err() {
            return Ok(crate::forgive_closed(written)?);
        }
    }
    Ok(crate::forgive_closed(out.flush())?)
}

/// What people said is for the owner of the file only.
fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn print(
    out: &mut dyn Write,
    account: &Address,
    entry: &ArchiveEntry,
    format: Format,
) -> std::io::Result<()> {
    match format {
        Format::Text => writeln!(out, "{}", text::archived(account, entry)),
        Format::Json => {
            let mut value = json::archived(entry);
            value["account"] = account.as_str().into();
            writeln!(out, "{value}")
        }
    }
}

fn chosen<'a>(config: &'a attache::HostConfig, wanted: Option<&str>) -> anyhow::Result<Vec<&'a Address>> {
    let all = config.accounts.iter().map(|account| &account.address);
    let Some(wanted) = wanted else { return Ok(all.collect()) };
    let wanted = Address::parse(wanted)?;
    let found: Vec<_> = all.filter(|address| **address == wanted).collect();
    if found.is_empty() {
        bail!("{wanted} is no account of the configuration");
    }
    Ok(found)
}
