//! Patches and partial presence: what is applied is what was meant, or nothing is.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use attache_documents::{
    Limits,
    patch::{self, PatchError},
    pidf,
    pidf_diff::{self, Replica, ReplicaError, Update},
    tree::Tree,
};
use proptest::prelude::*;

const NS: &str = "urn:patch";

fn tree(text: &str) -> Tree {
    Tree::read(text.as_bytes(), &Limits::DEFAULT).unwrap()
}

/// A document after the operations, or the standard's name for why not.
fn patched(document: &str, operations: &str) -> Result<String, &'static str> {
    let diff = tree(&format!("<diff xmlns=\"{NS}\" xmlns:x=\"urn:x\">{operations}</diff>"));
    let mut document = tree(document);
    match patch::apply_all(&mut document, &diff, diff.root(), NS) {
        Ok(()) => Ok(document.write().trim_end().to_owned()),
        Err(error) => Err(error.name()),
    }
}

/// Operations on `<doc>` in namespace `urn:x`, prefix `x`.
fn doc(operations: &str) -> Result<String, &'static str> {
    patched("<doc xmlns=\"urn:x\"><foo a=\"1\">This</foo> <bar id=\"b\"/><bar/></doc>", operations)
        .map(|text| text.replace(" xmlns=\"urn:x\"", ""))
}

#[test]
fn elements_are_added_where_the_operation_says() {
    let add = |attributes: &str| doc(&format!("<add {attributes}><n xmlns=\"urn:x\"/></add>"));
    assert_eq!(add("sel='x:doc'").unwrap(), "<doc><foo a=\"1\">This</foo> <bar id=\"b\"/><bar/><n/></doc>");
    assert_eq!(
        add("sel='*' pos='prepend'").unwrap(),
        "<doc><n/><foo a=\"1\">This</foo> <bar id=\"b\"/><bar/></doc>"
    );
    assert_eq!(
        add("sel='*/x:bar[2]' pos='before'").unwrap(),
        "<doc><foo a=\"1\">This</foo> <bar id=\"b\"/><n/><bar/></doc>"
    );
    assert_eq!(
        add("sel='*/x:foo' pos='after'").unwrap(),
        "<doc><foo a=\"1\">This</foo><n/> <bar id=\"b\"/><bar/></doc>"
    );
    assert_eq!(add("sel='*' pos='after'"), Err("invalid-root-element-operation"));
}

#[test]
fn several_nodes_are_added_in_order() {
    let added = doc("<add sel=\"*/x:bar[@id='b']\">text<n xmlns=\"urn:x\"/><!--note--></add>").unwrap();
    assert_eq!(added, "<doc><foo a=\"1\">This</foo> <bar id=\"b\">text<n/><!--note--></bar><bar/></doc>");
}

#[test]
fn attributes_and_namespaces_are_added_once() {
    assert!(doc("<add sel='x:doc/x:foo' type='@b'>2</add>").unwrap().contains("<foo a=\"1\" b=\"2\">"));
    assert!(
        doc("<add sel='x:doc' type='namespace::y'>urn:y</add>")
            .unwrap()
            .starts_with("<doc xmlns:y=\"urn:y\">")
    );
    assert_eq!(doc("<add sel='x:doc/x:foo' type='@a'>2</add>"), Err("invalid-patch-directive"));
    assert_eq!(doc("<add sel='x:doc' type='namespace::'>urn:y</add>"), Err("invalid-patch-directive"));
    assert_eq!(doc("<add sel='x:doc' type='b'>2</add>"), Err("invalid-attribute-value"));
}

#[test]
fn nodes_values_and_texts_are_replaced() {
    assert!(doc("<replace sel='*/x:foo'><n xmlns='urn:x'/></replace>").unwrap().starts_with("<doc><n/> "));
    assert!(doc("<replace sel='*/x:foo/@a'>2</replace>").unwrap().contains("<foo a=\"2\">"));
    assert!(doc("<replace sel='*/x:foo/text()'>That</replace>").unwrap().contains(">That</foo>"));
    assert_eq!(doc("<replace sel='*/x:foo'/>"), Err("invalid-node-types"));
    assert_eq!(doc("<replace sel='*/x:foo'><n/><n/></replace>"), Err("invalid-node-types"));
}

#[test]
fn nodes_are_removed_with_the_blanks_that_are_named() {
    assert_eq!(doc("<remove sel='*/x:foo' ws='after'/>").unwrap(), "<doc><bar id=\"b\"/><bar/></doc>");
    assert_eq!(
        doc("<remove sel='*/x:foo/@a'/>").unwrap(),
        "<doc><foo>This</foo> <bar id=\"b\"/><bar/></doc>"
    );
    assert_eq!(doc("<remove sel='*/x:foo' ws='before'/>"), Err("invalid-whitespace-directive"));
    assert_eq!(doc("<remove sel='*'/>"), Err("invalid-root-element-operation"));
}

