//! From what was seen to sentences: what is so, and what to change.

use std::time::{Duration, SystemTime};

use attache_net::{CertificateProblem, CertificateSummary, FlowError};

use super::{
    Finding, Level, Topic,
    examine::{Seen, domain},
};
use crate::{
    AccountConfig, Code, Connection, Credential, Destination, Error, Freshness, SessionState, Strategy,
    Timestamp, Transport, XcapState,
};

/// Clocks that differ by more than this make trouble with certificates and times of messages.
const SKEW: i64 = 30_000;
/// A certificate that ends sooner is to be renewed.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, topic: Topic, sentence: impl Into<String>) -> &mut Finding {
        let finding = Finding { level, topic, sentence: sentence.into(), advice: String::new(), key: None };
        self.0.push(finding);
        self.0.last_mut().expect("it was pushed")
    }

    fn fine(&mut self, topic: Topic, sentence: impl Into<String>) {
        self.add(Level::Fine, topic, sentence);
    }

    fn note(&mut self, topic: Topic, sentence: impl Into<String>) -> &mut Finding {
        self.add(Level::Note, topic, sentence)
    }

    fn problem(&mut self, topic: Topic, sentence: impl Into<String>) -> &mut Finding {
        self.add(Level::Problem, topic, sentence)
    }
}

impl Finding {
    fn advise(&mut self, key: Option<&'static str>, advice: impl Into<String>) {
        self.key = key;
        self.advice = advice.into();
    }
}

pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let connection = seen.messenger.connection();
    lookup(&mut findings, seen.account, &connection);
    transport(&mut findings, seen, &connection);
    certificates(&mut findings, seen);
    clock(&mut findings, seen);
    registration(&mut findings, seen, &connection);
    if seen.messenger.snapshot().session == SessionState::SignedIn {
        service(&mut findings, seen);
        presence(&mut findings, seen);
        refused(&mut findings, seen);
        contacts(&mut findings, seen);
    }
    findings.0
}

/// A number with the words for one and for many.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn place(destination: &Destination) -> String {
    format!("{} over {}", destination.remote, destination.transport.via_name())
}

fn lookup(findings: &mut Findings, account: &AccountConfig, connection: &Connection) {
    let given = account.service.as_deref().unwrap_or(account.address.as_str());
    if connection.lookups.is_empty() {
        match domain(account) {
            None => findings.fine(Topic::Lookup, format!("the service is given by its IP address: {given}")),
            Some(name) => {
                findings.note(Topic::Lookup, format!("nobody was asked where {name} is"));
            }
        }
    }
    // One question may have been asked several times: the last answer counts.
    let mut told = Vec::new();
    for lookup in connection.lookups.iter().rev() {
        let question = (&lookup.host, lookup.port, lookup.transport);
        if told.contains(&question) {
            continue;
        }
        told.push(question);
        match &lookup.answer {
            Some(Ok(places)) if !places.is_empty() => {
                let places: Vec<String> = places.iter().map(place).collect();
                findings.fine(Topic::Lookup, format!("{} leads to {}", lookup.host, places.join(", then ")));
            }
            answer => {
                let why = match answer {
                    Some(Err(error)) => error.clone(),
                    _ => "the name servers have not answered".to_owned(),
                };
                let finding =
                    findings.problem(Topic::Lookup, format!("{} cannot be found: {why}", lookup.host));
                let key = Some("account.service");
                if account.service.is_some() {
                    finding.advise(
                        key,
                        "correct `service` in [[account]], or name a server in `name-servers` of [host] that \
                         knows the name",
                    );
                } else {
                    finding.advise(
                        key,
                        "add `service = \"sip:HOST;transport=tls\"` to [[account]], or correct the domain of \
                         `address`",
                    );
                }
            }
        }
    }
}

