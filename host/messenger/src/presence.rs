//! Presence as a person sees it: a value, and how far it can be trusted.

use std::sync::Arc;

use attache_documents::pidf::Activity;
use smallvec::SmallVec;

use crate::{
    profile::{Calendar, Phones},
    time::Timestamp,
};

/// How willing a person is to communicate, from most to least.
#[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Availability {
    /// Ready to talk.
    Available,
    /// Ready to talk, but not at the device.
    Idle,
    /// Occupied.
    Busy,
    /// Occupied, and not at the device.
    BusyIdle,
    /// Away for a short while.
    BeRightBack,
    /// Away.
    Away,
    /// Wants to be left alone.
    DoNotDisturb,
    /// Not there. Only ever said by the person's own side or the service, never made up from a failure.
    Offline,
}

impl Availability {
    /// Every value, from most to least willing.
    pub const ALL: [Self; 8] = [
        Self::Available,
        Self::Idle,
        Self::Busy,
        Self::BusyIdle,
        Self::BeRightBack,
        Self::Away,
        Self::DoNotDisturb,
        Self::Offline,
    ];

    /// The name in `wit/`, the configuration and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::BusyIdle => "busy-idle",
            Self::BeRightBack => "be-right-back",
            Self::Away => "away",
            Self::DoNotDisturb => "do-not-disturb",
            Self::Offline => "offline",
        }
    }

    /// The value with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.name() == name)
    }

    /// The number that programs of the 2007 API compare, where lower is more willing except that 18000 is offline.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Available => 3000,
            Self::Idle => 4500,
            Self::Busy => 6000,
            Self::BusyIdle => 7500,
            Self::DoNotDisturb => 9000,
            Self::BeRightBack => 12000,
            Self::Away => 15000,
            Self::Offline => 18000,
        }
    }
}

/// How far a value can be trusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// The service will tell when it changes.
    Live,
    /// Was live until then.
    Stale(Timestamp),
    /// Nothing is known.
    Unknown(UnknownReason),
    /// The person, or the service's policy, does not let this account see it.
    Denied,
}

/// Why nothing is known.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnknownReason {
    /// Nothing has arrived yet.
    Pending,
    /// The account is signed out.
    SignedOut,
    /// The service does not answer, or refused for the time being.
    ServiceUnavailable,
    /// The service knows no such person.
    NotFound,
    /// Anything else, in the service's words.
    Other(Arc<str>),
}

/// What is known of one person's presence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Presence {
    /// None when nothing is known: see `freshness`.
    pub availability: Option<Availability>,
    /// How far it can be trusted.
    pub freshness: Freshness,
    /// The person's own words; empty when there are none.
    pub note: Arc<str>,
    /// Activities of RFC 4480, section 3.2, as words such as `on-the-phone`.
    pub activities: SmallVec<[Arc<str>; 1]>,
    /// When the current value arrived.
    pub since: Option<Timestamp>,
    /// When this will next change by itself.
    pub next_change_at: Option<Timestamp>,
    /// Whatever else was said; `None` when nothing was.
    pub details: Option<Arc<Details>>,
}

impl Presence {
    /// Nothing is known, and why.
    #[must_use]
    pub fn unknown(reason: UnknownReason) -> Self {
        Self {
            availability: None,
            freshness: Freshness::Unknown(reason),
            note: Arc::from(""),
            activities: SmallVec::new(),
            since: None,
            next_change_at: None,
            details: None,
        }
    }

