//! The ways of watching: how a subscription, a list or a question comes to be.

use std::time::Duration;

use attache_documents::{pidf, pidf_diff, rlmi};
use attache_sip::{
    agent::Cause,
    usage::{Forks, SubscribeParams},
};

use super::{About, Hands, How, LIST_PATIENCE, Server, Sub, Watch, list::ListState};
use crate::{address::Address, report::Strategy};

impl Watch {
    pub(super) fn ask_list(&mut self, hands: &mut Hands<'_>) {
        let Some(list) = self.list.clone() else { return };
        if !matches!(self.server, Server::None) {
            return;
        }
        let (state, etag) = self.known_list.take().unwrap_or_else(|| (ListState::new(self.most), None));
        let params = SubscribeParams {
            expires: self.expires,
            accept: accepted(true),
            event_list: true,
            rates: self.list_rates,
            forks: Forks::First,
            etag: etag.as_deref().map(str::to_owned),
            ..SubscribeParams::presence(list)
        };
        let Some(id) = hands.agent.subscribe(hands.now.instant, params) else { return };
        let mut sub = Sub { etag, ..Sub::new(About::ServerList(state)) };
        if let About::ServerList(state) = &mut sub.about {
            state.restart();
        }
        self.subs.insert(id, sub);
        self.server = Server::Asked { id, until: Some(hands.now.instant + LIST_PATIENCE) };
        self.tally.because(Strategy::ServerList, "the account has a list on the service");
    }

    /// Finds a way for people who have none.
    pub(super) fn assign(&mut self, hands: &mut Hands<'_>, addresses: Vec<Address>) {
        let mut rest = Vec::new();
        for address in addresses {
            self.detach(hands, &address);
            match self.server {
                Server::Asked { until: Some(_), .. } => self.set(&address, Some(How::Waiting)),
                // Also somebody who is on the list that works: it tells no more of them before they change.
                _ => rest.push(address),
            }
        }
        self.individually(hands, rest);
    }

    /// Watches people beside a list of the service.
    pub(super) fn individually(&mut self, hands: &mut Hands<'_>, addresses: Vec<Address>) {
        if addresses.is_empty() {
            return;
        }
        let addresses = self.by_request(hands, addresses);
        if addresses.is_empty() {
            return;
        }
        let reason = match (&self.server, self.requests_refused) {
            (Server::Works(_), _) => "these are not on the service's list",
            (Server::Refused, _) => "the service's list cannot be used",
            (Server::Asked { .. }, _) => "the service's list has not told yet who is on it",
            (Server::None, true) => "the service refused lists in requests",
            (Server::None, false) if self.requests.is_some() => "so few are not worth a list in a request",
            (Server::None, false) => "the account has no list on the service, and it takes none in requests",
        };
        self.tally.because(Strategy::OneEach, reason);
        for address in addresses {
            self.one(hands, &address);
        }
    }

    pub(super) fn one(&mut self, hands: &mut Hands<'_>, address: &Address) {
        let Ok(target) = address.to_uri() else { return self.set(address, Some(How::Ended)) };
        let etag = self.etags.remove(address);
        let params = SubscribeParams {
            expires: self.expires,
            accept: accepted(false),
            etag: etag.as_deref().map(str::to_owned),
            ..SubscribeParams::presence(target)
        };
        let Some(id) = hands.agent.subscribe(hands.now.instant, params) else {
            return self.set(address, Some(How::Ended));
        };
        self.subs.insert(id, Sub { etag, ..Sub::new(About::Person(address.clone())) });
        self.set(address, Some(How::Own(id)));
    }

    /// A service may refuse a subscription that lasts and yet answer a question: one is asked, before the refusal counts.
    pub(super) fn question(&mut self, hands: &mut Hands<'_>, address: &Address, refusal: Cause) -> bool {
        let Ok(target) = address.to_uri() else { return false };
        let params =
            SubscribeParams { expires: 0, accept: accepted(false), ..SubscribeParams::presence(target) };
        let Some(id) = hands.agent.subscribe(hands.now.instant, params) else { return false };
        self.subs.insert(id, Sub::new(About::Question(address.clone())));
        self.set(address, Some(How::Tried { asked: id, refusal: Box::new(refusal) }));
        true
    }

    pub(super) fn poll(&mut self, hands: &mut Hands<'_>, address: &Address) {
        let Some(How::Polled { at, .. }) = self.people.get(address).cloned() else { return };
        self.polls.remove(&(at, address.clone()));
        let Ok(target) = address.to_uri() else { return };
        let params =
            SubscribeParams { expires: 0, accept: accepted(false), ..SubscribeParams::presence(target) };
        let Some(id) = hands.agent.subscribe(hands.now.instant, params) else { return };
        self.subs.insert(id, Sub::new(About::Question(address.clone())));
        self.set(address, Some(How::Polled { at, asked: Some(id) }));
    }

    /// Asks about somebody again after a while.
    pub(super) fn poll_after(&mut self, hands: &mut Hands<'_>, address: &Address, wait: Duration) {
        let at = hands.now.instant + wait;
        self.polls.insert((at, address.clone()));
        self.set(address, Some(How::Polled { at, asked: None }));
    }

    /// Everybody who is watched by the service's list, or waits for it.
    pub(super) fn listed(&self) -> Vec<Address> {
        let mut listed: Vec<Address> = self
            .people
            .iter()
            .filter(|(_, how)| matches!(how, How::Waiting | How::Listed))
            .map(|(address, _)| address.clone())
            .collect();
        listed.sort_unstable();
        listed
    }
}

/// The types of documents that are understood.
pub(super) fn accepted(list: bool) -> Vec<String> {
    let types = if list {
        vec![pidf::MEDIA_TYPE, pidf_diff::MEDIA_TYPE, rlmi::MEDIA_TYPE, "multipart/related"]
    } else {
        // A notifier that knows changes may send them (RFC 5263).
        vec![pidf::MEDIA_TYPE, pidf_diff::MEDIA_TYPE]
    };
    types.into_iter().map(str::to_owned).collect()
}