fn transport(findings: &mut Findings, seen: &Seen<'_>, connection: &Connection) {
    for flow in &connection.flows {
        let destination = flow.destination;
        let loopback = destination.remote.ip().is_loopback();
        if destination.transport.is_secure() || loopback {
            findings.fine(Topic::Transport, format!("the service answers at {}", place(&destination)));
        } else {
            let sentence = format!(
                "the service answers at {}, where everybody on the way can read along",
                place(&destination)
            );
            findings.note(Topic::Transport, sentence).advise(
                Some("account.service"),
                "let `service` end in `;transport=tls` where the service has that",
            );
        }
    }
    let mut told: Vec<Destination> = Vec::new();
    for failure in connection.failures.iter().rev() {
        let works = connection.flows.iter().any(|flow| flow.destination == failure.destination);
        if works || told.contains(&failure.destination) || failure.certificate.is_some() {
            continue;
        }
        told.push(failure.destination);
        let sentence = format!("{} does not work: {}", place(&failure.destination), failure.reason);
        let level = if connection.flows.is_empty() { Level::Problem } else { Level::Note };
        findings.add(level, Topic::Transport, sentence).advise(
            Some("account.service"),
            match failure.destination.transport {
                Transport::Udp => "check host and port of `service`, and that the network lets UDP through",
                Transport::Ws | Transport::Wss => {
                    "check host, port and `transport` of `service`, and `ws-path`; a firewall may stand between"
                }
                _ => "check host, port and `transport` of `service`; a firewall may stand between",
            },
        );
    }
    // Datagrams fail in silence.
    let silent = connection.flows.is_empty() && connection.failures.is_empty();
    let found = connection.lookups.is_empty()
        || connection.lookups.iter().any(|lookup| matches!(&lookup.answer, Some(Ok(_))));
    if silent && found && seen.messenger.snapshot().session != SessionState::SignedIn {
        findings.problem(Topic::Transport, "nothing was heard of the service").advise(
            Some("account.service"),
            "check host and port of `service`; where the network lets no UDP through, let it end in \
             `;transport=tcp` or `;transport=tls`",
        );
    }
}

fn date(time: SystemTime) -> String {
    let text = Timestamp::from(time).to_string();
    text.split('T').next().map(str::to_owned).unwrap_or(text)
}

fn certificates(findings: &mut Findings, seen: &Seen<'_>) {
    for (destination, looked) in &seen.certificates {
        let at = place(destination);
        if let Some(certificate) = &looked.certificate
            && looked.outcome.is_ok()
        {
            good(findings, &at, certificate, looked.version);
        }
        let Err(reason) = &looked.outcome else { continue };
        let shown = looked.certificate.as_ref().map(|it| format!(" ({})", summary(it))).unwrap_or_default();
        match reason {
            FlowError::Certificate(problem) => {
                let (key, advice) = remedy(problem);
                findings
                    .problem(Topic::Certificate, format!("the certificate at {at} is refused{shown}: {problem}"))
                    .advise(key, advice);
            }
            FlowError::Tls(_) => findings
                .problem(Topic::Certificate, format!("TLS with {at} fails{shown}: {reason}"))
                .advise(
                    Some("account.service"),
                    "check that the port of `service` is the one for TLS; where the service wants a certificate \
                     of yours, give `certificate` and `key` in `tls`",
                ),
            _ => {}
        }
    }
}

fn summary(certificate: &CertificateSummary) -> String {
    format!(
        "{}, for {}, issued by {}, from {} until {}",
        certificate.subject,
        certificate.names().join(", "),
        certificate.issuer,
        date(certificate.not_before),
        date(certificate.not_after)
    )
}

fn good(findings: &mut Findings, at: &str, certificate: &CertificateSummary, version: Option<&'static str>) {
    let version = version.map(|version| format!(", {version}")).unwrap_or_default();
    let sentence = format!("the certificate at {at} is good: {}{version}", summary(certificate));
    let left = certificate.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    if left < SOON {
        let days = left.as_secs() / (24 * 60 * 60);
        findings
            .note(Topic::Certificate, format!("{sentence}, which is in {days} days"))
            .advise(None, "let the service's operator renew the certificate");
    } else {
        findings.fine(Topic::Certificate, sentence);
    }
}

fn remedy(problem: &CertificateProblem) -> (Option<&'static str>, &'static str) {
    match problem {
        CertificateProblem::Expired { .. } | CertificateProblem::NotYetValid { .. } => (
            None,
            "set this machine's clock if it is wrong; if it is right, let the service's operator renew the certificate",
        ),
        CertificateProblem::UnknownIssuer { .. } => (
            Some("host.tls.roots"),
            "if it is the right service, put the certificate of its authority into a file and name that in \
             `roots` of [host.tls], or of `tls` in [[account]]",
        ),
        CertificateProblem::WrongName { .. } | CertificateProblem::BadName(_) => (
            Some("account.service"),
            "name the service in `service` of [[account]] by a name that the certificate has",
        ),
        _ => (None, "let the service's operator install a certificate for a SIP server"),
    }
}

fn clock(findings: &mut Findings, seen: &Seen<'_>) {
    let Some(skew) = seen.messenger.report().clock_skew else { return };
    let seconds = skew.abs() / 1000;
    if skew.abs() <= SKEW {
        findings.fine(
            Topic::Clock,
            format!("this machine's clock is the service's, within {} s", seconds.max(1)),
        );
        return;
    }
    let side = if skew > 0 { "behind" } else { "ahead of" };
    findings
        .problem(Topic::Clock, format!("this machine's clock is {seconds} s {side} the service's"))
        .advise(None, "set this machine's clock, best by a time service, or tell the service's operator");
}

