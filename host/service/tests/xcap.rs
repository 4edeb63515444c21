//! Documents over HTTP (RFC 4825, RFC 4826, RFC 4827).

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use std::time::{Duration, Instant, SystemTime};

use attache_documents::Limits;
use attache_documents::xcap::{Conflict, read_capabilities, read_error};
use attache_service::{Core, CoreConfig, StoreChange};
use bytes::Bytes;
use common::config;
use common::xcap::{ATTRIBUTE, Ask, ELEMENT, LISTS, PIDF, RULES, SERVICES, Xcap, header, text};
use http::{Method, Response};

const INDEX: &str = "/xcap-root/resource-lists/users/sip:alice@example.com/index";

const FRIENDS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:x">
  <list name="friends" x:colour="red">
    <entry uri="sip:bob@example.com"><display-name>Bob</display-name></entry>
    <entry uri="sip:carol@example.com"/>
  </list>
</resource-lists>"#;

struct Site {
    core: Core,
    now: Instant,
    alice: Xcap,
}

impl Site {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: CoreConfig) -> Self {
        let now = Instant::now();
        let core = Core::new(config, now, SystemTime::now(), [3; 32]);
        Self { core, now, alice: Xcap::new("alice", "wonderland") }
    }

    fn ask(&mut self, ask: &Ask<'_>) -> Response<Bytes> {
        self.alice.ask(&mut self.core, self.now, ask)
    }

    fn get(&mut self, path: &str) -> Response<Bytes> {
        self.ask(&Ask::new(Method::GET, path))
    }

    fn put(&mut self, path: &str, kind: &str, body: &str) -> Response<Bytes> {
        self.ask(&Ask::new(Method::PUT, path).body(kind, body))
    }

    fn delete(&mut self, path: &str) -> Response<Bytes> {
        self.ask(&Ask::new(Method::DELETE, path))
    }

    /// With Alice's friends.
    fn with_friends() -> Self {
        let mut site = Self::new();
        assert_eq!(site.put(INDEX, LISTS, FRIENDS).status(), 201);
        site
    }
}

fn node(selector: &str) -> String {
    let encoded: Vec<_> = selector.split('/').map(attache_documents::xcap::percent_encode).collect();
    format!("{INDEX}/~~/{}", encoded.join("/"))
}

fn conflict(answer: &Response<Bytes>) -> Conflict {
    assert_eq!(answer.status(), 409, "{}", text(answer));
    assert_eq!(header(answer, "content-type"), "application/xcap-error+xml");
    read_error(answer.body(), &Limits::DEFAULT).unwrap().conflict
}

#[test]
fn a_document_is_put_got_replaced_and_deleted() {
    let mut site = Site::new();
    assert_eq!(site.get(INDEX).status(), 404);
    let created = site.put(INDEX, LISTS, FRIENDS);
    assert_eq!(created.status(), 201);
    let got = site.get(INDEX);
    assert_eq!((got.status().as_u16(), text(&got)), (200, FRIENDS.to_owned()));
    assert_eq!(header(&got, "content-type"), LISTS);
    assert_eq!(header(&got, "etag"), header(&created, "etag"));
    assert!(header(&got, "etag").starts_with('"'));
    let replaced = site.put(INDEX, LISTS, &FRIENDS.replace("Bob", "Robert"));
    assert_eq!(replaced.status(), 200);
    assert_ne!(header(&replaced, "etag"), header(&created, "etag"));
    assert_eq!(site.delete(INDEX).status(), 200);
    assert_eq!(site.get(INDEX).status(), 404);
    assert_eq!(site.delete(INDEX).status(), 404);
}

