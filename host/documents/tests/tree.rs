//! Editing keeps what it does not touch, selectors select one node or none, and neither costs more than it should.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use attache_documents::{
    DocumentError, Limits,
    select::{Dialect, SelectError, Selector, Target},
    tree::{EditError, NodeId, Tree},
};

const LISTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- written by another program -->
<rl:resource-lists xmlns:rl="urn:rl" xmlns="urn:other" xmlns:x="urn:x">
  <rl:list name="friends" x:colour="red &amp; blue">
    <rl:entry uri="sip:bob@example.com"><rl:display-name xml:lang="de">Bob &lt;1&gt;</rl:display-name></rl:entry>
    <rl:entry uri="sip:carol@example.com"/>
    <unknown><![CDATA[<kept>]]><?target data?></unknown>
  </rl:list>
  <rl:list name="family"/>
</rl:resource-lists>
"#;

fn read(text: &str) -> Tree {
    Tree::read(text.as_bytes(), &Limits::DEFAULT).unwrap()
}

fn parse(text: &str, dialect: Dialect) -> Result<Selector, SelectError> {
    Selector::parse(text, dialect, |prefix| match prefix {
        None | Some("l") => Some("urn:rl".into()),
        Some("x") => Some("urn:x".into()),
        _ => None,
    })
}

fn node(tree: &Tree, selector: &str) -> Result<NodeId, SelectError> {
    parse(selector, Dialect::Xcap).unwrap().node(tree)
}

fn patch(tree: &Tree, selector: &str) -> Result<Target, SelectError> {
    parse(selector, Dialect::Patch).unwrap().select(tree)
}

#[test]
fn what_is_not_edited_is_written_as_it_was_read() {
    assert_eq!(read(LISTS).write(), LISTS);
}

#[test]
fn an_edit_leaves_everything_else_as_it_was() {
    let mut tree = read(LISTS);
    let carol = node(&tree, "resource-lists/list[1]/entry[2]").unwrap();
    tree.set_attribute(carol, "uri", "sip:\"c\"@example.com\n").unwrap();
    let expected = LISTS.replace("sip:carol@example.com", "sip:&quot;c&quot;@example.com&#10;");
    assert_eq!(tree.write(), expected);
}

