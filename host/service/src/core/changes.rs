//! Changes of documents, told to who keeps them: the package `xcap-diff` (RFC 5875).
//!
//! A subscriber names documents, folders of them, and nodes; without a list, all own documents are meant. Only the
//! subscriber's own are told of. What is told are entity tags: the changes themselves are got over HTTP.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use attache_documents::tree::Tree;
use attache_documents::xcap::{
    DIFF_TYPE, DocumentChange, DocumentPath, ELEMENT_TYPE, NodeChange, NodeContent, Resource, XcapDiff,
    write_diff,
};
use attache_documents::{Foreign, Limits};
use attache_sip::endpoint::Response;
use attache_sip::message::Message;
use attache_sip::transport::Transport;
use attache_sip::uri::Uri;

use super::notify::Notice;
use super::{Core, rls};
use crate::directory::{Aor, identity};
use crate::xcap::edit::Place;
use crate::xcap::usage::Usage;

/// The package.
pub(super) const PACKAGE: &str = "xcap-diff";
/// Documents, folders and nodes that one subscription can name.
const MOST_WANTED: usize = 64;

/// Subscriptions by who keeps the documents.
#[derive(Default)]
pub(super) struct Keepers {
    of: HashMap<Aor, BTreeSet<u64>>,
}

/// What a subscriber wants to hear of.
enum Wanted {
    /// All own documents.
    All,
    /// Those of one usage.
    Folder(String),
    Document(String, String),
    Node(Box<Resource>, String),
}

/// What one subscriber knows.
pub(crate) struct DocumentWatch {
    wanted: Vec<Wanted>,
    /// Tags of documents, by usage and name.
    documents: BTreeMap<(String, String), String>,
    /// Digests of what nodes hold, by their place in what is wanted.
    nodes: BTreeMap<usize, u64>,
    first: bool,
}

impl DocumentWatch {
    /// Everything has to be told anew.
    pub(crate) fn restart(&mut self) {
        self.first = true;
    }
}

impl Core {
    /// What a request wants to hear of.
    pub(super) fn wanted_documents(
        &self,
        request: &Message,
        owner: &Aor,
    ) -> Result<DocumentWatch, Box<Response>> {
        let body = request.body();
        let mut wanted = Vec::new();
        if body.is_empty() {
            wanted.push(Wanted::All);
        } else {
            if !request.content_type().is_some_and(|kind| kind.is(rls::RESOURCE_LISTS)) {
                let refusal = Response::new(415);
                return Err(Box::new(
                    refusal.header(attache_sip::message::HeaderName::Accept, rls::RESOURCE_LISTS),
                ));
            }
            let Ok(tree) = Tree::read(body, &Limits::DEFAULT) else {
                return Err(Box::new(Response::new(400).reason("Unreadable Resource List")));
            };
            let members = rls::members(&tree);
            if members.len() > MOST_WANTED {
                return Err(Box::new(Response::new(413).reason("Too Many Documents")));
            }
            let mut seen = HashSet::new();
            let members = members.iter().filter(|member| seen.insert(member.as_str()));
            wanted.extend(members.filter_map(|member| wanted_by(member, owner)));
        }
        Ok(DocumentWatch { wanted, documents: BTreeMap::new(), nodes: BTreeMap::new(), first: true })
    }

    pub(super) fn keeps_an_eye(&mut self, owner: &Aor, id: u64) {
        self.keepers.of.entry(Aor::clone(owner)).or_default().insert(id);
    }

    pub(super) fn loses_the_eye(&mut self, owner: &Aor, id: u64) {
        if let Some(all) = self.keepers.of.get_mut(owner) {
            all.remove(&id);
            if all.is_empty() {
                self.keepers.of.remove(owner);
            }
        }
    }

    /// A document was changed.
    pub(super) fn tell_keepers(&mut self, owner: &Aor) {
        for id in self.keepers.of.get(owner).cloned().unwrap_or_default() {
            self.queue(id);
        }
    }

