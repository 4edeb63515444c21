//! Names of headers, mapped once to a small number.

/// One table of names feeds the enum, its spellings and the look-up, so that they cannot drift apart.
macro_rules! names {
    ($($variant:ident $text:literal $($compact:literal)?),* $(,)?) => {
        /// The name of a header field that this crate knows. Whatever else stands on the wire is [`Other`](Self::Other), which
        /// is never an error: it can be read by name and is passed on as it came.
        #[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum HeaderName {
            $(#[doc = concat!("`", $text, "`", $(" (short: `", $compact, "`)")?)] $variant,)*
            /// A name that is not in the list.
            Other,
        }

        const NAMES: &[&str] = &[$($text),*];
        const VARIANTS: &[HeaderName] = &[$(HeaderName::$variant),*];
        const COMPACT: [HeaderName; 32] = {
            let mut table = [HeaderName::Other; 32];
            $($(table[($compact.as_bytes()[0] & 0x1f) as usize] = HeaderName::$variant;)?)*
            table
        };
    };
}

names! {
    Accept "Accept",
    AcceptContact "Accept-Contact" "a",
    AcceptEncoding "Accept-Encoding",
    AcceptLanguage "Accept-Language",
    AlertInfo "Alert-Info",
    Allow "Allow",
    AllowEvents "Allow-Events" "u",
    AnswerMode "Answer-Mode",
    AuthenticationInfo "Authentication-Info",
    Authorization "Authorization",
    CallId "Call-ID" "i",
    CallInfo "Call-Info",
    Contact "Contact" "m",
    ContentDisposition "Content-Disposition",
    ContentEncoding "Content-Encoding" "e",
    ContentId "Content-ID",
    ContentLanguage "Content-Language",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    CSeq "CSeq",
    Date "Date",
    ErrorInfo "Error-Info",
    Event "Event" "o",
    Expires "Expires",
    FeatureCaps "Feature-Caps",
    FlowTimer "Flow-Timer",
    From "From" "f",
    HistoryInfo "History-Info",
    Identity "Identity" "y",
    InReplyTo "In-Reply-To",
    Join "Join",
    MaxBreadth "Max-Breadth",
    MaxForwards "Max-Forwards",
    MimeVersion "MIME-Version",
    MinExpires "Min-Expires",
    MinSe "Min-SE",
    Organization "Organization",
    PAssertedIdentity "P-Asserted-Identity",
    PPreferredIdentity "P-Preferred-Identity",
    Path "Path",
    PermissionMissing "Permission-Missing",
    Priority "Priority",
    Privacy "Privacy",
    ProxyAuthenticate "Proxy-Authenticate",
    ProxyAuthenticationInfo "Proxy-Authentication-Info",
    ProxyAuthorization "Proxy-Authorization",
    ProxyRequire "Proxy-Require",
    RAck "RAck",
    Reason "Reason",
    RecordRoute "Record-Route",
    ReferSub "Refer-Sub",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    RejectContact "Reject-Contact" "j",
    Replaces "Replaces",
    ReplyTo "Reply-To",
    RequestDisposition "Request-Disposition" "d",
    Require "Require",
    RetryAfter "Retry-After",
    Route "Route",
    RSeq "RSeq",
    SecurityClient "Security-Client",
    SecurityServer "Security-Server",
    SecurityVerify "Security-Verify",
    Server "Server",
    ServiceRoute "Service-Route",
    SessionExpires "Session-Expires" "x",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    Subject "Subject" "s",
    SubscriptionState "Subscription-State",
    Supported "Supported" "k",
    SuppressIfMatch "Suppress-If-Match",
    TargetDialog "Target-Dialog",
    Timestamp "Timestamp",
    To "To" "t",
    Unsupported "Unsupported",
    UserAgent "User-Agent",
    Via "Via" "v",
    Warning "Warning",
    WwwAuthenticate "WWW-Authenticate",
}

/// Slots of the look-up table: large enough that the build finds a hash without collisions.
const SLOTS: usize = 2048;

/// A name's slot: its length and four of its letters, in any case. Names have at least two octets here.
const fn slot(name: &[u8], seed: u64) -> usize {
    let len = name.len();
    let first = (name[0] | 0x20) as u64;
    let second = (name[len / 4] | 0x20) as u64;
    let third = (name[len / 2] | 0x20) as u64;
    let last = (name[len - 1] | 0x20) as u64;
    let mixed = (first | second << 8 | third << 16 | last << 24 | (len as u64) << 32).wrapping_mul(seed);
    (mixed >> 48) as usize & (SLOTS - 1)
}

