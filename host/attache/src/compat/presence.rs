//! Presence as one value, as a number, and as an array.

use super::{
    CALENDAR_STATE_BUSY, CALENDAR_STATE_FREE, CALENDAR_STATE_NOT_AVAILABLE, CALENDAR_STATE_NOTWORKING,
    CALENDAR_STATE_OUT_OF_OFFICE, CALENDAR_STATE_TENTATIVE, Failure, MISTATUS,
    MISTATUS_ALLOW_URGENT_INTERRUPTIONS, MISTATUS_AWAY, MISTATUS_BE_RIGHT_BACK, MISTATUS_BUSY,
    MISTATUS_CUSTOM, MISTATUS_DO_NOT_DISTURB, MISTATUS_IDLE, MISTATUS_IN_A_CONFERENCE, MISTATUS_IN_A_MEETING,
    MISTATUS_INVISIBLE, MISTATUS_MAY_BE_AVAILABLE, MISTATUS_OFFLINE, MISTATUS_ON_THE_PHONE, MISTATUS_ONLINE,
    MISTATUS_OUT_OF_OFFICE, MISTATUS_OUT_TO_LUNCH, MISTATUS_UNKNOWN, PRESENCE_PROP_AVAILABILITY,
    PRESENCE_PROP_CURRENT_CALENDAR_STATE, PRESENCE_PROP_CUSTOM_STATUS_STRING, PRESENCE_PROP_DEVICE_TYPE,
    PRESENCE_PROP_IS_BLOCKED, PRESENCE_PROP_IS_OOF, PRESENCE_PROP_MAX, PRESENCE_PROP_MSTATE,
    PRESENCE_PROP_NEXT_CALENDAR_STATE, PRESENCE_PROP_NEXT_CALENDAR_STATE_TIME, PRESENCE_PROP_PRESENCE_NOTE,
    PRESENCE_PROP_TOOL_TIP, PRESENCE_PROPERTY, Result, constants::CALENDAR_STATE,
    constants::EXTENDED_STATUS_BLOCKED, constants::EXTENDED_STATUS_MOBILE, constants::EXTENDED_STATUS_TYPE,
    constants::EXTENDED_STATUS_WEB,
};
use crate::{Availability, CalendarState, DeviceKind, Freshness, Presence, Timestamp};

/// Activities of RFC 4480 that had a status of their own, the strongest first.
const ACTIVITIES: [(&str, MISTATUS); 9] = [
    ("on-the-phone", MISTATUS_ON_THE_PHONE),
    ("presentation", MISTATUS_IN_A_CONFERENCE),
    ("meeting", MISTATUS_IN_A_MEETING),
    ("appointment", MISTATUS_IN_A_MEETING),
    ("meal", MISTATUS_OUT_TO_LUNCH),
    ("lunch", MISTATUS_OUT_TO_LUNCH),
    ("vacation", MISTATUS_OUT_OF_OFFICE),
    ("holiday", MISTATUS_OUT_OF_OFFICE),
    ("travel", MISTATUS_OUT_OF_OFFICE),
];

/// A person's presence as one value. What is not known is never shown as offline.
pub(super) fn status(presence: &Presence) -> MISTATUS {
    if let Freshness::Unknown(_) | Freshness::Denied = presence.freshness {
        return MISTATUS_UNKNOWN;
    }
    let Some(availability) = presence.availability else { return MISTATUS_UNKNOWN };
    if availability == Availability::Offline {
        return MISTATUS_OFFLINE;
    }
    let said = |word: &str| presence.activities.iter().any(|activity| activity.eq_ignore_ascii_case(word));
    if availability != Availability::DoNotDisturb
        && let Some((_, status)) = ACTIVITIES.iter().find(|(word, _)| said(word))
    {
        return *status;
    }
    if presence.custom_status().is_some() {
        return MISTATUS_CUSTOM;
    }
    match availability {
        Availability::Available => MISTATUS_ONLINE,
        Availability::Idle => MISTATUS_IDLE,
        Availability::Busy | Availability::BusyIdle => MISTATUS_BUSY,
        Availability::BeRightBack => MISTATUS_BE_RIGHT_BACK,
        Availability::Away => MISTATUS_AWAY,
        Availability::DoNotDisturb => MISTATUS_DO_NOT_DISTURB,
        Availability::Offline => MISTATUS_OFFLINE,
    }
}

