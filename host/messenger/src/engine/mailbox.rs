//! What the service tells of the account itself: see [`crate::mailbox`].
//!
//! Neither package is asked of a service that says that it has others only (`Allow-Events`, RFC 6665, section 8.2.2). One that
//! says nothing is asked once, and its first answer holds until the next sign-out.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use attache_documents::{
    Limits, message_summary,
    reg_info::{self, RegInfo, State},
};
use attache_sip::{
    agent::{Cause, NotifyBody, SubscriptionId, instance_urn},
    usage::{SubscribeParams, SubscriptionState},
};

use crate::{
    engine::{
        Engine,
        versions::{Arrival, Versions},
    },
    event::{EventKind, SessionState},
    mailbox::{MessagesWaiting, OwnDevice, WaitingClass},
};

/// Most devices that are shown, and of each registration.
const MOST_DEVICES: usize = 64;
/// Most classes of messages.
const MOST_CLASSES: usize = 16;
/// Longest text that is kept, in bytes.
const MOST_TEXT: usize = 512;

/// An event package about the account itself.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Package {
    MessageSummary,
    Registrations,
}

impl Package {
    const ALL: [Self; 2] = [Self::MessageSummary, Self::Registrations];

    const fn name(self) -> &'static str {
        match self {
            Self::MessageSummary => "message-summary",
            Self::Registrations => "reg",
        }
    }
}

/// Subscriptions to the account's own state.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    subscriptions: [Option<SubscriptionId>; 2],
    /// The service does not offer it.
    refused: [bool; 2],
    versions: Versions,
    /// Devices by the names of registration and contact in the documents.
    devices: BTreeMap<(String, String), OwnDevice>,
}

impl Mailbox {
    pub(super) fn package(&self, id: SubscriptionId) -> Option<Package> {
        Package::ALL.into_iter().find(|package| self.subscriptions[*package as usize] == Some(id))
    }
}

impl Engine {
    /// Signed in: asks anew for what the service offers.
    pub(super) fn start_mailbox(&mut self) {
        self.stop_mailbox();
        self.ask_mailbox();
    }

    /// Asks for what the service offers and is not asked for.
    pub(super) fn ask_mailbox(&mut self) {
        if !self.config.own_events || self.view.session != SessionState::SignedIn {
            return;
        }
        let Ok(target) = self.config.address.to_uri() else { return };
        for package in Package::ALL {
            let place = package as usize;
            if self.mailbox.subscriptions[place].is_some()
                || self.mailbox.refused[place]
                || !self.is_offered(package.name())
            {
                continue;
            }
            let params = match package {
                Package::MessageSummary => SubscribeParams::message_summary(target.clone()),
                Package::Registrations => SubscribeParams::reg(target.clone()),
            };
            let expires = u32::try_from(self.config.subscription.as_secs()).unwrap_or(u32::MAX);
            let params = SubscribeParams { expires, ..params };
            self.mailbox.subscriptions[place] = self.agent.subscribe(self.now.instant, params);
            if package == Package::Registrations {
                self.mailbox.versions = Versions::default();
            }
        }
    }

    pub(super) fn stop_mailbox(&mut self) {
        for place in 0..Package::ALL.len() {
            if let Some(id) = self.mailbox.subscriptions[place].take() {
                self.agent.unsubscribe(self.now.instant, id);
            }
        }
    }

    /// Signed out: nothing is known, and everything is tried again.
    pub(super) fn forget_mailbox(&mut self) {
        self.stop_mailbox();
        self.mailbox = Mailbox::default();
        if self.view.messages_waiting.take().is_some() {
            self.ledger.emit(self.now.wall, EventKind::MessagesWaitingChanged(None));
        }
        self.show_devices();
    }

    pub(super) fn on_mailbox(
        &mut self,
        package: Package,
        state: &SubscriptionState,
        notify: Option<NotifyBody>,
    ) {
        match state {
            SubscriptionState::Terminated { cause } => {
                self.mailbox.subscriptions[package as usize] = None;
                self.mailbox.refused[package as usize] = true;
                // What was only tried is no news.
                let told = self.reporting_names(package.name());
                if told && !matches!(cause, Cause::Closed) {
                    let sentence = match package {
                        Package::MessageSummary => "the service does not tell what waits in the mailbox",
                        Package::Registrations => "the service does not tell where this account is signed in",
                    };
                    self.watch.tally.refuse(package.name(), cause, sentence, self.now.wall);
                }
                return;
            }
            SubscriptionState::Retrying { .. } => {
                if package == Package::Registrations {
                    self.mailbox.versions = Versions::default();
                }
                return;
            }
            _ => {}
        }
        let Some(body) = notify.filter(|notify| !notify.body.is_empty()) else { return };
        match package {
            Package::MessageSummary => self.on_summary(&body.body),
            Package::Registrations => self.on_registrations(&body.body),
        }
    }

