//! `presence` and `presence-publisher`.

use attache_messenger::{
    code::Code, command::Command, error::Error, id::ContactId, presence::Presence, time::Timestamp,
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
            let entry = snapshot
                .contacts
                .get(&ContactId(contact))
                .ok_or_else(|| Error::new(Code::ContactNotFound, format!("there is no contact {contact}")))?;
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
}

impl wit::presence_publisher::Host for GuestState {
    async fn publish(&mut self, account: u64, value: wit::types::Availability, note: String) -> Answer<u64> {
        self.spend_call()?;
        let checked = self.granted("presence-publisher.publish", Grant::PresenceWrite).and_then(|()| {
            if note.len() > NOTE {
                return Err(invalid(format!("a note has at most {NOTE} bytes")));
            }
            Ok(Command::Publish { availability: Some(availability(value)), note: note.into(), until: None })
        });
        answer(match checked {
            Ok(command) => self.request(account, command).await,
            Err(error) => Err(error),
        })
    }
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