    /// Devices and services through which the person can be reached.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        self.details.as_ref().map_or(&[], |details| &details.devices)
    }

    /// What the person's open services can do together (RFC 5196); `None` when none of them says.
    #[must_use]
    pub fn capabilities(&self) -> Option<&Capabilities> {
        self.details.as_ref().and_then(|details| details.capabilities.as_deref())
    }

    /// What the person announced for later (RFC 4481), soonest first.
    #[must_use]
    pub fn upcoming(&self) -> &[Upcoming] {
        self.details.as_ref().map_or(&[], |details| &details.upcoming)
    }

    /// Telephones that the person publishes; `None` when there are none.
    #[must_use]
    pub fn phones(&self) -> Option<&Phones> {
        self.details.as_ref().and_then(|details| details.phones.as_deref())
    }

    /// What is told of the person's calendar; `None` when nothing is.
    #[must_use]
    pub fn calendar(&self) -> Option<Calendar> {
        self.details.as_ref().and_then(|details| details.calendar.as_deref().copied())
    }

    /// What the person does in words of their own, where RFC 4480 has none for it.
    #[must_use]
    pub fn custom_status(&self) -> Option<&Arc<str>> {
        self.activities.iter().find(|word| matches!(Activity::from_name(word), Activity::Other(_)))
    }

    /// Kind of the device that is the most wanted one; `None` where it does not say.
    #[must_use]
    pub fn device_kind(&self) -> Option<DeviceKind> {
        self.devices().first().and_then(Device::kind)
    }

    /// The person's card (RFC 4482); `None` when there is none.
    #[must_use]
    pub fn card(&self) -> Option<&Card> {
        self.details.as_ref().and_then(|details| details.card.as_deref())
    }
}

/// What people seldom say of themselves, behind one pointer. Words are those of the RFC, or the sender's own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Details {
    /// How the person feels (RFC 4480, section 3.4).
    pub mood: Box<[Arc<str>]>,
    /// Kind of the place (section 3.6), in words of RFC 4589.
    pub place_type: Box<[Arc<str>]>,
    /// What the place is like for media, as `audio:noisy` (section 3.5).
    pub place_is: Box<[Arc<str>]>,
    /// Which media others could overhear or oversee (section 3.7).
    pub privacy: Box<[Arc<str>]>,
    /// Which part of life, such as `work` (section 3.10).
    pub sphere: Box<[Arc<str>]>,
    /// A name by which senders group what belongs together (section 3.3).
    pub class: Option<Arc<str>>,
    /// Where a picture of the status is (section 3.11). Never fetched by the engine.
    pub status_icon: Option<Arc<str>>,
    /// Minutes east of UTC where the person is (section 3.12).
    pub time_offset: Option<i16>,
    /// When any device was last used (section 3.13).
    pub last_input: Option<Timestamp>,
    /// Devices and services, the most wanted first.
    pub devices: Box<[Device]>,
    /// What the open services can do together.
    pub capabilities: Option<Box<Capabilities>>,
    /// Who the person is (RFC 4482).
    pub card: Option<Box<Card>>,
    /// What comes (RFC 4481), soonest first.
    pub upcoming: Box<[Upcoming]>,
    /// Telephones of the person.
    pub phones: Option<Box<Phones>>,
    /// The person's e-mail address.
    pub email: Option<Arc<str>>,
    /// What is told of the person's calendar.
    pub calendar: Option<Box<Calendar>>,
}

impl Details {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A device or service through which a person can be reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Names it within the person's presence.
    pub id: Arc<str>,
    /// Where it can be reached. Some services write the watcher's own address here: an address to try, never to trust.
    pub contact: Option<Arc<str>>,
    /// Thousandths: 0 least, 1,000 most wanted.
    pub priority: Option<u16>,
    /// Whether it is open for communication; `None` when it does not say.
    pub open: Option<bool>,
    /// Whether nobody touches it; `None` when it does not say.
    pub idle: Option<bool>,
    /// Its activities of RFC 4480.
    pub activities: Box<[Arc<str>]>,
    /// Words on it; empty for none.
    pub note: Arc<str>,
    /// Whose service it is, where it is not the person's own, such as `assistant` (section 3.8).
    pub relationship: Option<Arc<str>>,
    /// Kind of service, such as `electronic` (section 3.9).
    pub service_class: Option<Arc<str>>,
    /// What it can do; `None` when it does not say.
    pub capabilities: Option<Box<Capabilities>>,
}

