//! Lists: held by the service (RFC 4662), or brought along in a request (RFC 5367).

use std::collections::BTreeMap;

use attache_documents::{
    Limits,
    multipart::Writer,
    resource_lists::{self, Member},
    rlmi::{self, Instance, List, Resource, State},
};
use attache_sip::{
    endpoint::Request,
    message::{HeaderName, Message, Method},
    uri::Uri,
};
use bytes::Bytes;

use super::{Policy, Service, Watcher, user};

const CLOSED: &str = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:x@example.com"><tuple id="o"><status>
    <basic>closed</basic></status></tuple></presence>"#;

/// What a test may set about lists.
#[derive(Default)]
pub(crate) struct Lists {
    /// Members by the user part of the list's address.
    pub(crate) held: BTreeMap<String, Vec<String>>,
    /// Lists in requests are taken, and that is said.
    pub(crate) in_requests: bool,
    /// The first notification brings no documents, as that of Kamailio.
    pub(crate) first_is_bare: bool,
    /// The next notifications leave numbers out.
    pub(crate) skip: u32,
    /// So many members of a list in a request are taken.
    pub(crate) most: Option<usize>,
    /// The tag of the state of lists (RFC 5839); empty for none.
    pub(crate) etag: String,
    /// What is sent for a list is none.
    pub(crate) broken: bool,
    /// Lists are refused so.
    pub(crate) down: Option<u16>,
    /// How many subscriptions with a list in the request came.
    pub(crate) requested: usize,
    pub(super) watchers: BTreeMap<String, ListWatcher>,
}

pub(super) struct ListWatcher {
    pub(super) dialog: Watcher,
    members: Vec<String>,
    version: u32,
    /// It knows the state already.
    informed: bool,
}

impl Lists {
    /// Whose list a request asks for; `None` when it asks for none.
    pub(super) fn asked(&mut self, request: &Message, target: &str) -> Option<Vec<String>> {
        if let Some(members) = self.held.get(target) {
            return Some(members.clone());
        }
        if !self.in_requests || request.body().is_empty() {
            return None;
        }
        let lists = resource_lists::read(request.body(), &Limits::DEFAULT).unwrap();
        let members = lists.lists[0].members.iter().map(|member| match member {
            Member::Entry(entry) => user(&Uri::parse_str(&entry.uri).unwrap()),
            other => panic!("{other:?}"),
        });
        self.requested += 1;
        Some(members.take(self.most.unwrap_or(usize::MAX)).collect())
    }

    /// Who is on each list that is watched, in the order in which they were asked for.
    pub(crate) fn watching(&self) -> Vec<Vec<String>> {
        self.watchers.values().map(|watcher| watcher.members.clone()).collect()
    }

    pub(super) fn add(&mut self, dialog: Watcher, members: Vec<String>, known: Option<&[u8]>) {
        let informed = !self.etag.is_empty() && known == Some(self.etag.as_bytes());
        let watcher = ListWatcher { dialog, members, version: 0, informed };
        self.watchers.insert(watcher.dialog.call_id.clone(), watcher);
    }
}

impl Service {
    /// Gives a list other members, and tells its watchers.
    pub(crate) fn set_list(&mut self, name: &str, members: &[&str]) {
        let members: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
        self.lists.held.insert(name.into(), members.clone());
        let mut told = Vec::new();
        for (call_id, watcher) in &mut self.lists.watchers {
            if watcher.dialog.target == name {
                watcher.members.clone_from(&members);
                told.push(call_id.clone());
            }
        }
        for call_id in told {
            self.notify_list(&call_id, None, false);
        }
    }

    /// Lists fail from now on, also those that are subscribed to.
    pub(crate) fn fail_lists(&mut self, status: u16) {
        self.lists.down = Some(status);
        self.lists.watchers.clear();
    }

