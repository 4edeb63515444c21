//! Rich presence, RFC 4480: what a person does, feels and where, beyond open and closed.

use crate::{
    error::{DocumentError, Finding},
    moment::Moment,
    pidf::Note,
    xml::{Element, Ns, Xml},
};

/// The elements of RFC 4480 at one person, service or device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rich {
    /// What the person does (section 3.2).
    pub activities: Activities,
    /// A name for grouping elements of one kind (section 3.3).
    pub class: Option<String>,
    /// How the person feels (section 3.4), in the words of the section.
    pub mood: Words,
    /// Kind of the place (section 3.6), in the words of RFC 4589.
    pub place_type: Words,
    /// What the place is like for media (section 3.5), as `audio:noisy`: the medium, a colon, and a word for it.
    pub place_is: Words,
    /// Which media others could overhear or oversee (section 3.7).
    pub privacy: Words,
    /// Who a delegate is to the person (section 3.8).
    pub relationship: Words,
    /// Kind of the service (section 3.9).
    pub service_class: Words,
    /// Which part of life, such as `work` or `home` (section 3.10).
    pub sphere: Words,
    /// Where a picture of the status is (section 3.11). Never to be fetched without asking.
    pub status_icon: Option<String>,
    /// For how long `status_icon` holds.
    pub status_icon_valid: Valid,
    /// Minutes east of UTC (section 3.12).
    pub time_offset: Option<i32>,
    /// For how long `time_offset` holds.
    pub time_offset_valid: Valid,
    /// Whether the person uses the device (section 3.13).
    pub user_input: Option<UserInput>,
}

impl Rich {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// For how long a statement holds.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Valid {
    /// From then.
    pub from: Option<Moment>,
    /// Until then.
    pub until: Option<Moment>,
}

/// What the person does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Activities {
    /// Any number at once.
    pub list: Vec<Activity>,
    /// Words on them.
    pub notes: Vec<Note>,
    /// For how long.
    pub valid: Valid,
}

/// Statements in words of a vocabulary, or in words of the sender's own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Words {
    /// Any number at once.
    pub list: Vec<String>,
    /// Words on them.
    pub notes: Vec<Note>,
    /// For how long.
    pub valid: Valid,
}

/// Whether the person uses the device.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct UserInput {
    /// Whether.
    pub state: UserInputState,
    /// Seconds without input after which the device says idle.
    pub idle_threshold: Option<u32>,
    /// When it was last used.
    pub last_input: Option<Moment>,
}

/// Values of [`UserInput`].
#[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
pub enum UserInputState {
    /// In use.
    Active,
    /// Not used for a while.
    Idle,
}

macro_rules! activities {
    ($($variant:ident = $name:literal,)*) => {
        /// One activity of section 3.2.
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Activity {
            $(
                #[doc = concat!("`", $name, "`.")]
                $variant,
            )*
            /// In the sender's own words, or an element that the section does not define.
            Other(String),
        }

        impl Activity {
            /// Every activity of the section.
            pub const DEFINED: &'static [Self] = &[$(Self::$variant),*];

            /// The word of the section, or of the sender.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(word) => word,
                }
            }

            /// The activity with this word.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Other(name.to_owned()),
                }
            }
        }
    };
}

activities! {
    Appointment = "appointment",
    Away = "away",
    Breakfast = "breakfast",
    Busy = "busy",
    Dinner = "dinner",
    Holiday = "holiday",
    InTransit = "in-transit",
    LookingForWork = "looking-for-work",
    Lunch = "lunch",
    Meal = "meal",
    Meeting = "meeting",
    OnThePhone = "on-the-phone",
    Performance = "performance",
    PermanentAbsence = "permanent-absence",
    Playing = "playing",
    Presentation = "presentation",
    Shopping = "shopping",
    Sleeping = "sleeping",
    Spectator = "spectator",
    Steering = "steering",
    Travel = "travel",
    Tv = "tv",
    Unknown = "unknown",
    Vacation = "vacation",
    Working = "working",
    Worship = "worship",
}