#[test]
fn an_element_is_got_replaced_inserted_and_deleted() {
    let mut site = Site::with_friends();
    let bob = node("resource-lists/list[@name=\"friends\"]/entry[@uri=\"sip:bob@example.com\"]");
    let got = site.get(&bob);
    assert_eq!(text(&got), "<entry uri=\"sip:bob@example.com\"><display-name>Bob</display-name></entry>");
    assert_eq!(header(&got, "content-type"), ELEMENT);
    let robert = "<entry uri=\"sip:bob@example.com\"><display-name>Robert</display-name></entry>";
    assert_eq!(site.put(&bob, ELEMENT, robert).status(), 200);
    assert_eq!(text(&site.get(&bob)), robert);
    let dave = node("resource-lists/list[@name=\"friends\"]/entry[@uri=\"sip:dave@example.com\"]");
    assert_eq!(site.get(&dave).status(), 404);
    assert_eq!(site.put(&dave, ELEMENT, "<entry uri=\"sip:dave@example.com\"/>").status(), 201);
    assert_eq!(text(&site.get(&node("resource-lists/list/*[3]"))), "<entry uri=\"sip:dave@example.com\"/>");
    assert_eq!(site.delete(&bob).status(), 200);
    assert_eq!(site.get(&bob).status(), 404);
    let whole = text(&site.get(INDEX));
    assert!(whole.contains("x:colour=\"red\"") && !whole.contains("Robert"), "{whole}");
}

#[test]
fn an_attribute_is_got_replaced_inserted_and_deleted() {
    let mut site = Site::with_friends();
    let colour = format!("{}?xmlns(y=urn:x)", node("resource-lists/list/@y:colour"));
    let got = site.get(&colour);
    assert_eq!((text(&got), header(&got, "content-type")), ("red".into(), ATTRIBUTE.into()));
    assert_eq!(site.put(&colour, ATTRIBUTE, "green &amp; blue").status(), 200);
    assert_eq!(text(&site.get(&colour)), "green &amp; blue");
    assert!(text(&site.get(INDEX)).contains("x:colour=\"green &amp; blue\""));
    assert_eq!(site.delete(&colour).status(), 200);
    assert_eq!(site.get(&colour).status(), 404);
    assert_eq!(site.put(&colour, ATTRIBUTE, "white").status(), 201);
    assert_eq!(conflict(&site.put(&colour, ATTRIBUTE, "a<b")), Conflict::NotXmlAttValue);
    assert_eq!(conflict(&site.put(&colour, ATTRIBUTE, "a & b")), Conflict::NotXmlAttValue);
}

#[test]
fn bindings_of_namespaces_are_told_and_cannot_be_changed() {
    let mut site = Site::with_friends();
    let path = node("resource-lists/list/namespace::*");
    let got = site.get(&path);
    assert_eq!(header(&got, "content-type"), "application/xcap-ns+xml");
    let body = text(&got);
    assert!(body.starts_with("<list ") && body.ends_with("/>"), "{body}");
    assert!(
        body.contains("xmlns=\"urn:ietf:params:xml:ns:resource-lists\"")
            && body.contains("xmlns:x=\"urn:x\"")
    );
    assert_eq!(site.put(&path, "application/xcap-ns+xml", &body).status(), 405);
    assert_eq!(site.delete(&path).status(), 405);
}

#[test]
fn an_element_goes_to_its_position() {
    let mut site = Site::with_friends();
    let put = |site: &mut Site, selector: &str, name: &str| {
        site.put(&node(selector), ELEMENT, &format!("<list name=\"{name}\"/>"))
    };
    assert_eq!(put(&mut site, "resource-lists/list[2]", "b").status(), 201);
    assert_eq!(put(&mut site, "resource-lists/list[1][@name=\"first\"]", "first").status(), 201);
    assert_eq!(put(&mut site, "resource-lists/*[3][@name=\"third\"]", "third").status(), 201);
    let names: Vec<_> =
        (1..=4).map(|n| text(&site.get(&node(&format!("resource-lists/list[{n}]/@name"))))).collect();
    assert_eq!(names, ["first", "friends", "third", "b"]);
    assert_eq!(conflict(&put(&mut site, "resource-lists/list[6]", "far")), Conflict::CannotInsert);
}

