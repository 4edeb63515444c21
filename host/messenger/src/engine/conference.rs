//! Conversations that a focus of the service holds together (RFC 4579).
//!
//! The account calls the service's factory and brings the list of whom to ask (RFC 5366); where that leads is the
//! conference. Messages go to it in a session and come from it, each in a wrapper that says who wrote. Who is there tells
//! the conference itself (RFC 4575). Where the service has no focus, or the session does not come about, everybody sends to
//! everybody instead.

use core::time::Duration;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use attache_documents::{
    conference_info::{self, ConferenceInfo, EndpointStatus, State},
    recipients::{self, Recipient},
};
use attache_sip::{
    agent::{Cause, ReferId, SubscriptionId},
    message::{HeaderName, Message, NameAddr},
    uri::UriBuf,
    usage::{Body, InviteParams, ReferEvent, ReferParams, ReferTarget, SubscribeParams, SubscriptionState},
};
use bytes::Bytes;

use crate::{
    address::Address,
    code::Code,
    conversation::{ConversationKind, MAX_PARTICIPANTS, MAX_SUBJECT, Mode, ParticipantState},
    engine::{
        Engine,
        conversations::{After, Kept, participant},
        ledger::Ticket,
        outbox,
        versions::{Arrival, Versions},
    },
    error::Error,
    event::SessionState,
    id::{ConversationId, RequestId},
};

/// Most people of a conference that are shown.
const MAX_USERS: usize = 512;
/// Pause before a conference is joined again whose session broke.
const REJOIN: Duration = Duration::from_secs(10);

/// What is known of a conference.
#[derive(Debug, Default)]
pub(super) struct Room {
    subscription: Option<SubscriptionId>,
    versions: Versions,
    info: ConferenceInfo,
}

/// What a focus was asked to do.
#[derive(Debug, Default)]
pub(super) struct Asked {
    of: HashMap<ReferId, RequestId>,
}

impl Engine {
    // ---- beginning ----

    /// Whether several people meet at the service.
    pub(super) fn has_focus(&self, people: usize, mode: Option<Mode>) -> bool {
        people > 1 && self.config.conference.is_some() && self.has_sessions() && mode != Some(Mode::Pager)
    }

    /// Whether somebody may be the focus of a conference: the service of this account, or the one that it is configured to
    /// meet at. Of another, whose word on who wrote nobody has checked, what comes is its own.
    pub(super) fn trusts_focus(&self, focus: &Address) -> bool {
        core::iter::once(&self.config.address)
            .chain(&self.config.conference)
            .any(|known| is_beside(focus, known))
    }

    /// Where messages of a conversation go: nowhere when it is a conference that is over for us; to its focus, if it has one;
    /// else to whom they are written.
    pub(super) fn lasting_focus(&self, id: ConversationId) -> Option<Option<Address>> {
        let conversation = self.conversations.held.get(&id).map(|held| &held.kept.conversation);
        match conversation.filter(|known| known.kind == ConversationKind::Conference) {
            Some(known) if !known.is_open() => None,
            Some(known) => Some(known.focus.clone()),
            None => Some(None),
        }
    }

    /// A conference that is durable, and not anywhere yet: the factory is called.
    pub(super) fn begin_conference(&mut self, id: ConversationId) {
        let Ok(kept) = self.open_conversation(id) else { return };
        if kept.conversation.kind != ConversationKind::Conference
            || kept.conversation.focus.is_some()
            || self.view.session != SessionState::SignedIn
            || self.streams.chats.values().any(|chat| chat.conversation == id)
        {
            return;
        }
        let people: Vec<Address> = kept.conversation.present().cloned().collect();
        let Some(factory) = self.config.conference.clone() else { return self.without_focus(id) };
        let begun = factory.to_uri().ok().and_then(|to| {
            let params = InviteParams { expires: Some(30), ..InviteParams::new(to, None) };
            self.open_chat_with(id, &factory, params, Some((Room::default(), &people)))
        });
        if begun.is_none() {
            self.without_focus(id);
        }
    }

