//! What is told of the service: see [`ServiceReport`].

use core::time::Duration;
use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use attache_sip::{
    agent::{FlowState, Registered, ServiceFacts as Learnt},
    uri::UriBuf,
};

use crate::{
    engine::Engine,
    event::EventKind,
    report::{ServiceFacts, ServiceReport, XcapState},
    time::Timestamp,
};

/// The extension of a service that takes lists in requests (RFC 5367).
const REQUEST_LISTS: &str = "recipient-list-subscribe";
/// The extension of a service that takes messages with lists of recipients (RFC 5365).
const MESSAGE_LISTS: &str = "recipient-list-message";
/// Clocks differ; less than this is not worth a word.
const SKEW_STEP: i64 = 1_000;

/// The report as it is, and whether readers have it.
#[derive(Debug, Default)]
pub(super) struct Reporting {
    draft: ServiceReport,
    changed: bool,
    /// Flows that are up, by their numbers, and whether the service keeps them apart.
    flows: BTreeSet<u32>,
    outbound: bool,
}

impl Engine {
    pub(super) fn on_service_learnt(&mut self, learnt: &Learnt) {
        let facts = ServiceFacts {
            server: learnt.server.as_deref().unwrap_or_default().into(),
            allow: sorted(&learnt.allow),
            supported: sorted(&learnt.supported),
            allow_events: sorted(&learnt.allow_events),
        };
        if learnt.supported.iter().any(|tag| tag.eq_ignore_ascii_case(REQUEST_LISTS))
            && let Some(to) = self.request_list_address()
        {
            self.watch.offer_request_lists(to);
        }
        if let Some(date) = learnt.date {
            self.note_clock(date);
        }
        let draft = &mut self.reporting.draft;
        if draft.service != facts {
            draft.service = facts;
            self.reporting.changed = true;
            self.ask_mailbox();
        }
    }

    /// Whether the service names an event package.
    pub(super) fn reporting_names(&self, package: &str) -> bool {
        let known = &self.reporting.draft.service.allow_events;
        known.iter().any(|name| name.eq_ignore_ascii_case(package))
    }

    /// Whether an event package may be had: the service names it, or none at all.
    pub(super) fn is_offered(&self, package: &str) -> bool {
        self.reporting.draft.service.allow_events.is_empty() || self.reporting_names(package)
    }

    /// Where messages to several people go in one request (RFC 5365): as configured, or where the service says that it
    /// passes them on, to the service itself.
    pub(super) fn list_service(&self) -> Option<UriBuf> {
        match &self.config.message_list {
            Some(list) => list.to_uri().ok(),
            None => {
                let supported = &self.reporting.draft.service.supported;
                supported.iter().find(|tag| tag.eq_ignore_ascii_case(MESSAGE_LISTS))?;
                self.request_list_address()
            }
        }
    }

    /// A list in a request goes to the service itself.
    fn request_list_address(&self) -> Option<UriBuf> {
        let address = self.config.address.canonical();
        let (_, domain) = address.rsplit_once('@')?;
        UriBuf::parse(&format!("sip:{domain}")).ok()
    }

    fn note_clock(&mut self, date: SystemTime) {
        let theirs = Timestamp::from(date).as_millis();
        let skew =
            i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(self.now.wall.as_millis());
        // Date has whole seconds, and an answer takes its time.
        let skew = skew / SKEW_STEP * SKEW_STEP;
        let known = &mut self.reporting.draft.clock_skew;
        if known.is_none_or(|known| known.abs_diff(skew) > 1_000) {
            *known = Some(skew);
            self.reporting.changed = true;
        }
    }

    pub(super) fn note_registered(&mut self, registered: &Registered) {
        let gruu: Option<Arc<str>> = registered.gruu.as_deref().map(Into::into);
        let draft = &mut self.reporting.draft;
        // Refreshed at some time in the second half; that it moves on is no news.
        draft.next_refresh = Some(self.now.wall + Duration::from_secs(registered.expires.as_secs() / 2));
        if draft.gruu != gruu {
            draft.gruu = gruu;
            self.reporting.changed = true;
        }
        self.reporting.outbound = registered.outbound;
        self.count_flows();
    }

    pub(super) fn note_flow(&mut self, reg_id: u32, state: &FlowState) {
        let flows = &mut self.reporting.flows;
        match state {
            FlowState::Up { .. } => flows.insert(reg_id),
            _ => flows.remove(&reg_id),
        };
        self.count_flows();
    }

    fn count_flows(&mut self) {
        let Reporting { draft, changed, flows, outbound } = &mut self.reporting;
        let count = if *outbound { u32::try_from(flows.len()).unwrap_or(u32::MAX) } else { 0 };
        if draft.outbound_flows != count {
            draft.outbound_flows = count;
            *changed = true;
        }
    }

    pub(super) fn set_xcap(&mut self, state: XcapState) {
        if self.reporting.draft.xcap != state {
            self.reporting.draft.xcap = state;
            self.reporting.changed = true;
        }
    }

    pub(super) fn set_xcap_offers(&mut self, auids: &[String]) {
        let auids: Arc<[Arc<str>]> = auids.iter().map(|auid| auid.as_str().into()).collect();
        if self.reporting.draft.xcap_offers.as_ref() != Some(&auids) {
            self.reporting.draft.xcap_offers = Some(auids);
            self.reporting.changed = true;
        }
    }

    pub(super) fn has_report_changes(&self) -> bool {
        self.reporting.changed || self.watch.tally.has_changed()
    }

    pub(super) fn tell_report(&mut self) {
        self.watch.tally.fill(&mut self.reporting.draft);
        // That a request had to wait is no news by itself.
        self.reporting.draft.budget_waits = self.agent.budget_waits();
        self.reporting.changed = false;
        if *self.view.report == self.reporting.draft {
            return;
        }
        self.view.report = Arc::new(self.reporting.draft.clone());
        self.ledger.emit(self.now.wall, EventKind::ReportChanged(self.view.report.clone()));
    }
}

fn sorted(words: &[String]) -> Vec<Arc<str>> {
    let mut words: Vec<Arc<str>> = words.iter().map(|word| word.as_str().into()).collect();
    words.sort_unstable();
    words.dedup();
    words
}
