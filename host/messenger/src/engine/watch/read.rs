//! What the agent reports of subscriptions, and which way of watching follows from it.

use std::collections::{HashMap, HashSet};

use attache_sip::{
    agent::{Cause, NotifyBody, SubscriptionId, Terms},
    usage::SubscriptionState,
};
use smallvec::smallvec;

use super::{
    About, FIRST_POLL, Hands, How, LIST_PATIENCE, News, Server, Sub, Told, Watch,
    list::{Outcome, Part, Said},
};
use crate::{address::Address, report::Strategy};

impl Watch {
    /// Takes a report of the agent.
    pub(in crate::engine) fn read(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
        terms: &Terms,
    ) -> Vec<Told> {
        let Some(sub) = self.subs.get_mut(&id) else { return Vec::new() };
        if sub.etag != terms.etag {
            sub.etag.clone_from(&terms.etag);
            self.tag_changed |= matches!(sub.about, About::ServerList(_));
        }
        match &state {
            SubscriptionState::Pending | SubscriptionState::Active => sub.in_force = true,
            SubscriptionState::Retrying { .. } => sub.in_force = false,
            _ => {}
        }
        match sub.about {
            About::ServerList(_) => self.tally.rate(Strategy::ServerList, terms.rates.max),
            About::RequestList { .. } => self.tally.rate(Strategy::RequestList, terms.rates.max),
            _ => {}
        }
        match &sub.about {
            About::Person(address) => {
                let address = address.clone();
                self.read_person(hands, id, address, state, notify, terms)
            }
            About::Question(address) => {
                let address = address.clone();
                self.read_question(hands, id, address, state, notify)
            }
            About::Dialogs(address) => {
                let address = address.clone();
                self.read_dialogs(hands, id, address, state, notify)
            }
            About::ServerList(_) => self.read_server_list(hands, id, state, notify, terms.unchanged),
            About::RequestList { .. } => self.read_request_list(hands, id, state, notify),
        }
    }

    fn read_person(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        address: Address,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
        terms: &Terms,
    ) -> Vec<Told> {
        let news = match state {
            SubscriptionState::Pending => News::Pending,
            SubscriptionState::Active => match notify {
                Some(body) if !body.body.is_empty() => document(body, true),
                _ if terms.unchanged => News::Unchanged,
                _ => News::Empty { fork: terms.fork, settled: terms.settled },
            },
            SubscriptionState::Retrying { cause, .. } => News::Away(cause),
            SubscriptionState::Terminated { cause } => {
                self.subs.remove(&id);
                if takes_no_subscription(&cause) {
                    self.tally.refuse(
                        "one-each",
                        &cause,
                        "the service takes no subscription to presence",
                        hands.now.wall,
                    );
                    self.tally.because(Strategy::Polling, "the service takes no subscription to presence");
                    let wait = hands.share(FIRST_POLL, 5, 100);
                    self.poll_after(hands, &address, wait);
                    return vec![(address, News::Away(cause))];
                }
                if is_refusal(&cause) && self.question(hands, &address, cause.clone()) {
                    return vec![(address, News::Listed)];
                }
                self.set(&address, Some(How::Ended));
                News::Ended(cause)
            }
            _ => return Vec::new(),
        };
        vec![(address, news)]
    }

    fn read_dialogs(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        address: Address,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
    ) -> Vec<Told> {
        let document = match state {
            SubscriptionState::Active => match notify.filter(|body| !body.body.is_empty()) {
                Some(body) => Some(body.body),
                None => return Vec::new(),
            },
            SubscriptionState::Terminated { cause } => {
                self.subs.remove(&id);
                self.dialogs.remove(&address);
                if takes_no_subscription(&cause) {
                    // It will not for others either: presence goes on without.
                    let sentence = "the service does not tell who is on the phone";
                    self.tally.refuse("calls", &cause, sentence, hands.now.wall);
                    self.calls_refused = true;
                }
                None
            }
            _ => None,
        };
        vec![(address, News::Dialogs(document))]
    }

