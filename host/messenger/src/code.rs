//! The stable codes of results and failures.
//!
//! Programs that move over from the 2007 Automation API compare numbers, and operators search logs for names, so both
//! are kept exactly as they were published; what that API could not tell apart has codes of our own.

use core::fmt;

macro_rules! codes {
    ($($variant:ident = $number:literal, $name:literal, $meaning:literal;)*) => {
        /// What kind of result or failure it is. Numbers and names never change.
        #[derive(Copy, Clone, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum Code {
            $(
                #[doc = $meaning]
                $variant = $number,
            )*
        }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name, as published where it was published.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }

            /// The code with this number.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    Connect = 0x8100_0301, "MSGR_E_CONNECT", "Could not connect to the server.";
    InvalidServerName = 0x8100_0302, "MSGR_E_INVALID_SERVER_NAME", "Server name invalid.";
    InvalidPassword = 0x8100_0303, "MSGR_E_INVALID_PASSWORD", "Password wrong.";
    AlreadyLoggedOn = 0x8100_0304, "MSGR_E_ALREADY_LOGGED_ON", "Sign-in tried while already signed in.";
    ServerVersion = 0x8100_0305, "MSGR_E_SERVER_VERSION", "Server version incompatible.";
    LogonTimeout = 0x8100_0306, "MSGR_E_LOGON_TIMEOUT", "Sign-in timed out.";
    ListFull = 0x8100_0307, "MSGR_E_LIST_FULL", "Contact list at its limit.";
    AiReject = 0x8100_0308, "MSGR_E_AI_REJECT", "Application invitation refused (internal only).";
    AiRejectNotInst = 0x8100_0309, "MSGR_E_AI_REJECT_NOT_INST", "Application invitation refused, not installed (internal only).";
    UserNotFound = 0x8100_030a, "MSGR_E_USER_NOT_FOUND", "No such person on the service.";
    AlreadyInList = 0x8100_030b, "MSGR_E_ALREADY_IN_LIST", "Contact already in the list.";
    Disconnected = 0x8100_030c, "MSGR_E_DISCONNECTED", "Client is offline.";
    Unexpected = 0x8100_030d, "MSGR_E_UNEXPECTED", "Unexpected error.";
    ServerTooBusy = 0x8100_030e, "MSGR_E_SERVER_TOO_BUSY", "Server too busy.";
    InvalidAuthPackages = 0x8100_030f, "MSGR_E_INVALID_AUTH_PACKAGES", "No usable authentication package.";
    NewerClientAvailable = 0x8100_0310, "MSGR_E_NEWER_CLIENT_AVAILABLE", "A newer client can be downloaded.";
    AiTimeout = 0x8100_0311, "MSGR_E_AI_TIMEOUT", "Application invitation timed out.";
    Cancel = 0x8100_0312, "MSGR_E_CANCEL", "User cancelled the running operation.";
    TooManyMatches = 0x8100_0313, "MSGR_E_TOO_MANY_MATCHES", "Search returned too many hits.";
    ServerUnavailable = 0x8100_0314, "MSGR_E_SERVER_UNAVAILABLE", "Server cannot handle the request.";
    LogonUiActive = 0x8100_0315, "MSGR_E_LOGON_UI_ACTIVE", "Sign-in window is open and waits.";
    OptionUiActive = 0x8100_0316, "MSGR_E_OPTION_UI_ACTIVE", "Options dialog is open and waits.";
    ContactUiActive = 0x8100_0317, "MSGR_E_CONTACT_UI_ACTIVE", "Add-contact wizard is open and waits.";
    PrimaryServiceNotLoggedOn = 0x8100_0318, "MSGR_E_PRIMARY_SERVICE_NOT_LOGGED_ON", "Not signed in to the primary service.";
    LoggedOn = 0x8100_0319, "MSGR_E_LOGGED_ON", "Already signed in.";
    ConnectProxy = 0x8100_031a, "MSGR_E_CONNECT_PROXY", "Could not connect to the proxy.";
    ProxyAuth = 0x8100_031b, "MSGR_E_PROXY_AUTH", "Proxy authentication failed.";
    ProxyAuthType = 0x8100_031c, "MSGR_E_PROXY_AUTH_TYPE", "Proxy authentication type not usable.";
    InvalidProxyName = 0x8100_031d, "MSGR_E_INVALID_PROXY_NAME", "Proxy name invalid.";
    NotLoggedOn = 0x8100_031e, "MSGR_E_NOT_LOGGED_ON", "Not signed in.";
    PopupUiActive = 0x8100_031f, "MSGR_E_POPUP_UI_ACTIVE", "Another client pop-up is open.";
    NotPrimaryService = 0x8100_0320, "MSGR_E_NOT_PRIMARY_SERVICE", "The given service is not the primary one.";
    TooManySessions = 0x8100_0321, "MSGR_E_TOO_MANY_SESSIONS", "Session limit reached.";
    TooManyMessages = 0x8100_0322, "MSGR_E_TOO_MANY_MESSAGES", "Message rate limit.";
    RemoteLogin = 0x8100_0323, "MSGR_E_REMOTE_LOGIN", "The user signed in elsewhere.";
    InvalidFriendlyName = 0x8100_0324, "MSGR_E_INVALID_FRIENDLY_NAME", "Display name not allowed.";
    SessionFull = 0x8100_0325, "MSGR_E_SESSION_FULL", "Participant limit of the session reached.";
    NotAllowingNewUsers = 0x8100_0326, "MSGR_E_NOT_ALLOWING_NEW_USERS", "Service takes no new users.";
    InvalidDomain = 0x8100_0327, "MSGR_E_INVALID_DOMAIN", "Domain invalid.";
    TcpError = 0x8100_0328, "MSGR_E_TCP_ERROR", "Transport error.";
    SessionTimeout = 0x8100_0329, "MSGR_E_SESSION_TIMEOUT", "Session timed out.";
    MultipointSessionBeginTimeout = 0x8100_032a, "MSGR_E_MULTIPOINT_SESSION_BEGIN_TIMEOUT", "Multi-party session start timed out.";
    MultipointSessionEndTimeout = 0x8100_032b, "MSGR_E_MULTIPOINT_SESSION_END_TIMEOUT", "Multi-party session end timed out.";
    ReverseListFull = 0x8100_032c, "MSGR_E_REVERSE_LIST_FULL", "Reverse list (who has me) full.";
    ServerError = 0x8100_032d, "MSGR_E_SERVER_ERROR", "Unspecified server error.";
    SystemConfig = 0x8100_032e, "MSGR_E_SYSTEM_CONFIG", "System configuration problem.";
    NoDirectory = 0x8100_032f, "MSGR_E_NO_DIRECTORY", "No directory service.";
    RetrySet = 0x8100_0330, "MSGR_E_RETRY_SET", "Retry scheduled.";
    ChildWithoutConsent = 0x8100_0331, "MSGR_E_CHILD_WITHOUT_CONSENT", "Child account without consent.";
    UserCancelled = 0x8100_0332, "MSGR_E_USER_CANCELLED", "User cancelled, e.g. sign-in.";
    CancelBeforeConnect = 0x8100_0333, "MSGR_E_CANCEL_BEFORE_CONNECT", "Cancelled before the connection existed.";
    VoiceImTimeout = 0x8100_0334, "MSGR_E_VOICE_IM_TIMEOUT", "Voice session timed out.";
    NotAcceptingPages = 0x8100_0335, "MSGR_E_NOT_ACCEPTING_PAGES", "Recipient takes no pages.";
    EmailPassportNotValidated = 0x8100_0336, "MSGR_E_EMAIL_PASSPORT_NOT_VALIDATED", "Account mail not validated.";
    AudioUiActive = 0x8100_0337, "MSGR_E_AUDIO_UI_ACTIVE", "Audio set-up wizard is open.";
    NoHardware = 0x8100_0338, "MSGR_E_NO_HARDWARE", "No audio/video hardware.";
    PagingUnavailable = 0x8100_0339, "MSGR_E_PAGING_UNAVAILABLE", "Client cannot page.";
    PhoneInvalidNumber = 0x8100_033a, "MSGR_E_PHONE_INVALID_NUMBER", "Phone number invalid.";
    PhoneNoFunds = 0x8100_033b, "MSGR_E_PHONE_NO_FUNDS", "No funds for the call.";
    VoiceNoAnswer = 0x8100_033c, "MSGR_E_VOICE_NO_ANSWER", "No answer.";
    VoiceWaveinDevice = 0x8100_033d, "MSGR_E_VOICE_WAVEIN_DEVICE", "Recording device problem.";
    FtTimeout = 0x8100_033e, "MSGR_E_FT_TIMEOUT", "File transfer timed out.";
    MessageTooLong = 0x8100_033f, "MSGR_E_MESSAGE_TOO_LONG", "Message too long.";
    VoiceFirewall = 0x8100_0340, "MSGR_E_VOICE_FIREWALL", "Voice blocked by firewall.";
    VoiceNetconn = 0x8100_0341, "MSGR_E_VOICE_NETCONN", "Voice network problem.";
    PhoneCircuitsBusy = 0x8100_0342, "MSGR_E_PHONE_CIRCUITS_BUSY", "Lines busy.";
    ServerProtocol = 0x8100_0343, "MSGR_E_SERVER_PROTOCOL", "Protocol error at server.";
    UnavailableViaHttp = 0x8100_0344, "MSGR_E_UNAVAILABLE_VIA_HTTP", "Not available over HTTP.";
    PhoneInvalidPin = 0x8100_0345, "MSGR_E_PHONE_INVALID_PIN", "Phone PIN invalid.";
    PhonePinproceedTimeout = 0x8100_0346, "MSGR_E_PHONE_PINPROCEED_TIMEOUT", "PIN entry timed out.";
    ServerShutdown = 0x8100_0347, "MSGR_E_SERVER_SHUTDOWN", "Signed out because the server stops.";
    ClientDisallowed = 0x8100_0348, "MSGR_E_CLIENT_DISALLOWED", "Client version not admitted.";
    PhoneCallNotComplete = 0x8100_0349, "MSGR_E_PHONE_CALL_NOT_COMPLETE", "Call not completed.";
    GroupsNotEnabled = 0x8100_034a, "MSGR_E_GROUPS_NOT_ENABLED", "Groups not available on the service.";
    GroupAlreadyExists = 0x8100_034b, "MSGR_E_GROUP_ALREADY_EXISTS", "Group name exists.";
    TooManyGroups = 0x8100_034c, "MSGR_E_TOO_MANY_GROUPS", "Group limit reached.";
    GroupDoesNotExist = 0x8100_034d, "MSGR_E_GROUP_DOES_NOT_EXIST", "No such group.";
    UserNotGroupMember = 0x8100_034e, "MSGR_E_USER_NOT_GROUP_MEMBER", "Person not in that group.";
    GroupNameTooLong = 0x8100_034f, "MSGR_E_GROUP_NAME_TOO_LONG", "Group name too long.";
    GroupNotEmpty = 0x8100_0350, "MSGR_E_GROUP_NOT_EMPTY", "Group still has contacts.";
    BadGroupName = 0x8100_0351, "MSGR_E_BAD_GROUP_NAME", "Group name invalid.";
    PhoneserviceUnavailable = 0x8100_0352, "MSGR_E_PHONESERVICE_UNAVAILABLE", "Phone service not enabled.";
    CannotRename = 0x8100_0353, "MSGR_E_CANNOT_RENAME", "Group cannot be renamed.";
    CannotDelete = 0x8100_0354, "MSGR_E_CANNOT_DELETE", "Contact or group cannot be deleted.";
    InvalidService = 0x8100_0355, "MSGR_E_INVALID_SERVICE", "Contact/group does not belong to the service.";
    PolicyRestricted = 0x8100_0356, "MSGR_E_POLICY_RESTRICTED", "Forbidden by policy.";
    SuccessAlreadyInTheMode = 0x0100_0301, "MSGR_S_ALREADY_IN_THE_MODE", "Already in that mode.";
    SuccessTransferSendBegun = 0x0100_0302, "MSGR_S_TRANSFER_SEND_BEGUN", "Sending started.";
    SuccessTransferSendFinished = 0x0100_0303, "MSGR_S_TRANSFER_SEND_FINISHED", "Sending finished.";
    SuccessTransferReceiveBegun = 0x0100_0304, "MSGR_S_TRANSFER_RECEIVE_BEGUN", "Receiving started.";
    SuccessTransferReceiveFinished = 0x0100_0305, "MSGR_S_TRANSFER_RECEIVE_FINISHED", "Receiving finished.";
    SuccessGroupAlreadyExists = 0x0100_0306, "MSGR_S_GROUP_ALREADY_EXISTS", "The group to create exists already (success).";
    SessionApplicationLaunchFailed = 0x8100_0601, "SR_APPLICATION_LAUNCH_FAILED", "The application did not start.";
    SessionInvitationDeclined = 0x8100_0602, "SR_INVITATION_DECLINED", "Recipient declined.";
    SessionConnectionFailure = 0x8100_0603, "SR_CONNECTION_FAILURE", "Connection failed.";
    SessionAuthenticationFailed = 0x8100_0604, "SR_AUTHENTICATION_FAILED", "Authentication failed.";
    SessionSessionNotReady = 0x8100_0605, "SR_SESSION_NOT_READY", "Session not ready.";
    SessionSessionCancelledLocal = 0x8100_0606, "SR_SESSION_CANCELLED_LOCAL", "Cancelled on this side.";
    SessionSessionCancelledRemote = 0x8100_0607, "SR_SESSION_CANCELLED_REMOTE", "Cancelled on the other side.";
    SessionSessionProtocolError = 0x8100_0608, "SR_SESSION_PROTOCOL_ERROR", "Protocol error.";
    SessionSessionTimeout = 0x8100_0609, "SR_SESSION_TIMEOUT", "Session timed out.";
    SessionCancelBeforeConnect = 0x8100_060a, "SR_CANCEL_BEFORE_CONNECT", "Cancelled before connecting.";
    SessionNotInvitee = 0x8100_060b, "SR_NOT_INVITEE", "Operation is only for the invited side.";
    SessionNotInviter = 0x8100_060c, "SR_NOT_INVITER", "Operation is only for the inviting side.";
    SessionAppAlreadyRegistered = 0x8100_060d, "SR_APP_ALREADY_REGISTERED", "Application already registered.";
    SessionAppNotRegistered = 0x8100_060e, "SR_APP_NOT_REGISTERED", "Application not registered.";
    SessionNotValidForAppInvite = 0x8100_060f, "SR_NOT_VALID_FOR_APP_INVITE", "Application does not allow such a session.";
    SessionAppNotSpecified = 0x8100_0610, "SR_APP_NOT_SPECIFIED", "No application given.";
    SessionContextDataOverLimit = 0x8100_0611, "SR_CONTEXT_DATA_OVER_LIMIT", "Context data too large.";
    SessionNoUserInvited = 0x8100_0612, "SR_NO_USER_INVITED", "Nobody invited.";
    SessionInvitedSelf = 0x8100_0613, "SR_INVITED_SELF", "Tried to invite oneself.";
    SessionSessionStateInvalid = 0x8100_0614, "SR_SESSION_STATE_INVALID", "Wrong session state.";
    SessionInvitationSendFailure = 0x8100_0615, "SR_INVITATION_SEND_FAILURE", "Invitation could not be sent.";
    SessionCancelSendFailure = 0x8100_0616, "SR_CANCEL_SEND_FAILURE", "Cancel could not be sent.";
    SessionDeclineSendFailure = 0x8100_0617, "SR_DECLINE_SEND_FAILURE", "Decline could not be sent.";
    SessionAcceptSendFailure = 0x8100_0618, "SR_ACCEPT_SEND_FAILURE", "Accept could not be sent.";
    SessionContextDataSendFailure = 0x8100_0619, "SR_CONTEXT_DATA_SEND_FAILURE", "Context data could not be sent.";
    SessionSessionAcceptedElsewhere = 0x8100_0620, "SR_SESSION_ACCEPTED_ELSEWHERE", "Accepted on another endpoint (the ancestor used this number for a network set-up failure).";
    SessionVoiceAlreadyActive = 0x8100_0621, "SR_VOICE_ALREADY_ACTIVE", "A voice session is already running (the ancestor used this number for \"network not supported\").";
    Denied = 0xa0a7_0001, "ATTACHE_E_DENIED", "The plugin was not granted this.";
    InvalidArgument = 0xa0a7_0002, "ATTACHE_E_INVALID_ARGUMENT", "An argument is not valid.";
    InvalidAddress = 0xa0a7_0003, "ATTACHE_E_INVALID_ADDRESS", "The address cannot be read.";
    NotFound = 0xa0a7_0004, "ATTACHE_E_NOT_FOUND", "No such object.";
    ContactNotFound = 0xa0a7_0005, "ATTACHE_E_CONTACT_NOT_FOUND", "No such contact.";
    ConversationNotFound = 0xa0a7_0006, "ATTACHE_E_CONVERSATION_NOT_FOUND", "No such conversation.";
    AccountNotFound = 0xa0a7_0007, "ATTACHE_E_ACCOUNT_NOT_FOUND", "No such account.";
    Closed = 0xa0a7_0008, "ATTACHE_E_CLOSED", "The object belongs to something that has ended.";
    Busy = 0xa0a7_0009, "ATTACHE_E_BUSY", "Too much is under way, try again later.";
    QuotaExceeded = 0xa0a7_000a, "ATTACHE_E_QUOTA_EXCEEDED", "A quota of the plugin is used up.";
    LoopGuard = 0xa0a7_000b, "ATTACHE_E_LOOP_GUARD", "Refused, because programs would answer each other.";
    Storage = 0xa0a7_000c, "ATTACHE_E_STORAGE", "The local store failed.";
    StorageFull = 0xa0a7_000d, "ATTACHE_E_STORAGE_FULL", "The local disk is full.";
    Rejected = 0xa0a7_000e, "ATTACHE_E_REJECTED", "The other side refused.";
    RecipientUnavailable = 0xa0a7_000f, "ATTACHE_E_RECIPIENT_UNAVAILABLE", "The recipient is not reachable now.";
    UnsupportedByService = 0xa0a7_0010, "ATTACHE_E_UNSUPPORTED_BY_SERVICE", "The service does not offer this.";
    TooLate = 0xa0a7_0012, "ATTACHE_E_TOO_LATE", "It has happened already and cannot be taken back.";
    Internal = 0xa0a7_0011, "ATTACHE_E_INTERNAL", "A fault in this program.";
}

impl Code {
    /// The stable number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// True for the published codes that report a success.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.number() & 0x8000_0000 == 0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