/// What a status to be published is: an availability, and an activity where it is more than that.
pub(super) fn of_status(status: MISTATUS) -> Result<(Availability, &'static str)> {
    Ok(match status {
        MISTATUS_ONLINE | MISTATUS_CUSTOM => (Availability::Available, ""),
        MISTATUS_INVISIBLE => (Availability::Offline, ""),
        MISTATUS_BUSY => (Availability::Busy, ""),
        MISTATUS_BE_RIGHT_BACK => (Availability::BeRightBack, ""),
        MISTATUS_IDLE | MISTATUS_MAY_BE_AVAILABLE => (Availability::Idle, ""),
        MISTATUS_AWAY => (Availability::Away, ""),
        MISTATUS_DO_NOT_DISTURB | MISTATUS_ALLOW_URGENT_INTERRUPTIONS => (Availability::DoNotDisturb, ""),
        MISTATUS_ON_THE_PHONE => (Availability::Busy, "on-the-phone"),
        MISTATUS_OUT_TO_LUNCH => (Availability::Away, "meal"),
        MISTATUS_IN_A_MEETING => (Availability::Busy, "meeting"),
        MISTATUS_OUT_OF_OFFICE => (Availability::Away, "vacation"),
        MISTATUS_IN_A_CONFERENCE => (Availability::Busy, "presentation"),
        _ => return Err(Failure::argument("this is no status to be published")),
    })
}

/// An availability by its number; whatever lies between two is the lower one.
fn of_number(number: i32) -> Result<Availability> {
    let mut known = Availability::ALL;
    known.sort_by_key(|availability| core::cmp::Reverse(availability.number()));
    let number =
        u32::try_from(number).map_err(|_| Failure::argument("an availability is no negative number"))?;
    let found = known.into_iter().find(|availability| availability.number() <= number);
    found.ok_or_else(|| Failure::argument("an availability is a number from 3000"))
}

/// A value of the array.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Variant {
    /// Nothing.
    #[default]
    Empty,
    /// A number.
    I4(i32),
    /// Yes or no.
    Bool(bool),
    /// Words.
    Bstr(String),
    /// A moment.
    Date(Timestamp),
}

/// All that is known of a person's presence, by [`PRESENCE_PROPERTY`]. What is not known is [`Variant::Empty`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PresenceProperties([Variant; PRESENCE_PROP_MAX.0 as usize]);

impl PresenceProperties {
    /// One with nothing in it, to be filled and written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands at a place; nothing where there is no such place.
    #[must_use]
    pub fn get(&self, place: PRESENCE_PROPERTY) -> &Variant {
        const EMPTY: &Variant = &Variant::Empty;
        usize::try_from(place.0).ok().and_then(|place| self.0.get(place)).unwrap_or(EMPTY)
    }

    /// Puts something at a place.
    ///
    /// # Errors
    /// [`E_INVALIDARG`](super::E_INVALIDARG) where there is no such place.
    pub fn put(&mut self, place: PRESENCE_PROPERTY, value: Variant) -> Result<()> {
        let place = usize::try_from(place.0).ok().and_then(|place| self.0.get_mut(place));
        *place.ok_or_else(|| Failure::argument("the array has no such place"))? = value;
        Ok(())
    }

    pub(super) fn of(presence: &Presence, blocked: bool) -> Self {
        let status = status(presence);
        let words =
            |text: &str| if text.is_empty() { Variant::Empty } else { Variant::Bstr(text.to_owned()) };
        let away = status == MISTATUS_OUT_OF_OFFICE;
        let mut array = Self::new();
        let mut set = |place: PRESENCE_PROPERTY, value| array.0[place.0 as usize] = value;
        set(PRESENCE_PROP_MSTATE, Variant::I4(status.0));
        let number = presence.availability.and_then(|it| i32::try_from(it.number()).ok());
        set(PRESENCE_PROP_AVAILABILITY, number.map_or(Variant::Empty, Variant::I4));
        set(PRESENCE_PROP_IS_BLOCKED, Variant::Bool(blocked));
        set(PRESENCE_PROP_PRESENCE_NOTE, words(&presence.note));
        set(PRESENCE_PROP_IS_OOF, if away { words(&presence.note) } else { Variant::Empty });
        set(PRESENCE_PROP_TOOL_TIP, words(&tool_tip(presence)));
        set(
            PRESENCE_PROP_CUSTOM_STATUS_STRING,
            presence.custom_status().map_or(Variant::Empty, |it| words(it)),
        );
        set(
            PRESENCE_PROP_DEVICE_TYPE,
            device(presence, blocked).map_or(Variant::Empty, |it| Variant::I4(it.0)),
        );
        let calendar = presence.calendar();
        let now = calendar.map_or(CALENDAR_STATE_NOT_AVAILABLE, |calendar| calendar_state(calendar.now));
        set(PRESENCE_PROP_CURRENT_CALENDAR_STATE, Variant::I4(now.0));
        let next = calendar.and_then(|calendar| calendar.next);
        let state = next.map_or(Variant::Empty, |(state, _)| Variant::I4(calendar_state(state).0));
        set(PRESENCE_PROP_NEXT_CALENDAR_STATE, state);
        set(PRESENCE_PROP_NEXT_CALENDAR_STATE_TIME, next.map_or(Variant::Empty, |(_, at)| Variant::Date(at)));
        array
    }