    fn read_question(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        address: Address,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
    ) -> Vec<Told> {
        let SubscriptionState::Terminated { cause } = state else { return Vec::new() };
        self.subs.remove(&id);
        let wait = hands.share(self.polling, 75, 125);
        if let Some(How::Tried { refusal, .. }) = self.people.get(&address) {
            let refusal = Cause::clone(refusal);
            let Some(body) = notify.filter(|body| !body.body.is_empty()) else {
                self.set(&address, Some(How::Ended));
                return vec![(address, News::Ended(refusal))];
            };
            let sentence = "the service refuses subscriptions that last, and answers questions";
            self.tally.refuse("one-each", &refusal, sentence, hands.now.wall);
            self.tally.because(Strategy::Polling, sentence);
            self.poll_after(hands, &address, wait);
            return vec![(address, document(body, false))];
        }
        let news = match (notify, cause) {
            (Some(body), _) if !body.body.is_empty() => document(body, false),
            // Nothing published, or not allowed: that is not told apart, and neither is offline for sure.
            (_, Cause::Ended { .. } | Cause::Closed) => News::Pending,
            (_, cause) if takes_no_subscription(&cause) => {
                self.tally.refuse("polling", &cause, "the service tells no presence at all", hands.now.wall);
                self.set(&address, Some(How::Ended));
                return vec![(address, News::Ended(cause))];
            }
            (_, cause) if cause.is_outage() => News::Away(cause),
            (_, cause) => {
                self.set(&address, Some(How::Ended));
                return vec![(address, News::Ended(cause))];
            }
        };
        self.poll_after(hands, &address, wait);
        vec![(address, news)]
    }

    fn read_server_list(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
        unchanged: bool,
    ) -> Vec<Told> {
        let Some(Sub { about: About::ServerList(list), asked, etag, .. }) = self.subs.get_mut(&id) else {
            return Vec::new();
        };
        match state {
            SubscriptionState::Active | SubscriptionState::Pending => {
                let Some(body) = notify.filter(|body| !body.body.is_empty()) else {
                    if unchanged && !list.is_complete() && list.resume() {
                        return self.list_resumed(hands, id);
                    }
                    return Vec::new();
                };
                let was_complete = list.is_complete();
                match list.take(&body.content_type, &body.body) {
                    Outcome::Applied { whole, told, removed } => {
                        *asked &= !whole;
                        self.list_told(hands, id, whole, told, removed)
                    }
                    Outcome::Repeated => Vec::new(),
                    Outcome::Gap => {
                        // The tag is that of a state that is not known here.
                        *etag = None;
                        hands.agent.refresh(hands.now.instant, id);
                        Vec::new()
                    }
                    // One that is damaged in between is made good by the next whole one, unless that is damaged too.
                    Outcome::NoList(_) if was_complete && !*asked => {
                        *asked = true;
                        *etag = None;
                        hands.agent.refresh(hands.now.instant, id);
                        Vec::new()
                    }
                    Outcome::NoList(what) => {
                        let cause = Cause::Invalid(what);
                        let told = if was_complete { self.listed_away(&cause) } else { Vec::new() };
                        self.drop_sub(hands, id);
                        self.list_refused(hands, &cause, "what the service sends for the list is no list");
                        told
                    }
                }
            }
            SubscriptionState::Retrying { cause, .. } => {
                list.restart();
                if let Server::Works(id) = self.server {
                    self.server = Server::Asked { id, until: Some(hands.now.instant + LIST_PATIENCE) };
                }
                self.listed_away(&cause)
            }
            SubscriptionState::Terminated { cause } => {
                self.subs.remove(&id);
                let told = self.listed_away(&cause);
                self.list_refused(hands, &cause, "the service does not give the list");
                told
            }
            _ => Vec::new(),
        }
    }

