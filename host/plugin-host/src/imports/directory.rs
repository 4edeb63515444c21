//! `directory`: finding people.

use std::sync::Arc;

use attache_messenger::{
    call::PhoneKind,
    error::Error,
    people::{DirectoryEntry, FoundIn, PersonQuery, Resolved},
    profile::Phones,
    snapshot::Snapshot,
};

use super::{address, answer, invalid, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

/// Most people of one answer.
const PEOPLE: u32 = 100;
/// Longest text that is looked up, in bytes.
const TEXT: usize = 512;

impl wit::directory::Host for GuestState {
    async fn resolve(&mut self, account: u64, who: wit::directory::LookUp) -> Answer<wit::directory::Person> {
        self.spend_call()?;
        let checked = self
            .granted("directory.resolve", Grant::DirectorySearch)
            .and_then(|()| Ok((self.snapshot(account)?, query(who)?)));
        answer(match checked {
            Ok((snapshot, query)) => {
                let backend = Arc::clone(&self.plugin().backend);
                let found = self.wait(backend.resolve(snapshot.account, query)).await;
                found.map(|found| resolved(&snapshot, found))
            }
            Err(error) => Err(error),
        })
    }

    async fn search(
        &mut self,
        account: u64,
        text: String,
        limit: u32,
    ) -> Answer<Vec<wit::directory::Person>> {
        self.spend_call()?;
        let checked = self
            .granted("directory.search", Grant::DirectorySearch)
            .and_then(|()| Ok((self.snapshot(account)?, bounded(text)?)));
        answer(match checked {
            Ok((snapshot, text)) => {
                let backend = Arc::clone(&self.plugin().backend);
                let limit = limit.min(PEOPLE) as usize;
                let found = self.wait(backend.search_directory(snapshot.account, text, limit)).await;
                found.map(|found| found.into_iter().map(|entry| listed(&snapshot, entry)).collect())
            }
            Err(error) => Err(error),
        })
    }

    async fn find_mail(&mut self, account: u64, text: String) -> Answer<String> {
        self.spend_call()?;
        let checked = self
            .granted("directory.find-mail", Grant::DirectorySearch)
            .and_then(|()| Ok((self.account(account)?, address(&text)?)));
        answer(match checked {
            Ok((account, address)) => {
                let backend = Arc::clone(&self.plugin().backend);
                self.wait(backend.mail_to(account, address)).await
            }
            Err(error) => Err(error),
        })
    }

    fn phones(&mut self, account: u64, text: String) -> Answer<Vec<wit::directory::Phone>> {
        self.spend_call()?;
        let phones = || -> Result<_, Error> {
            self.granted("directory.phones", Grant::DirectorySearch)?;
            let (snapshot, address) = (self.snapshot(account)?, address(&text)?);
            let contact = snapshot.by_address.get(&address).and_then(|id| snapshot.contacts.get(id));
            let said = || snapshot.watched.get(&address).and_then(|entry| entry.presence.phones().cloned());
            let phones = contact.map(|entry| entry.profile().phones).or_else(said);
            Ok(wit_phones(&phones.unwrap_or_default()))
        };
        answer(phones())
    }

    fn own_details(&mut self, account: u64) -> Answer<wit::directory::Oneself> {
        self.spend_call()?;
        let own = || -> Result<_, Error> {
            self.granted("directory.own-details", Grant::DirectorySearch)?;
            let own = &self.snapshot(account)?.profile;
            let email = own.email.as_ref().map(ToString::to_string);
            Ok(wit::directory::Oneself { email, phones: wit_phones(&own.phones) })
        };
        answer(own())
    }
}

fn query(who: wit::directory::LookUp) -> Result<PersonQuery, Error> {
    Ok(match who {
        wit::directory::LookUp::Address(text) => PersonQuery::Address(address(&text)?),
        wit::directory::LookUp::Email(text) => PersonQuery::Email(bounded(text)?),
        wit::directory::LookUp::Name(text) => PersonQuery::Name(bounded(text)?),
    })
}

fn bounded(text: String) -> Result<String, Error> {
    if text.len() > TEXT || text.trim().is_empty() {
        return Err(invalid(format!("a text to look up has 1 to {TEXT} bytes")));
    }
    Ok(text)
}

fn resolved(snapshot: &Snapshot, found: Resolved) -> wit::directory::Person {
    let place = match found.found {
        FoundIn::Oneself => wit::directory::FoundIn::Oneself,
        FoundIn::Contacts => wit::directory::FoundIn::Contacts,
        FoundIn::Directory => wit::directory::FoundIn::Directory,
        _ => wit::directory::FoundIn::Address,
    };
    let entry = found.entry.unwrap_or_else(|| DirectoryEntry::new(found.address, &*found.name));
    wit::directory::Person { found: place, ..listed(snapshot, entry) }
}

fn listed(snapshot: &Snapshot, entry: DirectoryEntry) -> wit::directory::Person {
    wit::directory::Person {
        contact: snapshot.by_address.get(&entry.address).map(|id| id.0),
        address: entry.address.to_string(),
        name: entry.name,
        detail: entry.detail,
        emails: entry.emails,
        phones: wit_phones(&entry.phones),
        page: entry.page,
        found: wit::directory::FoundIn::Directory,
    }
}

fn wit_phones(phones: &Phones) -> Vec<wit::directory::Phone> {
    let phone = |(kind, number): (PhoneKind, &attache_messenger::address::Address)| wit::directory::Phone {
        kind: match kind {
            PhoneKind::Home => wit::types::PhoneKind::Home,
            PhoneKind::Mobile => wit::types::PhoneKind::Mobile,
            _ => wit::types::PhoneKind::Work,
        },
        number: number.to_string(),
    };
    phones.iter().map(phone).collect()
}
