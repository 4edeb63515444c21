//! Files that are offered or asked for on a message session (RFC 5547).

use std::fmt;
use std::str::FromStr;

use sdp_types::Media;
use sha1::Digest as _;

use super::{Attribute, SdpError, attribute, value};

/// Octets of the longest file name that is read.
const MAX_NAME: usize = 1024;

/// A hash function that files are named by.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum HashAlgorithm {
    /// The one that RFC 5547 knows. It says which file is meant, and protects nobody from a forger.
    Sha1,
    /// For peers that know it.
    Sha256,
}

impl HashAlgorithm {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha-1",
            Self::Sha256 => "sha-256",
        }
    }

    const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// The hash of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileHash {
    /// Which function.
    pub algorithm: HashAlgorithm,
    /// What it gave.
    pub bytes: Vec<u8>,
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm.as_str())?;
        self.bytes.iter().try_for_each(|byte| write!(f, ":{byte:02X}"))
    }
}

impl FromStr for FileHash {
    type Err = SdpError;

    fn from_str(text: &str) -> Result<Self, SdpError> {
        let malformed = SdpError::Attribute("file-selector");
        let (name, digits) = text.split_once(':').ok_or(malformed.clone())?;
        let algorithm = [HashAlgorithm::Sha1, HashAlgorithm::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
            .ok_or(malformed.clone())?;
        let byte = |pair: &str| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten();
        let bytes: Option<Vec<u8>> = digits.split(':').take(algorithm.length() + 1).map(byte).collect();
        let bytes = bytes.filter(|bytes| bytes.len() == algorithm.length()).ok_or(malformed)?;
        Ok(Self { algorithm, bytes })
    }
}

/// Hashes a file as it is read or written.
#[derive(Clone)]
pub struct FileHasher(Hasher);

#[derive(Clone)]
enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl FileHasher {
    /// Begins.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(match algorithm {
            HashAlgorithm::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            HashAlgorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
        })
    }

    /// Goes on with the next octets of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Hasher::Sha1(hasher) => hasher.update(bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The hash of all of it.
    pub fn finish(self) -> FileHash {
        match self.0 {
            Hasher::Sha1(hasher) => {
                FileHash { algorithm: HashAlgorithm::Sha1, bytes: hasher.finalize().to_vec() }
            }
            Hasher::Sha256(hasher) => {
                FileHash { algorithm: HashAlgorithm::Sha256, bytes: hasher.finalize().to_vec() }
            }
        }
    }
}

impl fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileHasher")
    }
}

/// What says which file is meant. Everything that is there must fit (RFC 5547, section 6).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileSelector {
    /// Its name, without folders: whoever stores it must still take care.
    pub name: Option<String>,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its octets.
    pub size: Option<u64>,
    /// Its hash, if one is named that is known here.
    pub hash: Option<FileHash>,
}

/// A file on a message session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FileOffer {
    /// Which file.
    pub selector: FileSelector,
    /// Names the transfer: a new one for each, the same when an offer is repeated (RFC 5547, section 6).
    pub transfer_id: String,
    /// Whether it should be shown (`render`) or kept (`attachment`).
    pub disposition: Option<String>,
    /// The first octet that is sent, counted from 1, and the last, if not the end of the file.
    pub range: Option<(u64, Option<u64>)>,
    /// The `Content-ID` of a small picture of it in the same body.
    pub icon: Option<String>,
    /// When it was created, modified and read, as it was written.
    pub date: Option<String>,
}

