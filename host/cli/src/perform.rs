//! Carries commands out.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use attache::{
    Address, ArchiveQuery, Availability, Code, ConflictId, Decision, Error, Fact, Host, HostConfig,
    Messenger, SessionState, Timestamp, Watching, Who,
};
use serde_json::{Map, Value, json};

use crate::{
    command::{Command, HELP, Input, invalid, moment},
    json, text,
};

/// What a command answers when it worked.
pub(crate) enum Output {
    /// Fields for the JSON result, lines for a person.
    Done(Value, Vec<String>),
    /// The program shall end.
    Quit,
}

type Follow = Box<dyn Fn(&Messenger) + Send + Sync>;

/// What commands work on.
pub(crate) struct Desk {
    pub(crate) host: Host,
    config: PathBuf,
    /// Begins to print what happens to an account. Called before it signs in.
    follow: Follow,
    /// Who is watched, by account.
    watching: Mutex<HashMap<(Address, Address), Watching>>,
}

impl Desk {
    pub(crate) fn new(
        host: Host,
        config: PathBuf,
        follow: impl Fn(&Messenger) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { host, config, follow: Box::new(follow), watching: Mutex::default() })
    }

    /// Carries one command out.
    pub(crate) async fn perform(&self, input: Input) -> Result<Output, Error> {
        let account = input.account.as_deref();
        match input.command {
            Command::Quit {} => Ok(Output::Quit),
            Command::Help {} => Ok(done(json!({ "text": HELP }), vec![HELP.to_owned()])),
            Command::Plugins {} => Ok(self.plugins()),
            Command::Accounts {} => Ok(self.accounts()),
            Command::AddAccount(table) => self.add_account(table).await,
            Command::RemoveAccount { address } => {
                let address = Address::parse(&address)?;
                self.host.remove_account(&address).await?;
                self.watching().retain(|(account, _), _| *account != address);
                Ok(nothing())
            }
            Command::Reload {} => self.reload().await,
            command => self.for_account(&self.account(account)?, command).await,
        }
    }

    async fn for_account(&self, messenger: &Messenger, command: Command) -> Result<Output, Error> {
        match command {
            Command::Status { availability, note, until } => {
                let value = availability_named(&availability)?;
                match until {
                    Some(until) => messenger.publish_until(value, &note, moment(&until)?).await?,
                    None => messenger.publish(value, &note).await?,
                }
            }
            Command::Automatic { note } => messenger.publish_automatic(&note).await?,
            Command::Idle { since } => {
                let since = since.map_or_else(|| Ok(now()), |since| moment(&since))?;
                messenger.set_idle(Some(since)).await?;
            }
            Command::Active {} => messenger.set_idle(None).await?,
            Command::Fact { source, availability, activity, note, from, until } => {
                let fact = Fact {
                    availability: availability.as_deref().map(availability_named).transpose()?,
                    activity: activity.into(),
                    note: note.into(),
                    from: from.as_deref().map(moment).transpose()?,
                    until: until.as_deref().map(moment).transpose()?,
                };
                messenger.set_fact(&source, Some(fact)).await?;
            }
            Command::NoFact { source } => messenger.set_fact(&source, None).await?,
            Command::Add { address, name } => {
                let id = messenger.add_contact(&Address::parse(&address)?, &name).await?;
                return Ok(done(json!({ "contact-id": id.to_string() }), Vec::new()));
            }
            Command::Remove { address } => {
                messenger.remove_contact(contact(messenger, &address)?).await?;
            }
            Command::Refresh { address } => messenger.refresh(contact(messenger, &address)?).await?,
            Command::Alert { address, on } => {
                messenger.set_alert(contact(messenger, &address)?, on).await?;
            }
            Command::Watch { address } => return self.watch(messenger, &address).await,
            Command::Unwatch { address } => {
                let key = (messenger.address().clone(), Address::parse(&address)?);
                if self.watching().remove(&key).is_none() {
                    return Err(Error::new(Code::NotFound, format!("{address} is not watched")));
                }
            }
            Command::Watched {} => return Ok(self.watched(messenger)),
            Command::Why { address } => return why(messenger, address.as_deref()).await,
            Command::Im { to, text } => {
                let id = messenger.send(&Address::parse(&to)?, &text).await?;
                let waits = matches!(
                    messenger.snapshot().session,
                    SessionState::SignedOut | SessionState::SigningOut
                );
                let lines = if waits { vec!["ok: waits until signed in".to_owned()] } else { Vec::new() };
                return Ok(done(json!({ "message": id.to_string() }), lines));
            }
            Command::Contacts {} => return Ok(contacts(messenger)),
            Command::Groups {} => return Ok(groups(messenger)),
            Command::AddGroup { name } => {
                let id = messenger.add_group(&name).await?;
                return Ok(done(json!({ "group-id": id.to_string() }), Vec::new()));
            }
            Command::RemoveGroup { name } => messenger.remove_group(group(messenger, &name)?).await?,
            Command::AddToGroup { address, group: name } => {
                messenger.add_to_group(contact(messenger, &address)?, group(messenger, &name)?).await?;
            }
            Command::RemoveFromGroup { address, group: name } => {
                messenger.remove_from_group(contact(messenger, &address)?, group(messenger, &name)?).await?;
            }
            Command::Undo {} => messenger.undo().await?,
            Command::Conflicts {} => {
                let all = messenger.conflicts();
                let values: Vec<Value> = all.iter().map(|it| json::conflict(it)).collect();
                let lines = all.iter().map(|it| text::conflict(it)).collect();
                return Ok(listed(json!({ "conflicts": values }), lines));
            }
            Command::KeepMine { conflict } => messenger.keep_mine(conflict_named(&conflict)?).await?,
            Command::KeepTheirs { conflict } => messenger.keep_theirs(conflict_named(&conflict)?).await?,
            Command::Watchers {} => {
                let all = messenger.watchers();
                let values: Vec<Value> = all.iter().map(|it| Value::Object(json::watcher(it))).collect();
                let lines = all.iter().map(|it| text::watcher(it)).collect();
                return Ok(listed(json!({ "watchers": values }), lines));
            }
            Command::Answer { address, decision } => {
                messenger.answer_watcher(&Address::parse(&address)?, decision_named(&decision)?).await?;
            }
            Command::Rules {} => {
                let rules = messenger.rules();
                let values: Vec<Value> = rules.iter().map(json::rule).collect();
                return Ok(listed(json!({ "rules": values }), rules.iter().map(text::rule).collect()));
            }
            Command::Rule { who, decision } => {
                let decision = decision.as_deref().map(decision_named).transpose()?;
                messenger.set_rule(who_named(&who)?, decision).await?;
            }
            Command::Preview { address } => {
                let preview = messenger.preview(&Address::parse(&address)?).await?;
                return Ok(done(json::preview(&preview), text::preview(&address, &preview)));
            }
            Command::Report {} => {
                let report = messenger.report();
                return Ok(done(json::report(&report), text::report(&report)));
            }
            Command::SetToken { token } => messenger.set_token(attache::Secret::new(token)).await?,
            Command::History { text, peer, since, until, limit } => {
                let query = ArchiveQuery {
                    text,
                    peer: peer.map(|peer| Address::parse(&peer)).transpose()?,
                    since: since.as_deref().map(moment).transpose()?,
                    until: until.as_deref().map(moment).transpose()?,
                    limit: limit.unwrap_or(50).min(500),
                    ..ArchiveQuery::default()
                };
                return history(messenger, query).await;
            }
            Command::Talk(command) => return crate::talk::perform(messenger, command).await,
            Command::SignIn {} => messenger.sign_in().await?,
            Command::SignOut {} => messenger.sign_out().await?,
            Command::Plugins {}
            | Command::Accounts {}
            | Command::AddAccount(_)
            | Command::RemoveAccount { .. }
            | Command::Reload {}
            | Command::Help {}
            | Command::Quit {} => {}
        }
        Ok(nothing())
    }

    fn watching(&self) -> std::sync::MutexGuard<'_, HashMap<(Address, Address), Watching>> {
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(&self, messenger: &Messenger, address: &str) -> Result<Output, Error> {
        let address = Address::parse(address)?;
        let watching = messenger.watch(&address).await?;
        let mut fields = json::presence(&watching.presence());
        fields.insert("address".to_owned(), address.as_str().into());
        let line = format!("{address} is {}", text::presence(&watching.presence()));
        // A second lease on the same person takes the place of the first: one `unwatch` ends it.
        self.watching().insert((messenger.address().clone(), address), watching);
        Ok(done(Value::Object(fields), vec![line]))
    }

    fn watched(&self, messenger: &Messenger) -> Output {
        let watching = self.watching();
        let mut mine: Vec<&Watching> = watching
            .iter()
            .filter(|((account, _), _)| account == messenger.address())
            .map(|(_, watching)| watching)
            .collect();
        mine.sort_by(|a, b| a.address().as_str().cmp(b.address().as_str()));
        let values: Vec<Value> = mine
            .iter()
            .map(|it| {
                let mut fields = json::presence(&it.presence());
                fields.insert("address".to_owned(), it.address().as_str().into());
                Value::Object(fields)
            })
            .collect();
        let lines =
            mine.iter().map(|it| format!("{} is {}", it.address(), text::presence(&it.presence()))).collect();
        listed(json!({ "watched": values }), lines)
    }

    fn plugins(&self) -> Output {
        let all = self.host.plugins();
        let values: Vec<Value> = all.iter().map(|plugin| json!(plugin)).collect();
        listed(json!({ "plugins": values }), all.iter().flat_map(text::plugin).collect())
    }

    fn accounts(&self) -> Output {
        let all = self.host.messengers();
        let values: Vec<Value> = all
            .iter()
            .map(|it| json!({ "address": it.address().as_str(), "state": it.snapshot().session.name() }))
            .collect();
        let lines = all
            .iter()
            .map(|it| format!("{}: {}", it.address(), it.snapshot().session.name().replace('-', " ")))
            .collect();
        listed(json!({ "accounts": values }), lines)
    }

    /// An account of the keys of `[[account]]`.
    async fn add_account(&self, table: Map<String, Value>) -> Result<Output, Error> {
        let file = Map::from_iter([("account".to_owned(), json!([table]))]);
        let text = toml::to_string(&file)
            .map_err(|error| invalid("this is no account").because(error.to_string()))?;
        // Problems are told by key: the lines are those of no file.
        let read = HostConfig::from_toml(&text, &self.config).map_err(|error| {
            let words: Vec<String> = error
                .problems
                .into_iter()
                .map(|it| {
                    let hint = it.suggestion.map(|hint| format!("; {hint}")).unwrap_or_default();
                    format!("{}: {}{hint}", it.key, it.message)
                })
                .collect();
            invalid(words.join("; "))
        })?;
        let mut account = read.accounts.into_iter().next().ok_or_else(|| invalid("this is no account"))?;
        let sign_in = core::mem::replace(&mut account.sign_in, false);
        let messenger = self.host.add_account(account).await?;
        self.begin(&messenger, sign_in).await?;
        Ok(nothing())
    }

    /// Prints what happens to an account from here on, and signs it in.
    pub(crate) async fn begin(&self, messenger: &Messenger, sign_in: bool) -> Result<(), Error> {
        (self.follow)(messenger);
        if sign_in {
            messenger.command(attache::Command::SignIn {}).await?;
        }
        Ok(())
    }

    /// Reads the configuration file again.
    pub(crate) async fn reload(&self) -> Result<Output, Error> {
        let mut config = HostConfig::from_file(&self.config).map_err(|error| {
            invalid("the configuration file is wrong, and nothing has changed").because(error.to_string())
        })?;
        let wanted = hold_back(&mut config);
        let report = self.host.reload(config).await?;
        let new = report.added.iter().chain(&report.changed);
        for address in new {
            if let Some(messenger) = self.host.messenger(address) {
                self.watching().retain(|(account, _), _| account != address);
                self.begin(&messenger, wanted.get(address).copied().unwrap_or_default()).await?;
            }
        }
        for address in &report.removed {
            self.watching().retain(|(account, _), _| account != address);
        }
        Ok(done(json::reloaded(&report), text::reloaded(&report)))
    }

    fn account(&self, wanted: Option<&str>) -> Result<Messenger, Error> {
        match wanted {
            Some(address) => {
                let address = Address::parse(address)?;
                self.host.messenger(&address).ok_or_else(|| {
                    Error::new(Code::AccountNotFound, format!("{address} is no account of this program"))
                })
            }
            None => {
                let mut all = self.host.messengers();
                match (all.pop(), all.is_empty()) {
                    (Some(only), true) => Ok(only),
                    (None, _) => Err(invalid("there is no account")),
                    (Some(_), false) => Err(invalid(
                        "there are several accounts: begin with `as ADDRESS`, or give \"account\" in JSON",
                    )),
                }
            }
        }
    }
}