fn registration(findings: &mut Findings, seen: &Seen<'_>, connection: &Connection) {
    let snapshot = seen.messenger.snapshot();
    let report = &snapshot.report;
    if snapshot.session == SessionState::SignedIn {
        let mut sentence = format!("{} is signed in", seen.account.address);
        if let Some(at) = report.next_refresh {
            sentence.push_str(&format!(", and will renew that at {at}"));
        }
        if report.outbound_flows > 0 {
            let flows = counted(report.outbound_flows as usize, "flow", "flows");
            sentence.push_str(&format!(", by {flows} of its own (RFC 5626)"));
        }
        if let Some(gruu) = &report.gruu {
            sentence.push_str(&format!(", reachable as {gruu}"));
        }
        findings.fine(Topic::Registration, sentence);
        return;
    }
    if let Some(token) = &seen.token {
        let finding = findings.problem(
            Topic::Registration,
            format!("the service asks for an access token for {}", token.realm),
        );
        if token.insecure {
            finding.advise(
                Some("account.service"),
                "tokens are sent over TLS only: let `service` end in `;transport=tls`",
            );
        } else {
            finding.advise(
                Some("account.token"),
                match &token.authz_server {
                    Some(server) => {
                        format!("give a valid `token` in [[account]]; they are given out at {server}")
                    }
                    None => "give a valid `token` in [[account]]".to_owned(),
                },
            );
        }
        return;
    }
    let reason = snapshot.session_reason.as_ref();
    let why = reason.map_or_else(|| "the service has not answered in time".to_owned(), Error::to_string);
    let finding = findings.problem(Topic::Registration, format!("not signed in: {why}"));
    match reason.map(Error::code) {
        Some(Code::InvalidPassword) => match &seen.account.credential {
            Credential::Password(_) => finding.advise(
                Some("account.password"),
                "correct `password` in [[account]]; where the service knows the user by another name, add `auth-user`",
            ),
            Credential::Token(_) => finding.advise(Some("account.token"), "give a valid `token` in [[account]]"),
        },
        // What is in the way of a connection has been told.
        _ if connection.flows.is_empty() => finding.advise(None, "see above: mend the way to the service first"),
        _ => finding.advise(
            Some("account.address"),
            "check that the service is responsible for the domain of `address` and knows the user",
        ),
    }
}

fn service(findings: &mut Findings, seen: &Seen<'_>) {
    let report = seen.messenger.report();
    let service = &report.service;
    let list = |words: &[std::sync::Arc<str>]| words.join(", ");
    if !service.server.is_empty() {
        findings.fine(Topic::Service, format!("it calls itself {}", service.server));
    }
    for (what, words) in [
        ("takes the methods", &service.allow),
        ("offers the events", &service.allow_events),
        ("supports the extensions", &service.supported),
    ] {
        if !words.is_empty() {
            findings.fine(Topic::Service, format!("it {what} {}", list(words)));
        }
    }
    if service.allow.is_empty() && service.allow_events.is_empty() {
        findings.note(Topic::Service, "it does not say which methods and events it takes");
    }
}

fn presence(findings: &mut Findings, seen: &Seen<'_>) {
    // Others would see it, beside what another device of the person publishes.
    let untried = "publishing was not tried, because others would see it";
    let service = &seen.messenger.report().service;
    if service.allow.iter().any(|method| method.eq_ignore_ascii_case("PUBLISH")) {
        findings.fine(Topic::Publication, format!("the service says that it takes own presence; {untried}"));
    } else if service.allow.is_empty() {
        findings.note(Topic::Publication, untried);
    } else {
        findings
            .note(Topic::Publication, format!("the service does not name PUBLISH among its methods; {untried}"))
            .advise(
                None,
                "if others do not see own presence, let the service's operator turn presence (PUBLISH, RFC 3903) on \
                 for this account",
            );
    }
    for used in &seen.messenger.report().watching {
        let how = match used.strategy {
            Strategy::ServerList => "by one list that the service keeps",
            Strategy::RequestList => "by lists in requests",
            Strategy::OneEach => "one at a time",
            Strategy::Polling => "by asking now and then",
        };
        let level = if used.strategy == Strategy::Polling { Level::Note } else { Level::Fine };
        findings.add(level, Topic::Watching, format!("people are watched {how}: {}", used.reason));
    }
    let Some(watching) = &seen.watching else { return };
    match &watching.presence().freshness {
        Freshness::Live => findings.fine(Topic::Watching, "own presence comes back from the service"),
        Freshness::Unknown(_) | Freshness::Stale(_) => {
            findings
                .problem(Topic::Watching, "own presence does not come back from the service")
                .advise(None, "let the service's operator turn on its presence server (RFC 3856)");
        }
        Freshness::Denied => {
            findings.note(Topic::Watching, "the service does not let this account see its own presence");
        }
    }
}

