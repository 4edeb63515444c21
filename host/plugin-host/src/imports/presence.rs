//! `presence` and `presence-publisher`.

use std::sync::Arc;

use attache_messenger::{
    code::Code,
    command::Command,
    error::Error,
    id::ContactId,
    presence::{Capabilities, Presence},
    time::Timestamp,
};

use super::{answer, availability, invalid, wit, wit_availability, wit_freshness};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

/// Longest note, in bytes.
const NOTE: usize = 1024;

impl wit::presence::Host for GuestState {
    fn get_presence(&mut self, account: u64, contact: u64) -> Answer<wit::presence::PresenceInfo> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("presence.get-presence", Grant::PresenceRead)?;
            let snapshot = self.snapshot(account)?;
            let entry = snapshot.contacts.get(&ContactId(contact)).ok_or_else(|| no_contact(contact))?;
            Ok(info(&entry.presence))
        };
        answer(get())
    }

    fn own_presence(&mut self, account: u64) -> Answer<wit::presence::PresenceInfo> {
        self.spend_call()?;
        let own = || -> Result<_, Error> {
            self.granted("presence.own-presence", Grant::PresenceRead)?;
            Ok(info(&self.snapshot(account)?.own))
        };
        answer(own())
    }

    fn get_details(&mut self, account: u64, contact: u64) -> Answer<wit::presence::PresenceDetails> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("presence.get-details", Grant::PresenceRead)?;
            let snapshot = self.snapshot(account)?;
            let entry = snapshot.contacts.get(&ContactId(contact)).ok_or_else(|| no_contact(contact))?;
            Ok(details(&entry.presence))
        };
        answer(get())
    }

    fn get_card(&mut self, account: u64, contact: u64) -> Answer<wit::presence::Card> {
        self.spend_call()?;
        let get = || -> Result<_, Error> {
            self.granted("presence.get-card", Grant::PresenceRead)?;
            let snapshot = self.snapshot(account)?;
            let entry = snapshot.contacts.get(&ContactId(contact)).ok_or_else(|| no_contact(contact))?;
            let text = |words: &Option<Arc<str>>| words.as_ref().map(ToString::to_string);
            let card = entry.presence.card().cloned().unwrap_or_default();
            Ok(wit::presence::Card {
                display_name: text(&card.display_name),
                card: text(&card.card),
                homepage: text(&card.homepage),
                icon: text(&card.icon),
            })
        };
        answer(get())
    }

    async fn why(&mut self, account: u64, contact: Option<u64>) -> Answer<Vec<String>> {
        self.spend_call()?;
        let checked = self.granted("presence.why", Grant::PresenceRead).and_then(|()| {
            let snapshot = self.snapshot(account)?;
            match contact.map(ContactId) {
                Some(contact) if !snapshot.contacts.contains_key(&contact) => Err(no_contact(contact.0)),
                contact => Ok((snapshot, contact)),
            }
        });
        answer(match checked {
            Ok((snapshot, None)) => Ok(snapshot.own_reasons.iter().map(ToString::to_string).collect()),
            Ok((snapshot, Some(contact))) => {
                let backend = Arc::clone(&self.plugin().backend);
                let reasons = self.wait(backend.why(snapshot.account, contact)).await;
                reasons.map(|reasons| reasons.iter().map(ToString::to_string).collect())
            }
            Err(error) => Err(error),
        })
    }
}

impl wit::presence_publisher::Host for GuestState {
    async fn publish(&mut self, account: u64, value: wit::types::Availability, note: String) -> Answer<u64> {
        self.publish_own("presence-publisher.publish", account, Some(value), note, None).await
    }

    async fn publish_until(
        &mut self,
        account: u64,
        value: wit::types::Availability,
        note: String,
        until: u64,
    ) -> Answer<u64> {
        let until = Some(Timestamp::from_millis(until));
        self.publish_own("presence-publisher.publish-until", account, Some(value), note, until).await
    }

    async fn publish_automatic(&mut self, account: u64, note: String) -> Answer<u64> {
        self.publish_own("presence-publisher.publish-automatic", account, None, note, None).await
    }
}

impl GuestState {
    async fn publish_own(
        &mut self,
        function: &'static str,
        account: u64,
        value: Option<wit::types::Availability>,
        note: String,
        until: Option<Timestamp>,
    ) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted(function, Grant::PresenceWrite).and_then(|()| {
            if note.len() > NOTE {
                return Err(invalid(format!("a note has at most {NOTE} bytes")));
            }
            Ok(Command::Publish { availability: value.map(availability), note: note.into(), until })
        });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }
}

fn details(presence: &Presence) -> wit::presence::PresenceDetails {
    let capabilities = presence.capabilities();
    let details = presence.details.as_deref();
    wit::presence::PresenceDetails {
        takes_calls: capabilities.is_none_or(Capabilities::takes_calls),
        takes_messages: capabilities.is_none_or(Capabilities::takes_messages),
        last_input: details.and_then(|details| details.last_input).map(Timestamp::as_millis),
        time_offset: details.and_then(|details| details.time_offset).map(i32::from),
        upcoming: presence
            .upcoming()
            .iter()
            .map(|it| wit::presence::UpcomingChange {
                from: it.from.as_millis(),
                until: it.until.map(Timestamp::as_millis),
                availability: it.availability.map(wit_availability),
                activities: it.activities.iter().map(ToString::to_string).collect(),
                note: it.note.to_string(),
            })
            .collect(),
    }
}

fn no_contact(id: u64) -> Error {
    Error::new(Code::ContactNotFound, format!("there is no contact {id}"))
}

fn info(presence: &Presence) -> wit::presence::PresenceInfo {
    wit::presence::PresenceInfo {
        availability: presence.availability.map(wit_availability),
        freshness: wit_freshness(&presence.freshness),
        note: presence.note.to_string(),
        activities: presence.activities.iter().map(ToString::to_string).collect(),
        next_change_at: presence.next_change_at.map(Timestamp::as_millis),
    }
}