    /// The list tells nothing more of those on it.
    fn listed_away(&self, cause: &Cause) -> Vec<Told> {
        self.listed().into_iter().map(|address| (address, News::Away(cause.clone()))).collect()
    }

    /// The list is as it was, and so are those on it.
    fn list_resumed(&mut self, hands: &mut Hands<'_>, id: SubscriptionId) -> Vec<Told> {
        self.server = Server::Works(id);
        let Some(About::ServerList(list)) = self.subs.get(&id).map(|sub| &sub.about) else {
            return Vec::new();
        };
        let (same, new): (Vec<Address>, Vec<Address>) =
            self.listed().into_iter().partition(|address| list.holds(address) && self.is_known(address));
        for address in &same {
            self.set(address, Some(How::Listed));
        }
        self.remembered = HashSet::new();
        self.individually(hands, new);
        same.into_iter().map(|address| (address, News::Unchanged)).collect()
    }

    /// Whether the list has told of somebody while that was wanted.
    fn is_known(&self, address: &Address) -> bool {
        matches!(self.people.get(address), Some(How::Listed)) || self.remembered.contains(address)
    }

    /// The list said something of its members.
    fn list_told(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        whole: bool,
        said: Vec<(Address, Said)>,
        removed: Vec<Address>,
    ) -> Vec<Told> {
        let mut told = Vec::with_capacity(said.len());
        if whole {
            self.server = Server::Works(id);
            self.remembered = HashSet::new();
            self.tally.forgive("server-list");
        }
        for (address, said) in said {
            match self.people.get(&address) {
                Some(How::Listed) => {}
                Some(How::Waiting | How::Ended) => self.set(&address, Some(How::Listed)),
                // Watched beside the list until that says something itself.
                Some(_) if said == Said::Nothing => continue,
                Some(_) => {
                    self.detach(hands, &address);
                    self.set(&address, Some(How::Listed));
                    told.push((address.clone(), News::Restart));
                }
                // On the service's list, but nobody here wants to know.
                None => continue,
            }
            told.push((address, news(said)));
        }
        let gone: Vec<Address> = match self.subs.get(&id).map(|sub| &sub.about) {
            Some(About::ServerList(list)) if whole => {
                self.listed().into_iter().filter(|address| !list.holds(address)).collect()
            }
            _ => {
                removed.into_iter().filter(|address| self.people.get(address) == Some(&How::Listed)).collect()
            }
        };
        let cause = Cause::Ended { reason: "no longer on the service's list".to_owned() };
        let vouched = gone.iter().filter(|address| self.people.get(*address) == Some(&How::Listed));
        told.extend(vouched.map(|address| (address.clone(), News::Away(cause.clone()))));
        self.individually(hands, gone);
        told
    }

    fn list_refused(&mut self, hands: &mut Hands<'_>, cause: &Cause, sentence: &str) {
        self.server = Server::Refused;
        self.tally.refuse("server-list", cause, sentence, hands.now.wall);
        let left = self.listed();
        self.individually(hands, left);
    }