    /// What a subscriber is told next; `None` if there is nothing.
    pub(super) fn documents_notice(
        &self,
        owner: &Aor,
        watch: &mut DocumentWatch,
        must: bool,
        transport: Transport,
    ) -> Option<Notice> {
        let is_first = core::mem::take(&mut watch.first) || must;
        if is_first {
            watch.documents.clear();
            watch.nodes.clear();
        }
        let mut diff = XcapDiff { root: self.xcap_root.clone(), ..XcapDiff::default() };
        let mut current = BTreeMap::new();
        for (auid, name, kept) in self.documents.all_of(owner) {
            let is_wanted = watch.wanted.iter().any(|wanted| match wanted {
                Wanted::All => true,
                Wanted::Folder(folder) => folder == auid,
                Wanted::Document(known, document) => (known.as_str(), document.as_str()) == (auid, name),
                Wanted::Node(..) => false,
            });
            if is_wanted {
                current.insert((auid.to_owned(), name.to_owned()), kept.etag.clone());
            }
        }
        let selector =
            |auid: &str, name: &str| DocumentPath::user(auid, format!("sip:{owner}"), name).to_string();
        for ((auid, name), etag) in &current {
            let before = watch.documents.get(&(auid.clone(), name.clone()));
            if before != Some(etag) {
                diff.documents.push(DocumentChange {
                    selector: selector(auid, name),
                    new_etag: Some(etag.clone()),
                    previous_etag: before.cloned(),
                    ..DocumentChange::default()
                });
            }
        }
        for ((auid, name), etag) in &watch.documents {
            if !current.contains_key(&(auid.clone(), name.clone())) {
                diff.documents.push(DocumentChange {
                    selector: selector(auid, name),
                    previous_etag: Some(etag.clone()),
                    ..DocumentChange::default()
                });
            }
        }
        watch.documents = current;
        let room = match transport {
            Transport::Udp => self.limits.list_notify_bytes.min(rls::DATAGRAM_ROOM),
            _ => self.limits.list_notify_bytes,
        };
        self.nodes(owner, watch, is_first, room, &mut diff);
        if !is_first && diff.documents.is_empty() && diff.elements.is_empty() && diff.attributes.is_empty() {
            return None;
        }
        Some(Notice {
            state: "active",
            content_type: DIFF_TYPE.to_owned(),
            body: Some(write_diff(&diff).into()),
            ..Notice::default()
        })
    }

    /// Adds the nodes that changed. The content of those for which there is no room is left out: it can be got over HTTP.
    fn nodes(
        &self,
        owner: &Aor,
        watch: &mut DocumentWatch,
        is_first: bool,
        mut room: usize,
        diff: &mut XcapDiff,
    ) {
        let limits = Limits { bytes: self.limits.document_bytes, ..Limits::STORED };
        let mut trees: HashMap<(&str, &str), Option<Tree>> = HashMap::new();
        for (number, wanted) in watch.wanted.iter().enumerate() {
            let Wanted::Node(resource, written) = wanted else { continue };
            let (auid, name) = (resource.document.auid.as_str(), resource.document.name.as_str());
            let tree = trees.entry((auid, name)).or_insert_with(|| {
                let kept = self.documents.get(owner, auid, name)?;
                Tree::read(&kept.body, &limits).ok()
            });
            let place = resource.node.as_ref().zip(Usage::of(auid));
            let place = place.and_then(|(node, usage)| Place::parse(node, usage.namespace()).ok());
            let Some(place) = place else { continue };
            let is_element = place.media_type() == ELEMENT_TYPE;
            let now = tree.as_ref().and_then(|tree| place.get_alone(tree));
            let digest = now.as_ref().map(|text| {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                hasher.finish()
            });
            if watch.nodes.get(&number) == digest.as_ref() && !is_first {
                continue;
            }
            let left = now.as_ref().map_or(Some(room), |text| room.checked_sub(text.len()));
            room = left.unwrap_or(room);
            let content = now.as_deref().filter(|_| left.is_some()).and_then(|text| {
                if is_element {
                    Foreign::parse(text, &limits).ok().map(NodeContent::Element)
                } else {
                    Some(NodeContent::Value(text.to_owned()))
                }
            });
            let change = NodeChange { selector: written.clone(), exists: now.is_some(), content };
            let changes = if is_element { &mut diff.elements } else { &mut diff.attributes };
            changes.push(change);
            match digest {
                Some(digest) => watch.nodes.insert(number, digest),
                None => watch.nodes.remove(&number),
            };
        }
    }
}

/// What an address in a list names: a document, a folder or a node of the subscriber.
fn wanted_by(written: &str, owner: &Aor) -> Option<Wanted> {
    let is_owner = |user: &str| {
        let text = if user.contains(':') { user.to_owned() } else { format!("sip:{user}") };
        Uri::parse_str(&text).ok().and_then(|uri| identity(&uri)).as_deref() == Some(&**owner)
    };
    if let Some(folder) = written.strip_suffix('/') {
        let mut parts = folder.splitn(3, '/');
        let (auid, users, user) = (parts.next()?, parts.next()?, parts.next()?);
        let user = attache_documents::xcap::percent_decode(user);
        return (users == "users" && is_owner(&user)).then(|| Wanted::Folder(auid.to_owned()));
    }
    let resource = Resource::parse(written).ok()?;
    if !resource.document.user.as_deref().is_some_and(is_owner) {
        return None;
    }
    if resource.node.is_some() {
        return Some(Wanted::Node(Box::new(resource), written.to_owned()));
    }
    Some(Wanted::Document(resource.document.auid, resource.document.name))
}
