//! Who watches: watcher information (RFC 3858), the bodies of the packages `*.winfo` (RFC 3857).

use crate::dom::{Dom, Element, Writer};
use crate::error::DocumentError;
use crate::limits::Limits;
use crate::resource_lists::missing;

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/watcherinfo+xml";
/// Their namespace.
pub const NAMESPACE: &str = "urn:ietf:params:xml:ns:watcherinfo";

/// A document.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WatcherInfo {
    /// Grows by one with each document of a subscription.
    pub version: u32,
    /// Whether all watchers are in it, or only those that changed.
    pub state: State,
    /// The watchers, by what they watch.
    pub lists: Vec<WatcherList>,
}

/// Whether a document tells all, or what changed.
#[derive(Copy, Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum State {
    /// All.
    #[default]
    Full,
    /// What changed since the version before.
    Partial,
}

/// The watchers of one resource.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WatcherList {
    /// What is watched.
    pub resource: String,
    /// The event package, such as `presence`.
    pub package: String,
    /// The watchers.
    pub watchers: Vec<Watcher>,
}

/// One subscription of a watcher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watcher {
    /// The watcher's address.
    pub uri: String,
    /// Names the subscription, for its time.
    pub id: String,
    /// Its state.
    pub status: Status,
    /// What brought it into this state.
    pub event: Event,
    /// Seconds until it ends by itself.
    pub expiration: Option<u32>,
    /// Seconds since it began.
    pub duration_subscribed: Option<u32>,
    /// The watcher's name for people.
    pub display_name: Option<String>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The word of RFC 3858.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value with that word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// State of a subscription (RFC 3857, section 4.7.1).
    Status:
    /// It waits for a decision.
    Pending = "pending",
    /// It is served.
    Active = "active",
    /// The watcher has gone before a decision was made, which would still be of use.
    Waiting = "waiting",
    /// It has ended.
    Terminated = "terminated",
}

words! {
    /// What brings a subscription into a state (RFC 3857, section 4.7.1).
    Event:
    /// It began.
    Subscribe = "subscribe",
    /// It was accepted.
    Approved = "approved",
    /// It was ended, and the watcher may try again at once.
    Deactivated = "deactivated",
    /// It was ended, and the watcher may try again later.
    Probation = "probation",
    /// It was refused.
    Rejected = "rejected",
    /// It was not refreshed.
    Timeout = "timeout",
    /// No decision was made in time.
    Giveup = "giveup",
    /// What was watched is no more.
    NoResource = "noresource",
}

/// Reads a document. Watchers with words that are not known are left out: nothing can be told about them.
///
/// # Errors
/// When it is not well-formed, no such document, or exceeds a limit.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<WatcherInfo, DocumentError> {
    let dom = Dom::read(bytes, limits)?;
    let root = dom.root_of(NAMESPACE, "watcherinfo", "`watcherinfo`")?;
    let version = number(root, "version").ok_or_else(|| missing(root, "version"))?;
    let state = match root.attribute("state") {
        Some("full") => State::Full,
        Some("partial") => State::Partial,
        _ => return Err(missing(root, "state")),
    };
    let mut lists = Vec::new();
    for list in root.children().filter(|child| child.is(NAMESPACE, "watcher-list")) {
        let resource = list.attribute("resource").ok_or_else(|| missing(list, "resource"))?.to_owned();
        let package = list.attribute("package").ok_or_else(|| missing(list, "package"))?.to_owned();
        let watchers = list.children().filter(|child| child.is(NAMESPACE, "watcher")).filter_map(watcher);
        lists.push(WatcherList { resource, package, watchers: watchers.collect() });
    }
    Ok(WatcherInfo { version, state, lists })
}

/// Writes a document. [`read`] gives it back as it is.
#[must_use]
pub fn write(document: &WatcherInfo) -> String {
    let mut writer = Writer::new();
    let state = match document.state {
        State::Full => "full",
        State::Partial => "partial",
    };
    let tag = writer.tag("watcherinfo").attribute("xmlns", NAMESPACE);
    tag.attribute("version", &document.version.to_string()).attribute("state", state).open();
    for list in &document.lists {
        let tag = writer.tag("watcher-list").attribute("resource", &list.resource);
        tag.attribute("package", &list.package).open();
        for watcher in &list.watchers {
            let seconds = |value: Option<u32>| value.map(|seconds| seconds.to_string());
            let tag = writer.tag("watcher").attribute("id", &watcher.id);
            tag.attribute("status", watcher.status.as_str())
                .attribute("event", watcher.event.as_str())
                .optional("expiration", seconds(watcher.expiration).as_deref())
                .optional("duration-subscribed", seconds(watcher.duration_subscribed).as_deref())
                .optional("display-name", watcher.display_name.as_deref())
                .open();
            writer.text(&watcher.uri);
            writer.close("watcher");
        }
        writer.close("watcher-list");
    }
    writer.close("watcherinfo");
    writer.out
}

fn number(element: Element<'_>, name: &str) -> Option<u32> {
    element.attribute(name)?.trim().parse().ok()
}

fn watcher(element: Element<'_>) -> Option<Watcher> {
    let uri = element.text();
    Some(Watcher {
        uri: if uri.is_empty() { return None } else { uri.to_owned() },
        id: element.attribute("id")?.to_owned(),
        status: Status::from_word(element.attribute("status")?)?,
        event: Event::from_word(element.attribute("event")?)?,
        expiration: number(element, "expiration"),
        duration_subscribed: number(element, "duration-subscribed"),
        display_name: element.attribute("display-name").map(str::to_owned),
    })
}