/// Finds an odd multiplier under which no two names share a slot: a perfect hash, searched for by the compiler.
const SEED: u64 = {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    'search: loop {
        let mut taken = [false; SLOTS];
        let mut i = 0;
        while i < NAMES.len() {
            let s = slot(NAMES[i].as_bytes(), seed);
            if taken[s] {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814e) | 1;
                continue 'search;
            }
            taken[s] = true;
            i += 1;
        }
        break seed;
    }
};

static TABLE: [HeaderName; SLOTS] = {
    let mut table = [HeaderName::Other; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        table[slot(NAMES[i].as_bytes(), SEED)] = VARIANTS[i];
        i += 1;
    }
    table
};

impl HeaderName {
    /// How many names there are, [`Other`](Self::Other) not counted.
    pub const COUNT: usize = NAMES.len();

    /// Maps a name as written, long or compact, in any case (RFC 3261 §7.3.1, §7.3.3).
    #[inline]
    pub fn parse(name: &[u8]) -> Self {
        match name.len() {
            0 => Self::Other,
            1 if name[0].is_ascii_alphabetic() => COMPACT[usize::from(name[0] & 0x1f)],
            1 => Self::Other,
            _ => {
                let candidate = TABLE[slot(name, SEED)];
                let text = candidate.as_str().as_bytes();
                if text == name || text.eq_ignore_ascii_case(name) { candidate } else { Self::Other }
            }
        }
    }

    /// The long name in its usual spelling; empty for [`Other`](Self::Other).
    #[inline]
    pub fn as_str(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or("")
    }

    /// Whether several values may stand in one row, separated by commas, so that
    /// [`Message::values`](super::Message::values) splits it. Challenges and credentials use commas for their parameters and are not in this set.
    pub fn is_list(self) -> bool {
        matches!(
            self,
            Self::Accept
                | Self::AcceptContact
                | Self::AcceptEncoding
                | Self::AcceptLanguage
                | Self::AlertInfo
                | Self::Allow
                | Self::AllowEvents
                | Self::CallInfo
                | Self::Contact
                | Self::ContentEncoding
                | Self::ContentLanguage
                | Self::ErrorInfo
                | Self::HistoryInfo
                | Self::InReplyTo
                | Self::PAssertedIdentity
                | Self::PPreferredIdentity
                | Self::Path
                | Self::PermissionMissing
                | Self::ProxyRequire
                | Self::Reason
                | Self::RecordRoute
                | Self::RejectContact
                | Self::RequestDisposition
                | Self::Require
                | Self::Route
                | Self::SecurityClient
                | Self::SecurityServer
                | Self::SecurityVerify
                | Self::ServiceRoute
                | Self::Supported
                | Self::Unsupported
                | Self::Via
                | Self::Warning
        )
    }
}

impl std::fmt::Display for HeaderName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (&text, &variant) in NAMES.iter().zip(VARIANTS) {
            assert_eq!(HeaderName::parse(text.as_bytes()), variant, "{text}");
            assert_eq!(HeaderName::parse(text.to_lowercase().as_bytes()), variant, "{text}");
            assert_eq!(HeaderName::parse(text.to_uppercase().as_bytes()), variant, "{text}");
            assert_eq!(variant.as_str(), text);
        }
    }

    #[test]
    fn every_compact_name_is_found() {
        let expected = [
            ("a", HeaderName::AcceptContact),
            ("b", HeaderName::ReferredBy),
            ("c", HeaderName::ContentType),
            ("d", HeaderName::RequestDisposition),
            ("e", HeaderName::ContentEncoding),
            ("f", HeaderName::From),
            ("i", HeaderName::CallId),
            ("j", HeaderName::RejectContact),
            ("k", HeaderName::Supported),
            ("l", HeaderName::ContentLength),
            ("m", HeaderName::Contact),
            ("o", HeaderName::Event),
            ("r", HeaderName::ReferTo),
            ("s", HeaderName::Subject),
            ("t", HeaderName::To),
            ("u", HeaderName::AllowEvents),
            ("v", HeaderName::Via),
            ("x", HeaderName::SessionExpires),
            ("y", HeaderName::Identity),
        ];
        for (text, variant) in expected {
            assert_eq!(HeaderName::parse(text.as_bytes()), variant, "{text}");
            assert_eq!(HeaderName::parse(text.to_uppercase().as_bytes()), variant, "{text}");
        }
        for text in ["g", "h", "n", "p", "q", "w", "z", "1", "!"] {
            assert_eq!(HeaderName::parse(text.as_bytes()), HeaderName::Other, "{text}");
        }
    }

    #[test]
    fn an_unknown_name_is_other() {
        for name in ["X-Thing", "", "Vi", "Viaa", "Call_ID", "CSe", "\u{00e9}"] {
            assert_eq!(HeaderName::parse(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