impl FileSelector {
    fn parse(text: &str) -> Result<Self, SdpError> {
        let malformed = || SdpError::Attribute("file-selector");
        let mut found = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (name, after) = rest.split_once(':').ok_or_else(malformed)?;
            let end = if let Some(quoted) = after.strip_prefix('"') {
                quoted.find('"').ok_or_else(malformed)? + 2
            } else {
                // A parameter of a media type may be quoted.
                let mut within = false;
                let is_end = |c: char| {
                    within ^= c == '"';
                    c == ' ' && !within
                };
                after.find(is_end).unwrap_or(after.len())
            };
            let (value, next) = after.split_at(end);
            match name {
                "name" => found.name = Some(unescape(value.trim_matches('"')).ok_or_else(malformed)?),
                "type" => found.media_type = Some(value.into()),
                "size" => found.size = Some(value.parse().map_err(|_| malformed())?),
                // Of several, one that is known.
                "hash" => found.hash = found.hash.or_else(|| value.parse().ok()),
                _ => {}
            }
            rest = next.trim_start();
        }
        Ok(found)
    }

    fn to_value(&self) -> String {
        let name = self.name.as_deref().map(|name| format!("name:\"{}\"", escape(name)));
        let media_type =
            self.media_type.as_deref().filter(|text| is_clean(text)).map(|t| format!("type:{t}"));
        let size = self.size.map(|size| format!("size:{size}"));
        let hash = self.hash.as_ref().map(|hash| format!("hash:{hash}"));
        [name, media_type, size, hash].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

impl FileOffer {
    /// Reads the file of a media line; `None` where it has none.
    ///
    /// # Errors
    /// When the selector or the transfer's name is missing or malformed.
    pub fn read(media: &Media) -> Result<Option<Self>, SdpError> {
        let attributes = &media.attributes;
        let Some(selector) = value(attributes, "file-selector") else { return Ok(None) };
        let transfer_id = value(attributes, "file-transfer-id").filter(|id| !id.is_empty());
        let text = |name| value(attributes, name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Some(Self {
            selector: FileSelector::parse(selector)?,
            transfer_id: transfer_id.ok_or(SdpError::Attribute("file-transfer-id"))?.to_owned(),
            disposition: text("file-disposition"),
            range: value(attributes, "file-range").map(range).transpose()?,
            icon: text("file-icon").and_then(|icon| icon.strip_prefix("cid:").map(str::to_owned)),
            date: text("file-date"),
        }))
    }

    /// How many octets the peer leaves out at the beginning, because they are there already.
    pub fn skipped(&self) -> u64 {
        self.range.map_or(0, |(first, _)| first - 1)
    }

    pub(super) fn attributes(&self) -> Vec<Attribute> {
        let range = self.range.map(|(first, last)| match last {
            Some(last) => format!("{first}-{last}"),
            None => format!("{first}-*"),
        });
        let rows = [
            ("file-selector", Some(self.selector.to_value())),
            ("file-transfer-id", Some(self.transfer_id.clone())),
            ("file-disposition", self.disposition.clone()),
            ("file-date", self.date.clone()),
            ("file-icon", self.icon.as_ref().map(|icon| format!("cid:{icon}"))),
            ("file-range", range),
        ];
        let clean = rows.into_iter().filter_map(|(name, value)| Some((name, value.filter(|v| is_clean(v))?)));
        clean.map(|(name, value)| attribute(name, Some(value))).collect()
    }
}

fn range(text: &str) -> Result<(u64, Option<u64>), SdpError> {
    let malformed = || SdpError::Attribute("file-range");
    let (first, last) = text.split_once('-').ok_or_else(malformed)?;
    let first: u64 = first.trim().parse().map_err(|_| malformed())?;
    let last = match last.trim() {
        "*" => None,
        digits => Some(digits.parse::<u64>().map_err(|_| malformed())?),
    };
    let fits = first > 0 && last.is_none_or(|last| last >= first);
    fits.then_some((first, last)).ok_or_else(malformed)
}

/// No line ends: what is written must stay on its line.
fn is_clean(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// RFC 5547, section 6: what would end the name, or the line, is written in hexadecimal.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '%' | '\r' | '\n' | '\0' => out.push_str(&format!("%{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// The name without folders, and without what has no place in one.
fn unescape(text: &str) -> Option<String> {
    if text.len() > MAX_NAME {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            bytes.push((high << 4 | low) as u8);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or("");
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> FileSelector {
        FileSelector::parse(text).unwrap()
    }

    #[test]
    fn a_selector_is_read_as_it_was_written() {
        let mut hasher = FileHasher::new(HashAlgorithm::Sha1);
        hasher.update(b"ab");
        hasher.update(b"c");
        let full = FileSelector {
            name: Some("a \"50%\" picture.jpg".into()),
            media_type: Some("image/jpeg;a=\"b c\"".into()),
            size: Some(4092),
            hash: Some(hasher.finish()),
        };
        let text = full.to_value();
        assert!(text.contains("hash:sha-1:A9:99:3E:36:"), "{text}");
        assert_eq!(selector(&text), full);
    }

    #[test]
    fn a_name_brings_no_folders() {
        for (written, read) in [
            ("name:\"../../etc/passwd\"", Some("passwd")),
            ("name:\"C:\\\\a%2Fb\"", Some("b")),
            ("name:\"a%0D%0Ab\"", Some("ab")),
        ] {
            assert_eq!(selector(written).name.as_deref(), read, "{written}");
        }
        for bad in ["name:\"..\"", "name:\"\"", "name:\"open", "size:x", "nothing"] {
            assert!(FileSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hash_of_another_kind_is_left_out_and_a_short_one_too() {
        assert_eq!(selector("hash:md5:00 size:1").hash, None);
        assert_eq!(selector("hash:sha-1:00:11 size:1"), FileSelector { size: Some(1), ..Default::default() });
    }

    #[test]
    fn ranges_count_from_one() {
        assert_eq!(range("1-*"), Ok((1, None)));
        assert_eq!(range("1025-2048"), Ok((1025, Some(2048))));
        for bad in ["0-*", "5-4", "1", "a-b", "-1-2"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
