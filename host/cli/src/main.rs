//! The `attache` command.

mod check;
mod command;
mod doctor;
mod history;
mod json;
mod perform;
mod printer;
mod run;
mod service;
mod talk;
mod text;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};

/// Sign in to a SIP service, talk, and let plugins take part.
#[derive(Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "\
Exit codes:
  0  it worked
  1  it failed while running, and standard error says why; or `doctor` has found a problem
  2  the command line is wrong
  3  the configuration file is wrong, or a plugin lacks a grant; standard error names file, line and key

The environment variable ATTACHE_LOG sets what is logged to standard error, such as `info` or
`attache_sip=debug` (default `warn`). Logs hold no message bodies and no passwords."
)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Sign in every account of a configuration file and run its plugins.
    #[command(after_help = run::HELP)]
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How to print events on standard output.
        #[arg(long, value_enum, default_value_t = Events::Text)]
        events: Events,
    },
    /// Run the embedded SIP service: registrar, presence agent and message relay.
    Service {
        /// The service's own configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read what plugins have archived; works while `attache run` has the data folder open.
    History {
        #[command(subcommand)]
        action: history::Action,
    },
    /// Sign in for a moment, and say what the service can do, what is in the way, and what to change.
    #[command(after_help = doctor::HELP)]
    Doctor {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One account only, by its address.
        #[arg(long, value_name = "ADDRESS")]
        account: Option<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Longest wait for the service, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=300))]
        patience: u64,
    },
    /// Check a configuration file, and what its plugins need against what they are granted. Runs nothing.
    Check {
        /// The configuration file.
        file: PathBuf,
    },
}

/// How to print events.
#[derive(Copy, Clone, Eq, PartialEq, ValueEnum)]
enum Events {
    /// A line for a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the program ends without success.
enum Failure {
    /// Exit code 1.
    Failed(anyhow::Error),
    /// Exit code 1; everything has been said.
    Problems,
    /// Exit code 2; the text is complete.
    Usage(String),
    /// Exit code 3; the text is complete.
    Configuration(String),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("ATTACHE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match perform(arguments.action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            eprintln!("attache: {error:#}");
            ExitCode::from(1)
        }
        Err(Failure::Problems) => ExitCode::from(1),
        Err(Failure::Usage(problem)) => {
            eprintln!("attache: {problem}");
            ExitCode::from(2)
        }
        Err(Failure::Configuration(problems)) => {
            eprintln!("{problems}");
            ExitCode::from(3)
        }
    }
}

fn perform(action: Action) -> Result<(), Failure> {
    match action {
        Action::Run { config, events } => runtime()?.block_on(run::run(&config, events)),
        Action::Service { config } => runtime()?.block_on(service::run(&config)),
        Action::History { action } => runtime()?.block_on(history::run(action)),
        Action::Doctor { config, account, json, patience } => {
            runtime()?.block_on(doctor::run(&config, account.as_deref(), json, patience))
        }
        Action::Check { file } => check::run(&file),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Prints to standard output. A reader that has seen enough is no failure.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    forgive_closed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn forgive_closed(written: std::io::Result<()>) -> std::io::Result<()> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Completes when the system asks the program to end.
async fn ended() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Reads an operator's file, or says everything that is wrong with it.
fn read(path: &std::path::Path) -> Result<attache::HostConfig, Failure> {
    attache::HostConfig::from_file(path).map_err(|error| Failure::Configuration(error.to_string()))
}

/// As [`read`], for commands that sign nobody in and so need no password.
fn read_without_secrets(path: &std::path::Path) -> Result<attache::HostConfig, Failure> {
    attache::HostConfig::from_file_without_secrets(path)
        .map_err(|error| Failure::Configuration(error.to_string()))
}
