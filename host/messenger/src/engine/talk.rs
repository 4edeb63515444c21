//! Conversations of several people without a focus, and those with a subject or a context: what the others are told.
//!
//! MESSAGE knows no conversation. So each of ours that people have to agree on has a name of its own, which its messages carry
//! in `Conversation-ID`, and a small document that travels in a MESSAGE before them: who takes part and since when, what
//! it is about, and what the application hands over. Everybody may change it. Of two statements on the same person the later
//! one holds, so that all arrive at the same whatever the order in which they hear.
//!
//! Whoever does not read the document (415) still gets the messages, one by one.

mod telling;

use core::time::Duration;
use std::sync::Arc;

use attache_sip::{endpoint::Response, message::Message};
use serde::{Deserialize, Serialize};

use crate::{
    address::Address,
    code::Code,
    command::{Accepted, Command},
    conversation::{Context, ConversationKind, MAX_PARTICIPANTS, MAX_SUBJECT, Mode, ParticipantState},
    engine::{
        Engine,
        conversations::{After, Conversations, Kept, participant},
        inbox::Asker,
        ledger::Ticket,
    },
    error::Error,
    id::ConversationId,
    time::Timestamp,
};

/// The media type of the document.
const MEDIA_TYPE: &str = "application/vnd.attache.conversation+json";
/// Header with the name of the conversation that a MESSAGE belongs to.
const CONVERSATION: &str = "Conversation-ID";
/// The same for those who keep several conversations of one name apart.
const CONTRIBUTION: &str = "Contribution-ID";

/// Longest document: everybody, with addresses of a sensible length, and the longest context in base 64.
const MAX_DOCUMENT: usize = 64 * 1024;
/// Longest name of a conversation on the wire.
const MAX_NAME: usize = 128;
/// Most open conversations that one person can have with us by telling of them: beyond, they would push out those of others.
const MAX_WITH: usize = 32;
/// How far ahead another's clock may be.
const AHEAD: Duration = Duration::from_secs(300);

pub(super) use telling::Telling;

/// What others are told of a conversation.
#[derive(Deserialize, Serialize)]
struct Document {
    conversation: Arc<str>,
    kind: ConversationKind,
    members: Vec<Member>,
    #[serde(default)]
    subject: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
}

#[derive(Deserialize, Serialize)]
struct Member {
    who: Address,
    state: ParticipantState,
    since: Timestamp,
}

impl Member {
    /// Whether they do not take part any more.
    fn is_gone(&self) -> bool {
        !self.state.is_present()
    }
}

impl Conversations {
    /// What a MESSAGE of a conversation carries beside its text.
    pub(super) fn headers(&self, id: ConversationId) -> impl Iterator<Item = (String, String)> + use<> {
        let wire = self.held.get(&id).and_then(|held| held.kept.wire.clone());
        let both =
            |wire: Arc<str>| [CONVERSATION, CONTRIBUTION].map(|name| (name.to_owned(), wire.to_string()));
        wire.map(both).into_iter().flatten()
    }
}

impl Engine {
    // ---- commands ----