    /// Tells watchers of lists that somebody changed.
    pub(super) fn notify_lists(&mut self, target: &str) {
        let watchers = self.lists.watchers.iter();
        let ids: Vec<String> = watchers
            .filter(|(_, watcher)| watcher.members.iter().any(|member| member == target))
            .map(|(call_id, _)| call_id.clone())
            .collect();
        for call_id in ids {
            self.notify_list(&call_id, Some(target), false);
        }
    }

    /// Tells a list's watcher of one member, or of all.
    pub(super) fn notify_list(&mut self, call_id: &str, only: Option<&str>, last: bool) {
        let Some(watcher) = self.lists.watchers.get(call_id) else { return };
        let bare = self.lists.first_is_bare && watcher.version == 0;
        let members = match only {
            Some(only) => vec![only.to_owned()],
            None => watcher.members.clone(),
        };
        let mut resources = Vec::new();
        let mut documents = Vec::new();
        for name in &members {
            let policy = self.policies.get(name).copied().unwrap_or(Policy::Allow);
            let cid = format!("{name}@x.invalid");
            let (state, reason, cid) = match policy {
                _ if !self.passwords.contains_key(name) => (State::Terminated, Some("noresource"), None),
                Policy::Pending => (State::Pending, None, None),
                Policy::Reject | Policy::Decline => (State::Terminated, Some("rejected"), None),
                Policy::Allow => {
                    let document = self.documents(name).last().cloned();
                    let kind = self.document_types.get(name).copied().unwrap_or("application/pidf+xml");
                    let document = document.unwrap_or(Bytes::from_static(CLOSED.as_bytes()));
                    documents.push((cid.clone(), kind, document));
                    (State::Active, None, Some(cid))
                }
            };
            let instance = Instance { id: "1".into(), state, reason: reason.map(Into::into), cid };
            let instances = if bare { Vec::new() } else { vec![instance] };
            resources.push(Resource {
                uri: format!("sip:{name}@example.com"),
                instances,
                ..Resource::default()
            });
        }
        let skip = core::mem::take(&mut self.lists.skip);
        let Some(watcher) = self.lists.watchers.get_mut(call_id) else { return };
        watcher.version += skip;
        let list = List {
            uri: format!("sip:{}@example.com", watcher.dialog.target),
            version: watcher.version,
            full_state: only.is_none(),
            resources,
            ..List::default()
        };
        watcher.version += 1;
        watcher.dialog.cseq += 1;
        let mut writer = Writer::new("part");
        writer.part(rlmi::MEDIA_TYPE, Some("root@x.invalid"), rlmi::write(&list).as_bytes());
        if !bare {
            for (cid, kind, document) in &documents {
                writer.part(kind, Some(cid), document);
            }
        }
        let dialog = &watcher.dialog;
        let dialog_destination = dialog.destination;
        let state = if last {
            "terminated;reason=timeout".into()
        } else {
            format!("active;expires={}", dialog.expires)
        };
        let mut request = Request::new(Method::Notify, dialog.contact.clone())
            .from(dialog.from.clone())
            .to(dialog.to.clone())
            .call_id(call_id)
            .cseq(dialog.cseq)
            .header(HeaderName::Event, "presence")
            .header(HeaderName::Require, "eventlist")
            .header(HeaderName::SubscriptionState, state)
            .header(HeaderName::Contact, "<sip:10.0.0.9:5060>");
        if !self.lists.etag.is_empty() {
            request.push(HeaderName::SipEtag, self.lists.etag.clone());
        }
        if core::mem::take(&mut watcher.informed) {
            let destination = dialog_destination;
            self.endpoint.send_request(self.now, &request, destination, None).unwrap();
            return;
        }
        if !last {
            let kind = writer.related_type(rlmi::MEDIA_TYPE, "root@x.invalid");
            let body = if self.lists.broken { Bytes::from_static(b"no list") } else { writer.finish() };
            request = request.body(kind, body);
        }
        let destination = dialog_destination;
        self.endpoint.send_request(self.now, &request, destination, None).unwrap();
        if last {
            self.lists.watchers.remove(call_id);
        }
    }
}