#[test]
fn a_declaration_that_is_in_use_stays() {
    let document = "<d xmlns:y='urn:y' xmlns:z='urn:z'><y:e/></d>";
    let patch = |operation: &str| {
        patched(document, &format!("<x xmlns='{NS}'/>").replace("<x xmlns='urn:patch'/>", operation))
    };
    assert_eq!(patch("<remove sel='*/namespace::y'/>"), Err("invalid-patch-directive"));
    assert_eq!(patch("<remove sel='*/namespace::z'/>").unwrap(), "<d xmlns:y=\"urn:y\"><y:e/></d>");
    assert_eq!(
        patch("<replace sel='*/namespace::z'>urn:w</replace>").unwrap(),
        "<d xmlns:y=\"urn:y\" xmlns:z=\"urn:w\"><y:e/></d>"
    );
}

#[test]
fn what_selects_nothing_or_is_no_operation_is_refused_by_name() {
    assert_eq!(doc("<remove sel='*/x:baz'/>"), Err("unlocated-node"));
    assert_eq!(doc("<remove sel='*/x:bar'/>"), Err("unlocated-node"));
    assert_eq!(doc("<remove sel='*/q:bar'/>"), Err("invalid-namespace-prefix"));
    assert_eq!(doc("<remove sel='//x'/>"), Err("invalid-attribute-value"));
    assert_eq!(doc("<remove/>"), Err("invalid-attribute-value"));
    assert_eq!(doc("<destroy sel='*'/>"), Err("invalid-diff-format"));
    assert_eq!(doc(&"<remove sel='*/x:foo/@a'/>".repeat(600)), Err("invalid-diff-format"));
}

const OLD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" xmlns:p="urn:other"
    xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" entity="pres:someone@example.com">
  <tuple id="sg89ae"><status><basic>open</basic></status><contact priority="0.8">tel:09012345678</contact></tuple>
  <tuple id="cg231jcr"><status><basic>open</basic></status><contact priority="1.0">im:pep@example.com</contact></tuple>
  <note xml:lang="en">Full state</note>
  <dm:person id="p1"><r:activities><r:busy/></r:activities></dm:person>
  <p:unknown>kept</p:unknown>
</presence>
"#;

fn update(text: &str) -> Update {
    pidf_diff::read(text.as_bytes(), &Limits::DEFAULT).unwrap()
}

/// What changes when `edit` is made, as it travels; checked on the other side.
fn changes(edit: impl Fn(&str) -> String) -> String {
    let (old, new) = (tree(OLD), tree(&edit(OLD)));
    let text = pidf_diff::diff(&old, &new).unwrap().write(Some(2)).unwrap();
    let mut replica = Replica::default();
    replica.take(update(&pidf_diff::write_full(&old, Some(1)).unwrap())).unwrap();
    let there = replica.take(update(&text)).unwrap();
    assert!(there.same(there.root(), &new, new.root()), "{text}");
    text
}

#[test]
fn a_whole_document_comes_back_as_it_was() {
    let text = pidf_diff::write_full(&tree(OLD), Some(7)).unwrap();
    assert!(text.contains(":pidf-full") && text.contains("version=\"7\""), "{text}");
    let Update::Full { version: Some(7), presence } = update(&text) else { panic!() };
    let old = tree(OLD);
    assert!(presence.same(presence.root(), &old, old.root()));
    let read = pidf::read(presence.write().as_bytes(), &Limits::DEFAULT).unwrap();
    assert_eq!(read.document.tuples.len(), 2);
}

#[test]
fn a_change_of_one_value_is_one_small_operation() {
    let text = changes(|old| old.replacen("<basic>open", "<basic>closed", 1));
    assert!(text.contains("sel=\"*/tuple[@id='sg89ae']/status/basic\""), "{text}");
    assert!(text.len() < OLD.len() / 2, "{text}");
}

#[test]
fn what_comes_and_goes_is_added_and_removed_in_its_place() {
    let text = changes(|old| old.replace("<note", "<tuple id='new'><status/></tuple><note"));
    assert!(text.contains("<p:add sel=\"*/note\" pos=\"before\">"), "{text}");
    let text = changes(|old| {
        old.replace("<p:unknown>kept</p:unknown>", "").replace("<r:busy/>", "<r:away/><r:meal/>")
    });
    assert!(text.contains("p:remove") && text.contains("p:replace"), "{text}");
    changes(|old| old.replace("</presence>", "<new xmlns='urn:new' a='1'/></presence>"));
    changes(|old| old.replace("xml:lang=\"en\">Full state", "xml:lang=\"de\">Alles"));
    changes(str::to_owned);
}