#[test]
fn what_would_not_be_found_again_is_not_put() {
    let mut site = Site::with_friends();
    for (selector, body) in [
        ("resource-lists/list[@name=\"x\"]", "<list name=\"y\"/>"),
        ("resource-lists/list[@name=\"friends\"]", "<list name=\"enemies\"/>"),
        ("resource-lists/list/entry[@uri=\"sip:x@y\"]", "<external anchor=\"http://x/y\"/>"),
        ("resource-lists/list/entry", "<entry uri=\"sip:x@y\"/>"),
        ("resource-lists/list/entry[@uri=\"sip:x@y\"]", "<entry xmlns=\"urn:x\" uri=\"sip:x@y\"/>"),
    ] {
        assert_eq!(conflict(&site.put(&node(selector), ELEMENT, body)), Conflict::CannotInsert, "{selector}");
    }
    let name = node("resource-lists/list[@name=\"friends\"]/@name");
    assert_eq!(conflict(&site.put(&name, ATTRIBUTE, "enemies")), Conflict::CannotInsert);
    assert_eq!(text(&site.get(INDEX)), FRIENDS);
}

#[test]
fn what_would_leave_another_one_in_its_place_is_not_deleted() {
    let mut site = Site::with_friends();
    let first = node("resource-lists/list/entry[1]");
    assert_eq!(conflict(&site.delete(&first)), Conflict::CannotDelete);
    assert_eq!(conflict(&site.delete(&node("resource-lists"))), Conflict::CannotDelete);
    assert_eq!(site.delete(&node("resource-lists/list/entry")).status(), 404);
    assert_eq!(site.delete(&node("resource-lists/list/entry[2]")).status(), 200);
}

#[test]
fn a_missing_parent_is_told_with_the_nearest_ancestor() {
    let mut site = Site::with_friends();
    let path = node("resource-lists/list[@name=\"a/b\"]/list[@name=\"c\"]");
    let Conflict::NoParent { ancestor: Some(ancestor) } =
        conflict(&site.put(&path, ELEMENT, "<list name=\"c\"/>"))
    else {
        panic!("no ancestor")
    };
    assert!(ancestor.ends_with("/index/~~/resource-lists"), "{ancestor}");
    let other = INDEX.replace("index", "other");
    let answer = site.put(&format!("{other}/~~/resource-lists/list"), ELEMENT, "<list/>");
    assert_eq!(conflict(&answer), Conflict::NoParent { ancestor: None });
}

#[test]
fn what_is_no_xml_is_refused_with_the_reason() {
    let mut site = Site::with_friends();
    assert_eq!(conflict(&site.put(INDEX, LISTS, "<resource-lists")), Conflict::NotWellFormed);
    let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaa\">]><resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"/>";
    assert_eq!(conflict(&site.put(INDEX, LISTS, bomb)), Conflict::NotWellFormed);
    let list = node("resource-lists/list[@name=\"x\"]");
    for body in ["<list name=\"x\">", "", "text", "<list name=\"x\"/><list/>", "<p:list name=\"x\"/>"] {
        assert_eq!(conflict(&site.put(&list, ELEMENT, body)), Conflict::NotXmlFrag, "{body}");
    }
    let mut request = Ask::new(Method::PUT, INDEX).body(LISTS, "").request();
    *request.body_mut() = Bytes::from_static(b"<a>\xff</a>");
    let signed = site.alice.sign(request);
    assert_eq!(conflict(&site.core.handle_http(site.now, site.alice.peer, signed)), Conflict::NotUtf8);
    assert_eq!(text(&site.get(INDEX)), FRIENDS);
}

#[test]
fn a_fragment_reads_as_it_would_at_its_place() {
    let mut site = Site::with_friends();
    let path = node("resource-lists/list[@name=\"friends\"]/entry[@uri=\"sip:d@e\"]");
    assert_eq!(
        site.put(&path, ELEMENT, "<entry uri=\"sip:d@e\" x:rank=\"1\"><x:phone/></entry>").status(),
        201
    );
    let rank = format!("{path}/@r:rank?xmlns(r=urn:x)");
    assert_eq!(text(&site.get(&rank)), "1");
}