    /// The service holds nobody together: each sends to all the others.
    fn without_focus(&mut self, id: ConversationId) {
        let Ok(kept) = self.open_conversation(id) else { return };
        let mut kept = kept.clone();
        kept.conversation.kind = ConversationKind::Group;
        kept.conversation.mode = Mode::Pager;
        kept.wire = Some(self.fresh_name());
        kept.untold = kept.conversation.present().cloned().collect();
        self.stage(kept, After::Tell);
        self.readdress(id);
    }

    /// The focus has answered: the conference is where its contact says.
    pub(super) fn joined_conference(&mut self, number: u64, answer: &Message) {
        let Some(chat) = self.streams.chats.get_mut(&number).filter(|chat| chat.room.is_some()) else {
            return;
        };
        let id = chat.conversation;
        let contact = answer.header(HeaderName::Contact).and_then(NameAddr::parse);
        let focus = contact.and_then(|contact| Address::parse(&contact.uri().ok()?.to_string()).ok());
        if let Some(focus) = focus {
            chat.peer = focus;
        }
        let focus = chat.peer.clone();
        if let Ok(kept) = self.open_conversation(id) {
            let mut kept = kept.clone();
            kept.conversation.focus = Some(focus);
            kept.conversation.mode = Mode::Session;
            self.stage(kept, After::Nothing);
        }
        self.follow_conference(number);
    }

    /// The conference of an invitation by its focus.
    pub(super) fn invited_to_conference(&mut self, focus: &Address, invitation: &Message) -> ConversationId {
        let known = self.conversations.held.values().map(|held| &held.kept.conversation);
        let known = known.filter(|known| known.is_open() && known.focus.as_ref() == Some(focus));
        if let Some(id) = known.map(|known| known.id).max() {
            return id;
        }
        let id = ConversationId(self.next_id());
        let mut kept = Kept::new(id, ConversationKind::Conference, self.now.wall);
        kept.conversation.mode = Mode::Session;
        kept.conversation.focus = Some(focus.clone());
        let subject = invitation.header(HeaderName::Subject).map(String::from_utf8_lossy).unwrap_or_default();
        let subject: String = subject.trim().chars().filter(|c| !c.is_control()).collect();
        kept.conversation.subject = subject[..subject.floor_char_boundary(MAX_SUBJECT)].into();
        self.stage(kept, After::Nothing);
        id
    }

    /// A new session with the service: conferences that go on are joined again, and those that wait begin.
    pub(super) fn rejoin_conferences(&mut self) {
        let held = self.conversations.held.values().map(|held| &held.kept.conversation);
        let open = held.filter(|known| known.is_open() && known.kind == ConversationKind::Conference);
        let mut open: Vec<_> = open.map(|known| (known.id, known.focus.clone())).collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        self.streams.rejoin_at = None;
        for (id, focus) in open {
            if self.streams.chats.values().any(|chat| chat.conversation == id) {
                continue;
            }
            match focus {
                Some(focus) => {
                    self.open_chat(id, &focus);
                }
                None => self.begin_conference(id),
            }
        }
    }

    /// A session with a focus broke, and the conference may go on: it is asked after a pause.
    pub(super) fn rejoin_soon(&mut self) {
        self.streams.rejoin_at.get_or_insert(self.now.instant + REJOIN);
    }

    pub(super) fn rejoin_due(&mut self) {
        if self.streams.rejoin_at.is_none_or(|at| at > self.now.instant) {
            return;
        }
        self.streams.rejoin_at = None;
        // Else the next sign-in does it.
        if self.view.session == SessionState::SignedIn {
            self.rejoin_conferences();
        }
    }

    /// The focus takes no session, or the conference is not there any more.
    pub(super) fn conference_failed(&mut self, id: ConversationId, cause: &Cause) {
        let Ok(kept) = self.open_conversation(id) else { return };
        if kept.conversation.focus.is_some() {
            match cause.is_outage() {
                true => self.rejoin_soon(),
                false => self.end_conversation(id),
            }
            return;
        }
        self.diagnose(format!("the service's focus took no conversation: {cause}"));
        self.without_focus(id);
    }

    /// The session with a focus is over. `by_focus`: it said so itself.
    pub(super) fn left_conference(&mut self, id: ConversationId, room: &Room, by_focus: bool) {
        if let Some(subscription) = room.subscription {
            self.agent.unsubscribe(self.now.instant, subscription);
        }
        if by_focus && self.open_conversation(id).is_ok() {
            self.end_conversation(id);
        }
    }