#[test]
fn what_has_no_simple_way_is_sent_whole() {
    let other = OLD.replace("sg89ae", "x").replace("cg231jcr", "sg89ae").replace("\"x\"", "\"cg231jcr\"");
    assert!(pidf_diff::diff(&tree(OLD), &tree(&other)).is_none(), "another order");
    assert!(pidf_diff::diff(&tree(OLD), &tree(&OLD.replace("someone", "other"))).is_none());
}

#[test]
fn a_gap_leaves_nothing_rather_than_something_wrong() {
    let (old, new) = (tree(OLD), tree(&OLD.replacen("open", "closed", 1)));
    let change = pidf_diff::diff(&old, &new).unwrap();
    let at = |version| update(&change.write(Some(version)).unwrap());
    let full = || update(&pidf_diff::write_full(&old, Some(4)).unwrap());
    let mut replica = Replica::default();
    assert!(matches!(replica.take(at(1)), Err(ReplicaError::Gap { have: None, .. })));
    replica.take(full()).unwrap();
    assert!(matches!(replica.take(at(6)), Err(ReplicaError::Gap { have: Some(4), got: Some(6) })));
    assert!(replica.presence().is_none());
    replica.take(full()).unwrap();
    replica.take(at(5)).unwrap();
    assert!(replica.take(at(5)).is_ok(), "a repeat changes nothing");
    let mut replica = Replica::default();
    replica.take(full()).unwrap();
    let misfit = r#"<p:pidf-diff xmlns:p="urn:ietf:params:xml:ns:pidf-diff" version="5"><p:remove sel="*/nothing"/></p:pidf-diff>"#;
    assert!(matches!(replica.take(update(misfit)), Err(ReplicaError::Patch(PatchError::Unlocated(_)))));
    assert!(replica.presence().is_none());
}

#[test]
fn changes_cannot_make_another_kind_of_document() {
    let text = r#"<p:pidf-diff xmlns:p="urn:ietf:params:xml:ns:pidf-diff"><p:replace sel="*"><x/></p:replace></p:pidf-diff>"#;
    let Update::Diff { version: None, changes } = update(text) else { panic!() };
    assert_eq!(changes.apply(&tree(OLD)).unwrap_err(), PatchError::Root);
    assert!(pidf_diff::read(b"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>", &Limits::DEFAULT).is_err());
}

fn document() -> impl Strategy<Value = String> {
    let child = (0..5_u8, 0..4_u8, any::<bool>()).prop_map(|(kind, text, more)| match kind {
        0 | 1 => {
            format!("<tuple id='t{kind}{}'><status><basic>{text}</basic></status></tuple>", u8::from(more))
        }
        2 => format!("<note>{text}</note>"),
        3 => format!("<x:e xmlns:x='urn:x' a='{text}'>{}</x:e>", if more { "<x:f/>" } else { "" }),
        _ => format!("<none xmlns=''>{text}</none>"),
    });
    proptest::collection::vec(child, 0..6).prop_map(|children| {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'>{}</presence>",
            children.concat()
        )
    })
}

proptest! {
    #[test]
    fn changes_between_any_two_documents_lead_from_one_to_the_other(old in document(), new in document()) {
        let (old, new) = (tree(&old), tree(&new));
        if let Some(changes) = pidf_diff::diff(&old, &new) {
            let travelled = update(&changes.write(None).unwrap());
            let Update::Diff { changes, .. } = travelled else { panic!() };
            let there = changes.apply(&old).unwrap();
            prop_assert!(there.same(there.root(), &new, new.root()));
        }
    }
}

#[test]
fn a_way_of_too_many_steps_is_not_taken() {
    let document = |note: &str, count: usize| {
        let tuple = |number| {
            format!("<tuple id='t{number}'><status><basic>open</basic></status><note>{note}</note></tuple>")
        };
        let tuples: String = (0..count).map(tuple).collect();
        tree(&format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'>{tuples}</presence>"))
    };
    assert!(pidf_diff::diff(&document("old", 64), &document("new", 64)).is_some());
    assert!(pidf_diff::diff(&document("old", 65), &document("new", 65)).is_none());
    let (few, many) = (document("", 1), document("", 2_000));
    let start = std::time::Instant::now();
    assert!(pidf_diff::diff(&few, &many).is_none() && pidf_diff::diff(&many, &few).is_none());
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}