#[test]
fn the_schema_and_the_rules_of_the_usage_are_checked() {
    let mut site = Site::with_friends();
    assert_eq!(conflict(&site.put(INDEX, LISTS, "<other/>")), Conflict::SchemaValidation);
    let entry = node("resource-lists/list[@name=\"friends\"]/entry[3]");
    assert_eq!(conflict(&site.put(&entry, ELEMENT, "<entry/>")), Conflict::SchemaValidation);
    let Conflict::Uniqueness(all) =
        conflict(&site.put(&entry, ELEMENT, "<entry uri=\"sip:bob@example.com\"/>"))
    else {
        panic!("no uniqueness failure")
    };
    assert_eq!(all[0].field, "resource-lists/list[1]/entry[3]/@uri");
    let list = node("resource-lists/list[2]");
    assert!(matches!(
        conflict(&site.put(&list, ELEMENT, "<list name=\"friends\"/>")),
        Conflict::Uniqueness(_)
    ));
    let same_name_elsewhere = "<list name=\"friends\"/>";
    let inner = node("resource-lists/list[@name=\"friends\"]/list");
    assert_eq!(site.put(&inner, ELEMENT, same_name_elsewhere).status(), 201);
    let external = node("resource-lists/list[@name=\"friends\"]/external");
    assert_eq!(conflict(&site.put(&external, ELEMENT, "<external anchor=\"here\"/>")), Conflict::Constraint);
    let uri = node("resource-lists/list[@name=\"friends\"]/entry[1]/@uri");
    assert_eq!(conflict(&site.delete(&uri)), Conflict::SchemaValidation);
}

#[test]
fn rules_services_and_hard_state_have_their_own_rules() {
    let mut site = Site::new();
    let rules = "/xcap-root/pres-rules/users/sip:alice@example.com/index";
    let twice =
        "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\"><rule id=\"a\"/><rule id=\"a\"/></ruleset>";
    assert!(matches!(conflict(&site.put(rules, RULES, twice)), Conflict::Uniqueness(_)));
    assert_eq!(site.put(rules, RULES, &twice.replacen("\"a\"", "\"b\"", 1)).status(), 201);
    let services = "/xcap-root/rls-services/users/sip:alice@example.com/index";
    let service = |uri: &str| {
        format!(
            "<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\"><service uri=\"{uri}\">\
             <resource-list>http://x{INDEX}/~~/resource-lists/list</resource-list>\
             <packages><package>presence</package></packages></service></rls-services>"
        )
    };
    for taken in ["sip:bob@example.com", "sip:friends@elsewhere.example", "mailto:x@example.com"] {
        assert_eq!(conflict(&site.put(services, SERVICES, &service(taken))), Conflict::Constraint, "{taken}");
    }
    assert_eq!(site.put(services, SERVICES, &service("sip:alice-friends@example.com")).status(), 201);
    let state = "/xcap-root/pidf-manipulation/users/sip:alice@example.com/index";
    assert_eq!(conflict(&site.put(state, PIDF, &common::pidf("x"))), Conflict::Constraint);
    assert_eq!(site.put(state, PIDF, &common::pidf("x").replace("bob", "alice")).status(), 201);
}

#[test]
fn conditions_are_kept() {
    let mut site = Site::with_friends();
    let etag = header(&site.get(INDEX), "etag");
    let put = |site: &mut Site, path: &str, kind: &str, body: &str, name: &'static str, value: &str| {
        site.ask(&Ask::new(Method::PUT, path).body(kind, body).header(name, value)).status().as_u16()
    };
    assert_eq!(put(&mut site, INDEX, LISTS, FRIENDS, "if-none-match", "*"), 412);
    assert_eq!(put(&mut site, INDEX, LISTS, FRIENDS, "if-match", "\"other\""), 412);
    assert_eq!(put(&mut site, INDEX, LISTS, FRIENDS, "if-match", &format!("W/{etag}")), 412);
    assert_eq!(put(&mut site, INDEX, LISTS, FRIENDS, "if-match", &format!("\"other\", {etag}")), 200);
    let old = etag;
    let etag = header(&site.get(INDEX), "etag");
    assert_ne!(old, etag);
    let entry = node("resource-lists/list[@name=\"friends\"]/entry[@uri=\"sip:d@e\"]");
    let body = "<entry uri=\"sip:d@e\"/>";
    assert_eq!(put(&mut site, &entry, ELEMENT, body, "if-match", &old), 412);
    assert_eq!(put(&mut site, &entry, ELEMENT, body, "if-match", "*"), 412);
    assert_eq!(put(&mut site, &entry, ELEMENT, body, "if-match", &etag), 201);
    assert_eq!(put(&mut site, &entry, ELEMENT, body, "if-none-match", "*"), 412);
    let deleted = site.ask(&Ask::new(Method::DELETE, entry.as_str()).header("if-match", &etag));
    assert_eq!(deleted.status(), 412);
    let other = INDEX.replace("index", "other");
    assert_eq!(put(&mut site, &other, LISTS, FRIENDS, "if-match", "*"), 412);
    assert_eq!(put(&mut site, &other, LISTS, FRIENDS, "if-none-match", "*"), 201);
}