    /// Begins a conversation.
    pub(super) fn start_conversation(&mut self, ticket: Ticket, command: Command) {
        let Command::StartConversation { participants, subject, context, mode } = command else { return };
        match self.check_start(participants, &subject, mode) {
            Ok(people) => self.start_with(ticket, &people, subject, context, mode),
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    fn start_with(
        &mut self,
        ticket: Ticket,
        people: &[Address],
        subject: Arc<str>,
        context: Option<Context>,
        mode: Option<Mode>,
    ) {
        let plain = subject.is_empty() && context.is_none() && mode != Some(Mode::Session);
        if let ([peer], true) = (people, plain) {
            let id = self.conversation_with(peer);
            let Some(kept) = self.conversations.held.get(&id).map(|held| held.kept.clone()) else { return };
            return self.stage(kept, After::Answer(ticket));
        }
        let at = self.now.wall;
        let focus = context.is_none() && self.has_focus(people.len(), mode);
        let kind = match people.len() {
            1 => ConversationKind::Direct,
            _ if focus => ConversationKind::Conference,
            _ => ConversationKind::Group,
        };
        let told = kind == ConversationKind::Group || !subject.is_empty() || context.is_some();
        let mut kept = Kept::new(ConversationId(self.next_id()), kind, at);
        kept.conversation.mode = match kind {
            ConversationKind::Group => Mode::Pager,
            ConversationKind::Direct => mode.unwrap_or_default(),
            ConversationKind::Conference => Mode::Session,
        };
        // Whoever is asked by a session, or by a focus, hears of it so.
        let told = told && kind != ConversationKind::Conference;
        kept.wire = told.then(|| self.fresh_name());
        kept.conversation.subject = subject;
        kept.conversation.context = context;
        // Where nobody is told, the first message tells.
        let direct = kind == ConversationKind::Direct && !told;
        let state = if direct { ParticipantState::Joined } else { ParticipantState::Invited };
        kept.conversation.participants =
            people.iter().map(|address| participant(address, state, at)).collect();
        kept.untold = if told { people.to_vec() } else { Vec::new() };
        self.stage(kept, After::Answer(ticket));
    }

    fn check_start(
        &self,
        participants: Vec<Address>,
        subject: &str,
        mode: Option<Mode>,
    ) -> Result<Vec<Address>, Error> {
        let mut people: Vec<Address> = Vec::with_capacity(participants.len().min(MAX_PARTICIPANTS));
        for address in participants {
            self.check_participant(&address)?;
            if people.contains(&address) {
                continue;
            }
            if people.len() == MAX_PARTICIPANTS {
                return Err(full());
            }
            people.push(address);
        }
        if people.is_empty() {
            return Err(Error::new(Code::SessionNoUserInvited, "a conversation needs somebody to talk to"));
        }
        if subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            let text = format!("a subject has at most {MAX_SUBJECT} bytes, and no control characters");
            return Err(Error::new(Code::InvalidArgument, text));
        }
        if mode == Some(Mode::Session) && !self.has_sessions() {
            let text = "sessions of messages are not offered by this account";
            return Err(Error::new(Code::UnsupportedByService, text));
        }
        Ok(people)
    }

    pub(super) fn is_conference(&self, id: ConversationId) -> bool {
        self.open_conversation(id).is_ok_and(|kept| kept.conversation.kind == ConversationKind::Conference)
    }

    fn check_participant(&self, address: &Address) -> Result<(), Error> {
        if *address == self.config.address {
            return Err(Error::new(Code::SessionInvitedSelf, "nobody can talk to themselves"));
        }
        address.to_uri().map(drop)
    }

    /// Asks somebody in.
    pub(super) fn add_participant(&mut self, ticket: Ticket, id: ConversationId, address: &Address) {
        if self.is_conference(id) {
            return match self.check_participant(address) {
                Ok(()) => self.ask_focus(ticket, id, address, false),
                Err(error) => self.ledger.answer(ticket.token, Err(error)),
            };
        }
        let changed = self.check_participant(address).and_then(|()| {
            let mut kept = self.open_conversation(id)?.clone();
            let people = &mut kept.conversation.participants;
            let present = people.iter().filter(|one| one.state.is_present()).count();
            let at = self.now.wall;
            match people.iter_mut().find(|one| one.address == *address) {
                Some(one) if one.state.is_present() => return Ok((kept, false)),
                _ if present >= MAX_PARTICIPANTS => return Err(full()),
                Some(one) => {
                    one.state = ParticipantState::Invited;
                    one.since = at.max(one.since + Duration::from_millis(1));
                }
                None => {
                    if people.len() >= 2 * MAX_PARTICIPANTS {
                        // Those who have left are remembered so that nobody brings them back by old news.
                        let gone = people.iter().position(|one| !one.state.is_present());
                        people.remove(gone.unwrap_or(0));
                    }
                    people.push(participant(address, ParticipantState::Invited, at));
                }
            }
            Ok((kept, true))
        });
        match changed {
            Ok((mut kept, changed)) => {
                if changed {
                    if kept.conversation.kind == ConversationKind::Direct {
                        kept.becomes_group();
                        // It was one of two people, and knows the conversation by what it was.
                        self.close_chats(id);
                    }
                    if kept.wire.is_none() {
                        kept.wire = Some(self.fresh_name());
                    }
                    kept.untold = kept.conversation.present().cloned().collect();
                }
                self.stage(kept, After::Answer(ticket));
            }
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    /// Takes somebody out.
    pub(super) fn remove_participant(&mut self, ticket: Ticket, id: ConversationId, address: &Address) {
        if self.is_conference(id) {
            return self.ask_focus(ticket, id, address, true);
        }
        let changed = self.open_conversation(id).and_then(|kept| {
            if kept.conversation.kind == ConversationKind::Direct {
                let text = "nobody can be taken out of a conversation of two: close it";
                return Err(Error::new(Code::SessionSessionStateInvalid, text));
            }
            let mut kept = kept.clone();
            let present: Vec<Address> = kept.conversation.present().cloned().collect();
            let people = &mut kept.conversation.participants;
            let one = people.iter_mut().find(|one| one.address == *address && one.state.is_present());
            let Some(one) = one else {
                let text = format!("{address} does not take part");
                return Err(Error::new(Code::NotFound, text));
            };
            one.state = ParticipantState::Left;
            one.since = self.now.wall.max(one.since + Duration::from_millis(1));
            // Whoever is taken out is told as well.
            kept.untold = present;
            Ok(kept)
        });
        match changed {
            Ok(kept) => self.stage(kept, After::Answer(ticket)),
            Err(error) => self.ledger.answer(ticket.token, Err(error)),
        }
    }

    /// The account leaves a conversation of several, before it is closed.
    pub(super) fn leave(&mut self, id: ConversationId) {
        let at = self.now.wall;
        let Some(held) = self.conversations.held.get_mut(&id) else { return };
        if held.kept.conversation.kind != ConversationKind::Group || held.kept.wire.is_none() {
            return;
        }
        held.kept.present = false;
        held.kept.since = at.max(held.kept.since + Duration::from_millis(1));
        held.kept.untold = held.kept.conversation.present().cloned().collect();
        let untold = held.kept.untold.clone();
        self.tell_others(id, &untold);
    }

    /// A message of a conversation is about to go: whoever could not be told of it is told before.
    pub(super) fn retell(&mut self, id: ConversationId) {
        let Some(held) = self.conversations.held.get(&id) else { return };
        let people = held.kept.untold.clone();
        if self.view.conversations.contains_key(&id) {
            self.tell_others(id, &people);
        }
    }

    /// A command's change is durable.
    pub(super) fn answer_conversation(&mut self, ticket: Ticket, id: ConversationId) {
        let accepted = Accepted { conversation: Some(id), ..Accepted::new(ticket.request) };
        self.ledger.answer(ticket.token, Ok(accepted));
        if let Some(held) = self.conversations.held.get_mut(&id) {
            held.waiting.push(ticket.request);
        }
        self.begin_conference(id);
        self.begin_session(id);
        self.complete_told(id);
    }

    /// Completes what waits until everybody was told.
    pub(super) fn complete_told(&mut self, id: ConversationId) {
        if self.conversations.telling.is_telling(id) {
            return;
        }
        let Some(held) = self.conversations.held.get_mut(&id) else { return };
        let shown = self.view.conversations.get(&id).map(|entry| &entry.conversation);
        if shown.is_some_and(|shown| {
            shown.is_open() && shown.kind == ConversationKind::Conference && shown.focus.is_none()
        }) {
            // The focus has not answered.
            return;
        }
        let failure = held.failure.take();
        // What reached somebody has happened, whoever else could not be reached.
        let reached = held.kept.conversation.participants.iter();
        let reached = reached.filter(|one| one.state == ParticipantState::Joined).count() > 0;
        let outcome = failure.filter(|_| !reached).map_or(Ok(()), Err);
        for request in core::mem::take(&mut held.waiting) {
            self.complete(request, outcome.clone());
        }
    }

    pub(super) fn fresh_name(&mut self) -> Arc<str> {
        format!("{:016x}{:016x}", self.random(), self.random()).into()
    }

    // ---- hearing ----

    /// The conversation that a message belongs to.
    /// `mode` is how one is carried that begins with it.
    pub(super) fn conversation_of(
        &mut self,
        sender: &Address,
        request: &Message,
        mode: Mode,
    ) -> ConversationId {
        let wire = request.other(CONVERSATION).and_then(|value| core::str::from_utf8(value).ok());
        let Some(wire) = wire.map(str::trim) else { return self.conversation_by(sender, mode) };
        if let Some(id) = self.conversation_named(wire) {
            // Whoever does not take part does not get in by knowing its name.
            let known = self.conversations.held.get(&id);
            let present = known.is_some_and(|held| held.kept.conversation.present().any(|it| it == sender));
            return if present { id } else { self.conversation_by(sender, mode) };
        }
        // One that silence closed here goes on.
        let closed = self.last_named(wire).filter(|kept| kept.present && takes_part(kept, sender)).cloned();
        match closed {
            Some(kept) => {
                let kept = kept.reopened(ConversationId(self.next_id()), self.now.wall);
                let id = kept.conversation.id;
                self.stage(kept, After::Nothing);
                id
            }
            None => self.conversation_by(sender, mode),
        }
    }

    /// The latest conversation that had this name on the wire, open or not.
    fn last_named(&self, wire: &str) -> Option<&Kept> {
        let held = self.conversations.held.values().map(|held| &held.kept);
        held.filter(|kept| kept.wire.as_deref() == Some(wire)).max_by_key(|kept| kept.conversation.id)
    }

    /// How many open conversations there are that others have told of, or were told of, with somebody in them.
    fn named_with(&self, person: &Address) -> usize {
        let held = self.conversations.held.values().map(|held| &held.kept);
        let named = held.filter(|kept| kept.conversation.is_open() && kept.wire.is_some());
        named.filter(|kept| takes_part(kept, person)).count()
    }

    /// Somebody who was asked in has written: they are there.
    pub(super) fn note_present(&mut self, id: ConversationId, peer: &Address) {
        let Some(held) = self.conversations.held.get(&id) else { return };
        let invited = held.kept.conversation.participant(peer);
        if invited.is_none_or(|one| one.state != ParticipantState::Invited) {
            return;
        }
        let mut kept = held.kept.clone();
        let at = self.now.wall;
        for one in kept.conversation.participants.iter_mut().filter(|one| one.address == *peer) {
            one.state = ParticipantState::Joined;
            one.since = at.max(one.since + Duration::from_millis(1));
        }
        self.stage(kept, After::Nothing);
    }

    /// A document came.
    pub(super) fn on_control(&mut self, transaction: Asker, request: &Message, sender: &Address) {
        let Some(document) = read(request.body()) else {
            self.diagnose(format!("a conversation of {sender} could not be read"));
            return self.respond(transaction, &Response::new(400).reason("Unreadable Body"));
        };
        let Some(key) = self.inbox_new(transaction, request, sender) else { return };
        let mut kept = match self.belongs_to(&document, sender) {
            Ok(kept) => kept,
            Err(status) => {
                if status >= 300 {
                    self.diagnose(format!("{sender} was not heard on a conversation: {status}"));
                }
                return self.respond(transaction, &Response::new(status));
            }
        };
        let me = document.members.iter().find(|one| one.who == self.config.address);
        if let Some(me) = me.filter(|me| me.is_gone() && self.believed(me.since) > kept.since) {
            let id = kept.conversation.id;
            kept.present = false;
            kept.since = self.believed(me.since);
            self.inbox_storing(key, transaction);
            self.stage(kept, After::Respond(key));
            return self.end_conversation(id);
        }
        let was = kept.conversation.kind;
        let before = serde_json::to_string(&kept).ok();
        self.merge(&mut kept, document);
        if serde_json::to_string(&kept).ok() == before {
            return self.respond(transaction, &Response::new(200));
        }
        if kept.conversation.kind != was {
            self.close_chats(kept.conversation.id);
        }
        self.inbox_storing(key, transaction);
        self.stage(kept, After::Respond(key));
    }

    /// The conversation that a document tells of, which may be a new one; or with what status the document is answered.
    fn belongs_to(&mut self, document: &Document, sender: &Address) -> Result<Kept, u16> {
        let said = |who: &Address| document.members.iter().find(|one| one.who == *who);
        let there = |who: &Address| said(who).filter(|one| !one.is_gone());
        if let Some(id) = self.conversation_named(&document.conversation) {
            let Some(held) = self.conversations.held.get(&id) else { return Err(403) };
            return match takes_part(&held.kept, sender) {
                true => Ok(held.kept.clone()),
                // Whoever has left says so as often as they like, and nothing else: not that they are there again either.
                false if held.kept.conversation.participant(sender).is_some() && there(sender).is_none() => {
                    Err(200)
                }
                false => Err(403),
            };
        }
        // Of one that is over here, or never was, and that we are not asked into: nothing to be done.
        let (Some(me), Some(_)) = (there(&self.config.address), there(sender)) else { return Err(200) };
        let since = self.believed(me.since);
        match self.last_named(&document.conversation) {
            Some(old) if old.present && takes_part(old, sender) => {
                let old = old.clone();
                Ok(old.reopened(ConversationId(self.next_id()), self.now.wall))
            }
            Some(old) if old.present => Err(403),
            // From before we left, or were taken out.
            Some(old) if since <= old.since => Err(200),
            _ if self.named_with(sender) >= MAX_WITH => Err(486),
            _ => {
                let id = ConversationId(self.next_id());
                let mut kept = Kept::new(id, document.kind, self.now.wall);
                kept.wire = Some(document.conversation.clone());
                kept.since = since;
                Ok(kept)
            }
        }
    }

    /// A time that another's clock gave.
    fn believed(&self, since: Timestamp) -> Timestamp {
        since.min(self.now.wall + AHEAD)
    }

    fn merge(&self, kept: &mut Kept, document: Document) {
        let conversation = &mut kept.conversation;
        if conversation.subject.is_empty() {
            conversation.subject = document.subject;
        }
        if conversation.context.is_none() {
            conversation.context = document.context;
        }
        let mut present = conversation.present().count();
        for member in document.members {
            if member.who == self.config.address {
                continue;
            }
            let since = self.believed(member.since);
            // Whoever somebody asked in is there, on that word; only who asked waits for their answer.
            let state =
                if member.state.is_present() { ParticipantState::Joined } else { ParticipantState::Left };
            let full = state.is_present() && present >= MAX_PARTICIPANTS;
            let room = conversation.participants.len() < 2 * MAX_PARTICIPANTS && !full;
            match conversation.participants.iter_mut().find(|one| one.address == member.who) {
                Some(one) if full && !one.state.is_present() => {}
                Some(one) if since > one.since => {
                    match (one.state.is_present(), state.is_present()) {
                        (true, false) => present -= 1,
                        (false, true) => present += 1,
                        _ => {}
                    }
                    if one.state.is_present() != state.is_present() || one.state == ParticipantState::Invited
                    {
                        one.state = state;
                    }
                    one.since = since;
                }
                Some(_) => {}
                None if room => {
                    present += usize::from(state.is_present());
                    conversation.participants.push(participant(&member.who, state, since));
                }
                None => {}
            }
        }
        // What is said of it does not make a conversation with somebody else of two people's.
        let several = document.kind == ConversationKind::Group || conversation.participants.len() > 1;
        if several && conversation.kind == ConversationKind::Direct {
            kept.becomes_group();
        }
    }
}

/// Whether a MESSAGE tells of a conversation.
pub(super) fn is_document(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Whether somebody takes part, as far as is known here.
fn takes_part(kept: &Kept, person: &Address) -> bool {
    kept.conversation.present().any(|one| one == person)
}

fn full() -> Error {
    let text = format!("a conversation has at most {MAX_PARTICIPANTS} participants");
    Error::new(Code::SessionFull, text)
}

/// Reads a document, as far as it can be one.
fn read(body: &[u8]) -> Option<Document> {
    if body.len() > MAX_DOCUMENT {
        return None;
    }
    let mut document: Document = serde_json::from_slice(body).ok()?;
    let name = document.conversation.as_bytes();
    let token = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    let subject = document.subject.len() <= MAX_SUBJECT && !document.subject.chars().any(char::is_control);
    if !token || !subject || document.members.len() > 2 * MAX_PARTICIPANTS + 1 {
        return None;
    }
    if document.kind == ConversationKind::Conference {
        return None;
    }
    for member in &mut document.members {
        member.who = Address::parse(member.who.canonical()).ok()?;
    }
    Some(document)
}