impl Device {
    /// Kind of the device, as far as it says.
    #[must_use]
    pub fn kind(&self) -> Option<DeviceKind> {
        let told = self.capabilities.as_deref();
        let telephone = self.contact.as_deref().is_some_and(|contact| {
            contact.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel:"))
        });
        match told {
            Some(Capabilities { automata: Some(true), .. }) => Some(DeviceKind::Automaton),
            Some(Capabilities { mobile: Some(true), .. }) => Some(DeviceKind::Mobile),
            _ if telephone => Some(DeviceKind::Telephone),
            Some(Capabilities { mobile: Some(false), .. }) => Some(DeviceKind::Fixed),
            _ => None,
        }
    }
}

/// Kinds of devices, by what they say that they can do (RFC 5196).
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum DeviceKind {
    /// Stays where it is, such as a computer on a desk.
    Fixed,
    /// Moves about.
    Mobile,
    /// A telephone, reached by a number.
    Telephone,
    /// Nobody sits there: a machine answers.
    Automaton,
}

impl DeviceKind {
    /// The name in `wit/` and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Mobile => "mobile",
            Self::Telephone => "telephone",
            Self::Automaton => "automaton",
        }
    }
}

/// What a service can do (RFC 5196). `None` where it does not say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// Audio.
    pub audio: Option<bool>,
    /// Video.
    pub video: Option<bool>,
    /// Text as it is typed.
    pub text: Option<bool>,
    /// Messages and sessions of messages.
    pub message: Option<bool>,
    /// Streams of applications.
    pub application: Option<bool>,
    /// It is a focus of a conference.
    pub is_focus: Option<bool>,
    /// Nobody sits there: a machine answers.
    pub automata: Option<bool>,
    /// It moves about.
    pub mobile: Option<bool>,
    /// Methods of SIP that it takes, sorted.
    pub methods: Box<[Arc<str>]>,
    /// Methods of SIP that it does not take, sorted.
    pub not_methods: Box<[Arc<str>]>,
    /// Languages as in BCP 47, sorted.
    pub languages: Box<[Arc<str>]>,
}

impl Capabilities {
    /// Whether a call may be offered: only a service that says that it takes none is passed over.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.audio != Some(false) && self.takes("INVITE")
    }

    /// Whether a message may be offered.
    #[must_use]
    pub fn takes_messages(&self) -> bool {
        self.takes("MESSAGE")
    }

    /// Whether a method may be tried.
    #[must_use]
    pub fn takes(&self, method: &str) -> bool {
        let listed = |list: &[Arc<str>]| list.iter().any(|known| known.eq_ignore_ascii_case(method));
        !listed(&self.not_methods) && (self.methods.is_empty() || listed(&self.methods))
    }
}

/// Who a person is (RFC 4482). Addresses are data: the engine never fetches what they name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Card {
    /// The name that the person goes by.
    pub display_name: Option<Arc<str>>,
    /// Where a business card is.
    pub card: Option<Arc<str>>,
    /// Where a page is.
    pub homepage: Option<Arc<str>>,
    /// Where a picture is.
    pub icon: Option<Arc<str>>,
    /// Where a map is.
    pub map: Option<Arc<str>>,
    /// Where a sound is.
    pub sound: Option<Arc<str>>,
}

/// What a person announced for later.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upcoming {
    /// From then.
    pub from: Timestamp,
    /// Until then; `None` when that is not known.
    pub until: Option<Timestamp>,
    /// What the person will be; `None` when only activities are said.
    pub availability: Option<Availability>,
    /// Activities of RFC 4480.
    pub activities: Box<[Arc<str>]>,
    /// Words on it; empty for none.
    pub note: Arc<str>,
}

/// What an application, a calendar or a plugin knows of the account's own person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fact {
    /// What it makes of the person's availability; `None` leaves that as it is.
    pub availability: Option<Availability>,
    /// An activity of RFC 4480 such as `meeting` or `on-the-phone`, at most 64 bytes; empty for none.
    pub activity: Arc<str>,
    /// Words that are shown when the person has none of their own, at most 1,024 bytes; empty for none.
    pub note: Arc<str>,
    /// From then; `None` is now. Before that it is announced to others (RFC 4481).
    pub from: Option<Timestamp>,
    /// Until then; `None` is until it is taken back.
    pub until: Option<Timestamp>,
}