fn refused(findings: &mut Findings, seen: &Seen<'_>) {
    let nothing = nothing_below_the_root(seen);
    for refused in &seen.messenger.report().refused {
        // It is a part of something worse, which is told by itself.
        if nothing && &*refused.feature == "xcap-caps" {
            continue;
        }
        let status = refused.status.map(|status| format!(" with {status}")).unwrap_or_default();
        let sentence = if &*refused.feature == "xcap-caps" {
            "what the XCAP server can do (xcap-caps) was not found below the root".to_owned()
        } else {
            format!("the service refused {}{status}: {}", refused.feature, refused.sentence)
        };
        let configured = &*refused.feature == "server-list" && seen.account.list.is_some();
        let (topic, level, key) = match &*refused.feature {
            "publish" => (Topic::Publication, Level::Problem, None),
            "server-list" if configured => (Topic::Watching, Level::Problem, Some("account.list")),
            "one-each" | "polling" => (Topic::Watching, Level::Problem, None),
            "watcher-info" => (Topic::Privacy, Level::Note, None),
            "xcap-caps" => (Topic::Contacts, Level::Note, Some("account.xcap")),
            "xcap" => (Topic::Contacts, Level::Problem, Some("account.xcap")),
            _ => (Topic::Watching, Level::Note, None),
        };
        findings.add(level, topic, sentence).advise(key, &*refused.advice);
    }
}

/// Whether the XCAP root leads to none of what must be below it: not what every XCAP server has to say of itself (RFC 4825,
/// section 12), and nothing of this account.
fn nothing_below_the_root(seen: &Seen<'_>) -> bool {
    let snapshot = seen.messenger.snapshot();
    let silent = snapshot.report.refused.iter().any(|refused| &*refused.feature == "xcap-caps");
    let empty = snapshot.contacts.size() == 0 && snapshot.groups.size() == 0 && snapshot.rules.is_empty();
    silent && empty && matches!(snapshot.report.xcap, XcapState::Synced { .. })
}

fn contacts(findings: &mut Findings, seen: &Seen<'_>) {
    let snapshot = seen.messenger.snapshot();
    if nothing_below_the_root(seen) {
        findings
            .problem(
                Topic::Contacts,
                "nothing was found below the XCAP root: not what the server can do (xcap-caps), no contacts and no rules",
            )
            .advise(
                Some("account.xcap"),
                "correct the path of `xcap` in [[account]]; a server that has no `xcap-caps` document at all has to be \
                 given one by its operator (RFC 4825, section 12)",
            );
        return;
    }
    match &snapshot.report.xcap {
        XcapState::Off => {
            findings
                .note(Topic::Contacts, "contacts and privacy rules are kept on this machine only")
                .advise(
                    Some("account.xcap"),
                    "where the service has XCAP, name its root in `xcap` of [[account]]",
                );
            return;
        }
        XcapState::Synced { at } => findings.fine(
            Topic::Contacts,
            match snapshot.contacts.size() {
                1 => format!("one contact is the same here and on the service since {at}"),
                many => format!("{many} contacts are the same here and on the service since {at}"),
            },
        ),
        XcapState::Offline { cause, .. } => findings
            .problem(Topic::Contacts, format!("the XCAP server does not answer: {cause}"))
            .advise(Some("account.xcap"), "check host, port and path of `xcap` in [[account]]"),
        XcapState::Refused { status, sentence, advice } => {
            let advice = if advice.is_empty() { "check `xcap` in [[account]]" } else { advice };
            findings
                .problem(
                    Topic::Contacts,
                    format!("the XCAP server refuses contacts with {status}: {sentence}"),
                )
                .advise(Some("account.xcap"), advice);
        }
        _ => findings
            .problem(Topic::Contacts, "the XCAP server has not answered in time")
            .advise(Some("account.xcap"), "check host, port and path of `xcap`, or try again with more time"),
    }
    if matches!(snapshot.report.xcap, XcapState::Synced { .. }) {
        let rules = counted(snapshot.rules.len(), "rule says", "rules say");
        let watchers =
            counted(snapshot.watchers.size(), "person watches it or wants", "people watch it or want");
        let sentence = format!("{rules} who may see own presence, and {watchers} to");
        findings.fine(Topic::Privacy, sentence);
    }
}
