//! What a certificate says, for people and for logs.
//!
//! Whether a certificate is to be trusted is never decided with what is read here: that is webpki's business. This is a
//! small reader of the few fields that an explanation needs, over bytes that a stranger sent: every length is checked,
//! nothing is copied but what is shown, and what is shown is short and printable.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most names of one kind that a summary holds.
const MAX_NAMES: usize = 64;
/// Longest name that a summary holds, in characters.
const MAX_NAME: usize = 256;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID_SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// What a peer's certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CertificateSummary {
    /// The subject's distinguished name, such as `CN=sip.example.com, O=Example`.
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// URIs in the subjectAltName extension; `sip:example.com` is how a SIP domain is named (RFC 5922 §4.1).
    pub uri_names: Vec<String>,
    /// Host names in the subjectAltName extension.
    pub dns_names: Vec<String>,
    /// IP addresses in the subjectAltName extension.
    pub ip_addresses: Vec<IpAddr>,
    /// Valid from here on.
    pub not_before: SystemTime,
    /// Valid up to here.
    pub not_after: SystemTime,
}

impl CertificateSummary {
    /// Reads a certificate. `None` when it is not one.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der)?;
        let (_, mut rest, _) = element(certificate)?;
        let mut next = || {
            let (tag, value, after) = element(rest)?;
            rest = after;
            Some((tag, value))
        };
        // Version is an optional, explicitly tagged field; the serial number follows it.
        if next()?.0 == 0xa0 {
            next()?;
        }
        let _algorithm = next()?;
        let (_, issuer) = next()?;
        let (_, validity) = next()?;
        let (_, subject) = next()?;
        let _key = next()?;
        let mut summary = Self {
            subject: distinguished_name(subject),
            issuer: distinguished_name(issuer),
            uri_names: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH,
        };
        let (tag, begin, after) = element(validity)?;
        summary.not_before = time(tag, begin)?;
        let (tag, end, _) = element(after)?;
        summary.not_after = time(tag, end)?;
        while let Some((tag, value)) = next() {
            if tag == 0xa3 {
                let (_, extensions, _) = element(value)?;
                summary.take_extensions(extensions);
            }
        }
        Some(summary)
    }

    /// Every name of the subjectAltName extension, as one would write it.
    pub fn names(&self) -> Vec<String> {
        let addresses = self.ip_addresses.iter().map(ToString::to_string);
        self.uri_names.iter().chain(&self.dns_names).cloned().chain(addresses).collect()
    }

    /// Whether subject and issuer are the same.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    fn take_extensions(&mut self, extensions: &[u8]) {
        for (tag, extension) in elements(extensions) {
            let mut fields = elements(extension).filter(|(tag, _)| *tag != 0x01);
            let (Some((_, oid)), Some((0x04, value))) = (fields.next(), fields.next()) else { continue };
            if tag == SEQUENCE && oid == OID_SUBJECT_ALT_NAME {
                let Some((SEQUENCE, names, _)) = element(value) else { continue };
                for (tag, name) in elements(names) {
                    match (tag, name.len()) {
                        (0x86, _) if self.uri_names.len() < MAX_NAMES => self.uri_names.push(shown(name)),
                        (0x82, _) if self.dns_names.len() < MAX_NAMES => self.dns_names.push(shown(name)),
                        (0x87, 4 | 16) if self.ip_addresses.len() < MAX_NAMES => {
                            self.ip_addresses.extend(address(name));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

impl fmt::Display for CertificateSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        write!(f, "{}", if self.subject.is_empty() { "(no subject)" } else { &self.subject })?;
        if !names.is_empty() {
            write!(f, " for {}", names.join(", "))?;
        }
        write!(f, ", issued by {}, valid until {}", self.issuer, Date(self.not_after))
    }
}

/// A point in time as people read it, to the minute.
pub(crate) struct Date(pub(crate) SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (year, month, day) = civil(seconds / 86_400);
        let minutes = seconds / 60 % 1440;
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
    }
}

/// One element of DER: its tag, its value, and what comes behind it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

fn elements(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, value, rest) = element(input)?;
        input = rest;
        Some((tag, value))
    })
}

fn distinguished_name(value: &[u8]) -> String {
    let mut name = String::new();
    let parts = elements(value).filter(|(tag, _)| *tag == SET).flat_map(|(_, set)| elements(set));
    for (_, attribute) in parts.take(MAX_NAMES) {
        let mut fields = elements(attribute);
        let (Some((_, oid)), Some((tag, text))) = (fields.next(), fields.next()) else { continue };
        let key = match oid {
            [0x55, 0x04, 0x03] => "CN",
            [0x55, 0x04, 0x06] => "C",
            [0x55, 0x04, 0x07] => "L",
            [0x55, 0x04, 0x08] => "ST",
            [0x55, 0x04, 0x0a] => "O",
            [0x55, 0x04, 0x0b] => "OU",
            _ => continue,
        };
        if !name.is_empty() {
            name.push_str(", ");
        }
        name.push_str(key);
        name.push('=');
        if tag == 0x1e {
            let units = text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or('?')).collect();
            name.push_str(&shown(text.as_bytes()));
        } else {
            name.push_str(&shown(text));
        }
        if name.len() > 4 * MAX_NAME {
            break;
        }
    }
    name
}

/// A stranger's text, fit to be shown.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * MAX_NAME)]);
    text.chars().take(MAX_NAME).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

/// UTCTime and GeneralizedTime in the one form each that RFC 5280 §4.1.2.5 allows.
fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        digits.get(range).map(|part| part.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
    };
    let (year, at) = match (tag, digits.len()) {
        (0x17, 12) => {
            let year = number(0..2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (0x18, 14) => (number(0..4)?, 4),
        _ => return None,
    };
    let (month, day) = (number(at..at + 2)?, number(at + 2..at + 4)?);
    let clock = number(at + 4..at + 6)? * 3600 + number(at + 6..at + 8)? * 60 + number(at + 8..at + 10)?;
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return (year < 1970).then_some(UNIX_EPOCH);
    }
    UNIX_EPOCH.checked_add(Duration::from_secs(days(year, month, day) * 86_400 + clock))
}

/// Days since 1970-01-01 of the Gregorian calendar, for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March have their leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse of [`days`].
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> String {
        let tag = if text.len() == 13 { 0x17 } else { 0x18 };
        Date(time(tag, text.as_bytes()).unwrap()).to_string()
    }

    #[test]
    fn a_certificates_times_are_read() {
        assert_eq!(at("261122104500Z"), "2026-11-22 10:45 UTC");
        assert_eq!(at("700101000000Z"), "1970-01-01 00:00 UTC");
        assert_eq!(at("20240229235959Z"), "2024-02-29 23:59 UTC");
        assert_eq!(at("99991231235959Z"), "9999-12-31 23:59 UTC");
        assert_eq!(time(0x17, b"2611221045Z"), None);
        assert_eq!(time(0x18, b"20261322104500Z"), None);
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x80",
            b"\x30\x03\x30\x01\x00",
            &[0x30; 64],
        ] {
            assert_eq!(CertificateSummary::read(bytes), None);
        }
    }
}
