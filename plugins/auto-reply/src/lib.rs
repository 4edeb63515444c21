//! Answers messages while their recipient is away, busy or out of the office.
//!
//! Once per peer and interval, with a text that fits the own status, the peer's group and the time of day, and never in
//! answer to a program. What it knows of earlier replies is kept, so that neither a restart nor an event that
//! comes again makes a second one.
//!
//! # Layout
//! - `decision`: whether to reply, and with what
//! - `memory`: who was answered when
//! - `settings`, `hours`, `text`: what the operator configured
//! - this file: the calls to the host

mod decision;
mod hours;
mod memory;
mod settings;
mod text;

use attache_plugin::config::Table;
use attache_plugin::presence::PresenceInfo;
use attache_plugin::store::Bucket;
use attache_plugin::{
    AccountId, Availability, Contact, ContactId, EventInfo, IncomingMessage, MessageEvents, Origin, Plugin,
    PresenceEvents, StartInfo, Timestamp, address, clock, contacts, explain, info, messages, presence, warn,
};

use decision::{Last, Situation};
use hours::Moment;
use memory::{Memory, PEER};
use settings::Settings;
use text::{Text, Values};

const BUCKET: &str = "replies";
/// Begins the keys of times at which the user was back; what follows is the account.
const BACK: &str = "back/";
/// How long a reply is remembered at least, in milliseconds: longer than any event comes again.
const MEMORY: u64 = 7 * 24 * 60 * 60 * 1000;

struct AutoReply {
    settings: Settings,
    replies: Bucket,
    memory: Memory,
}

attache_plugin::export!(AutoReply: MessageEvents, PresenceEvents);

impl Plugin for AutoReply {
    fn start(_: StartInfo) -> Result<Self, String> {
        let settings = Settings::read(Table::read()?)?;
        if let Some(zone) = settings.hours.as_ref().and_then(|hours| hours.zone.clone()) {
            let known = clock::local(clock::now(), Some(&zone));
            known.map_err(|error| format!("`hours.zone` is `{zone}`: {}", explain(&error)))?;
        }
        let replies = Bucket::open(BUCKET)?;
        let memory = Memory::open(&replies, settings.interval.max(MEMORY))?;
        Ok(Self { settings, replies, memory })
    }
}

impl PresenceEvents for AutoReply {
    fn own_presence_changed(&mut self, event: EventInfo, availability: Availability, _: String) {
        // Who was back has read what came; the next absence is another one.
        if availability == Availability::Available {
            let kept = self.replies.set(&format!("{BACK}{}", event.account), event.at.to_string());
            if let Err(error) = kept {
                warn!("cannot keep that the user is back: {error}");
            }
        }
    }
}

impl MessageEvents for AutoReply {
    /// Never refuses a message: a reply is worth nothing when it is late, and others wait behind.
    fn message_received(&mut self, event: EventInfo, message: IncomingMessage) -> Result<(), String> {
        if let Err(reason) = self.answer(&event, &message) {
            warn!("message {} is not answered: {reason}", message.id);
        }
        Ok(())
    }
}

impl AutoReply {
    fn answer(&mut self, event: &EventInfo, message: &IncomingMessage) -> Result<(), String> {
        let account = event.account;
        let contact = message.contact.map(|id| self.contact(account, id)).transpose()?.flatten();
        let groups = self.groups(account, contact.as_ref())?;
        let own = presence::own_presence(account).map_err(|error| explain(&error))?;
        let now = clock::now();
        let situation = Situation {
            automatic: message.origin == Origin::Automatic,
            status: own.availability,
            moment: self.moment(now)?,
            groups: &groups,
        };
        let Some(text) = decision::text(&self.settings, &situation) else { return Ok(()) };

        let key = format!("{PEER}{account}/{}", address::key(&message.sender));
        if !self.is_due(&key, account, message.id, now)? {
            return Ok(());
        }
        // First remembered, then sent: a crash in between costs a reply, and the other way round makes two.
        let reply = text.fill(&self.values(text, message, contact.as_ref(), &own, &situation, now));
        self.memory.remember(&self.replies, key, Last { at: now, message: message.id })?;
        if reply.is_empty() {
            return Ok(());
        }
        match messages::send(account, &message.sender, &reply, messages::Purpose::AutomaticReply) {
            Ok(id) => {
                info!("message {} is answered by message {id}", message.id);
                Ok(())
            }
            Err(error) => Err(explain(&error)),
        }
    }