/// The words that may be written as elements, by the element that holds them; any other goes into `other`.
pub(super) const MOODS: &[&str] = &[
    "afraid",
    "amazed",
    "angry",
    "annoyed",
    "anxious",
    "ashamed",
    "bored",
    "brave",
    "calm",
    "cold",
    "confused",
    "contented",
    "cranky",
    "curious",
    "depressed",
    "disappointed",
    "disgusted",
    "distracted",
    "embarrassed",
    "excited",
    "flirtatious",
    "frustrated",
    "grumpy",
    "guilty",
    "happy",
    "hot",
    "humbled",
    "humiliated",
    "hungry",
    "hurt",
    "impressed",
    "in_awe",
    "in_love",
    "indignant",
    "interested",
    "invincible",
    "jealous",
    "lonely",
    "mean",
    "moody",
    "nervous",
    "neutral",
    "offended",
    "playful",
    "proud",
    "relieved",
    "remorseful",
    "restless",
    "sad",
    "sarcastic",
    "serious",
    "shocked",
    "shy",
    "sick",
    "sleepy",
    "stressed",
    "surprised",
    "thirsty",
    "unknown",
    "worried",
];
pub(super) const PLACES: &[&str] = &[
    "aircraft",
    "airport",
    "arena",
    "automobile",
    "bank",
    "bar",
    "bicycle",
    "bus",
    "bus-station",
    "cafe",
    "classroom",
    "club",
    "construction",
    "convention-center",
    "government",
    "hospital",
    "hotel",
    "industrial",
    "library",
    "motorcycle",
    "office",
    "outdoors",
    "parking",
    "place-of-worship",
    "prison",
    "public",
    "public-transport",
    "residence",
    "restaurant",
    "school",
    "shopping-area",
    "stadium",
    "store",
    "street",
    "theater",
    "train",
    "train-station",
    "truck",
    "underway",
    "unknown",
    "warehouse",
    "water",
    "watercraft",
];
pub(super) const PLACE_IS: &[(&str, &[&str])] = &[
    ("audio", &["noisy", "ok", "quiet", "unknown"]),
    ("video", &["toobright", "ok", "dark", "unknown"]),
    ("text", &["uncomfortable", "inappropriate", "ok", "unknown"]),
];
pub(super) const PRIVACY: &[&str] = &["audio", "text", "unknown", "video"];
pub(super) const RELATIONSHIPS: &[&str] =
    &["assistant", "associate", "family", "friend", "self", "supervisor", "unknown"];
pub(super) const SERVICE_CLASSES: &[&str] =
    &["courier", "electronic", "freight", "in-person", "postal", "unknown"];
pub(super) const SPHERES: &[&str] = &["home", "unknown", "work"];

