//! `attache history`: what plugins have archived, and lines of conversations, read from the data folder.

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
    /// Only messages of this conversation, by its number.
    #[arg(long, value_name = "NUMBER")]
    conversation: Option<u64>,
    /// Only messages of one direction.
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// Only those that no person wrote, or only those of persons.
    #[arg(long, value_name = "BOOL")]
    automatic: Option<bool>,
    /// Only those with something else than words, or only words.
    #[arg(long, value_name = "BOOL")]
    attachment: Option<bool>,
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
    /// One JSON object a line; `export`: all of them in one array.
    Json,
    /// A page for a browser (`export` only).
    Html,
}

/// Which way messages went.
#[derive(Copy, Clone, Eq, PartialEq, ValueEnum)]
enum Way {
    /// To the account.
    Incoming,
    /// From the account.
    Outgoing,
}

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
        conversation: filter.conversation.map(attache::ConversationId),
        direction: filter.direction.map(|way| match way {
            Way::Incoming => attache::Direction::Incoming,
            Way::Outgoing => attache::Direction::Outgoing,
        }),
        automatic: filter.automatic,
        attachment: filter.attachment,
        limit: filter.limit,
        ..ArchiveQuery::default()
    };
    let mut out: Box<dyn Write> = match &output {
        Some(path) => Box::new(std::io::BufWriter::new(
            private_file(path).with_context(|| format!("{} cannot be written", path.display()))?,
        )),
        None => Box::new(std::io::stdout().lock()),
    };
    if export {
        let format = match filter.format {
            Format::Text => attache::ExportFormat::Text,
            Format::Json => attache::ExportFormat::Json,
            Format::Html => attache::ExportFormat::Html,
        };
        // Whoever reads the first lines and closes the pipe has seen enough.
        let mut out = Closable { out, closed: false };
        let written = archive.export(accounts, &query, format, &mut out).await;
        return if out.closed { Ok(()) } else { Ok(written.map(drop)?) };
    }
    if filter.format == Format::Html {
        return Err(Failure::Usage("only an export is a page".to_owned()));
    }
    for account in accounts {
        let mut entries = archive.search(account, query.clone()).await?;
        entries.reverse();
        let written = entries.iter().try_for_each(|entry| print(&mut out, account, entry, filter.format));
        if written.is_err() {
            return Ok(crate::forgive_closed(written)?);
        }
    }
    Ok(crate::forgive_closed(out.flush())?)
}

/// Notes that nobody reads any more.
struct Closable<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Write for Closable<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        self.closed |= written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.out.flush();
        self.closed |= flushed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        flushed
    }
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
        Format::Json | Format::Html => {
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