#[test]
fn who_has_the_document_already_is_told_so() {
    let mut site = Site::with_friends();
    let etag = header(&site.get(INDEX), "etag");
    let known = site.ask(&Ask::new(Method::GET, INDEX).header("if-none-match", &etag));
    assert_eq!((known.status().as_u16(), known.body().len()), (304, 0));
    let entry = node("resource-lists/list/entry[1]");
    assert_eq!(site.ask(&Ask::new(Method::GET, entry).header("if-none-match", &etag)).status(), 304);
    let weak = format!("\"other\", W/{etag}");
    assert_eq!(site.ask(&Ask::new(Method::GET, INDEX).header("if-none-match", &weak)).status(), 304);
    assert_eq!(site.ask(&Ask::new(Method::GET, INDEX).header("if-match", &weak)).status(), 412);
    assert_eq!(site.ask(&Ask::new(Method::GET, INDEX).header("if-match", "\"\u{fc}\"")).status(), 400);
    site.put(INDEX, LISTS, FRIENDS);
    assert_eq!(site.ask(&Ask::new(Method::GET, INDEX).header("if-none-match", &etag)).status(), 200);
    assert_eq!(site.ask(&Ask::new(Method::GET, INDEX).header("if-match", &etag)).status(), 412);
}

#[test]
fn a_wrong_type_or_method_is_refused() {
    let mut site = Site::with_friends();
    assert_eq!(site.put(INDEX, "text/xml", FRIENDS).status(), 415);
    assert_eq!(site.put(&node("resource-lists/list"), LISTS, "<list/>").status(), 415);
    let post = site.ask(&Ask::new(Method::POST, INDEX).body(LISTS, FRIENDS));
    assert_eq!((post.status().as_u16(), header(&post, "allow")), (405, "GET, HEAD, PUT, DELETE".into()));
    assert_eq!(site.get("/xcap-root/unknown/users/sip:alice@example.com/index").status(), 404);
    assert_eq!(site.get("/elsewhere").status(), 404);
    assert_eq!(site.get(&format!("{INDEX}/~~/resource-lists/list[")).status(), 400);
    assert_eq!(site.get(&format!("{INDEX}/~~/p:resource-lists")).status(), 400);
}

#[test]
fn nobody_comes_in_without_a_password() {
    let mut site = Site::with_friends();
    let peer = site.alice.peer;
    let answer = site.core.handle_http(site.now, peer, Ask::new(Method::GET, INDEX).request());
    assert_eq!(answer.status(), 401);
    let rows = answer.headers().get_all("www-authenticate").iter().count();
    assert_eq!(rows, 2, "SHA-256 and MD5");
    let mut eve = Xcap::new("alice", "guess");
    assert_eq!(eve.ask(&mut site.core, site.now, &Ask::new(Method::GET, INDEX)).status(), 401);
}

#[test]
fn nobody_reads_or_changes_the_documents_of_somebody_else() {
    let mut site = Site::with_friends();
    let mut bob = Xcap::new("bob", "builder");
    for ask in [
        Ask::new(Method::GET, INDEX),
        Ask::new(Method::PUT, INDEX).body(LISTS, FRIENDS),
        Ask::new(Method::DELETE, INDEX),
        Ask::new(Method::GET, "/xcap-root/resource-lists/users/sip:nobody@example.com/index"),
        Ask::new(
            Method::GET,
            "/xcap-root/org.openmobilealliance.xcap-directory/users/sip:alice@example.com/directory.xml",
        ),
    ] {
        assert_eq!(bob.ask(&mut site.core, site.now, &ask).status(), 403);
    }
}

