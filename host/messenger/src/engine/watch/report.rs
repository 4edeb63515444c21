//! What to tell a person about the ways of watching: how many are watched how, and what was refused.

use std::sync::Arc;

use attache_sip::agent::Cause;

use crate::{
    report::{Refused, ServiceReport, Strategy, StrategyUse},
    time::Timestamp,
};

/// Most refusals that are kept; there is one for each feature.
const MAX_REFUSED: usize = 32;

/// Counts, reasons and refusals.
#[derive(Debug, Default)]
pub(in crate::engine) struct Tally {
    people: [usize; 4],
    reasons: [Option<Arc<str>>; 4],
    rates: [Option<u32>; 4],
    refused: Vec<Refused>,
    changed: bool,
}

impl Tally {
    pub(in crate::engine) fn count(&mut self, strategy: Strategy, by: isize) {
        let count = &mut self.people[strategy as usize];
        *count = count.saturating_add_signed(by);
        self.changed = true;
    }

    /// Why a strategy is in use.
    pub(in crate::engine) fn because(&mut self, strategy: Strategy, reason: &str) {
        let known = &mut self.reasons[strategy as usize];
        if known.as_deref() != Some(reason) {
            *known = Some(reason.into());
            self.changed = true;
        }
    }

    /// The service notifies no more often than so many times a second.
    pub(in crate::engine) fn rate(&mut self, strategy: Strategy, granted: Option<f64>) {
        let granted = granted.map(|rate| (rate * 1_000.0).clamp(0.0, 1e9) as u32);
        let known = &mut self.rates[strategy as usize];
        if *known != granted {
            *known = granted;
            self.changed = true;
        }
    }

    pub(in crate::engine) fn refuse(&mut self, feature: &str, cause: &Cause, sentence: &str, at: Timestamp) {
        let status = cause.status();
        let entry = Refused {
            feature: feature.into(),
            status,
            sentence: if sentence.is_empty() {
                cause.to_string().into()
            } else {
                format!("{sentence}: {cause}").into()
            },
            advice: advice(feature, status).into(),
            at,
        };
        let room = self.refused.len() < MAX_REFUSED;
        match self.refused.iter_mut().find(|known| *known.feature == *feature) {
            Some(known) if known.status == entry.status && known.sentence == entry.sentence => return,
            Some(known) => *known = entry,
            None if room => self.refused.push(entry),
            None => return,
        }
        self.changed = true;
    }

    /// It works now.
    pub(in crate::engine) fn forgive(&mut self, feature: &str) {
        let before = self.refused.len();
        self.refused.retain(|known| *known.feature != *feature);
        self.changed |= self.refused.len() != before;
    }

    /// A new session: everything is tried again.
    pub(in crate::engine) fn restart(&mut self) {
        self.changed |= !self.refused.is_empty();
        self.refused.clear();
    }

    pub(in crate::engine) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Puts the present state into a report.
    pub(in crate::engine) fn fill(&mut self, report: &mut ServiceReport) {
        self.changed = false;
        report.watching = Strategy::ALL
            .into_iter()
            .filter(|strategy| self.people[*strategy as usize] > 0)
            .map(|strategy| StrategyUse {
                strategy,
                people: self.people[strategy as usize],
                reason: self.reasons[strategy as usize].clone().unwrap_or_default(),
                rate: self.rates[strategy as usize],
            })
            .collect();
        report.refused.clone_from(&self.refused);
    }
}

/// What to change, as far as a status tells.
fn advice(feature: &str, status: Option<u16>) -> &'static str {
    match (feature, status) {
        ("server-list", Some(404 | 410 | 604)) => {
            "the service knows no such list: correct `list` in the account, or have the list made on the service"
        }
        ("server-list", Some(403 | 603)) => {
            "the service does not let this account use the list: ask its operator"
        }
        ("server-list", Some(405 | 420 | 421 | 489 | 501)) => {
            "the service offers no lists: leave `list` out, or let the operator turn on its list server"
        }
        ("server-list", _) => "check that the address of the list is that of a list",
        ("request-list", Some(470)) => "people on the list must consent first: the operator can waive that",
        ("request-list", _) => "nothing needs to be changed: everybody is watched one by one instead",
        ("one-each", _) => {
            "let the operator turn on the presence server; until then people are asked about now and then"
        }
        ("polling", _) => "the service offers no presence: let the operator turn on its presence server",
        ("partial-presence", _) => "nothing needs to be changed: whole documents are used instead",
        ("calls", _) => "let the operator turn on dialog information, or leave `calls` out",
        ("message-summary", _) => {
            "messages that wait are not told: let the operator give the account a mailbox"
        }
        ("reg", _) => "own devices are not told: let the operator turn on registration information",
        ("watcher-info", _) => {
            "requests to see your presence are not announced: let the operator turn on watcher information"
        }
        ("xcap-caps", _) => {
            "check the path of `xcap` in the account; nothing needs to be changed where the service has no such document"
        }
        ("publish", Some(403)) => "the service does not let this account publish: ask its operator",
        ("publish", _) => "let the operator turn on the presence server",
        _ => "",
    }
}
