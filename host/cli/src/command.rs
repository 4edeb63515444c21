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
        matches!(self.command, Command::Quit {})
    }
}

impl core::fmt::Debug for Input {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Input").field("id", &self.id).field("account", &self.account).finish_non_exhaustive()
    }
}

/// What a person or a program asks. All but one have braces, so that arguments that do not exist are refused. Not `Debug`: it may hold a password.
#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
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
    Active {},
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
    Watched {},
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
    Watchers {},
    Answer {
        address: String,
        decision: String,
    },
    Rules {},
    Rule {
        who: String,
        /// None, or left out, removes the rule.
        #[serde(default)]
        decision: Option<String>,
    },
    Preview {
        address: String,
    },
    Undo {},
    Conflicts {},
    KeepMine {
        conflict: String,
    },
    KeepTheirs {
        conflict: String,
    },
    Report {},
    Accounts {},
    /// The keys of `[[account]]`.
    AddAccount(serde_json::Map<String, Value>),
    RemoveAccount {
        address: String,
    },
    SetToken {
        token: String,
    },
    Reload {},
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
    Contacts {},
    Groups {},
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
    /// Conversations, calls, and finding people: read by name, as the rest is.
    #[serde(skip)]
    Talk(Talk),
    Plugins {},
    SignIn {},
    SignOut {},
    Help {},
    Quit {},
}

/// Commands about conversations, calls and finding people.
#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum Talk {
    Conversations {},
    StartConversation {
        participants: Vec<String>,
        #[serde(default)]
        subject: String,
        /// What programs of the others get, as text of `media-type`.
        #[serde(default)]
        context: Option<String>,
        #[serde(default)]
        media_type: Option<String>,
    },
    AddParticipant {
        conversation: String,
        address: String,
    },
    RemoveParticipant {
        conversation: String,
        address: String,
    },
    CloseConversation {
        conversation: String,
    },
    Say {
        conversation: String,
        text: String,
    },
    Transcript {
        conversation: String,
    },
    Typing {
        to: String,
        #[serde(default = "yes")]
        active: bool,
    },
    Seen {
        message: String,
    },
    Cancel {
        message: String,
    },
    Outbox {},
    Receipts {
        message: String,
    },
    Call {
        to: String,
        /// The own phone; that of the account when left out.
        #[serde(default)]
        own: Option<String>,
    },
    Calls {},
    HangUp {
        #[serde(default)]
        call: Option<String>,
    },
    AnswerCall {
        #[serde(default)]
        call: Option<String>,
    },
    Transfer {
        to: String,
        #[serde(default)]
        call: Option<String>,
    },
    SendFile {
        to: String,
        path: std::path::PathBuf,
    },
    Files {},
    AcceptFile {
        file: String,
        /// Where it goes.
        path: std::path::PathBuf,
    },
    DeclineFile {
        file: String,
    },
    Resolve {
        who: String,
    },
    Profile {
        address: String,
    },
}

/// Names of those, for `help` and for JSON.
pub(crate) const TALK: [&str; 23] = [
    "conversations",
    "start-conversation",
    "add-participant",
    "remove-participant",
    "close-conversation",
    "say",
    "transcript",
    "typing",
    "seen",
    "cancel",
    "outbox",
    "receipts",
    "call",
    "calls",
    "hang-up",
    "answer-call",
    "transfer",
    "send-file",
    "files",
    "accept-file",
    "decline-file",
    "resolve",
    "profile",
];

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
  typing ADDRESS, not-typing ADDRESS
                                 tell that you write; a conversation's ID does as well
  seen MESSAGE, receipts MESSAGE say that you have seen one; how far one of yours came
  outbox, cancel MESSAGE         what has not left, and why; take one back
