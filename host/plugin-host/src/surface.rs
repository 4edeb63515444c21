//! What a component imports and exports, read without compiling it.
//!
//! Two questions are answered here, in milliseconds and before any code is made: is this a plugin at all, and what
//! will it ask for?

use core::fmt;
use std::{collections::BTreeSet, path::Path};

use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::{error::LoadError, grant::Grant};

/// The event interfaces that the host calls, without package and version.
pub(crate) const EVENT_INTERFACES: [&str; 17] = [
    "lifecycle",
    "session-events",
    "contact-events",
    "group-events",
    "presence-events",
    "alert-events",
    "watched-presence-events",
    "watcher-events",
    "message-events",
    "conversation-events",
    "mailbox-events",
    "rule-events",
    "composing-events",
    "participant-events",
    "call-events",
    "profile-events",
    "timer-events",
];

/// The interfaces that a plugin can import, without versions, and the versions that are understood.
const OFFERED: [(&str, Version); 44] = [
    ("attache:messenger/types", Version::Compatible(1, 0)),
    ("attache:messenger/session", Version::Compatible(1, 0)),
    ("attache:messenger/services", Version::Compatible(1, 0)),
    ("attache:messenger/session-control", Version::Compatible(1, 0)),
    ("attache:messenger/mailbox", Version::Compatible(1, 0)),
    ("attache:messenger/directory", Version::Compatible(1, 0)),
    ("attache:messenger/contacts", Version::Compatible(1, 0)),
    ("attache:messenger/contact-editor", Version::Compatible(1, 0)),
    ("attache:messenger/presence", Version::Compatible(1, 0)),
    ("attache:messenger/presence-publisher", Version::Compatible(1, 0)),
    ("attache:messenger/presence-watcher", Version::Compatible(1, 0)),
    ("attache:messenger/watcher-types", Version::Compatible(1, 0)),
    ("attache:messenger/watchers", Version::Compatible(1, 0)),
    ("attache:messenger/watcher-editor", Version::Compatible(1, 0)),
    ("attache:messenger/messages", Version::Compatible(1, 0)),
    ("attache:messenger/message-events", Version::Compatible(1, 0)),
    ("attache:messenger/conversations", Version::Compatible(1, 0)),
    ("attache:messenger/conversation-editor", Version::Compatible(1, 0)),
    ("attache:messenger/calls", Version::Compatible(1, 0)),
    ("attache:messenger/call-control", Version::Compatible(1, 0)),
    ("attache:messenger/files", Version::Compatible(1, 0)),
    ("attache:messenger/archive-types", Version::Compatible(1, 0)),
    ("attache:messenger/archive", Version::Compatible(1, 0)),
    ("attache:messenger/archive-writer", Version::Compatible(1, 0)),
    ("attache:messenger/clock", Version::Compatible(1, 0)),
    ("wasi:logging/logging", Version::ExactOrNone("0.1.0-draft")),
    ("wasi:config/store", Version::ExactOrNone("0.2.0-rc.1")),
    ("wasi:keyvalue/store", Version::ExactOrNone("0.2.0-draft")),
    ("wasi:cli/*", Version::Compatible(0, 2)),
    ("wasi:clocks/monotonic-clock", Version::Compatible(0, 2)),
    ("wasi:clocks/wall-clock", Version::Compatible(0, 2)),
    ("wasi:filesystem/*", Version::Compatible(0, 2)),
    ("wasi:io/error", Version::Compatible(0, 2)),
    ("wasi:io/poll", Version::Compatible(0, 2)),
    ("wasi:io/streams", Version::Compatible(0, 2)),
    ("wasi:random/random", Version::Compatible(0, 2)),
    ("wasi:random/insecure", Version::Compatible(0, 2)),
    ("wasi:random/insecure-seed", Version::Compatible(0, 2)),
    ("wasi:sockets/instance-network", Version::Compatible(0, 2)),
    ("wasi:sockets/network", Version::Compatible(0, 2)),
    ("wasi:sockets/ip-name-lookup", Version::Compatible(0, 2)),
    ("wasi:sockets/tcp", Version::Compatible(0, 2)),
    ("wasi:sockets/tcp-create-socket", Version::Compatible(0, 2)),
    ("wasi:sockets/udp*", Version::Compatible(0, 2)),
];

