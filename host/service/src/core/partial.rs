//! Partial presence: NOTIFYs that say what changed (RFC 5263), and publications that do (RFC 5264).

use std::sync::Arc;

use attache_documents::pidf_diff::{self, Changes, Update};
use attache_documents::tree::Tree;
use attache_documents::{Limits, pidf};
use attache_sip::endpoint::Response;
use attache_sip::message::{HeaderName, MediaType, Message};
use bytes::Bytes;

use super::Core;
use crate::presence::Shown;
use crate::subscription::{Mark, Partial};

/// Ways from one document to the next that are kept: watchers of one presentity take the same one at the same time.
const KEPT: usize = 64;

/// The namespace of presence documents.
const PIDF: &str = "urn:ietf:params:xml:ns:pidf";

/// Two documents, and the way between them if there is one.
pub(super) type Way = ((Mark, Mark), Option<Arc<Changes>>);

impl Core {
    /// What a watcher of changes is told: what changed since it was told last, or everything where that is not known, or
    /// not shorter. `None` where the document cannot be had as a tree: it is sent as it is then.
    pub(super) fn partial_body(&mut self, partial: &mut Partial, shown: &Shown) -> Option<Bytes> {
        let version = partial.version;
        let last = partial.last.take();
        let now = self.tree_of(&shown.body)?;
        let full = pidf_diff::write_full(&now, Some(version)).ok()?;
        partial.version = version.wrapping_add(1);
        partial.last = Some(shown.clone());
        let changes = last.and_then(|last| self.way(&last, shown, &now));
        let changes = changes.and_then(|changes| changes.write(Some(version)).ok());
        Some(match changes.filter(|changes| changes.len() < full.len()) {
            Some(changes) => changes.into(),
            None => full.into(),
        })
    }

    fn way(&mut self, from: &Shown, to: &Shown, to_tree: &Tree) -> Option<Arc<Changes>> {
        let key = (from.mark, to.mark);
        if let Some((_, way)) = self.ways.iter().find(|(known, _)| *known == key) {
            return way.clone();
        }
        let from = self.tree_of(&from.body);
        let way = from.and_then(|from| pidf_diff::diff(&from, to_tree)).map(Arc::new);
        if self.ways.len() >= KEPT {
            self.ways.pop_front();
        }
        self.ways.push_back((key, way.clone()));
        way
    }

    /// A presence document as a tree. One that is only nearly what it should be, such as one without a namespace, is put
    /// right first.
    fn tree_of(&self, body: &[u8]) -> Option<Tree> {
        // Composed of what all devices say, and of what holds without them; what has to be escaped grows.
        let parts = self.limits.publications_per_user + 1;
        let bounds = Limits {
            bytes: self.limits.publication_bytes.saturating_mul(8 * parts),
            depth: Limits::DEFAULT.depth,
            elements: Limits::DEFAULT.elements.saturating_mul(2 * parts),
            entries: Limits::DEFAULT.entries.saturating_mul(parts),
            text: Limits::DEFAULT.text,
        };
        let read = |body: &[u8]| {
            let tree = Tree::read(body, &bounds).ok()?;
            tree.is(tree.root(), Some(PIDF), "presence").then_some(tree)
        };
        read(body).or_else(|| {
            let document = pidf::read(body, &bounds).ok()?.document;
            read(pidf::write(&document).as_bytes())
        })
    }

    /// The document that a published body of partial presence makes of the one that was published before.
    pub(super) fn published_partially(
        &self,
        body: &[u8],
        before: Option<&Bytes>,
    ) -> Result<Bytes, Box<Response>> {
        let refused = |reason: &str| Box::new(Response::new(400).reason(reason));
        let update = pidf_diff::read(body, &bounds(self.limits.publication_bytes)).map_err(|error| {
            tracing::debug!(%error, "a published partial document cannot be read");
            refused("Unreadable Presence Document")
        })?;
        let tree = match update {
            Update::Full { presence, .. } => presence,
            Update::Diff { changes, .. } => {
                let Some(before) = before else {
                    return Err(refused("A First Publication Is Whole"));
                };
                let before = Tree::read(before, &bounds(self.limits.publication_bytes))
                    .map_err(|_| refused("The Document Before Cannot Be Changed"))?;
                changes.apply(&before).map_err(|error| {
                    tracing::debug!(%error, "published changes cannot be made");
                    patch_error(error.name())
                })?
            }
            _ => return Err(refused("Unreadable Presence Document")),
        };
        let document = tree.write();
        if document.len() > self.limits.publication_bytes {
            return Err(Box::new(Response::new(413)));
        }
        Ok(document.into())
    }
}

/// A refusal that names what failed (RFC 5264, section 4.1, by way of RFC 5261, section 5).
fn patch_error(name: &str) -> Box<Response> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <patch-ops-error xmlns=\"urn:ietf:params:xml:ns:patch-ops-error\"><{name}/></patch-ops-error>\n"
    );
    Box::new(Response::new(400).body("application/patch-ops-error+xml", body))
}

fn bounds(bytes: usize) -> Limits {
    // What a document becomes by its changes counts anew.
    Limits { bytes: bytes.saturating_mul(16), ..Limits::DEFAULT }
}

/// Whether a watcher would rather hear what changed: it says so, and not that it likes whole documents better.
pub(super) fn prefers_changes(request: &Message) -> bool {
    let weight = |wanted: &str| {
        let mut accepted = request.values(HeaderName::Accept).filter_map(MediaType::parse);
        let found = accepted.find(|kind| kind.is(wanted))?;
        let weight = found.params.get_str("q").and_then(|q| q.trim().parse::<f32>().ok());
        Some(weight.unwrap_or(1.0))
    };
    let changes = weight(pidf_diff::MEDIA_TYPE).unwrap_or(0.0);
    changes > 0.0 && weight(pidf::MEDIA_TYPE).is_none_or(|whole| changes >= whole)
}