Conversations
  conversations                  open ones first, with their IDs
  start-conversation ADDRESS,… [\"SUBJECT\"]
                                 with one or several people
  say ID TEXT, transcript ID     write to everybody in it; what was said
  add-participant ID ADDRESS, remove-participant ID ADDRESS
  close-conversation ID
Calls
  call NUMBER                    or an address: your own phone rings first
  calls, hang-up [ID], answer-call [ID]
  transfer NUMBER [ID]           the other side talks to somebody else
Files
  send-file ADDRESS PATH, files  offer one; those on their way, with their IDs
  accept-file ID PATH, decline-file ID
People
  resolve NAME                   or a mail address: who that is, and where they were found
  profile ADDRESS                who somebody is
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
    match read(value) {
        Ok(command) => Ok(Input { id, account, command }),
        Err(error) => Err((id, error)),
    }
}

/// Reads a command; whatever is not known is named with what was probably meant.
fn read(value: Value) -> Result<Command, Error> {
    let name = value.get("command").and_then(Value::as_str).unwrap_or_default().to_owned();
    let read = if TALK.contains(&&*name) {
        serde_json::from_value(value).map(Command::Talk)
    } else {
        serde_json::from_value(value)
    };
    read.map_err(|error| {
        let message = error.to_string();
        let mut names = message.split('`').skip(1).step_by(2);
        let (unknown, known) = (names.next().unwrap_or_default().to_owned(), names);
        if message.starts_with("unknown variant") {
            let hint = nearest(&unknown, known.chain(TALK)).unwrap_or_else(|| "`help` lists them".to_owned());
            invalid(format!("`{unknown}` is no command; {hint}"))
        } else if message.starts_with("unknown field") {
            let known: Vec<&str> = known.collect();
            let hint = nearest(&unknown, known.iter().copied()).unwrap_or_else(|| match &*known {
                [] => "it takes none".to_owned(),
                known => format!("known are {}", known.join(", ")),
            });
            invalid(format!("`{name}` has no argument `{unknown}`; {hint}"))
        } else {
            invalid(message)
        }
    })
}

/// The question whether the nearest known name was meant, if one is near.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let (distance, candidate) = known.map(|it| (strsim::damerau_levenshtein(name, it), it)).min()?;
    (distance <= 1 + candidate.len() / 3).then(|| format!("did you mean `{candidate}`?"))
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
            let (until, note) = until(rest)?;
            Command::Status {
                availability: need(availability, "an availability")?,
                note: unquote(note),
                until,
            }
        }
        "automatic" => Command::Automatic { note: unquote(rest) },
        "idle" => Command::Idle { since: (!rest.is_empty()).then(|| unquote(rest)) },
        "active" => Command::Active {},
        "fact" => {
            let (source, rest) = split(rest);
            let (activity, rest) = split(rest);
            let (until, note) = until(rest)?;
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
        "watched" => Command::Watched {},
        "alert" | "no-alert" => Command::Alert { address: need(rest, "an address")?, on: word == "alert" },
        "refresh" => Command::Refresh { address: need(rest, "an address")? },
        "why" => Command::Why { address: (!rest.is_empty()).then(|| unquote(rest)) },
        "watchers" => Command::Watchers {},
        "answer" => {
            let (address, decision) = split(rest);
            let address = need(address, "an address")?;
            Command::Answer { address, decision: need(decision, "allow, block, polite-block or confirm")? }
        }
        "rules" => Command::Rules {},
        "rule" => {
            let (who, decision) = split(rest);
            let decision = (!decision.is_empty()).then(|| unquote(decision));
            Command::Rule { who: need(who, "an address, @DOMAIN, or * for everybody")?, decision }
        }
        "preview" => Command::Preview { address: need(rest, "an address")? },
        "undo" => Command::Undo {},
        "conflicts" => Command::Conflicts {},
        "keep-mine" => Command::KeepMine { conflict: need(rest, "the id of a conflict")? },
        "keep-theirs" => Command::KeepTheirs { conflict: need(rest, "the id of a conflict")? },
        "report" => Command::Report {},
        "accounts" => Command::Accounts {},
        "add-account" => Command::AddAccount(inline_table(rest)?),
        "remove-account" => Command::RemoveAccount { address: need(rest, "an address")? },
        "set-token" => Command::SetToken { token: need(rest, "a token")? },
        "reload" => Command::Reload {},
        "add" => {
            let (address, name) = split(rest);
            Command::Add { address: need(address, "an address")?, name: unquote(name) }
        }
        "remove" => Command::Remove { address: need(rest, "an address")? },
        "im" => {
            let (to, text) = split(rest);
            Command::Im { to: need(to, "an address")?, text: need(text, "a text")? }
        }
        "contacts" => Command::Contacts {},
        "groups" => Command::Groups {},
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
        word if TALK.contains(&word) || word == "not-typing" => Command::Talk(talk(word, rest, &need)?),
        "plugins" => Command::Plugins {},
        "sign-in" => Command::SignIn {},
        "sign-out" => Command::SignOut {},
        "help" | "?" => Command::Help {},
        "quit" | "exit" => Command::Quit {},
        // Names are those of JSON, which knows what is near.
        other => read(serde_json::json!({ "command": other }))?,
    };
    Ok(Input { id: Value::Null, account, command })
}