    fn on_summary(&mut self, body: &[u8]) {
        let summary = match message_summary::read(body, &Limits::DEFAULT) {
            Ok(read) => read.document,
            Err(error) => return self.diagnose(format!("the summary of messages cannot be read: {error}")),
        };
        let classes = summary.classes.iter().take(MOST_CLASSES).map(|class| WaitingClass {
            class: short(&class.name),
            new: class.new,
            old: class.old,
            urgent_new: class.urgent_new.unwrap_or(0),
            urgent_old: class.urgent_old.unwrap_or(0),
        });
        let at = self.now.wall;
        let account = summary.account.as_deref().map(short);
        let waiting = MessagesWaiting { waiting: summary.waiting, account, classes: classes.collect(), at };
        let waiting = Arc::new(waiting);
        let known = self.view.messages_waiting.replace(waiting.clone());
        if known.is_none_or(|known| MessagesWaiting { at, ..MessagesWaiting::clone(&known) } != *waiting) {
            self.ledger.emit(at, EventKind::MessagesWaitingChanged(Some(waiting)));
        }
    }

    fn on_registrations(&mut self, body: &[u8]) {
        let document = match reg_info::read(body, &Limits::DEFAULT) {
            Ok(read) => read.document,
            Err(error) => return self.diagnose(format!("the list of own devices cannot be read: {error}")),
        };
        match self.mailbox.versions.take(document.version.into(), document.full) {
            Arrival::Old => return,
            Arrival::Gap => {
                if let Some(id) = self.mailbox.subscriptions[Package::Registrations as usize] {
                    self.agent.refresh(self.now.instant, id);
                }
                return;
            }
            Arrival::Whole => self.mailbox.devices.clear(),
            Arrival::Next => {}
        }
        self.note_devices(document);
        self.show_devices();
    }

    fn note_devices(&mut self, document: RegInfo) {
        let own = instance_urn(&format!("{} {}", self.config.address, self.own.instance));
        let devices = &mut self.mailbox.devices;
        for registration in document.registrations {
            if registration.state == State::Terminated {
                devices.retain(|(id, _), _| *id != registration.id);
                continue;
            }
            for contact in registration.contacts.into_iter().take(MOST_DEVICES) {
                let name = (registration.id.clone(), contact.id);
                if contact.state == State::Terminated {
                    devices.remove(&name);
                    continue;
                }
                if devices.len() >= MOST_DEVICES && !devices.contains_key(&name) {
                    continue;
                }
                let instance =
                    contact.params.iter().find(|(name, _)| name.eq_ignore_ascii_case("+sip.instance"));
                let instance = instance.map(|(_, value)| short(value.trim_matches(['"', '<', '>'])));
                let lasts = contact.expires.map(|seconds| Duration::from_secs(seconds.into()));
                let device = OwnDevice {
                    uri: short(&contact.uri),
                    name: contact.display_name.as_deref().map_or_else(|| "".into(), short),
                    // Some services leave the instance out: then the address has to do.
                    this: match &instance {
                        Some(instance) => instance.eq_ignore_ascii_case(&own),
                        None => self.agent.is_own_contact(&contact.uri),
                    },
                    instance,
                    gruu: contact.public_gruu.as_deref().map(short),
                    priority: contact.priority,
                    until: lasts.map(|lasts| self.now.wall + lasts),
                };
                devices.insert(name, device);
            }
        }
    }

    fn show_devices(&mut self) {
        let mut devices: Vec<&OwnDevice> = self.mailbox.devices.values().collect();
        devices.sort_by(|one, other| one.uri.cmp(&other.uri));
        devices.dedup_by(|one, other| one.uri == other.uri);
        let devices: Arc<[OwnDevice]> = devices.into_iter().cloned().collect();
        // That a registration was renewed is no news.
        let same = devices.len() == self.view.devices.len()
            && devices
                .iter()
                .zip(self.view.devices.iter())
                .all(|(device, known)| OwnDevice { until: device.until, ..known.clone() } == *device);
        self.view.devices = devices.clone();
        if !same {
            self.ledger.emit(self.now.wall, EventKind::DevicesChanged(devices));
        }
    }
}

fn short(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(MOST_TEXT)].into()
}
