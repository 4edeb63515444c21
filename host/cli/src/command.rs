//! Commands on standard input, as text or as JSON.

use attache::{Code, Error, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// One command, and the id that its result carries.
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

impl core::fmt::Debug for Input {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Input").field("id", &self.id).field("account", &self.account).finish_non_exhaustive()
    }
}

/// What a person or a program asks. Not `Debug`: it may hold a password.
#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Command {
    Status {
        availability: String,
        #[serde(default)]
        note: String,
        /// A moment, or `+30m` from now.
        #[serde(default)]
        until: Option<String>,
    },
    Automatic {
        #[serde(default)]
        note: String,
    },
    Idle {
        #[serde(default)]
        since: Option<String>,
    },
    Active,
    Fact {
        source: String,
        #[serde(default)]
        availability: Option<String>,
        #[serde(default)]
        activity: String,
        #[serde(default)]
        note: String,
        #[serde(default)]
        from: Option<String>,
        #[serde(default)]
        until: Option<String>,
    },
    NoFact {
        source: String,
    },
    Watch {
        address: String,
    },
    Unwatch {
        address: String,
    },
    Watched,
    Alert {
        #[serde(alias = "contact")]
        address: String,
        #[serde(default = "yes")]
        on: bool,
    },
    Refresh {
        #[serde(alias = "contact")]
        address: String,
    },
    Why {
        #[serde(default, alias = "contact")]
        address: Option<String>,
    },
    Watchers,
    Answer {
        address: String,
        decision: String,
    },
    Rules,
    Rule {
        who: String,
        /// None, or left out, removes the rule.
        #[serde(default)]
        decision: Option<String>,
    },
    Preview {
        address: String,
    },
    Undo,
    Conflicts,
    KeepMine {
        conflict: String,
    },
    KeepTheirs {
        conflict: String,
    },
    Report,
    Accounts,
    AddAccount {
        #[serde(flatten)]
        table: serde_json::Map<String, Value>,
    },
    RemoveAccount {
        address: String,
    },
    SetToken {
        token: String,
    },
    Reload,
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

fn yes() -> bool {
    true
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidArgument, message)
}

