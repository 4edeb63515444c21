//! What subscriptions need to go on where an earlier run of the program left them.

use std::{collections::HashSet, sync::Arc};

use super::{About, How, Watch, list::ListState};
use crate::address::Address;

impl Watch {
    /// The tag of what is known of somebody, from a subscription of their own.
    pub(in crate::engine) fn etag(&self, address: &Address) -> Option<&str> {
        match self.people.get(address) {
            Some(How::Own(id)) => self.subs.get(id)?.etag.as_deref(),
            _ => None,
        }
    }

    /// Whether the service's list tells of somebody.
    pub(in crate::engine) fn is_listed(&self, address: &Address) -> bool {
        self.people.get(address) == Some(&How::Listed)
    }

    /// The service's list, the tag of its state, and that state.
    pub(in crate::engine) fn known_list(&self) -> Option<(&str, &Arc<str>, &ListState)> {
        let list = self.list.as_ref()?.as_str();
        let told = self.subs.values().find_map(|sub| match &sub.about {
            About::ServerList(state) => Some((state, sub.etag.as_ref())),
            _ => None,
        });
        let (state, etag) = told.or(self.known_list.as_ref().map(|(state, etag)| (state, etag.as_ref())))?;
        etag.map(|etag| (list, etag, state))
    }

    /// Whether the tag of the list's state is another one than at the last call.
    pub(in crate::engine) fn take_tag_changed(&mut self) -> bool {
        core::mem::take(&mut self.tag_changed)
    }

    /// What is known of somebody has this tag.
    pub(in crate::engine) fn remember(&mut self, address: &Address, etag: &str) {
        self.etags.insert(address.clone(), etag.into());
    }

    /// The state of this list has this tag, and what it said of these people is known.
    pub(in crate::engine) fn remember_list(
        &mut self,
        list: &str,
        etag: &str,
        state: ListState,
        people: HashSet<Address>,
    ) {
        if self.list.as_ref().is_some_and(|known| known.as_str() == list) {
            self.known_list = Some((state, Some(etag.into())));
            self.remembered = people;
        }
    }
}
