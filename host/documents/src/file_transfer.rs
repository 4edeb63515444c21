//! A file that lies at a server, and is fetched over HTTP (GSMA RCC.07, "File Transfer via HTTP").
//!
//! The sender uploads it and sends this document as a message in its place.

use crate::{
    error::{DocumentError, Finding, Parsed},
    limits::Limits,
    moment::Moment,
    xml::{Element, Ns, Xml, decode, escape_into},
};

/// The media type of these documents.
pub const MEDIA_TYPE: &str = "application/vnd.gsma.rcs-ft-http+xml";
/// Longest address of a file, in bytes.
const MAX_URL: usize = 4096;

/// A file at a server, and perhaps a small picture of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileTransfer {
    /// The file.
    pub file: RemoteFile,
    /// A small picture of it.
    pub thumbnail: Option<RemoteFile>,
}

/// One thing at a server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RemoteFile {
    /// Where it is: an address with `http` or `https`, and nothing else is let through. Whoever fetches it must still decide
    /// whether to go there.
    pub url: String,
    /// Until when it is there.
    pub until: Option<Moment>,
    /// Its size in bytes, as the sender says.
    pub size: u64,
    /// Its media type, as the sender says.
    pub media_type: String,
    /// Its name without folders, as the sender says.
    pub name: Option<String>,
    /// Whether it should be shown at once (`render`) or kept (`attachment`).
    pub disposition: Option<String>,
}

/// Reads a document.
///
/// # Errors
/// As [`pidf::read`](crate::pidf::read); and [`DocumentError::Malformed`] where the file, its address or its size is
/// missing, or the address is no web address.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Parsed<FileTransfer>, DocumentError> {
    let (text, latin) = decode(bytes, limits)?;
    let mut xml = Xml::new(&text, latin, *limits);
    let root = xml.root()?;
    if !(matches!(root.ns, Ns::FileTransfer | Ns::None) && root.name() == "file") {
        return Err(DocumentError::WrongRoot {
            root: crate::xml::cut(root.name(), 64).to_owned(),
            expected: "a file at a server (RCC.07)",
        });
    }
    let (mut file, mut thumbnail) = (None, None);
    while let Some(child) = xml.child(&root)? {
        if !(matches!(child.ns, Ns::FileTransfer | Ns::None) && child.name() == "file-info") {
            xml.skip(&child)?;
            continue;
        }
        let kind = xml.attribute(&child, "type");
        let found = remote(&mut xml, &child)?;
        // Of several, the first.
        match kind.as_deref() {
            Some("thumbnail") if thumbnail.is_none() => thumbnail = found.ok(),
            Some("file") | None if file.is_none() => file = Some(found?),
            _ => xml.forgive(child.offset, Finding::Value),
        }
    }
    xml.finish()?;
    let file = file.ok_or_else(|| missing(root.offset, "no file is named"))?;
    Ok(Parsed { document: FileTransfer { file, thumbnail }, forgiven: xml.into_forgiven() })
}

/// What is said of one thing; the inner error when that is of no use.
fn remote(
    xml: &mut Xml<'_>,
    element: &Element<'_>,
) -> Result<Result<RemoteFile, DocumentError>, DocumentError> {
    let mut found =
        RemoteFile { disposition: xml.attribute(element, "file-disposition"), ..RemoteFile::default() };
    let mut size = None;
    while let Some(child) = xml.child(element)? {
        if !matches!(child.ns, Ns::FileTransfer | Ns::None) {
            xml.skip(&child)?;
            continue;
        }
        match child.name() {
            "file-size" => size = xml.text(&child)?.trim().parse().ok(),
            "file-name" => found.name = file_name(&xml.text(&child)?),
            "content-type" => xml.text(&child)?.trim().clone_into(&mut found.media_type),
            "data" => {
                found.url = xml.attribute(&child, "url").unwrap_or_default();
                if let Some(until) = xml.attribute(&child, "until") {
                    found.until = until.parse().ok();
                    if found.until.is_none() {
                        xml.forgive(child.offset, Finding::Date);
                    }
                }
                xml.skip(&child)?;
            }
            _ => xml.skip(&child)?,
        }
    }
    let Some(size) = size else { return Ok(Err(missing(element.offset, "the size is missing"))) };
    found.size = size;
    if !is_web(&found.url) {
        return Ok(Err(missing(element.offset, "no web address")));
    }
    Ok(Ok(found))
}

