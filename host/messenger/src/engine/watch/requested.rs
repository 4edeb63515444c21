//! Lists that are brought along in requests (RFC 5367).
//!
//! A list that changes is subscribed to anew, as a whole: then nothing depends on what a service makes of another list within
//! a subscription. Whoever comes joins a list with room; whoever goes leaves it a while later, together with others.

use std::{collections::HashMap, time::Duration};

use attache_documents::resource_lists::{self, Entry, List, Member, ResourceLists};
use attache_sip::{
    agent::SubscriptionId,
    usage::{Forks, SubscribeParams},
};
use bytes::Bytes;

use super::{About, Hands, How, Sub, Watch, list::ListState, ways::accepted};
use crate::{address::Address, report::Strategy};

/// So long a list still names somebody who is watched no longer: seldom one goes alone.
const TRIM: Duration = Duration::from_secs(10);

impl Watch {
    /// Watches people by lists in requests, as far as that is worth it; who is left.
    pub(super) fn by_request(&mut self, hands: &mut Hands<'_>, mut people: Vec<Address>) -> Vec<Address> {
        if self.requests.is_none() || self.requests_refused {
            return people;
        }
        let mut open: Vec<(SubscriptionId, usize)> = self
            .subs
            .iter()
            .filter_map(|(id, sub)| match &sub.about {
                About::RequestList { members, .. } => Some((*id, self.chunk.saturating_sub(members.len()))),
                _ => None,
            })
            .filter(|(_, room)| *room > 0)
            .collect();
        open.sort_unstable();
        for (id, room) in open {
            if people.is_empty() {
                break;
            }
            let joining: Vec<Address> = people.drain(..room.min(people.len())).collect();
            self.rebuild(hands, id, joining);
        }
        if people.len() < 2 {
            return people;
        }
        self.tally.because(Strategy::RequestList, "the service takes lists in requests");
        for chunk in people.chunks(self.chunk) {
            self.request_list(hands, chunk);
        }
        Vec::new()
    }

    /// Subscribes to a list anew, as it is now, with some people more.
    fn rebuild(&mut self, hands: &mut Hands<'_>, id: SubscriptionId, joining: Vec<Address>) {
        self.trims.retain(|(_, known)| *known != id);
        let Some(About::RequestList { members, .. }) = self.subs.get(&id).map(|sub| &sub.about) else {
            return;
        };
        let mut all: Vec<Address> = members.values().cloned().collect();
        all.sort_unstable();
        all.extend(joining);
        self.drop_sub(hands, id);
        self.request_list(hands, &all);
    }

    /// Somebody has left a list.
    pub(super) fn trim_later(&mut self, hands: &Hands<'_>, id: SubscriptionId) {
        if self.subs.contains_key(&id) && !self.trims.iter().any(|(_, known)| *known == id) {
            self.trims.push_back((hands.now.instant + TRIM, id));
        }
    }

    /// Lists that somebody left a while ago are subscribed to without them.
    pub(super) fn trim(&mut self, hands: &mut Hands<'_>) {
        while let Some((at, id)) = self.trims.front().copied()
            && at <= hands.now.instant
        {
            self.rebuild(hands, id, Vec::new());
            // Also where the list is no more.
            self.trims.retain(|(_, known)| *known != id);
        }
    }

    fn request_list(&mut self, hands: &mut Hands<'_>, members: &[Address]) {
        let Some(target) = self.requests.clone() else { return };
        let mut entries = Vec::with_capacity(members.len());
        let mut named = HashMap::with_capacity(members.len());
        let mut rest = Vec::new();
        for address in members {
            // Two spellings of one address would not be told apart in what comes.
            match sent(address) {
                Some(as_sent) if !named.contains_key(&as_sent) => {
                    let uri = as_sent.as_str().to_owned();
                    entries.push(Member::Entry(Entry { uri, ..Entry::default() }));
                    named.insert(as_sent, address.clone());
                }
                _ => rest.push(address),
            }
        }
        let list = List { members: entries, ..List::default() };
        let body = resource_lists::write(&ResourceLists { lists: vec![list], ..ResourceLists::default() });
        let params = SubscribeParams {
            expires: self.expires,
            accept: accepted(true),
            event_list: true,
            body: Some((resource_lists::MEDIA_TYPE.to_owned(), Bytes::from(body))),
            rates: self.list_rates,
            forks: Forks::First,
            ..SubscribeParams::presence(target)
        };
        let Some(id) = hands.agent.subscribe(hands.now.instant, params) else { return };
        for address in named.values() {
            self.set(address, Some(How::Requested(id)));
        }
        let state = ListState::new(named.len());
        self.subs.insert(id, Sub::new(About::RequestList { members: named, state }));
        for address in rest {
            self.one(hands, address);
        }
    }
}

/// An address as requests and answers have it.
fn sent(address: &Address) -> Option<Address> {
    address.to_uri().ok().and_then(|uri| Address::parse(uri.as_str()).ok())
}
