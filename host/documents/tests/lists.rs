//! Lists and bodies of several parts: what comes is read whatever its small faults, without copies, in linear time.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use attache_documents::{
    DocumentError, Finding, Limits,
    multipart::{self, MultipartError},
    rlmi::{self, Instance, List, Name, Resource, State},
};
use bytes::Bytes;

const TYPE: &str =
    r#"multipart/related;type="application/rlmi+xml";start="<top@example.com>";boundary="==one; two=="; x=y"#;

const BODY: &str = "passed over\r\n--==one; two==\r\n\
    Content-ID: <bob@example.com>\r\nContent-Type: application/pidf+xml;\r\n\tcharset=\"UTF-8\"\r\n\r\n<presence/>\r\n\
    --==one; two==  \r\nContent-Type: application/rlmi+xml\r\ncontent-id: <top@example.com>\r\n\r\n<list/>\r\n\
    --==one; two==\r\n\r\n--==one; two==x\r\nplain\r\n--==one; two==--\r\npassed over too";

fn read(content_type: &str, body: &str) -> Result<Vec<String>, MultipartError> {
    let read = multipart::read(content_type, &Bytes::copy_from_slice(body.as_bytes()), 100)?;
    Ok(read.parts.iter().map(|part| String::from_utf8_lossy(part.body()).into_owned()).collect())
}

#[test]
fn parts_are_slices_of_the_body_and_found_by_their_identifiers() {
    let body = Bytes::from_static(BODY.as_bytes());
    let read = multipart::read(TYPE, &body, 3).unwrap();
    assert!(read.is_complete);
    assert_eq!(&read.root().body()[..], b"<list/>");
    assert!(read.root().is("application/rlmi+xml"));
    let index = read.by_id();
    let bob = index["bob@example.com"];
    assert_eq!(bob.content_type(), "application/pidf+xml; charset=\"UTF-8\"");
    assert!(bob.is("Application/PIDF+xml"));
    assert!(body.as_ptr_range().contains(&bob.body().as_ptr()), "not copied");
    assert!(!index.contains_key("carol@example.com"));
    assert_eq!(read.parts[2].content_type(), "text/plain");
    assert_eq!(&read.parts[2].body()[..], b"--==one; two==x\r\nplain", "a longer boundary is text");
}

#[test]
fn line_ends_of_one_byte_are_read() {
    assert_eq!(
        read("multipart/mixed; boundary=b", "--b\nA: b\n\none\n--b\n\ntwo\n--b--").unwrap(),
        ["one", "two"]
    );
}

#[test]
fn a_body_that_was_cut_keeps_what_came() {
    let body = Bytes::from_static(b"--b\r\n\r\none\r\n--b\r\nA: b\r\n\r\ntw");
    let read = multipart::read("multipart/mixed;boundary=b", &body, 9).unwrap();
    assert!(!read.is_complete);
    assert_eq!((read.parts.len(), &read.parts[1].body()[..]), (2, &b"tw"[..]));
}

#[test]
fn empty_parts_and_parts_without_headers_are_parts() {
    assert_eq!(
        read("multipart/mixed;boundary=b", "--b\r\n--b\r\n\r\n\r\n--b\r\nA: b\r\n--b--").unwrap(),
        ["", "", ""]
    );
}

#[test]
fn bodies_in_bodies_are_read_down_to_the_limit() {
    let mut body = "x".to_owned();
    for depth in 0..6 {
        body = format!(
            "--b{depth}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n{body}\r\n--b{depth}--",
            depth - 1
        );
    }
    let mut read = multipart::read("multipart/mixed;boundary=b5", &Bytes::from(body), 9).unwrap();
    for _ in 1..multipart::MAX_DEPTH {
        read = read.root().parts(9).unwrap();
    }
    assert_eq!(read.root().parts(9).unwrap_err(), MultipartError::Depth);
}

#[test]
fn what_cannot_be_taken_apart_is_refused() {
    let read =
        |kind: &str, body: &'static str| multipart::read(kind, &Bytes::from_static(body.as_bytes()), 2);
    assert_eq!(read("text/plain;boundary=b", "--b\r\n").unwrap_err(), MultipartError::Type);
    assert_eq!(read("multipart/mixed", "--b\r\n").unwrap_err(), MultipartError::Boundary);
    assert_eq!(read("multipart/mixed;boundary=\"\"", "--\r\n").unwrap_err(), MultipartError::Boundary);
    assert_eq!(read("multipart/mixed;boundary=b", "a--b\r\n").unwrap_err(), MultipartError::NoPart);
    assert_eq!(read("multipart/mixed;boundary=b", "--b--").unwrap_err(), MultipartError::NoPart);
    assert_eq!(
        read("multipart/mixed;boundary=b", "--b\r\n--b\r\n--b\r\n--b--").unwrap_err(),
        MultipartError::TooMany(2)
    );
    let long = format!("--b\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(
        multipart::read("multipart/mixed;boundary=b", &Bytes::from(long), 2).unwrap_err(),
        MultipartError::Headers
    );
}

