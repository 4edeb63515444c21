//! From a tree to text.

use super::{Attribute, Kind, Node, NodeId, Tree};

impl Tree {
    /// Writes the document, in UTF-8. What was read and not edited says what it said, with the same prefixes, order,
    /// comments and instructions.
    #[must_use]
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(self.bytes.min(self.limits.bytes));
        if self.declared {
            out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        }
        for &node in &self.top {
            self.write_node(&mut out, node);
            out.push('\n');
        }
        out
    }

    /// Writes one element as it stands in the document: prefixes that are declared further up are not declared here
    /// (RFC 4825, section 7.5: a client asks for them with `namespace::*`).
    #[must_use]
    pub fn write_element(&self, node: NodeId) -> String {
        let mut out = String::new();
        self.write_node(&mut out, node);
        out
    }

    /// Writes an element so that it can stand alone: everything in force is declared on it.
    #[must_use]
    pub fn write_alone(&self, node: NodeId) -> String {
        let mut out = String::new();
        let own = self.attributes(node);
        let outer = self
            .scope(node)
            .into_iter()
            .filter(|&(prefix, _)| !own.iter().any(|attribute| attribute.name.declares() == Some(prefix)));
        self.write_with(&mut out, node, outer.collect());
        out
    }

    fn write_node(&self, out: &mut String, top: NodeId) {
        self.write_with(out, top, Vec::new());
    }

    fn write_with(&self, out: &mut String, top: NodeId, declare: Vec<(Option<&str>, &str)>) {
        let mut declare = declare;
        let mut at = top;
        loop {
            self.start(out, at, core::mem::take(&mut declare));
            if let Some(child) = self.first_child(at) {
                at = child;
                continue;
            }
            // Up, closing what ends here, until something follows.
            loop {
                if at == top {
                    return;
                }
                if let Some(next) = self.next(at) {
                    at = next;
                    break;
                }
                let Some(parent) = self.parent(at) else { return };
                at = parent;
                if let Some(name) = self.name(at) {
                    out.push_str("</");
                    out.push_str(name.written());
                    out.push('>');
                }
            }
        }
    }

    fn start(&self, out: &mut String, node: NodeId, declare: Vec<(Option<&str>, &str)>) {
        let Node { kind, .. } = self.at(node);
        match kind {
            Kind::Element { name, attributes, first, .. } => {
                out.push('<');
                out.push_str(name.written());
                for (prefix, uri) in declare {
                    out.push_str(" xmlns");
                    if let Some(prefix) = prefix {
                        out.push(':');
                        out.push_str(prefix);
                    }
                    out.push_str("=\"");
                    escape(out, uri, true);
                    out.push('"');
                }
                for Attribute { name, value } in attributes {
                    out.push(' ');
                    out.push_str(name.written());
                    out.push_str("=\"");
                    escape(out, value, true);
                    out.push('"');
                }
                out.push_str(if first.is_some() { ">" } else { "/>" });
            }
            Kind::Text(text) => escape(out, text, false),
            Kind::CData(text) => {
                out.push_str("<![CDATA[");
                out.push_str(text);
                out.push_str("]]>");
            }
            Kind::Comment(text) => {
                out.push_str("<!--");
                out.push_str(text);
                out.push_str("-->");
            }
            Kind::Instruction(text) => {
                out.push_str("<?");
                out.push_str(text);
                out.push_str("?>");
            }
        }
    }
}

/// Characters that XML 1.0 cannot hold are left out. Line ends in texts stay as they are.
fn escape(out: &mut String, text: &str, attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if attribute => out.push_str("&quot;"),
            '\n' if attribute => out.push_str("&#10;"),
            '\t' if attribute => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            _ => out.push(c),
        }
    }
}