/// Keeps accounts from signing in by themselves: their events need a reader first, because the first state change is one
/// of them. Says which would have.
pub(crate) fn hold_back(config: &mut HostConfig) -> HashMap<Address, bool> {
    let accounts = config.accounts.iter_mut();
    accounts
        .map(|account| (account.address.clone(), core::mem::replace(&mut account.sign_in, false)))
        .collect()
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

pub(crate) fn done(fields: Value, lines: Vec<String>) -> Output {
    Output::Done(fields, lines)
}

/// A list, which says so when nothing is on it.
pub(crate) fn listed(fields: Value, mut lines: Vec<String>) -> Output {
    if lines.is_empty() {
        lines.push("none".to_owned());
    }
    done(fields, lines)
}

pub(crate) fn nothing() -> Output {
    done(json!({}), Vec::new())
}

fn availability_named(name: &str) -> Result<Availability, Error> {
    Availability::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Availability::ALL.iter().map(|value| value.name()).collect();
        invalid(format!("`{name}` is no availability; known are {}", known.join(", ")))
    })
}

fn decision_named(name: &str) -> Result<Decision, Error> {
    Decision::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Decision::ALL.iter().map(|value| value.name()).collect();
        invalid(format!("`{name}` is no decision; known are {}", known.join(", ")))
    })
}

