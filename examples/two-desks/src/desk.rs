//! One person at one desk: a host of their own, and what they see of it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use attache::{
    Address, Availability, Change, Event, EventKind, Host, HostConfig, LoadState, Messenger, Origin,
    SessionState,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::watch,
};

/// Longest wait for one step. Presence through a service may take seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A signed-in person whose events are printed as they come.
pub(crate) struct Desk {
    name: &'static str,
    host: Host,
    pub(crate) messenger: Messenger,
    events: watch::Receiver<Vec<Event>>,
}

impl Desk {
    /// Starts the host of a configuration file with one account.
    pub(crate) async fn open(name: &'static str, config: &Path) -> Result<Self> {
        let mut config = HostConfig::from_file(config)?;
        // Signed in after the events have a reader, so that the first one is seen.
        let address = config.accounts.first().context("the configuration has no account")?.address.clone();
        for account in &mut config.accounts {
            account.sign_in = false;
        }
        let host = Host::start(config).await?;
        let messenger = host.messenger(&address).context("the host has no such account")?;
        let (sender, events) = watch::channel(Vec::new());
        let mut changes = messenger.view().changes;
        tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                if let Change::Event(event) = change {
                    if let Some(line) = line(name, &event) {
                        println!("{line}");
                    }
                    sender.send_modify(|seen| seen.push(event));
                }
            }
        });
        host.plugins_loaded().await;
        for plugin in host.plugins() {
            if let LoadState::Refused { reason } = plugin.load {
                return Err(anyhow!("plugin {} does not run: {reason}", plugin.name));
            }
        }
        Ok(Self { name, host, messenger, events })
    }

    pub(crate) fn address(&self) -> &Address {
        self.messenger.address()
    }

    /// Waits for an event that has come, or comes in time.
    pub(crate) async fn sees(&self, what: &str, wanted: impl Fn(&EventKind) -> bool) -> Result<()> {
        let mut events = self.events.clone();
        let seen = events.wait_for(|seen| seen.iter().any(|event| wanted(&event.kind)));
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(anyhow!("{}'s host has stopped", self.name)),
            Err(_) => Err(anyhow!("{} did not see {what} within {} s", self.name, PATIENCE.as_secs())),
        }
    }

    /// Waits until somebody on the list is seen with this availability and note.
    pub(crate) async fn sees_presence(&self, of: &Address, value: Availability, note: &str) -> Result<()> {
        self.sees(&format!("{of} as {}", value.name()), |kind| match kind {
            EventKind::PresenceChanged(changes) => changes.iter().any(|change| {
                change.address == *of
                    && change.presence.availability == Some(value)
                    && &*change.presence.note == note
            }),
            _ => false,
        })
        .await
    }

    pub(crate) async fn close(&self) {
        self.host.shutdown().await;
    }
}

/// Words for an event, from one person's view.
fn line(name: &str, event: &Event) -> Option<String> {
    let words = match &event.kind {
        EventKind::SessionChanged { state: SessionState::SignedIn, .. } => "is signed in".to_owned(),
        EventKind::SessionChanged { reason: Some(reason), .. } => format!("has trouble: {reason}"),
        EventKind::PresenceChanged(changes) => {
            let lines: Vec<String> = changes
                .iter()
                .filter_map(|change| {
                    let availability = change.presence.availability?.name().replace('-', " ");
                    let note = if change.presence.note.is_empty() {
                        String::new()
                    } else {
                        format!(" \"{}\"", change.presence.note)
                    };
                    Some(format!("sees that {} is {availability}{note}", change.address))
                })
                .collect();
            if lines.is_empty() {
                return None;
            }
            lines.join(", ")
        }
        EventKind::ContactAdded(contact) => format!("has {} on the list", contact.address),
        EventKind::MessageReceived(message) => {
            let how = if message.origin == Origin::Automatic { "an automatic reply" } else { "a message" };
            format!("receives {how} from {}: {}", message.sender, message.content.text())
        }
        EventKind::MessageAccepted(message) => match &message.author {
            attache::Author::Plugin(plugin) => {
                format!("has the plugin `{plugin}` answer {}", message.recipient())
            }
            attache::Author::User => format!("writes to {}: {}", message.recipient(), message.content.text()),
        },
        _ => return None,
    };
    let at = event.at.to_string();
    Some(format!("  {} {:>5} {words}", at.get(11..23).unwrap_or(&at), name))
}

const HELP: &str = "\
Both desks are open. Type, and end with `quit`:
  alice TEXT | bob TEXT                     write to the other one
  alice status AVAILABILITY [NOTE]          (or bob) such as: alice status busy in a review
  alice history WORDS                       search Alice's archive";

/// Takes commands for both desks until `quit` or the end of input.
pub(crate) async fn stay(alice: &Desk, bob: &Desk) -> Result<()> {
    println!("\n{HELP}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            result = tokio::signal::ctrl_c() => {
                result?;
                None
            }
        };
        let Some(line) = line else { return Ok(()) };
        let (who, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let (desk, other) = match who {
            "" => continue,
            "quit" => return Ok(()),
            "alice" => (alice, bob),
            "bob" => (bob, alice),
            other => {
                println!("  `{other}` is nobody here.\n{HELP}");
                continue;
            }
        };
        if let Err(error) = obey(desk, other, rest).await {
            println!("  that did not work: {error}");
        }
    }
}

async fn obey(desk: &Desk, other: &Desk, command: &str) -> Result<()> {
    match command.split_once(' ').unwrap_or((command, "")) {
        ("status", rest) => {
            let (name, note) = rest.split_once(' ').unwrap_or((rest, ""));
            let value =
                Availability::from_name(name).with_context(|| format!("`{name}` is no availability"))?;
            desk.messenger.publish(value, note.trim_matches('"')).await?;
        }
        ("history", words) => {
            let query =
                attache::ArchiveQuery { text: Some(words.to_owned()), limit: 20, ..Default::default() };
            for entry in desk.messenger.history(query).await? {
                println!("  {} {}: {}", entry.at, entry.peer, entry.content.text());
            }
        }
        _ => {
            desk.messenger.send(other.address(), command).await?;
        }
    }
    Ok(())
}