/// A command about conversations, calls or people.
fn talk(word: &str, rest: &str, need: &dyn Fn(&str, &str) -> Result<String, Error>) -> Result<Talk, Error> {
    let (first, second) = split(rest);
    let optional = |text: &str| (!text.is_empty()).then(|| unquote(text));
    Ok(match word {
        "start-conversation" => {
            let people = need(first, "addresses, with commas between them")?;
            // What follows would become the subject, and people be left out.
            if people.ends_with(',') || second.starts_with(',') {
                return Err(invalid("the addresses stand together, without a space at the commas"));
            }
            let participants = people.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
            Talk::StartConversation {
                participants,
                subject: unquote(second),
                context: None,
                media_type: None,
            }
        }
        "add-participant" | "remove-participant" => {
            let conversation = need(first, "the id of a conversation")?;
            let address = need(second, "an address")?;
            if word == "add-participant" {
                Talk::AddParticipant { conversation, address }
            } else {
                Talk::RemoveParticipant { conversation, address }
            }
        }
        "close-conversation" => {
            Talk::CloseConversation { conversation: need(rest, "the id of a conversation")? }
        }
        "say" => Talk::Say {
            conversation: need(first, "the id of a conversation")?,
            text: need(second, "a text")?,
        },
        "transcript" => Talk::Transcript { conversation: need(rest, "the id of a conversation")? },
        "typing" | "not-typing" => Talk::Typing {
            to: need(rest, "an address, or the id of a conversation")?,
            active: word == "typing",
        },
        "seen" => Talk::Seen { message: need(rest, "the id of a message")? },
        "cancel" => Talk::Cancel { message: need(rest, "the id of a message")? },
        "receipts" => Talk::Receipts { message: need(rest, "the id of a message")? },
        "outbox" => Talk::Outbox {},
        "call" => Talk::Call { to: need(rest, "a number or an address")?, own: None },
        "calls" => Talk::Calls {},
        "hang-up" => Talk::HangUp { call: optional(rest) },
        "answer-call" => Talk::AnswerCall { call: optional(rest) },
        "transfer" => Talk::Transfer { to: need(first, "a number or an address")?, call: optional(second) },
        "send-file" => Talk::SendFile {
            to: need(first, "an address")?,
            path: need(second, "the path of a file")?.into(),
        },
        "files" => Talk::Files {},
        "accept-file" => Talk::AcceptFile {
            file: need(first, "the id of a file")?,
            path: need(second, "the path where it goes")?.into(),
        },
        "decline-file" => Talk::DeclineFile { file: need(rest, "the id of a file")? },
        "resolve" => Talk::Resolve { who: need(rest, "a name, a mail address or an address")? },
        "profile" => Talk::Profile { address: need(rest, "an address")? },
        _ => Talk::Conversations {},
    })
}

/// Takes `until TIME`, or `+PERIOD` alone, from before or after the note. Whoever means such words as a note quotes them.
fn until(text: &str) -> Result<(Option<String>, &str), Error> {
    if let Some((time, note)) = time(text)? {
        return Ok((Some(time), note));
    }
    // After a note in quotes.
    if text.starts_with('"')
        && let Some((end, _)) = text.char_indices().skip(1).filter(|(_, c)| *c == '"').last()
        && let (note, after) = text.split_at(end + 1)
        && let Some((time, "")) = time(after)?
    {
        return Ok((Some(time), note));
    }
    Ok((None, text))
}