fn who_named(who: &str) -> Result<Who, Error> {
    match (who, who.strip_prefix('@')) {
        ("*", _) => Ok(Who::Everyone),
        (_, Some(domain)) if !domain.is_empty() => Ok(Who::Domain(domain.to_ascii_lowercase().into())),
        _ => Address::parse(who).map(Who::Address),
    }
}

fn conflict_named(id: &str) -> Result<ConflictId, Error> {
    id.parse().map(ConflictId).map_err(|_| invalid(format!("`{id}` is no id of a conflict")))
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

fn contacts(messenger: &Messenger) -> Output {
    let snapshot = messenger.snapshot();
    let values: Vec<Value> = snapshot.contacts.values().map(json::entry).collect();
    listed(json!({ "contacts": values }), snapshot.contacts.values().map(text::entry).collect())
}

fn groups(messenger: &Messenger) -> Output {
    let snapshot = messenger.snapshot();
    let value =
        |group: &Arc<attache::Group>| json!({ "group-id": group.id.to_string(), "name": &*group.name });
    let values: Vec<Value> = snapshot.groups.values().map(value).collect();
    listed(
        json!({ "groups": values }),
        snapshot.groups.values().map(|group| group.name.to_string()).collect(),
    )
}

async fn why(messenger: &Messenger, address: Option<&str>) -> Result<Output, Error> {
    let Some(address) = address else {
        let reasons: Vec<String> = messenger.why_own().iter().map(ToString::to_string).collect();
        let lines = reasons.iter().map(|reason| text::safe(reason)).collect();
        return Ok(listed(json!({ "reasons": reasons }), lines));
    };
    let id = contact(messenger, address)?;
    let reasons: Vec<String> = messenger.why(id).await?.iter().map(ToString::to_string).collect();
    let mut lines: Vec<String> = reasons.iter().map(|reason| text::safe(reason)).collect();
    let mut fields = json!({ "reasons": reasons });
    if let Some(entry) = messenger.snapshot().contacts.get(&id) {
        fields["presence"] = Value::Object(json::presence(&entry.presence));
        if lines.is_empty() {
            // Nothing was told that could be a reason.
            lines.push(text::entry(entry));
        }
    }
    Ok(listed(fields, lines))
}

async fn history(messenger: &Messenger, query: ArchiveQuery) -> Result<Output, Error> {
    let found = messenger.history(query).await?;
    let lines = found.iter().map(|entry| text::archived(messenger.address(), entry)).collect();
    Ok(listed(json!({ "messages": found.iter().map(json::archived).collect::<Vec<_>>() }), lines))
}
