//! Hearing of changes that others make to documents: the event package `xcap-diff` (RFC 5875).
//!
//! Only the tags of documents are heard of; a document with another tag than ours is read again. Where the service does
//! not offer the package, documents are read again from time to time, which costs next to nothing while they are the
//! same.

use std::{collections::BTreeMap, sync::Arc};

use attache_documents::{
    Limits,
    resource_lists::{self, Entry, List, Member, ResourceLists},
    xcap::{self, Resource},
};
use attache_sip::{
    agent::{NotifyBody, SubscriptionId},
    usage::{Forks, SubscribeParams, SubscriptionState},
};
use bytes::Bytes;

use super::{Client, Topic};
use crate::engine::Engine;

const TOPICS: [Topic; 3] = [Topic::Contacts, Topic::Lists, Topic::Rules];

/// What the service tells of changes.
#[derive(Debug, Default)]
pub(in crate::engine) struct Changes {
    subscription: Option<SubscriptionId>,
    /// The service has told something, so it will tell what comes.
    works: bool,
    /// Tags that were heard of, and not compared yet; empty for a document that is gone.
    announced: BTreeMap<Topic, Arc<str>>,
}

impl Changes {
    pub(in crate::engine) fn owns(&self, id: SubscriptionId) -> bool {
        self.subscription == Some(id)
    }

    /// Whether documents need not be read again from time to time.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    pub(super) fn take(&mut self, topic: Topic) -> Option<Arc<str>> {
        self.announced.remove(&topic)
    }
}

/// A tag without its quotes, which the notification leaves out.
pub(super) fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

impl Engine {
    /// Signed in: asks for changes.
    pub(super) fn start_changes(&mut self) {
        self.stop_changes();
        let Some(client) = &self.sync.client else { return };
        let Ok(target) = self.config.address.to_uri() else { return };
        let entry = |topic| {
            let uri = Client::path(client, topic).to_string();
            Member::Entry(Entry { uri, ..Entry::default() })
        };
        let list = List { members: TOPICS.map(entry).into(), ..List::default() };
        let body = resource_lists::write(&ResourceLists { lists: vec![list], ..ResourceLists::default() });
        let params = SubscribeParams {
            event: "xcap-diff".to_owned(),
            accept: vec![xcap::DIFF_TYPE.to_owned()],
            expires: u32::try_from(self.config.subscription.as_secs()).unwrap_or(u32::MAX),
            body: Some((resource_lists::MEDIA_TYPE.to_owned(), Bytes::from(body))),
            forks: Forks::First,
            ..SubscribeParams::presence(target)
        };
        self.sync.changes.subscription = self.agent.subscribe(self.now.instant, params);
    }

    pub(in crate::engine) fn stop_changes(&mut self) {
        if let Some(id) = self.sync.changes.subscription.take() {
            self.agent.unsubscribe(self.now.instant, id);
        }
        self.sync.changes = Changes::default();
    }

    pub(in crate::engine) fn on_changes(&mut self, state: &SubscriptionState, notify: Option<NotifyBody>) {
        match state {
            SubscriptionState::Terminated { .. } => {
                // Few services offer it; everything works without.
                self.sync.changes = Changes::default();
                return;
            }
            SubscriptionState::Retrying { .. } => {
                self.sync.changes.works = false;
                return;
            }
            _ => {}
        }
        let Some(body) = notify.filter(|notify| !notify.body.is_empty()) else { return };
        let Ok(diff) = xcap::read_diff(&body.body, &Limits::STORED) else {
            self.diagnose("what the service tells of changed documents cannot be read");
            return;
        };
        self.sync.changes.works = true;
        for change in diff.documents {
            let path = change.selector.strip_prefix(diff.root.as_str()).unwrap_or(&change.selector);
            let Ok(resource) = Resource::parse(path) else { continue };
            let client = self.sync.client.as_ref();
            let topic = TOPICS
                .into_iter()
                .find(|topic| client.is_some_and(|client| client.path(*topic) == resource.document));
            if let Some(topic) = topic {
                let etag = change.new_etag.as_deref().map_or("", bare);
                self.sync.changes.announced.insert(topic, etag.into());
            }
        }
        self.drive_sync();
    }
}