#[test]
fn parameters_are_unquoted() {
    assert_eq!(multipart::parameter(r#"a/b; x="1;2" ; Y = z"#, "y").as_deref(), Some("z"));
    assert_eq!(multipart::parameter(r#"a/b; x="1;y=3""#, "y"), None);
    assert_eq!(multipart::parameter(r#"a/b;flag;x="a\"b\\c""#, "X").as_deref(), Some(r#"a"b\c"#));
    assert_eq!(multipart::parameter(r#"a/b;x="never closed"#, "x").as_deref(), Some("never closed"));
    assert_eq!(multipart::parameter("a/b", "x"), None);
}

#[test]
fn what_the_writer_wrote_reads_back() {
    let mut writer = multipart::Writer::new("Q9-x");
    let before = writer.overhead("application/pidf+xml", Some("b@c"));
    writer.part("application/pidf+xml", Some("b@c"), b"<presence/>");
    assert_eq!(writer.len(), before + 11);
    writer.part("text/plain", None, b"");
    let kind = writer.related_type("application/pidf+xml", "b@c");
    let read = multipart::read(&kind, &writer.finish(), 2).unwrap();
    assert!(read.is_complete);
    assert_eq!(&read.by_id()["b@c"].body()[..], b"<presence/>");
    assert_eq!(read.root().content_id().as_deref(), Some("b@c"));
    assert_eq!(read.parts[1].body().len(), 0);
}

fn sample() -> List {
    let instance = |state, reason: Option<&str>, cid: Option<&str>| Instance {
        id: "1".into(),
        state,
        reason: reason.map(Into::into),
        cid: cid.map(Into::into),
    };
    List {
        uri: "sip:alice-list@example.com".into(),
        version: 7,
        full_state: true,
        cid: None,
        names: vec![Name { text: "Friends & <co>".into(), lang: Some("en".into()) }],
        resources: vec![
            Resource {
                uri: "sip:bob@example.com".into(),
                names: vec![Name { text: "Bob".into(), lang: None }],
                instances: vec![instance(State::Active, None, Some("b\"@example.com"))],
            },
            Resource {
                uri: "sip:carol@example.com".into(),
                names: Vec::new(),
                instances: vec![
                    instance(State::Terminated, Some("rejected"), None),
                    instance(State::Pending, None, None),
                ],
            },
            Resource { uri: "sip:dora@example.com".into(), ..Resource::default() },
        ],
    }
}

#[test]
fn a_list_reads_back_as_it_was_written() {
    let read = rlmi::read(rlmi::write(&sample()).as_bytes(), &rlmi::LIMITS).unwrap();
    assert_eq!(read.document, sample());
    assert!(read.forgiven.is_empty());
}

#[test]
fn a_list_with_faults_means_what_does_least_harm() {
    let text = r#"<list version="3"><resource uri="sip:a@b"><instance id="1" state="odd" cid="c"/></resource></list>"#;
    let read = rlmi::read(text.as_bytes(), &Limits::DEFAULT).unwrap();
    assert!(!read.document.full_state, "nobody is forgotten");
    assert_eq!(read.document.resources[0].instances[0].state, State::Pending);
    let findings: Vec<_> = read.forgiven.iter().map(|forgiven| forgiven.finding).collect();
    assert!(findings.contains(&Finding::Attribute) && findings.contains(&Finding::Value));
}

#[test]
fn a_list_without_a_version_is_refused() {
    let text = r#"<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:a@b" fullState="true"/>"#;
    assert!(matches!(rlmi::read(text.as_bytes(), &Limits::DEFAULT), Err(DocumentError::Malformed { .. })));
    assert!(matches!(rlmi::read(b"<lists/>", &Limits::DEFAULT), Err(DocumentError::WrongRoot { .. })));
}

#[test]
fn ten_thousand_resources_are_read_in_linear_time() {
    let took = |resources: usize| {
        let mut list = sample();
        let template = list.resources[0].clone();
        list.resources.clear();
        let mut writer = multipart::Writer::new("b");
        for n in 0..resources {
            let mut resource = template.clone();
            resource.uri = format!("sip:user{n}@example.com");
            resource.instances[0].cid = Some(format!("{n}@example.com"));
            writer.part(
                "application/pidf+xml",
                resource.instances[0].cid.as_deref(),
                b"<presence>--b-- --b</presence>",
            );
            list.resources.push(resource);
        }
        writer.part(rlmi::MEDIA_TYPE, Some("top"), rlmi::write(&list).as_bytes());
        let (kind, body) = (writer.related_type(rlmi::MEDIA_TYPE, "top"), writer.finish());
        let start = Instant::now();
        let read = multipart::read(&kind, &body, resources + 1).unwrap();
        let list = rlmi::read(read.root().body(), &rlmi::LIMITS).unwrap().document;
        let index = read.by_id();
        let found =
            list.resources.iter().filter(|r| index.contains_key(r.instances[0].cid.as_deref().unwrap()));
        assert_eq!(found.count(), resources);
        start.elapsed()
    };
    let (small, large) = (took(1_000).min(took(1_000)), took(10_000));
    assert!(large < small * 100 + Duration::from_millis(200), "{small:?} and {large:?}");
}