    /// A contact. Where the list cannot be read, that costs a name; but not where groups are configured, for one that
    /// must never be answered would be.
    fn contact(&self, account: AccountId, id: ContactId) -> Result<Option<Contact>, String> {
        match contacts::get_contact(account, id) {
            Ok(contact) => Ok(Some(contact)),
            Err(_) if self.settings.groups.is_empty() => Ok(None),
            Err(error) => Err(explain(&error)),
        }
    }

    /// The names of the groups that a contact is in; asked for only where groups are configured.
    fn groups(&self, account: AccountId, contact: Option<&Contact>) -> Result<Vec<String>, String> {
        let Some(contact) = contact.filter(|_| !self.settings.groups.is_empty()) else {
            return Ok(Vec::new());
        };
        let all = contacts::list_groups(account).map_err(|error| explain(&error))?;
        Ok(all
            .into_iter()
            .filter(|group| contact.groups.contains(&group.id))
            .map(|group| group.name)
            .collect())
    }

    /// The time on the wall, where working hours are configured.
    fn moment(&self, now: Timestamp) -> Result<Option<Moment>, String> {
        let Some(hours) = &self.settings.hours else { return Ok(None) };
        let (moment, _) = on_the_wall(now, hours.zone.as_deref())?;
        Ok(Some(moment))
    }

    fn is_due(&self, key: &str, account: AccountId, message: u64, now: Timestamp) -> Result<bool, String> {
        let Some(last) = self.memory.last(&self.replies, key)? else { return Ok(true) };
        let back = self.replies.text(&format!("{BACK}{account}"))?.and_then(|text| text.parse().ok());
        Ok(last.allows(message, now, self.settings.interval, back.unwrap_or(0)))
    }

    fn values(
        &self,
        text: &Text,
        message: &IncomingMessage,
        contact: Option<&Contact>,
        own: &PresenceInfo,
        situation: &Situation<'_>,
        now: Timestamp,
    ) -> Values {
        let named = contact.map(|contact| contact.name.clone()).filter(|name| !name.is_empty());
        Values {
            name: named.unwrap_or_else(|| address::user(&message.sender)),
            status: own.availability.map(settings::in_words).unwrap_or_default().to_owned(),
            note: own.note.clone(),
            until: if text.wants("until") { self.until(own, situation, now) } else { String::new() },
        }
    }

    /// When the reason for the reply ends, as far as that is known.
    fn until(&self, own: &PresenceInfo, situation: &Situation<'_>, now: Timestamp) -> String {
        let hours = self.settings.hours.as_ref();
        if let (Some(hours), Some(moment)) = (hours, situation.moment)
            && decision::outside_hours(&self.settings, situation)
        {
            return decision::opening(hours, moment);
        }
        let zone = hours.and_then(|hours| hours.zone.as_deref());
        let next = own.next_change_at.filter(|at| *at > now).and_then(|at| {
            let (today, midnight) = on_the_wall(now, zone).ok()?;
            let (then, _) = on_the_wall(at, zone).ok()?;
            let ahead = at.saturating_sub(midnight) / (24 * 60 * 60 * 1000);
            Some(decision::in_words(today.day, usize::try_from(ahead).ok()?, then.minute))
        });
        next.unwrap_or_else(|| "later".to_owned())
    }
}

/// A moment on the wall, and the midnight before it.
fn on_the_wall(at: Timestamp, zone: Option<&str>) -> Result<(Moment, Timestamp), String> {
    let time = clock::local(at, zone).map_err(|error| explain(&error))?;
    let minute = u16::from(time.hour) * 60 + u16::from(time.minute);
    let midnight = at.saturating_sub((u64::from(minute) * 60 + u64::from(time.second)) * 1000);
    // Days are numbered from Monday, as in ISO 8601.
    Ok((Moment { day: time.weekday as usize, minute }, midnight))
}
