//! Commands on standard input, as text or as JSON.

use attache::{Address, ArchiveQuery, Availability, Code, Error, Host, Messenger, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// One command, and the id that its result carries.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) id: Value,
    /// Which account; none for the only one.
    pub(crate) account: Option<String>,
    pub(crate) command: Command,
}

impl Input {
    /// Whether it ends the program.
    pub(crate) fn is_quit(&self) -> bool {
        matches!(self.command, Command::Quit)
    }
}

/// What a person or a program asks.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Command {
    Status {
        availability: String,
        #[serde(default)]
        note: String,
    },
    Add {
        #[serde(alias = "contact")]
        address: String,
        #[serde(default)]
        name: String,
    },
    Remove {
        #[serde(alias = "contact")]
        address: String,
    },
    Im {
        to: String,
        text: String,
    },
    Contacts,
    Groups,
    AddGroup {
        name: String,
    },
    RemoveGroup {
        name: String,
    },
    AddToGroup {
        #[serde(alias = "contact")]
        address: String,
        group: String,
    },
    RemoveFromGroup {
        #[serde(alias = "contact")]
        address: String,
        group: String,
    },
    History {
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        peer: Option<String>,
        #[serde(default)]
        since: Option<String>,
        #[serde(default)]
        until: Option<String>,
        #[serde(default)]
        limit: Option<u32>,
    },
    Plugins,
    SignIn,
    SignOut,
    Help,
    Quit,
}

/// What a command answers when it worked.
pub(crate) enum Output {
    /// Fields for the JSON result, lines for a person.
    Done(Value, Vec<String>),
    /// The program shall end.
    Quit,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}

/// What `help` prints, and the end of `attache run --help`.
pub(crate) const HELP: &str = "\
  status AVAILABILITY [\"NOTE\"]   publish own presence: available, idle, busy, busy-idle, be-right-back,
                                 away, do-not-disturb, offline
  add ADDRESS [NAME]             put somebody on the contact list
  remove ADDRESS                 take somebody off it
  contacts                       the list, with presence
  groups                         the groups
  add-group NAME, remove-group NAME
  add-to-group ADDRESS GROUP, remove-from-group ADDRESS GROUP
  im ADDRESS TEXT                send a message
  history [WORDS]                search what plugins have archived
  plugins                        how the plugins are
  sign-in, sign-out
  quit                           sign out and end
  as ACCOUNT COMMAND …           any of them for one of several accounts";

/// Reads one line.
pub(crate) fn parse(line: &str) -> Result<Input, (Value, Error)> {
    let line = line.trim();
    if line.starts_with('{') {
        parse_json(line)
    } else {
        parse_text(line).map_err(|refused| (Value::Null, refused))
    }
}

fn parse_json(line: &str) -> Result<Input, (Value, Error)> {
    let value: Value = serde_json::from_str(line)
        .map_err(|error| (Value::Null, invalid(format!("this is no JSON object: {error}"))))?;
    let id = value.get("id").cloned().unwrap_or(Value::Null);
    let account = value.get("account").and_then(Value::as_str).map(str::to_owned);
    match serde_json::from_value(value) {
        Ok(command) => Ok(Input { id, account, command }),
        Err(error) => Err((id, invalid(error.to_string()))),
    }
}