    fn read_request_list(
        &mut self,
        hands: &mut Hands<'_>,
        id: SubscriptionId,
        state: SubscriptionState,
        notify: Option<NotifyBody>,
    ) -> Vec<Told> {
        let Some(Sub { about: About::RequestList { members, state: list }, asked, .. }) =
            self.subs.get_mut(&id)
        else {
            return Vec::new();
        };
        let everybody = |members: &HashMap<Address, Address>| {
            let mut all: Vec<Address> = members.values().cloned().collect();
            all.sort_unstable();
            all
        };
        let (cause, sentence) = match state {
            SubscriptionState::Active | SubscriptionState::Pending => {
                let Some(body) = notify.filter(|body| !body.body.is_empty()) else { return Vec::new() };
                let was_complete = list.is_complete();
                match list.take(&body.content_type, &body.body) {
                    Outcome::Applied { whole, told, .. } => {
                        self.tally.forgive("request-list");
                        *asked &= !whole;
                        let mut told: Vec<Told> = told
                            .into_iter()
                            .filter_map(|(address, said)| Some((members.get(&address)?.clone(), news(said))))
                            .collect();
                        if whole {
                            let left = members.iter().filter(|(as_sent, _)| !list.holds(as_sent));
                            let mut left: Vec<Address> = left.map(|(_, member)| member.clone()).collect();
                            left.sort_unstable();
                            self.left_out(hands, &left);
                            told.extend(left.into_iter().map(|address| (address, News::Listed)));
                        }
                        return told;
                    }
                    Outcome::Repeated => return Vec::new(),
                    Outcome::NoList(what) if !was_complete || *asked => {
                        let all = everybody(members);
                        self.drop_sub(hands, id);
                        self.requests_refused = true;
                        let sentence = "what the service sends for a list in a request is no list";
                        let cause = Cause::Invalid(what);
                        self.tally.refuse("request-list", &cause, sentence, hands.now.wall);
                        self.individually(hands, all.clone());
                        if !was_complete {
                            return Vec::new();
                        }
                        return all.into_iter().map(|address| (address, News::Away(cause.clone()))).collect();
                    }
                    Outcome::NoList(_) => {
                        *asked = true;
                        hands.agent.refresh(hands.now.instant, id);
                        return Vec::new();
                    }
                    Outcome::Gap => {
                        hands.agent.refresh(hands.now.instant, id);
                        return Vec::new();
                    }
                }
            }
            SubscriptionState::Retrying { cause, .. } => {
                list.restart();
                let all = everybody(members);
                return all.into_iter().map(|address| (address, News::Away(cause.clone()))).collect();
            }
            SubscriptionState::Terminated { cause } => {
                (cause, "the service does not take a list in a request")
            }
            _ => return Vec::new(),
        };
        let all = everybody(members);
        self.subs.remove(&id);
        self.requests_refused = true;
        self.tally.refuse("request-list", &cause, sentence, hands.now.wall);
        self.individually(hands, all.clone());
        all.into_iter().map(|address| (address, News::Away(cause.clone()))).collect()
    }
}

impl Watch {
    /// Watches those one by one whom the service left out of a list in a request.
    fn left_out(&mut self, hands: &mut Hands<'_>, left: &[Address]) {
        if !left.is_empty() {
            self.tally.because(Strategy::OneEach, "the service left these out of a list in a request");
        }
        for address in left {
            self.detach(hands, address);
            self.one(hands, address);
        }
    }
}

fn document(body: NotifyBody, live: bool) -> News {
    let media_type = body.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let part = Part { source: body.fork, media_type: media_type.into(), body: body.body };
    News::Documents { parts: smallvec![part], sources: smallvec![], live }
}

fn news(said: Said) -> News {
    match said {
        Said::Nothing => News::Listed,
        Said::Documents { parts, sources } if parts.is_empty() && sources.is_empty() => News::Listed,
        Said::Documents { parts, sources } if parts.is_empty() => {
            News::Documents { parts, sources, live: true }
        }
        Said::Documents { parts, sources } => News::Documents { parts, sources, live: true },
        Said::Pending => News::Pending,
        Said::Ended(reason) => match reason.as_str() {
            "rejected" | "noresource" | "invariant" => News::Ended(Cause::Ended { reason }),
            _ => News::Away(Cause::Ended { reason }),
        },
    }
}

/// Whether somebody, or a service for everybody, does not want this subscription.
fn is_refusal(cause: &Cause) -> bool {
    matches!(cause, Cause::Status { code: 403 | 603 | 606, .. })
}

/// Whether the service is one that takes no subscription at all; a refusal that is about a person says nothing of others.
fn takes_no_subscription(cause: &Cause) -> bool {
    matches!(cause, Cause::Status { code: 405 | 489 | 501, .. })
}