/// Which versions of an interface are the same to us.
#[derive(Clone, Copy)]
enum Version {
    /// Semantic versioning: from 1.0 on the major number, before that the minor number as well.
    Compatible(u64, u64),
    /// A draft: only this one, or none at all, as older toolchains write it.
    ExactOrNone(&'static str),
}

impl Version {
    fn takes(self, version: Option<&str>) -> bool {
        match self {
            Self::ExactOrNone(exact) => version.is_none_or(|version| version == exact),
            Self::Compatible(major, minor) => {
                let mut numbers = version.unwrap_or_default().split(['.', '-', '+']).map(str::parse::<u64>);
                let (Some(Ok(found)), Some(Ok(found_minor))) = (numbers.next(), numbers.next()) else {
                    return false;
                };
                found == major && (major > 0 || found_minor == minor)
            }
        }
    }
}

/// What a component needs to be granted before it can do all that it was made for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Needs {
    /// The interfaces that it imports, as written in it, with versions.
    pub imports: Vec<String>,
    /// The event interfaces that it exports, as written in it, with versions.
    pub exports: Vec<String>,
    /// The grants for its imports: without them, calls answer `denied`.
    pub import_grants: BTreeSet<Grant>,
    /// The grants for its exports: without them, the events do not come.
    pub export_grants: BTreeSet<Grant>,
}

impl Needs {
    /// Everything that it would use.
    #[must_use]
    pub fn grants(&self) -> BTreeSet<Grant> {
        self.import_grants.union(&self.export_grants).copied().collect()
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grants: Vec<&str> = self.grants().into_iter().map(Grant::name).collect();
        write!(
            f,
            "imports {}; exports {}; grants {}",
            list(&self.imports),
            list(&self.exports),
            list(&grants)
        )
    }
}

/// Reads what a component needs, and checks that it is a plugin that this host could run. Runs none of it.
///
/// # Errors
/// When the file cannot be read, is no component, is no plugin, or imports what this host does not have.
pub fn inspect(path: &Path) -> Result<Needs, LoadError> {
    let bytes = std::fs::read(path).map_err(|reason| LoadError::Read { path: path.to_owned(), reason })?;
    needs(path, &bytes)
}

/// As [`inspect`], of bytes in memory; `path` is for the sentences.
pub(crate) fn needs(path: &Path, bytes: &[u8]) -> Result<Needs, LoadError> {
    let invalid = |reason: String| LoadError::Invalid { path: path.to_owned(), reason };
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(invalid(
            "it is a core module; make it a component with `attache plugin build`".to_owned(),
        ));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(invalid("it does not begin like one".to_owned()));
    }
    let (imports, exports) = names(bytes).map_err(|error| invalid(error.to_string()))?;

    let mut needs = Needs::default();
    for import in imports {
        let (interface, version) = split(&import);
        if !OFFERED.iter().any(|(offered, wanted)| covers(offered, interface) && wanted.takes(version)) {
            return Err(LoadError::UnknownImport { path: path.to_owned(), import });
        }
        needs.import_grants.extend(import_grant(interface));
        needs.imports.push(import);
    }
    for export in &exports {
        let (interface, version) = split(export);
        let ours = interface
            .strip_prefix("attache:messenger/")
            .is_some_and(|name| EVENT_INTERFACES.contains(&name) && Version::Compatible(1, 0).takes(version));
        if ours {
            needs.export_grants.extend(Grant::of_interface(interface));
            needs.exports.push(export.clone());
        }
    }
    if needs.exports.is_empty() {
        return Err(LoadError::NoPlugin { path: path.to_owned(), exports: list(&exports) });
    }
    Ok(needs)
}