/// A time at the beginning, and what comes after it.
fn time(text: &str) -> Result<Option<(String, &str)>, Error> {
    let (word, note) = match split(text) {
        ("until", rest) => split(rest),
        (word, rest) if word.starts_with('+') => (word, rest),
        _ => return Ok(None),
    };
    if moment(word).is_err() {
        let hint =
            "expected is `until TIME`, such as 2026-01-31T09:00:00Z or +30m; a note may hold it in quotes";
        return Err(invalid(format!("`{word}` is no time; {hint}")));
    }
    Ok(Some((word.to_owned(), note)))
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
    fn a_time_beside_the_note_is_no_note_and_words_in_quotes_are() {
        let input = parse("status busy until +30m \"in a review\"").expect("a command");
        assert!(
            matches!(input.command, Command::Status { until: Some(until), note, .. } if until == "+30m" && note == "in a review")
        );
        let input = parse("status away \"until Monday\"").expect("a command");
        assert!(matches!(input.command, Command::Status { until: None, note, .. } if note == "until Monday"));
        for line in ["status busy +30m \"n\"", "status busy \"n\" until +30m", "status busy \"n\" +30m"] {
            let input = parse(line).expect("a command");
            assert!(
                matches!(input.command, Command::Status { until: Some(until), note, .. } if until == "+30m" && note == "n"),
                "{line}"
            );
        }
    }

    #[test]
    fn a_time_that_is_none_is_no_note() {
        for (line, word) in [
            ("status busy +1x", "`+1x`"),
            ("status busy until +1x \"n\"", "`+1x`"),
            ("status busy \"n\" until +1x", "`+1x`"),
            ("status away until Monday", "`Monday`"),
            ("fact calendar meeting until soon", "`soon`"),
        ] {
            let (_, refused) = parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            let words = refused.to_string();
            assert!(words.contains(word) && words.contains("+30m"), "{line}: {words}");
        }
    }

    #[test]
    fn what_is_unknown_is_named_with_what_is_near() {
        for (line, expected) in [
            (
                r#"{"command":"status","availability":"busy","nte":"x"}"#,
                "no argument `nte`; did you mean `note`?",
            ),
            (r#"{"command":"contacts","all":true}"#, "no argument `all`; it takes none"),
            (r#"{"command":"statsu"}"#, "`statsu` is no command; did you mean `status`?"),
            ("contcts", "`contcts` is no command; did you mean `contacts`?"),
            ("fly-to-the-moon", "`help` lists them"),
        ] {
            let (_, refused) = parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(refused.to_string().contains(expected), "{line}: {refused}");
        }
    }

    #[test]
    fn an_account_is_given_as_in_the_file_or_as_json() {
        let text = r#"add-account address = "sip:a@example.com", password = { env = "P" }"#;
        let json = r#"{"command":"add-account","address":"sip:a@example.com","password":{"env":"P"}}"#;
        let tables = [text, json].map(|line| match parse(line).expect("a command").command {
            Command::AddAccount(table) => Value::Object(table),
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
        assert!(matches!(input.command, Command::Contacts {}));
    }

    /// pain: 15
    #[test]
    fn every_command_of_the_readme_is_one_and_help_has_every_one() {
        let text = include_str!("../../../README.md");
        let table = text.split_once("| Command | JSON arguments |").expect("the table").1;
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let named: Vec<&str> = rows
            .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
            .collect();
        assert!(named.len() > 50, "{named:?}");
        for name in &named {
            let refused = parse(&json!({ "command": name, "no-such-argument": 1 }).to_string());
            let words = refused.err().map(|(_, error)| error.to_string()).unwrap_or_default();
            assert!(!words.contains("is no command"), "{name}: {words}");
            assert!(HELP.contains(name), "help does not have `{name}`");
        }
        for name in TALK {
            assert!(named.contains(&name), "the README does not have `{name}`");
        }
    }
}
