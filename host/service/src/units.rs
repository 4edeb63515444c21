//! Times and sizes as people write them.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

/// `"500ms"`, `"90s"`, `"5m"`, `"1h"`, `"30d"`; a bare number is seconds.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Number(seconds) => Ok(Duration::from_secs(seconds)),
        Written::Text(text) => parse_duration(&text)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is no time; write `90s` or `5m`"))),
    }
}

/// `"64KiB"`, `"2MiB"`, `"1GiB"`, `"512B"`; a bare number is bytes.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let (parsed, text) = match Written::deserialize(deserializer)? {
        Written::Number(number) => (Some(number), number.to_string()),
        Written::Text(text) => (parse_bytes(&text), text),
    };
    parsed
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| D::Error::custom(format!("`{text}` is no size; write `64KiB` or `2MiB`")))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..unit].parse().ok()?, text[unit..].trim()))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" | "" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" | "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("30d"), Some(Duration::from_secs(2_592_000)));
        assert_eq!(parse_duration("5 parsecs"), None);
        assert_eq!(parse_duration("99999999999999999999s"), None);
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(parse_bytes("64KiB"), Some(65_536));
        assert_eq!(parse_bytes("12"), Some(12));
        assert_eq!(parse_bytes("64 KB"), None);
    }
}