    /// What to publish: availability, activity and note. `now` is what holds where the array says nothing.
    pub(super) fn to_publish(&self, now: &Presence) -> Result<(Availability, String, String)> {
        let known = now.availability.unwrap_or(Availability::Available);
        let (availability, activity) =
            match (self.get(PRESENCE_PROP_MSTATE), self.get(PRESENCE_PROP_AVAILABILITY)) {
                // A status of one's own words goes with any availability.
                (Variant::I4(status), Variant::I4(number)) if *status == MISTATUS_CUSTOM.0 => {
                    (of_number(*number)?, "")
                }
                (Variant::I4(status), _) => of_status(MISTATUS(*status))?,
                (_, Variant::I4(number)) => (of_number(*number)?, ""),
                _ => (known, ""),
            };
        let words = |place| match self.get(place) {
            Variant::Bstr(words) => Some(words.clone()),
            _ => None,
        };
        let note = words(PRESENCE_PROP_PRESENCE_NOTE).or_else(|| words(PRESENCE_PROP_IS_OOF));
        let activity = words(PRESENCE_PROP_CUSTOM_STATUS_STRING).unwrap_or_else(|| activity.to_owned());
        Ok((availability, activity, note.unwrap_or_else(|| now.note.to_string())))
    }
}

/// One line for a person.
fn tool_tip(presence: &Presence) -> String {
    let mut words: Vec<&str> = presence.availability.map(Availability::name).into_iter().collect();
    let activities = presence.activities.iter().map(|activity| &**activity);
    words.extend(activities.filter(|it| presence.availability.is_none_or(|known| known.name() != *it)));
    if !presence.note.is_empty() {
        words.push(&presence.note);
    }
    words.join(", ")
}

/// Where a person is, beyond the status.
fn device(presence: &Presence, blocked: bool) -> Option<EXTENDED_STATUS_TYPE> {
    if blocked {
        return Some(EXTENDED_STATUS_BLOCKED);
    }
    let mobile = presence.device_kind() == Some(DeviceKind::Mobile);
    let web = presence.devices().iter().any(|device| device.service_class.as_deref() == Some("web"));
    mobile.then_some(EXTENDED_STATUS_MOBILE).or(web.then_some(EXTENDED_STATUS_WEB))
}

fn calendar_state(state: CalendarState) -> CALENDAR_STATE {
    match state {
        CalendarState::Free => CALENDAR_STATE_FREE,
        CalendarState::Tentative => CALENDAR_STATE_TENTATIVE,
        CalendarState::NotWorking => CALENDAR_STATE_NOTWORKING,
        CalendarState::Busy => CALENDAR_STATE_BUSY,
        CalendarState::OutOfOffice => CALENDAR_STATE_OUT_OF_OFFICE,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Capabilities, Details, Device, UnknownReason,
        compat::{PRESENCE_PROP_DEVICE_TYPE, PRESENCE_PROP_IS_BLOCKED},
    };

    fn on(device: Device) -> Presence {
        let mut presence = Presence::unknown(UnknownReason::Pending);
        presence.details = Some(Arc::new(Details { devices: Box::new([device]), ..Details::default() }));
        presence
    }

    /// seed: EXTENDED_STATUS_TYPE.* PRESENCE_PROP_DEVICE_TYPE PRESENCE_PROP_IS_BLOCKED
    #[test]
    fn where_somebody_is_and_whether_they_are_blocked_is_in_the_array() {
        let capabilities = Capabilities { mobile: Some(true), ..Capabilities::default() };
        let mobile = Device { capabilities: Some(Box::new(capabilities)), ..Device::default() };
        let web = Device { service_class: Some("web".into()), ..Device::default() };
        let kind = |device, blocked| {
            let array = PresenceProperties::of(&on(device), blocked);
            assert_eq!(*array.get(PRESENCE_PROP_IS_BLOCKED), Variant::Bool(blocked));
            array.get(PRESENCE_PROP_DEVICE_TYPE).clone()
        };
        assert_eq!(kind(mobile, false), Variant::I4(EXTENDED_STATUS_MOBILE.0));
        assert_eq!(kind(web.clone(), false), Variant::I4(EXTENDED_STATUS_WEB.0));
        assert_eq!(kind(web, true), Variant::I4(EXTENDED_STATUS_BLOCKED.0));
        assert_eq!(kind(Device::default(), false), Variant::Empty);
    }
}