fn parse_text(line: &str) -> Result<Input, Error> {
    let (word, mut rest) = split(line);
    let mut word = word;
    let mut account = None;
    if word == "as" {
        let (name, after) = split(rest);
        account = Some(name.to_owned());
        (word, rest) = split(after);
    }
    let need = |value: &str, what: &str| {
        if value.is_empty() { Err(invalid(format!("`{word}` needs {what}"))) } else { Ok(unquote(value)) }
    };
    let command = match word {
        "status" => {
            let (availability, note) = split(rest);
            Command::Status { availability: need(availability, "an availability")?, note: unquote(note) }
        }
        "add" => {
            let (address, name) = split(rest);
            Command::Add { address: need(address, "an address")?, name: unquote(name) }
        }
        "remove" => Command::Remove { address: need(rest, "an address")? },
        "im" => {
            let (to, text) = split(rest);
            Command::Im { to: need(to, "an address")?, text: need(text, "a text")? }
        }
        "contacts" => Command::Contacts,
        "groups" => Command::Groups,
        "add-group" => Command::AddGroup { name: need(rest, "a name")? },
        "remove-group" => Command::RemoveGroup { name: need(rest, "a name")? },
        "add-to-group" | "remove-from-group" => {
            let (address, group) = split(rest);
            let address = need(address, "an address")?;
            let group = need(group, "the name of a group")?;
            if word == "add-to-group" {
                Command::AddToGroup { address, group }
            } else {
                Command::RemoveFromGroup { address, group }
            }
        }
        "history" => {
            let text = (!rest.is_empty()).then(|| unquote(rest));
            Command::History { text, peer: None, since: None, until: None, limit: None }
        }
        "plugins" => Command::Plugins,
        "sign-in" => Command::SignIn,
        "sign-out" => Command::SignOut,
        "help" | "?" => Command::Help,
        "quit" | "exit" => Command::Quit,
        other => return Err(invalid(format!("`{other}` is no command; `help` lists them"))),
    };
    Ok(Input { id: Value::Null, account, command })
}

/// The first word and the rest.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

/// Quotes around the whole are for people who think of a shell; they are not part of the text.
fn unquote(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\""),
        None => text.to_owned(),
    }
}