/// Types of an event interface come as an import of that interface: that asks for nothing.
fn import_grant(interface: &str) -> Option<Grant> {
    let name = interface.strip_prefix("attache:messenger/").unwrap_or_default();
    if EVENT_INTERFACES.contains(&name) { None } else { Grant::of_interface(interface) }
}

/// Names of the imports and exports of the outermost component, after checking all of it.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), wasmparser::BinaryReaderError> {
    Validator::new_with_features(WasmFeatures::default()).validate_all(bytes)?;
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// Interface and version.
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

fn covers(offered: &str, interface: &str) -> bool {
    match offered.strip_suffix('*') {
        Some(beginning) => interface.starts_with(beginning),
        None => offered == interface,
    }
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wat: &str) -> Result<Needs, LoadError> {
        needs(Path::new("x.wasm"), &wat::parse_str(wat).unwrap())
    }

    const TIMER: &str = r#"
        (core module $m (func (export "f") (param i64)))
        (core instance $i (instantiate $m))
        (func $f (param "token" u64) (canon lift (core func $i "f")))
        (instance $timers (export "timer-fired" (func $f)))
    "#;

    #[test]
    fn imports_and_exports_tell_the_grants() {
        let needs = check(&format!(
            r#"(component
                (import "attache:messenger/contacts@1.2.0" (instance))
                (import "attache:messenger/message-events@1.0.0" (instance))
                (import "wasi:keyvalue/store@0.2.0-draft" (instance))
                (import "wasi:cli/stdout@0.2.3" (instance))
                (import "wasi:logging/logging" (instance))
                {TIMER}
                (export "attache:messenger/timer-events@1.0.0" (instance $timers))
                (export "attache:messenger/presence-events@1.0.0" (instance $timers))
                (export "init" (func $f)))"#
        ))
        .unwrap();
        assert_eq!(needs.import_grants, BTreeSet::from([Grant::ContactsRead, Grant::Storage]));
        assert_eq!(needs.export_grants, BTreeSet::from([Grant::PresenceRead]));
        assert_eq!(needs.exports.len(), 2);
    }

    #[test]
    fn a_component_for_another_world_is_refused() {
        let error =
            check("(component (instance $i) (export \"wasi:http/incoming-handler@0.2.0\" (instance $i)))")
                .unwrap_err();
        assert!(
            error.to_string().contains("so it is no plugin; it exports wasi:http/incoming-handler@0.2.0"),
            "{error}"
        );
    }

    #[test]
    fn a_newer_major_version_is_no_export_of_ours() {
        let error = check(
            "(component (instance $i) (export \"attache:messenger/timer-events@2.0.0\" (instance $i)))",
        )
        .unwrap_err();
        assert!(matches!(error, LoadError::NoPlugin { .. }));
    }

    #[test]
    fn an_import_that_nobody_has_is_named() {
        for import in
            ["wasi:http/outgoing-handler@0.2.0", "attache:messenger/telepathy@1.0.0", "wasi:io/poll@0.3.0"]
        {
            let error = check(&format!("(component (import \"{import}\" (instance)))")).unwrap_err();
            assert!(error.to_string().contains(import), "{error}");
        }
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let component = wat::parse_str(format!(
            "(component {TIMER} (export \"attache:messenger/timer-events@1.0.0\" (instance $timers)))"
        ))
        .unwrap();
        for bytes in
            [&b""[..], b"hello", &wat::parse_str("(module)").unwrap(), &component[..component.len() - 9]]
        {
            let error = needs(Path::new("x.wasm"), bytes).unwrap_err();
            assert!(matches!(error, LoadError::Invalid { .. }), "{error}");
        }
        assert!(needs(Path::new("x.wasm"), &component).is_ok());
    }
}