#[test]
fn steps_select_by_name_position_and_attribute() {
    let tree = read(LISTS);
    let bob =
        node(&tree, r#"resource-lists/list[@name="friends"]/entry[@uri='sip:bob@example.com']"#).unwrap();
    assert_eq!(tree.attribute(bob, None, "uri"), Some("sip:bob@example.com"));
    for same in [
        "resource-lists/list[1]/entry[1]",
        "l:resource-lists/l:list[1]/*[1]",
        r#"*/list[1][@name="friends"]/entry[1][@uri="sip:bob@example.com"]"#,
        r#"*/*[@x:colour="red &amp; blue"]/entry[1]"#,
    ] {
        assert_eq!(node(&tree, same), Ok(bob), "{same}");
    }
    for nothing in [
        "resource-lists/list[3]",
        "list",
        r#"resource-lists/list[2][@name="friends"]"#,
        "resource-lists/x:list",
        r#"*/*[@colour="red &amp; blue"]"#,
    ] {
        assert_eq!(node(&tree, nothing), Err(SelectError::Nothing), "{nothing}");
    }
}

#[test]
fn a_selector_that_fits_twice_selects_nothing() {
    assert_eq!(node(&read(LISTS), "resource-lists/list"), Err(SelectError::Several));
    assert_eq!(node(&read(LISTS), "resource-lists/*/entry"), Err(SelectError::Several));
}

#[test]
fn terminals_select_attributes_and_namespaces() {
    let tree = read(LISTS);
    let select = |text: &str| parse(text, Dialect::Xcap).unwrap().select(&tree);
    assert!(
        matches!(select("resource-lists/list[2]/@name"), Ok(Target::Attribute(_, name)) if name.local() == "name")
    );
    assert_eq!(select("resource-lists/list[2]/@nothing"), Err(SelectError::Nothing));
    let Ok(Target::Namespaces(list)) = select("resource-lists/list[2]/namespace::*") else { panic!() };
    assert_eq!(tree.scope(list).len(), 3);
}

#[test]
fn the_dialect_of_patches_knows_values_identifiers_texts_and_comments() {
    let tree = read(r#"<a xmlns="urn:rl" xmlns:y="urn:y"><b id="one">t<c>v</c><!--n--></b><b>w</b></a>"#);
    let one = patch(&tree, "id('one')").unwrap();
    for same in ["/a/b[c='v']", "a/b[@id=\"one\"]", "*/b[1]", "a/b[.='tv']", "a/*[c=\"v\"][1]"] {
        assert_eq!(patch(&tree, same), Ok(one.clone()), "{same}");
    }
    assert!(matches!(patch(&tree, "a/b[1]/text()[1]"), Ok(Target::Node(text)) if tree.content(text) == "t"));
    assert!(
        matches!(patch(&tree, "id('one')/comment()"), Ok(Target::Node(note)) if tree.content(note) == "n")
    );
    assert!(matches!(patch(&tree, "a/namespace::y"), Ok(Target::Namespace(_, prefix)) if &*prefix == "y"));
}

#[test]
fn what_is_no_selector_is_refused_with_its_place() {
    for wrong in [
        "",
        "/",
        "a//b",
        "a/",
        "a[0]",
        "a[-1]",
        "a[",
        "a[@b]",
        "a[@b=c]",
        "a[@b='c]",
        "@a",
        "a/@b/c",
        "a b",
        "a[b='c']",
        "a/text()",
        "a/..",
        "..",
        "a|b",
        "a[1]]",
        "namespace::*",
        "a[last()]",
    ] {
        assert!(matches!(parse(wrong, Dialect::Xcap), Err(SelectError::Syntax { .. })), "{wrong}");
    }
    assert_eq!(parse("q:a", Dialect::Xcap), Err(SelectError::Prefix("q".into())));
    assert!(parse(&"a/".repeat(40), Dialect::Xcap).is_err());
    assert!(parse(&format!("a{}", "[1]".repeat(40)), Dialect::Xcap).is_err());
}

#[test]
fn a_fragment_takes_the_prefixes_of_the_place_it_is_put_in() {
    let mut tree = read(LISTS);
    let family = node(&tree, "resource-lists/list[2]").unwrap();
    let dora = tree.read_fragment(family, b"<rl:entry uri='sip:dora@example.com'/>").unwrap();
    tree.append(family, dora).unwrap();
    assert!(
        tree.write().contains("<rl:list name=\"family\"><rl:entry uri=\"sip:dora@example.com\"/></rl:list>")
    );
    assert!(tree.is(dora, Some("urn:rl"), "entry"));
    assert!(tree.read_fragment(family, b"<q:entry/>").is_err());
    assert!(tree.read_fragment(family, b"<rl:entry/><rl:entry/>").is_err());
}

#[test]
fn what_comes_from_another_document_keeps_its_namespaces() {
    let mut tree = read(r#"<a xmlns="urn:one"><b/></a>"#);
    let other = read(r#"<p:r xmlns:p="urn:two"><p:x p:y="1"/><none/></p:r>"#);
    let copy = tree.import(&other, other.root()).unwrap();
    let root = tree.root();
    tree.append(root, copy).unwrap();
    let again = read(&tree.write());
    let copied = again.elements(again.root()).nth(1).unwrap();
    assert!(again.same(copied, &other, other.root()), "{}", tree.write());
}

#[test]
fn nodes_are_put_in_replaced_and_taken_out_in_order() {
    let mut tree = read("<a><b/><c/></a>");
    let root = tree.root();
    let (b, c) = (tree.first_child(root).unwrap(), tree.last_child(root).unwrap());
    let make = |tree: &mut Tree, name: &str| tree.new_element(None, name).unwrap();
    let (d, e, f, g) =
        (make(&mut tree, "d"), make(&mut tree, "e"), make(&mut tree, "f"), make(&mut tree, "g"));
    tree.insert_before(c, d).unwrap();
    tree.insert_after(c, e).unwrap();
    tree.prepend(root, f).unwrap();
    tree.replace(b, g).unwrap();
    assert_eq!(tree.write(), "<a><f/><g/><d/><c/><e/></a>\n");
    assert!(tree.detach(e) && tree.detach(f) && !tree.detach(f));
    assert_eq!(tree.write(), "<a><g/><d/><c/></a>\n");
    assert_eq!(tree.append(g, root), Err(EditError::Place));
    assert_eq!(tree.append(g, d), Err(EditError::Place), "it is somewhere already");
    assert!(tree.detach(d));
    tree.append(g, d).unwrap();
    assert!(tree.detach(g));
    assert_eq!(tree.append(d, g), Err(EditError::Place), "an element cannot be below itself");
}

#[test]
fn documents_that_say_the_same_in_other_words_are_the_same() {
    let one = read(r#"<a xmlns="urn:n" p="1" q="2"><b>t</b></a>"#);
    let same = read("<z:a q='2' p='1' xmlns:z='urn:n'>\n <z:b> t </z:b><!-- c --></z:a>");
    assert!(one.same(one.root(), &same, same.root()));
    for other in [
        "<a/>",
        r#"<a xmlns="urn:n" p="1" q="3"><b>t</b></a>"#,
        r#"<a xmlns="urn:n" p="1" q="2"><b>u</b></a>"#,
    ] {
        let other = read(other);
        assert!(!one.same(one.root(), &other, other.root()));
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for wrong in [
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "x<a/>",
        "<a b='1' b='2'/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<p:a/>",
        "<a p:b='1'/>",
        "<a b='<'/>",
        "<a b=c/>",
        "<a xmlns:p=''/>",
        "<1/>",
        "<a/>text",
        "<a:b:c xmlns:a='u'/>",
        "<a/><?xml version='1.0'?>",
    ] {
        assert!(Tree::read(wrong.as_bytes(), &Limits::DEFAULT).is_err(), "{wrong}");
    }
}

#[test]
fn what_could_expand_is_refused() {
    for wrong in ["<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<a>&b;</a>", "<a b='&c;'/>"] {
        assert_eq!(Tree::read(wrong.as_bytes(), &Limits::DEFAULT).unwrap_err(), DocumentError::Entities);
    }
}

#[test]
fn limits_hold_for_reading_and_editing() {
    let limits = Limits { bytes: 400, depth: 4, elements: 6, ..Limits::DEFAULT };
    let read = |text: &str| Tree::read(text.as_bytes(), &limits);
    assert!(read("<a><b><c><d><e/></d></c></b></a>").is_err());
    assert!(read("<a><b/><b/><b/><b/><b/><b/></a>").is_err());
    assert!(read(&format!("<a>{}</a>", "x".repeat(400))).is_err());
    let attributes: String = (0..70).map(|n| format!(" a{n}=''")).collect();
    assert!(Tree::read(format!("<a{attributes}/>").as_bytes(), &Limits::DEFAULT).is_err());

    let mut tree = read("<a><b><c/></b></a>").unwrap();
    let deep = read("<a><b/></a>").unwrap();
    let copy = tree.import(&deep, deep.root()).unwrap();
    let c = tree.find(|tree, node| tree.is(node, None, "c")).unwrap();
    assert_eq!(tree.append(c, copy), Err(EditError::TooLarge { what: "levels", limit: 4 }));
    assert!(tree.new_text(&"x".repeat(400)).is_err());
    assert!(tree.import(&deep, deep.root()).is_err(), "six elements at most");
}

#[test]
fn ten_thousand_entries_are_read_selected_and_written_in_linear_time() {
    let took = |entries: usize| {
        let mut text = String::from(r#"<l xmlns="urn:rl" xmlns:x="urn:x">"#);
        for n in 0..entries {
            text.push_str(&format!("<e uri=\"sip:u{n}@example.com\"><d>User {n}</d></e>"));
        }
        text.push_str("</l>");
        let limits = Limits { bytes: text.len(), elements: entries * 2 + 1, ..Limits::DEFAULT };
        let start = Instant::now();
        let tree = Tree::read(text.as_bytes(), &limits).unwrap();
        let last = format!("l/e[@uri='sip:u{}@example.com'][d='User {}']", entries - 1, entries - 1);
        assert!(patch(&tree, &last).is_ok());
        assert_eq!(tree.write().len(), text.len() + 1);
        start.elapsed()
    };
    let (small, large) = (took(2_000).min(took(2_000)), took(20_000));
    assert!(large < small * 100 + Duration::from_millis(200), "{small:?} and {large:?}");
}

#[test]
fn declarations_that_a_moved_node_takes_along_are_counted() {
    let name = "n".repeat(8_000);
    let from = read(&format!("<a xmlns:p='urn:{name}'><b>{}</b></a>", "<p:c/>".repeat(100)));
    let limits = Limits { bytes: 32 * 1024, ..Limits::DEFAULT };
    let mut tree = Tree::read(b"<a/>", &limits).unwrap();
    let copy = tree.import(&from, from.first_child(from.root()).unwrap()).unwrap();
    let refused = tree.append(tree.root(), copy);
    assert!(matches!(refused, Err(EditError::TooLarge { what: "bytes", .. })), "{refused:?}");
}