/// Carries a command out.
pub(crate) async fn perform(host: &Host, input: Input) -> Result<Output, Error> {
    match input.command {
        Command::Quit => return Ok(Output::Quit),
        Command::Help => return Ok(done(json!({ "text": HELP }), vec![HELP.to_owned()])),
        Command::Plugins => return Ok(plugins(host)),
        _ => {}
    }
    let messenger = account(host, input.account.as_deref())?;
    match input.command {
        Command::Status { availability, note } => {
            let value = Availability::from_name(&availability).ok_or_else(|| {
                let known: Vec<_> = Availability::ALL.iter().map(|value| value.name()).collect();
                invalid(format!("`{availability}` is no availability; known are {}", known.join(", ")))
            })?;
            messenger.publish(value, &note).await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::Add { address, name } => {
            let id = messenger.add_contact(&Address::parse(&address)?, &name).await?;
            Ok(done(json!({ "contact-id": id.to_string() }), Vec::new()))
        }
        Command::Remove { address } => {
            messenger.remove_contact(contact(&messenger, &address)?).await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::Im { to, text } => {
            let id = messenger.send(&Address::parse(&to)?, &text).await?;
            Ok(done(json!({ "message": id.to_string() }), Vec::new()))
        }
        Command::Contacts => {
            let snapshot = messenger.snapshot();
            let values: Vec<Value> = snapshot.contacts.values().map(crate::json::entry).collect();
            Ok(done(
                json!({ "contacts": values }),
                snapshot.contacts.values().map(crate::text::entry).collect(),
            ))
        }
        Command::Groups => {
            let snapshot = messenger.snapshot();
            let values: Vec<Value> = snapshot
                .groups
                .values()
                .map(|group| json!({ "group-id": group.id.to_string(), "name": &*group.name }))
                .collect();
            Ok(done(
                json!({ "groups": values }),
                snapshot.groups.values().map(|group| group.name.to_string()).collect(),
            ))
        }
        Command::AddGroup { name } => {
            let id = messenger.add_group(&name).await?;
            Ok(done(json!({ "group-id": id.to_string() }), Vec::new()))
        }
        Command::RemoveGroup { name } => {
            messenger.remove_group(group(&messenger, &name)?).await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::AddToGroup { address, group: name } => {
            messenger.add_to_group(contact(&messenger, &address)?, group(&messenger, &name)?).await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::RemoveFromGroup { address, group: name } => {
            messenger.remove_from_group(contact(&messenger, &address)?, group(&messenger, &name)?).await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::History { text, peer, since, until, limit } => {
            let time = |text: Option<String>| match text {
                Some(text) => Timestamp::parse(&text)
                    .map(Some)
                    .map_err(|_| invalid(format!("`{text}` is no time, such as 2026-01-31T09:00:00Z"))),
                None => Ok(None),
            };
            let query = ArchiveQuery {
                text,
                peer: peer.map(|peer| Address::parse(&peer)).transpose()?,
                since: time(since)?,
                until: time(until)?,
                before: None,
                limit: limit.unwrap_or(50).min(500),
            };
            let found = messenger.history(query).await?;
            let lines = found.iter().map(|entry| crate::text::archived(messenger.address(), entry)).collect();
            Ok(done(
                json!({ "messages": found.iter().map(crate::json::archived).collect::<Vec<_>>() }),
                lines,
            ))
        }
        Command::SignIn => {
            messenger.sign_in().await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::SignOut => {
            messenger.sign_out().await?;
            Ok(done(json!({}), Vec::new()))
        }
        Command::Plugins | Command::Help | Command::Quit => Ok(Output::Quit),
    }
}

fn done(fields: Value, lines: Vec<String>) -> Output {
    Output::Done(fields, lines)
}

fn plugins(host: &Host) -> Output {
    let all = host.plugins();
    let values: Vec<Value> = all.iter().map(|plugin| json!(plugin)).collect();
    done(json!({ "plugins": values }), all.iter().flat_map(crate::text::plugin).collect())
}

fn account(host: &Host, wanted: Option<&str>) -> Result<Messenger, Error> {
    match wanted {
        Some(address) => {
            let address = Address::parse(address)?;
            host.messenger(&address).ok_or_else(|| {
                let message = format!("{address} is no account of the configuration");
                Error::new(Code::AccountNotFound, message)
            })
        }
        None => {
            let mut all = host.messengers();
            match (all.pop(), all.is_empty()) {
                (Some(only), true) => Ok(only),
                (None, _) => Err(invalid("the configuration has no account")),
                (Some(_), false) => Err(invalid(
                    "there are several accounts: begin with `as ADDRESS`, or give \"account\" in JSON",
                )),
            }
        }
    }
}

fn contact(messenger: &Messenger, address: &str) -> Result<attache::ContactId, Error> {
    let address = Address::parse(address)?;
    messenger
        .snapshot()
        .by_address
        .get(&address)
        .copied()
        .ok_or_else(|| Error::new(Code::ContactNotFound, format!("{address} is not on the contact list")))
}

fn group(messenger: &Messenger, name: &str) -> Result<attache::GroupId, Error> {
    let snapshot = messenger.snapshot();
    let wanted = name.to_lowercase();
    let found = snapshot.groups.values().find(|group| group.name.to_lowercase() == wanted);
    found
        .map(|group| group.id)
        .ok_or_else(|| Error::new(Code::GroupDoesNotExist, format!("there is no group `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_quotes_loses_the_quotes() {
        let input = parse("status busy \"in a review\"").expect("a command");
        assert!(
            matches!(input.command, Command::Status { availability, note } if availability == "busy" && note == "in a review")
        );
    }

    #[test]
    fn json_keeps_its_id_also_when_it_is_refused() {
        let (id, refused) = parse(r#"{"id":"7","command":"fly"}"#).expect_err("no such command");
        assert_eq!(id, json!("7"));
        assert_eq!(refused.code().name(), "ATTACHE_E_INVALID_ARGUMENT");
    }

    #[test]
    fn a_message_may_hold_any_words() {
        let input = parse("im sip:bob@example.com see you \"soon\" there").expect("a command");
        assert!(matches!(input.command, Command::Im { text, .. } if text == "see you \"soon\" there"));
    }

    #[test]
    fn one_of_several_accounts_is_named_first() {
        let input = parse("as sip:alice@example.com contacts").expect("a command");
        assert_eq!(input.account.as_deref(), Some("sip:alice@example.com"));
        assert!(matches!(input.command, Command::Contacts));
    }
}
