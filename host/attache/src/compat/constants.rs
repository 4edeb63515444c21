//! The enumerations, under the names of the 2007 headers and with their values.

macro_rules! enumeration {
    ($(#[doc = $doc:literal] $type:ident: $($name:ident = $value:literal, $meaning:literal;)*)*) => {
        $(
            #[doc = $doc]
            #[derive(Copy, Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the published name")]
            pub struct $type(pub i32);

            $(
                #[doc = $meaning]
                pub const $name: $type = $type($value);
            )*
        )*
    };
}

enumeration! {
    #[doc = "Presence, as one value."]
    MISTATUS:
        MISTATUS_UNKNOWN = 0x0000, "Nothing is known.";
        MISTATUS_OFFLINE = 0x0001, "Not there.";
        MISTATUS_ONLINE = 0x0002, "Ready to talk.";
        MISTATUS_INVISIBLE = 0x0006, "There, and shown as offline.";
        MISTATUS_BUSY = 0x000a, "Occupied.";
        MISTATUS_BE_RIGHT_BACK = 0x000e, "Away for a moment.";
        MISTATUS_IDLE = 0x0012, "Ready to talk, but not at the device.";
        MISTATUS_AWAY = 0x0022, "Away.";
        MISTATUS_ON_THE_PHONE = 0x0032, "In a call.";
        MISTATUS_OUT_TO_LUNCH = 0x0042, "At a meal.";
        MISTATUS_IN_A_MEETING = 0x0052, "In a meeting.";
        MISTATUS_OUT_OF_OFFICE = 0x0062, "Away for long.";
        MISTATUS_DO_NOT_DISTURB = 0x0072, "Wants to be left alone.";
        MISTATUS_IN_A_CONFERENCE = 0x0082, "In a conference.";
        MISTATUS_ALLOW_URGENT_INTERRUPTIONS = 0x0092, "Only what is urgent.";
        MISTATUS_MAY_BE_AVAILABLE = 0x00a2, "Not at the device, perhaps near.";
        MISTATUS_CUSTOM = 0x00b2, "Words of the person's own.";
        MISTATUS_LOCAL_FINDING_SERVER = 0x0100, "Looking for the service.";
        MISTATUS_LOCAL_CONNECTING_TO_SERVER = 0x0200, "Signing in.";
        MISTATUS_LOCAL_SYNCHRONIZING_WITH_SERVER = 0x0300, "Reading the contact list.";
        MISTATUS_LOCAL_DISCONNECTING_FROM_SERVER = 0x0400, "Signing out.";
    #[doc = "Properties of the program."]
    MMESSENGERPROPERTY:
        MMESSENGERPROP_VERSION = 0, "Version of the program.";
        MMESSENGERPROP_PLCID = 1, "Locale, as a number.";
    #[doc = "Further properties of a person."]
    MCONTACTPROPERTY:
        MCONTACTPROP_INVALID_PROPERTY = -1, "No property.";
        MCONTACTPROP_GROUPS_PROPERTY = 0, "Groups of a person.";
        MCONTACTPROP_EMAIL = 1, "Mail address.";
    #[doc = "Parts of a window. Numbers only: there are no windows."]
    MWINDOWPROPERTY:
        MWINDOWPROP_INVALID_PROPERTY = -1, "No property.";
        MWINDOWPROP_VIEW_SIDEBAR = 0, "Side bar.";
        MWINDOWPROP_VIEW_TOOLBAR = 1, "Tool bar.";
    #[doc = "Kinds of telephone numbers."]
    MPHONE_TYPE:
        MPHONE_TYPE_ALL = -1, "Any number.";
        MPHONE_TYPE_HOME = 0, "At home.";
        MPHONE_TYPE_WORK = 1, "At work.";
        MPHONE_TYPE_MOBILE = 2, "Mobile.";
        MPHONE_TYPE_CUSTOM = 3, "A number that is given.";
    #[doc = "Pages of settings. Numbers only: settings are a file."]
    MOPTIONPAGE:
        MOPT_GENERAL_PAGE = 0, "General.";
        MOPT_PRIVACY_PAGE = 1, "Privacy.";
        MOPT_EXCHANGE_PAGE = 2, "Mail server.";
        MOPT_ACCOUNTS_PAGE = 3, "Accounts.";
        MOPT_CONNECTION_PAGE = 4, "Connection.";
        MOPT_PREFERENCES_PAGE = 5, "Preferences.";
        MOPT_SERVICES_PAGE = 6, "Services.";
        MOPT_PHONE_PAGE = 7, "Telephones.";
    #[doc = "Folders of mail. Numbers only: mail is the mail program's."]
    MUAFOLDER:
        MUAFOLDER_INBOX = 0, "Inbox.";
        MUAFOLDER_ALL_OTHER_FOLDERS = 1, "Other folders.";
    #[doc = "Properties of a service; there are none."]
    MSERVICEPROPERTY:
        MSERVICEPROP_INVALID_PROPERTY = -1, "No property.";
    #[doc = "Orders of the contact list."]
    MUASORT:
        MUASORT_GROUPS = 0, "By group.";
        MUASORT_ONOFFLINE = 1, "By who is there.";
    #[doc = "Kinds of addresses."]
    ADDRESS_TYPE:
        ADDRESS_TYPE_SMTP = 1, "A mail address.";
        ADDRESS_TYPE_DISPLAY_NAME = 2, "A name.";
        ADDRESS_TYPE_EXTERNAL = 3, "An address of any kind.";
    #[doc = "Where an address is looked up."]
    CONTACT_RESOLUTION_TYPE:
        CONTACT_RESOLUTION_CACHED_ONLY = 1, "What is known here.";
        CONTACT_RESOLUTION_ANY = 2, "The directory as well.";
    #[doc = "Kinds of conversations."]
    CONVERSATION_TYPE:
        CONVERSATION_TYPE_IM = 1, "Text.";
        CONVERSATION_TYPE_PHONE = 2, "Telephone.";
        CONVERSATION_TYPE_LIVEMEETING = 4, "Shared work.";
        CONVERSATION_TYPE_AUDIO = 8, "Sound.";
        CONVERSATION_TYPE_VIDEO = 16, "Sound and picture.";
        CONVERSATION_TYPE_PSTN = 32, "A conference of telephones.";
    #[doc = "More on where a person is."]
    EXTENDED_STATUS_TYPE:
        EXTENDED_STATUS_WEB = 1, "On a page of the web.";
        EXTENDED_STATUS_MOBILE = 2, "On a mobile device.";
        EXTENDED_STATUS_BLOCKED = 0x100, "Blocked.";
    #[doc = "What a directory says of a person."]
    CONTACT_PROPERTY:
        CONTACT_PROP_TITLE = 0, "Title.";
        CONTACT_PROP_OFFICE = 1, "Office.";
    #[doc = "What a calendar says."]
    CALENDAR_STATE:
        CALENDAR_STATE_NOT_AVAILABLE = 0, "Nothing is known.";
        CALENDAR_STATE_FREE = 1, "Free.";
        CALENDAR_STATE_TENTATIVE = 2, "Perhaps.";
        CALENDAR_STATE_NOTWORKING = 3, "Not at work.";
        CALENDAR_STATE_BUSY = 4, "Busy.";
        CALENDAR_STATE_OUT_OF_OFFICE = 5, "Away for long.";
    #[doc = "Places in the array of presence properties."]
    PRESENCE_PROPERTY:
        PRESENCE_PROP_MSTATE = 0x0, "The status.";
        PRESENCE_PROP_AVAILABILITY = 0x1, "The status as a number.";
        PRESENCE_PROP_IS_BLOCKED = 0x2, "Whether the person is blocked.";
        PRESENCE_PROP_PRESENCE_NOTE = 0x3, "The person's words.";
        PRESENCE_PROP_IS_OOF = 0x4, "Words of somebody who is away for long.";
        PRESENCE_PROP_TOOL_TIP = 0x5, "One line for a person to read.";
        PRESENCE_PROP_CUSTOM_STATUS_STRING = 0x6, "The words of a status of one's own.";
        PRESENCE_PROP_DEVICE_TYPE = 0x7, "Kind of device.";
        PRESENCE_PROP_CURRENT_CALENDAR_STATE = 0x8, "Calendar now.";
        PRESENCE_PROP_NEXT_CALENDAR_STATE = 0x9, "Calendar next.";
        PRESENCE_PROP_NEXT_CALENDAR_STATE_TIME = 0xa, "When that begins.";
        PRESENCE_PROP_MAX = 0xb, "Length of the array.";
}