/// What `help` prints, and the end of `attache run --help`.
pub(crate) const HELP: &str = "\
Own presence
  status AVAILABILITY [until TIME] [\"NOTE\"]
                                 publish: available, idle, busy, busy-idle, be-right-back, away, do-not-disturb,
                                 offline; TIME is a moment such as 2026-01-31T09:00:00Z, or +30m
  automatic [\"NOTE\"]            take the choice back: idle time and facts decide
  idle [SINCE], active           nobody has touched the device since, or somebody does
  fact SOURCE ACTIVITY [until TIME], no-fact SOURCE
                                 something that is so, such as: fact calendar meeting until +1h
  why [ADDRESS]                  why own presence, or a contact's, is what it is
Contacts
  add ADDRESS [NAME]             put somebody on the contact list
  remove ADDRESS                 take somebody off it
  contacts                       the list, with presence
  refresh ADDRESS                ask for a contact's presence again
  alert ADDRESS, no-alert ADDRESS
                                 tell each time a contact becomes available
  groups                         the groups
  add-group NAME, remove-group NAME
  add-to-group ADDRESS GROUP, remove-from-group ADDRESS GROUP
  undo                           take the last edit of contacts and groups back
  conflicts, keep-mine ID, keep-theirs ID
                                 edits here and elsewhere that cannot both hold
People off the list
  watch ADDRESS, unwatch ADDRESS, watched
Who may see own presence
  watchers                       who watches, or wants to
  answer ADDRESS DECISION        allow, block, polite-block or confirm
  rules                          the rules
  rule WHO [DECISION]            set one, or remove it: WHO is an address, @DOMAIN, or * for everybody
  preview ADDRESS                what somebody sees now
Messages
  im ADDRESS TEXT                send a message
  history [WORDS]                search what plugins have archived
Accounts
  sign-in, sign-out
  report                         what the service can do, how it is used, what it refused
  set-token TOKEN                the access token that the service asked for
  accounts                       those of this program
  add-account KEY = VALUE, …     another one, with the keys of [[account]]; the file stays as it is
  remove-account ADDRESS         sign one out and forget it
  reload                         read the configuration file again
  as ACCOUNT COMMAND …           any command for one of several accounts
Program
  plugins                        how the plugins are
  quit                           sign out and end
  help                           this";

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
    let mut value = value;
    if let Value::Object(fields) = &mut value {
        fields.remove("id");
        fields.remove("account");
    }
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
            let (availability, rest) = split(rest);
            let (until, note) = until(rest);
            Command::Status {
                availability: need(availability, "an availability")?,
                note: unquote(note),
                until,
            }
        }
        "automatic" => Command::Automatic { note: unquote(rest) },
        "idle" => Command::Idle { since: (!rest.is_empty()).then(|| unquote(rest)) },
        "active" => Command::Active,
        "fact" => {
            let (source, rest) = split(rest);
            let (activity, rest) = split(rest);
            let (until, note) = until(rest);
            Command::Fact {
                source: need(source, "a source, such as calendar")?,
                activity: need(activity, "an activity, such as meeting")?,
                availability: None,
                note: unquote(note),
                from: None,
                until,
            }
        }
        "no-fact" => Command::NoFact { source: need(rest, "a source")? },
        "watch" => Command::Watch { address: need(rest, "an address")? },
        "unwatch" => Command::Unwatch { address: need(rest, "an address")? },
        "watched" => Command::Watched,
        "alert" | "no-alert" => Command::Alert { address: need(rest, "an address")?, on: word == "alert" },
        "refresh" => Command::Refresh { address: need(rest, "an address")? },
        "why" => Command::Why { address: (!rest.is_empty()).then(|| unquote(rest)) },
        "watchers" => Command::Watchers,
        "answer" => {
            let (address, decision) = split(rest);
            let address = need(address, "an address")?;
            Command::Answer { address, decision: need(decision, "allow, block, polite-block or confirm")? }
        }
        "rules" => Command::Rules,
        "rule" => {
            let (who, decision) = split(rest);
            let decision = (!decision.is_empty()).then(|| unquote(decision));
            Command::Rule { who: need(who, "an address, @DOMAIN, or * for everybody")?, decision }
        }
        "preview" => Command::Preview { address: need(rest, "an address")? },
        "undo" => Command::Undo,
        "conflicts" => Command::Conflicts,
        "keep-mine" => Command::KeepMine { conflict: need(rest, "the id of a conflict")? },
        "keep-theirs" => Command::KeepTheirs { conflict: need(rest, "the id of a conflict")? },
        "report" => Command::Report,
        "accounts" => Command::Accounts,
        "add-account" => Command::AddAccount { table: inline_table(rest)? },
        "remove-account" => Command::RemoveAccount { address: need(rest, "an address")? },
        "set-token" => Command::SetToken { token: need(rest, "a token")? },
        "reload" => Command::Reload,
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

/// Takes `until TIME` from the beginning. `until Monday` is a note.
fn until(text: &str) -> (Option<String>, &str) {
    if let ("until", rest) = split(text)
        && let (time, note) = split(rest)
        && moment(time).is_ok()
    {
        return (Some(time.to_owned()), note);
    }
    (None, text)
}

/// A moment of RFC 3339, or `+30m` from now.
pub(crate) fn moment(text: &str) -> Result<Timestamp, Error> {
    let wrong = || invalid(format!("`{text}` is no time, such as 2026-01-31T09:00:00Z or +30m"));
    match text.strip_prefix('+') {
        Some(period) => {
            let period = attache::Period::parse(period).map_err(|_| wrong())?;
            Ok(Timestamp::from(std::time::SystemTime::now()) + period.0)
        }
        None => Timestamp::parse(text).map_err(|_| wrong()),
    }
}

/// `KEY = VALUE, …`, as within the braces of TOML.
fn inline_table(text: &str) -> Result<serde_json::Map<String, Value>, Error> {
    #[derive(Deserialize)]
    struct Line {
        account: serde_json::Map<String, Value>,
    }
    let line = format!("account = {{ {text} }}");
    let read = toml::from_str::<Line>(&line).map_err(|_| {
        invalid("`add-account` needs keys of [[account]], such as address = \"sip:a@example.com\", password = \"…\"")
    });
    read.map(|line| line.account)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_after_until_is_no_note_and_words_are() {
        let input = parse("status busy until +30m \"in a review\"").expect("a command");
        assert!(
            matches!(input.command, Command::Status { until: Some(until), note, .. } if until == "+30m" && note == "in a review")
        );
        let input = parse("status away until Monday").expect("a command");
        assert!(matches!(input.command, Command::Status { until: None, note, .. } if note == "until Monday"));
    }

    #[test]
    fn an_account_is_given_as_in_the_file_or_as_json() {
        let text = r#"add-account address = "sip:a@example.com", password = { env = "P" }"#;
        let json = r#"{"command":"add-account","address":"sip:a@example.com","password":{"env":"P"}}"#;
        let tables = [text, json].map(|line| match parse(line).expect("a command").command {
            Command::AddAccount { table } => Value::Object(table),
            _ => panic!("another command"),
        });
        assert_eq!(tables[0], json!({ "address": "sip:a@example.com", "password": { "env": "P" } }));
        assert_eq!(tables[0], tables[1]);
    }

    #[test]
    fn text_in_quotes_loses_the_quotes() {
        let input = parse("status busy \"in a review\"").expect("a command");
        assert!(
            matches!(input.command, Command::Status { availability, note, .. } if availability == "busy" && note == "in a review")
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