#[test]
fn a_request_cannot_be_sent_again_by_who_overheard_it() {
    let mut site = Site::with_friends();
    let signed = site.alice.sign(Ask::new(Method::DELETE, INDEX).request());
    let again = signed.clone();
    assert_eq!(site.core.handle_http(site.now, site.alice.peer, signed).status(), 200);
    assert_eq!(site.put(INDEX, LISTS, FRIENDS).status(), 201);
    assert_eq!(site.core.handle_http(site.now, site.alice.peer, again).status(), 401);
    let elsewhere = site.alice.sign(Ask::new(Method::GET, INDEX).request());
    let (mut head, body) = elsewhere.into_parts();
    head.uri = format!("{INDEX}/~~/resource-lists").parse().unwrap();
    let other = http::Request::from_parts(head, body);
    assert_eq!(site.core.handle_http(site.now, site.alice.peer, other).status(), 401);
}

#[test]
fn guessing_a_password_gets_slow() {
    let mut site = Site::new();
    let mut statuses = Vec::new();
    for number in 0..12 {
        let mut eve = Xcap::new("alice", &format!("guess {number}"));
        statuses.push(eve.ask(&mut site.core, site.now, &Ask::new(Method::GET, INDEX)).status().as_u16());
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    site.now += Duration::from_secs(60);
    assert_eq!(site.get(INDEX).status(), 404);
}

#[test]
fn all_spellings_of_a_user_are_one() {
    let mut site = Site::with_friends();
    for user in [
        "alice@example.com",
        "sips:alice@EXAMPLE.com",
        "sip%3Aalice%40example.com",
        "sip:%61lice@example.com",
    ] {
        let path = format!("/xcap-root/resource-lists/users/{user}/index");
        assert_eq!(site.get(&path).status(), 200, "{user}");
    }
}

#[test]
fn capabilities_are_everybodys_to_read() {
    let mut site = Site::new();
    let answer = site.get("/xcap-root/xcap-caps/global/index");
    assert_eq!(header(&answer, "content-type"), "application/xcap-caps+xml");
    let capabilities = read_capabilities(answer.body(), &Limits::DEFAULT).unwrap();
    for auid in ["resource-lists", "rls-services", "pres-rules", "pidf-manipulation", "xcap-caps"] {
        assert!(capabilities.auids.iter().any(|known| known == auid), "{auid}");
    }
    let auid = site.get("/xcap-root/xcap-caps/global/index/~~/xcap-caps/auids/auid%5B1%5D");
    assert_eq!(text(&auid), "<auid>xcap-caps</auid>");
    let put = site.put("/xcap-root/xcap-caps/global/index", "application/xcap-caps+xml", "<xcap-caps/>");
    assert_eq!(put.status(), 405);
}

#[test]
fn a_user_sees_a_directory_of_the_own_documents() {
    let mut site = Site::with_friends();
    let path = "/xcap-root/org.openmobilealliance.xcap-directory/users/sip:alice@example.com/directory.xml";
    let body = text(&site.get(path));
    let etag = header(&site.get(INDEX), "etag");
    assert!(body.contains("<folder auid=\"resource-lists\">"), "{body}");
    assert!(body.contains(&format!("uri=\"{INDEX}\" etag={etag}")), "{body}");
    assert_eq!(site.put(path, LISTS, FRIENDS).status(), 405);
}

#[test]
fn documents_are_bounded_in_size_number_and_depth() {
    let mut config = config();
    config.limits.document_bytes = 2_000;
    config.limits.documents_per_user = 3;
    config.limits.document_bytes_per_user = 4_000;
    let mut site = Site::with(config);
    let large = |bytes: usize| FRIENDS.replace("Bob", &"B".repeat(bytes));
    assert_eq!(site.put(INDEX, LISTS, &large(3_000)).status(), 413);
    assert_eq!(site.put(INDEX, LISTS, &large(1_000)).status(), 201);
    let bob = node("resource-lists/list/entry[1]");
    let entry = format!(
        "<entry uri=\"sip:bob@example.com\"><display-name>{}</display-name></entry>",
        "B".repeat(1_900)
    );
    assert_eq!(site.put(&bob, ELEMENT, &entry).status(), 413);
    let other = |number: u32| INDEX.replace("index", &format!("other{number}"));
    assert_eq!(site.put(&other(1), LISTS, &large(1_000)).status(), 201);
    assert_eq!(site.put(&other(2), LISTS, &large(1_500)).status(), 507);
    assert_eq!(site.put(&other(2), LISTS, FRIENDS).status(), 201);
    assert_eq!(site.put(&other(3), LISTS, FRIENDS).status(), 507);
    let deep = format!("<list name=\"x\">{}{}</list>", "<list>".repeat(30), "</list>".repeat(30));
    assert_eq!(site.put(&node("resource-lists/list[2]"), ELEMENT, &deep).status(), 413);
}

#[test]
fn one_entry_of_ten_thousand_is_put_and_got() {
    let mut site = Site::new();
    let entries: String = (0..10_000)
        .map(|n| {
            format!("<entry uri=\"sip:user{n}@example.com\"><display-name>User {n}</display-name></entry>")
        })
        .collect();
    let list = FRIENDS.replace("<entry uri=\"sip:carol@example.com\"/>", &entries);
    assert_eq!(site.put(INDEX, LISTS, &list).status(), 201);
    let one = node("resource-lists/list[@name=\"friends\"]/entry[@uri=\"sip:user9999@example.com\"]");
    let changed = "<entry uri=\"sip:user9999@example.com\"/>";
    assert_eq!(site.put(&one, ELEMENT, changed).status(), 200);
    assert_eq!(text(&site.get(&one)), changed);
    assert_eq!(site.delete(&one).status(), 200);
    assert!(site.get(INDEX).body().len() > 700_000);
}

/// A service whose disk answers when the test says so.
fn durable() -> Site {
    let mut config = config();
    config.is_durable = true;
    let mut site = Site::with(config);
    site.get(INDEX);
    site
}

#[test]
fn a_change_is_answered_and_seen_only_when_it_is_on_disk() {
    let mut site = durable();
    let put = site.alice.sign(Ask::new(Method::PUT, INDEX).body(LISTS, FRIENDS).request());
    site.core.begin_http(site.now, 7, site.alice.peer, put);
    assert!(site.core.poll_http().is_none());
    let Some(StoreChange::Document(write)) = site.core.poll_store() else { panic!("nothing to write") };
    assert_eq!(site.get(INDEX).status(), 404);
    let second = site
        .alice
        .sign(Ask::new(Method::PUT, INDEX).body(LISTS, FRIENDS).header("if-none-match", "*").request());
    site.core.begin_http(site.now, 8, site.alice.peer, second);
    assert!(site.core.poll_store().is_none(), "the second change waits for the first");
    site.core.handle_document_stored(site.now, write.ticket, Ok(()));
    let answers: Vec<_> =
        std::iter::from_fn(|| site.core.poll_http()).map(|(id, a)| (id, a.status().as_u16())).collect();
    assert_eq!(answers, [(7, 201), (8, 412)]);
    assert_eq!(text(&site.get(INDEX)), FRIENDS);
}

#[test]
fn a_change_that_cannot_be_written_leaves_everything_as_it_was() {
    let mut site = durable();
    let put = site.alice.sign(Ask::new(Method::PUT, INDEX).body(LISTS, FRIENDS).request());
    site.core.begin_http(site.now, 7, site.alice.peer, put);
    let Some(StoreChange::Document(write)) = site.core.poll_store() else { panic!("nothing to write") };
    site.core.handle_document_stored(site.now, write.ticket, Err("the disk is full"));
    assert_eq!(site.core.poll_http().unwrap().1.status(), 500);
    assert_eq!(site.get(INDEX).status(), 404);
}

#[test]
fn documents_are_there_after_a_restart() {
    let mut site = durable();
    let put = site.alice.sign(Ask::new(Method::PUT, INDEX).body(LISTS, FRIENDS).request());
    site.core.begin_http(site.now, 7, site.alice.peer, put);
    let Some(StoreChange::Document(write)) = site.core.poll_store() else { panic!("nothing to write") };
    let mut config = config();
    config.documents = vec![write.document.clone().unwrap()];
    let mut site = Site::with(config);
    let got = site.get(INDEX);
    assert_eq!(
        (text(&got), header(&got, "etag")),
        (FRIENDS.into(), format!("\"{}\"", write.document.unwrap().etag))
    );
}