    // ---- people ----

    /// Asks the focus to ask somebody in, or to send them away (RFC 4579, sections 5.5 and 5.11).
    pub(super) fn ask_focus(&mut self, ticket: Ticket, id: ConversationId, address: &Address, away: bool) {
        let chat = self.streams.chats.values().find(|chat| chat.conversation == id && chat.up);
        let Some(invite) = chat.map(|chat| chat.invite) else {
            let error = Error::new(Code::SessionSessionNotReady, "the conference has not begun");
            return self.ledger.answer(ticket.token, Err(error));
        };
        let refer_to = match away {
            true => format!("{};method=BYE", address.as_str()),
            false => address.as_str().to_owned(),
        };
        match self.agent.refer(self.now.instant, ReferParams::new(ReferTarget::Within(invite), refer_to)) {
            Ok(refer) => {
                self.asked.of.insert(refer, ticket.request);
                self.accept(ticket);
            }
            Err(error) => {
                let text = "the focus could not be asked";
                let error = Error::new(Code::SessionInvitationSendFailure, text).because(error.to_string());
                self.ledger.answer(ticket.token, Err(error));
            }
        }
    }

    /// What became of what a focus was asked; false when it was nothing of that.
    pub(super) fn on_asked(&mut self, refer: ReferId, event: &ReferEvent) -> bool {
        let Some(&request) = self.asked.of.get(&refer) else { return false };
        let refused = |status: u16| {
            let cause = Cause::Status { code: status, reason: String::new() };
            outbox::failure(&cause)
        };
        let outcome = match event {
            ReferEvent::Progress { status: 200..=299, .. } => Ok(()),
            ReferEvent::Progress { status: status @ 300.., .. } => Err(refused(*status)),
            ReferEvent::Failed { cause, .. } => Err(outbox::failure(cause)),
            ReferEvent::Ended { status: Some(status @ 300..), .. } => Err(refused(*status)),
            ReferEvent::Ended { .. } => Ok(()),
            _ => return true,
        };
        self.asked.of.remove(&refer);
        self.complete(request, outcome);
        true
    }

    /// Asks who is there.
    pub(super) fn follow_conference(&mut self, number: u64) {
        let now = self.now.instant;
        let Some(chat) = self.streams.chats.get_mut(&number) else { return };
        let Some(room) = &mut chat.room else { return };
        if let Ok(focus) = chat.peer.to_uri()
            && room.subscription.is_none()
        {
            room.subscription = self.agent.subscribe(now, SubscribeParams::conference(focus));
        }
    }

    /// Whether a subscription is to who is in a conference.
    pub(super) fn is_roster(&self, id: SubscriptionId) -> bool {
        let mut rooms = self.streams.chats.values().filter_map(|chat| chat.room.as_ref());
        rooms.any(|room| room.subscription == Some(id))
    }

    /// Who is there, or that it is not told.
    pub(super) fn on_roster(
        &mut self,
        subscription: SubscriptionId,
        state: &SubscriptionState,
        document: Option<&[u8]>,
    ) {
        let now = self.now.instant;
        let chat = self
            .streams
            .chats
            .values_mut()
            .find(|chat| chat.room.as_ref().is_some_and(|room| room.subscription == Some(subscription)));
        let Some(chat) = chat else { return };
        let id = chat.conversation;
        let Some(room) = &mut chat.room else { return };
        if state.is_final() {
            room.subscription = None;
        }
        let Some(document) = document else { return };
        let read = match conference_info::read(document, &conference_info::LIMITS) {
            Ok(read) => read.document,
            Err(error) => return self.diagnose(format!("who is in a conference could not be read: {error}")),
        };
        match room.versions.take(read.version.into(), read.state == State::Full) {
            Arrival::Whole | Arrival::Next => room.info.merge(read, MAX_USERS),
            Arrival::Old => return,
            Arrival::Gap => return self.agent.refresh(now, subscription),
        }
        if room.info.state == State::Deleted {
            return self.end_conversation(id);
        }
        let info = room.info.clone();
        self.show_roster(id, &info);
    }