/// Writes a document.
#[must_use]
pub fn write(transfer: &FileTransfer) -> String {
    let mut out =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<file xmlns=\"{}\">", crate::xml::FT_HTTP);
    if let Some(thumbnail) = &transfer.thumbnail {
        write_remote(&mut out, "thumbnail", thumbnail);
    }
    write_remote(&mut out, "file", &transfer.file);
    out.push_str("</file>\n");
    out
}

fn write_remote(out: &mut String, kind: &str, remote: &RemoteFile) {
    out.push_str(&format!("<file-info type=\"{kind}\""));
    let attribute = |out: &mut String, name: &str, value: &str| {
        out.push_str(&format!(" {name}=\""));
        escape_into(out, value);
        out.push('"');
    };
    if let Some(disposition) = &remote.disposition {
        attribute(out, "file-disposition", disposition);
    }
    out.push_str(&format!("><file-size>{}</file-size>", remote.size));
    for (name, text) in [("file-name", remote.name.as_deref()), ("content-type", Some(&*remote.media_type))] {
        if let Some(text) = text {
            out.push_str(&format!("<{name}>"));
            escape_into(out, text);
            out.push_str(&format!("</{name}>"));
        }
    }
    out.push_str("<data");
    attribute(out, "url", &remote.url);
    if let Some(until) = remote.until {
        attribute(out, "until", &until.to_string());
    }
    out.push_str("/></file-info>");
}

fn missing(offset: u64, what: &str) -> DocumentError {
    DocumentError::Malformed { offset, what: what.to_owned() }
}

/// `http://` or `https://` and something behind it, without blanks.
fn is_web(url: &str) -> bool {
    let is_scheme = |scheme: &str| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && url.len() > scheme.len()
    };
    url.len() <= MAX_URL
        && (is_scheme("http://") || is_scheme("https://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The last part of a path, without what has no place in a name.
fn file_name(text: &str) -> Option<String> {
    let name = text.trim().rsplit(['/', '\\']).next().unwrap_or("");
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> FileTransfer {
        let file = RemoteFile {
            url: "https://files.example.com/get?id=1&key=a%20b".into(),
            until: Some("2026-12-01T12:00:00Z".parse().unwrap()),
            size: 4_000_000_000,
            media_type: "image/jpeg".into(),
            name: Some("a <small> picture.jpg".into()),
            disposition: Some("attachment".into()),
        };
        let thumbnail = RemoteFile {
            url: "https://files.example.com/t".into(),
            size: 900,
            media_type: "image/png".into(),
            ..RemoteFile::default()
        };
        FileTransfer { file, thumbnail: Some(thumbnail) }
    }

    fn read_text(text: &str) -> Result<Parsed<FileTransfer>, DocumentError> {
        read(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn a_file_at_a_server_reads_back_as_it_was_written() {
        let parsed = read_text(&write(&whole())).unwrap();
        assert_eq!(parsed.document, whole());
        assert_eq!(parsed.forgiven, []);
    }

    #[test]
    fn a_file_at_a_server_of_another_sender_is_understood() {
        let text = "<?xml version='1.0'?><file xmlns='urn:gsma:params:xml:ns:rcs:rcs:fthttp' \
            xmlns:x='urn:gsma:params:xml:ns:rcs:rcs:up:fthttpext'><file-info type='thumbnail'/>\
            <file-info type='file'><file-size> 12 </file-size><file-name>../a\\b.txt</file-name>\
            <content-type>text/plain</content-type><x:branded-url>no</x:branded-url>\
            <data url='HTTP://h/x' until='soon'/></file-info></file>";
        let parsed = read_text(text).unwrap();
        assert_eq!(parsed.document.thumbnail, None);
        let file = parsed.document.file;
        assert_eq!((file.size, file.name.as_deref(), file.until), (12, Some("b.txt"), None));
        assert_eq!(parsed.forgiven[0].finding, Finding::Date);
    }

    #[test]
    fn a_file_that_is_nowhere_on_the_web_is_none() {
        for (url, size) in [
            ("file:///etc/passwd", "1"),
            ("javascript:x", "1"),
            ("https://", "1"),
            ("http://a b", "1"),
            ("https://a", "-1"),
        ] {
            let text = format!(
                "<file><file-info type='file'><file-size>{size}</file-size><data url='{url}'/></file-info></file>"
            );
            assert!(matches!(read_text(&text), Err(DocumentError::Malformed { .. })), "{url} {size}");
        }
        assert!(matches!(read_text("<file/>"), Err(DocumentError::Malformed { .. })));
        assert!(matches!(read_text("<presence/>"), Err(DocumentError::WrongRoot { .. })));
    }
}
