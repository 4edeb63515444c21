//! Core module to component: the last step, and the same for every language whose tools emit core modules.

use wit_component::{ComponentEncoder, metadata};

use crate::Error;

/// The header that every WebAssembly binary starts with: magic, then version and layer.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// Turns a core module with embedded component types, as wit-bindgen emits, into a validated component.
///
/// The component imports only what the module calls, so that building against a wide world asks for nothing more.
///
/// # Errors
/// [`Error::NotAModule`], [`Error::AlreadyAComponent`], [`Error::NoComponentType`], and [`Error::Encode`] when the
/// module does not fit its world.
pub fn componentise(core: &[u8]) -> Result<Vec<u8>, Error> {
    let version = core.strip_prefix(MAGIC).ok_or(Error::NotAModule)?;
    if !version.starts_with(CORE_MODULE) {
        return Err(if version.len() >= 4 { Error::AlreadyAComponent } else { Error::NotAModule });
    }
    // The encoder trusts the sections' lengths, so a truncated file must not reach it.
    wasmparser::validate(core).map_err(|error| Error::Encode(error.to_string()))?;
    let encode = |error| Error::Encode(format!("{error:#}"));
    // The encoder would answer a module without types with an empty component, which helps nobody.
    let (stripped, _) = metadata::decode(core).map_err(encode)?;
    if stripped.is_none() {
        return Err(Error::NoComponentType);
    }
    ComponentEncoder::default().validate(true).module(core).map_err(encode)?.encode().map_err(encode)
}

#[cfg(test)]
mod tests {
    use wit_component::{DecodedWasm, StringEncoding, decode, embed_component_metadata};
    use wit_parser::{Resolve, WorldKey};

    use super::*;

    const WORLD: &str = "package test:greet@1.0.0;
        interface used { call: func(); }
        interface unused { call: func(); }
        interface greet { hello: func(); }
        world guest { import used; import unused; export greet; }";

    const MODULE: &str = r#"(module
        (import "test:greet/used@1.0.0" "call" (func $call))
        (func (export "test:greet/greet@1.0.0#hello") call $call))"#;

    fn typed(wat: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("greet.wit", WORLD).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        let mut wasm = wat::parse_str(wat).unwrap();
        embed_component_metadata(&mut wasm, &resolve, world, StringEncoding::UTF8).unwrap();
        wasm
    }

    #[test]
    fn bytes_that_are_no_module_are_named() {
        for bytes in [b"hello".as_slice(), b"\0asm", b"\0asm\x01\0", b""] {
            assert!(matches!(componentise(bytes), Err(Error::NotAModule)));
        }
    }

    #[test]
    fn a_component_is_not_componentised_twice() {
        let component = componentise(&typed(MODULE)).unwrap();
        assert!(matches!(componentise(&component), Err(Error::AlreadyAComponent)));
    }

    #[test]
    fn a_module_without_types_is_refused() {
        let plain = wat::parse_str("(module)").unwrap();
        assert!(matches!(componentise(&plain), Err(Error::NoComponentType)));
    }

    #[test]
    fn a_truncated_module_is_refused() {
        let whole = typed(MODULE);
        for length in 8..whole.len() {
            assert!(componentise(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_missing_export_is_named() {
        let error = componentise(&typed("(module)")).unwrap_err();
        assert!(error.to_string().contains("test:greet/greet@1.0.0"), "{error}");
    }

    #[test]
    fn only_called_interfaces_are_imported() {
        let component = componentise(&typed(MODULE)).unwrap();
        let DecodedWasm::Component(resolve, world) = decode(&component).unwrap() else {
            panic!("not a component");
        };
        let names = |items: Vec<&WorldKey>| -> Vec<String> {
            items.into_iter().map(|key| resolve.name_world_key(key)).collect()
        };
        let world = &resolve.worlds[world];
        assert_eq!(names(world.imports.keys().collect()), ["test:greet/used@1.0.0"]);
        assert_eq!(names(world.exports.keys().collect()), ["test:greet/greet@1.0.0"]);
    }
}