/// Reads an element of RFC 4480 into `rich`; false when it is none, and then it is untouched.
pub(super) fn read(xml: &mut Xml<'_>, element: &Element<'_>, rich: &mut Rich) -> Result<bool, DocumentError> {
    match element.name() {
        "activities" => activities(xml, element, &mut rich.activities)?,
        "class" => rich.class = Some(xml.text(element)?),
        "mood" => words(xml, element, &mut rich.mood)?,
        "place-is" => place_is(xml, element, &mut rich.place_is)?,
        "place-type" => words(xml, element, &mut rich.place_type)?,
        "privacy" => words(xml, element, &mut rich.privacy)?,
        "relationship" => words(xml, element, &mut rich.relationship)?,
        "service-class" => words(xml, element, &mut rich.service_class)?,
        "sphere" => words(xml, element, &mut rich.sphere)?,
        "status-icon" => {
            rich.status_icon_valid = valid(xml, element);
            rich.status_icon = Some(xml.text(element)?);
        }
        "time-offset" => {
            rich.time_offset_valid = valid(xml, element);
            let text = xml.text(element)?;
            rich.time_offset = text.parse().ok().filter(|minutes: &i32| minutes.abs() <= 14 * 60);
            if rich.time_offset.is_none() {
                xml.forgive(element.offset, Finding::Value);
            }
        }
        "user-input" => {
            let threshold = xml.attribute(element, "idle-threshold");
            let last = xml.attribute(element, "last-input");
            let last_input = moment(xml, element, last);
            let state = match xml.text(element)?.as_str() {
                "active" => UserInputState::Active,
                "idle" => UserInputState::Idle,
                _ => {
                    xml.forgive(element.offset, Finding::Value);
                    return Ok(true);
                }
            };
            let idle_threshold = threshold.and_then(|text| text.trim().parse().ok());
            rich.user_input = Some(UserInput { state, idle_threshold, last_input });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A date, or its absence where it cannot be read.
pub(super) fn moment(xml: &mut Xml<'_>, element: &Element<'_>, text: Option<String>) -> Option<Moment> {
    let text = text?;
    let moment = text.parse().ok();
    if moment.is_none() {
        xml.forgive(element.offset, Finding::Date);
    }
    moment
}

pub(super) fn valid(xml: &mut Xml<'_>, element: &Element<'_>) -> Valid {
    let from = xml.attribute(element, "from");
    let until = xml.attribute(element, "until");
    Valid { from: moment(xml, element, from), until: moment(xml, element, until) }
}

fn activities(xml: &mut Xml<'_>, element: &Element<'_>, into: &mut Activities) -> Result<(), DocumentError> {
    into.valid = valid(xml, element);
    while let Some(child) = xml.child(element)? {
        if child.name() == "note" {
            note(xml, &child, &mut into.notes)?;
            continue;
        }
        let activity = match (child.name(), child.ns) {
            ("other", _) => {
                let text = xml.text(&child)?;
                // Without a word it says that there is one, and not which.
                if text.is_empty() { Activity::Other("other".to_owned()) } else { Activity::from_name(&text) }
            }
            // Drafts of RFC 4480 had `<activity>busy</activity>`.
            ("activity", _) => Activity::from_name(&xml.text(&child)?),
            (name, Ns::Other) => Activity::Other(name.to_owned()),
            (name, _) => Activity::from_name(name),
        };
        if xml.room(into.list.len(), child.offset) && !into.list.contains(&activity) {
            into.list.push(activity);
        }
    }
    Ok(())
}

fn words(xml: &mut Xml<'_>, element: &Element<'_>, into: &mut Words) -> Result<(), DocumentError> {
    into.valid = valid(xml, element);
    while let Some(child) = xml.child(element)? {
        if child.name() == "note" {
            note(xml, &child, &mut into.notes)?;
            continue;
        }
        let mut word = child.name().to_owned();
        if word == "other" {
            let text = xml.text(&child)?;
            if !text.is_empty() {
                word = text;
            }
        }
        if xml.room(into.list.len(), child.offset) && !into.list.contains(&word) {
            into.list.push(word);
        }
    }
    Ok(())
}

/// `<audio><noisy/></audio>` as `audio:noisy`.
fn place_is(xml: &mut Xml<'_>, element: &Element<'_>, into: &mut Words) -> Result<(), DocumentError> {
    into.valid = valid(xml, element);
    while let Some(medium) = xml.child(element)? {
        if medium.name() == "note" {
            note(xml, &medium, &mut into.notes)?;
            continue;
        }
        let mut inner = Words::default();
        words(xml, &medium, &mut inner)?;
        for word in inner.list {
            let word = format!("{}:{word}", medium.name());
            if xml.room(into.list.len(), medium.offset) && !into.list.contains(&word) {
                into.list.push(word);
            }
        }
    }
    Ok(())
}

/// Reads a note; empty ones say nothing and are left out.
pub(super) fn note(
    xml: &mut Xml<'_>,
    element: &Element<'_>,
    into: &mut Vec<Note>,
) -> Result<(), DocumentError> {
    let lang = xml.attribute(element, "xml:lang").filter(|lang| !lang.is_empty());
    let text = xml.text(element)?;
    if !text.is_empty() && xml.room(into.len(), element.offset) {
        into.push(Note { text, lang });
    }
    Ok(())
}