    fn show_roster(&mut self, id: ConversationId, info: &ConferenceInfo) {
        let at = self.now.wall;
        let Ok(kept) = self.open_conversation(id) else { return };
        let mut kept = kept.clone();
        let before = kept.conversation.clone();
        let conversation = &mut kept.conversation;
        if let Some(subject) = info.description.as_ref().and_then(|it| it.subject.as_ref())
            && conversation.subject.is_empty()
        {
            conversation.subject = subject[..subject.floor_char_boundary(MAX_SUBJECT)].into();
        }
        let mut seen = HashSet::with_capacity(info.users.len());
        let known = conversation.participants.iter().enumerate();
        let mut known: HashMap<Address, usize> = known.map(|(at, one)| (one.address.clone(), at)).collect();
        for user in &info.users {
            let Some(address) = Address::parse(&user.entity).ok() else { continue };
            if address == self.config.address || !seen.insert(address.clone()) {
                continue;
            }
            let asked = user.endpoints.iter().any(|endpoint| {
                matches!(
                    endpoint.status,
                    Some(EndpointStatus::DialingOut | EndpointStatus::Alerting | EndpointStatus::Pending)
                )
            });
            let state = match () {
                () if user.is_connected() => ParticipantState::Joined,
                () if asked => ParticipantState::Invited,
                () => ParticipantState::Left,
            };
            let name: Arc<str> = user.nickname.as_deref().unwrap_or_default().into();
            match known.get(&address).map(|at| &mut conversation.participants[*at]) {
                Some(one) => {
                    if one.state != state {
                        one.since = at;
                    }
                    one.state = state;
                    one.name = name;
                }
                None if state.is_present() && known.len() < MAX_USERS => {
                    known.insert(address.clone(), conversation.participants.len());
                    let one = participant(&address, state, at);
                    conversation.participants.push(crate::conversation::Participant { name, ..one });
                }
                None => {}
            }
        }
        for one in &mut conversation.participants {
            if one.state.is_present() && !seen.contains(&one.address) {
                one.state = ParticipantState::Left;
                one.since = at;
            }
        }
        if kept.conversation != before {
            self.stage(kept, After::Nothing);
        }
    }
}

/// Whether two addresses are of one domain.
fn is_beside(one: &Address, other: &Address) -> bool {
    let domain = |address: &Address| {
        let uri = UriBuf::parse(address.canonical()).ok()?;
        uri.as_uri().host().map(|host| host.to_string())
    };
    domain(one).is_some_and(|known| domain(other) == Some(known))
}

/// An offer with the list of whom a focus shall ask (RFC 5366, section 4).
pub(super) fn with_list(description: &Body, people: &[Address], chance: u64) -> Body {
    let list: Vec<Recipient> = people
        .iter()
        .take(MAX_PARTICIPANTS)
        .map(|address| Recipient { uri: address.as_str().to_owned(), ..Recipient::default() })
        .collect();
    let list = recipients::write(&list);
    // No text of ours holds it: it is made of chance.
    let boundary = format!("list{chance:016x}");
    let mut body = Vec::with_capacity(description.content.len() + list.len() + 512);
    let mut part = |headers: &str, content: &[u8]| {
        body.extend_from_slice(format!("--{boundary}\r\n{headers}\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    part(&format!("Content-Type: {}\r\n", description.content_type), &description.content);
    let kind =
        format!("Content-Type: {}\r\nContent-Disposition: {}\r\n", recipients::MEDIA_TYPE, recipients::LIST);
    part(&kind, list.as_bytes());
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Body::new(format!("multipart/mixed;boundary=\"{boundary}\""), Bytes::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_focus_is_one_of_its_own_service_alone() {
        let address = |text: &str| Address::parse(text).unwrap();
        let own = address("sip:alice@example.com");
        assert!(is_beside(&address("sip:conf-1@example.com"), &own));
        for other in ["sip:conf-1@elsewhere.example", "sip:conf-1@sub.example.com", "tel:+12015550123"] {
            assert!(!is_beside(&address(other), &own), "{other}");
            assert!(!is_beside(&own, &address(other)), "{other}");
        }
        assert!(!is_beside(&address("tel:+12015550123"), &address("tel:+12015550123")));
    }
}
