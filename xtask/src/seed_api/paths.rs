//! Rust paths as code that compiles only while they exist.
//!
//! `a::T::f` is a function or constant, `a::T::V` a variant, `a::T` a type, `a::T.f` a field, and `a::f` or `a::C` an item of a
//! module. A function that takes several types has one of them behind it, as in `a::T::f::<&str>`.

use std::collections::BTreeSet;

use super::table::Tables;

/// Traits, whose functions are named through `dyn`.
const TRAITS: [&str; 5] = ["DMessengerEvents", "Directory", "MediaEngine", "Shell", "TokenSource"];

pub(super) fn make(tables: &Tables) -> String {
    let mut text = "\
//! Every Rust path of `docs/seed-api.md`, so that one that is gone does not compile.
//!
//! Made by `cargo xtask seed-api`; not for editing.

#[test]
#[rustfmt::skip]
#[allow(clippy::unneeded_struct_pattern, reason = \"one form for variants of every kind\")]
fn every_rust_path_of_the_seed_api_exists() {
"
    .to_owned();
    let rows = tables.rows();
    let paths: BTreeSet<&str> =
        rows.flat_map(|row| row.rust.iter().chain(&row.compat)).map(String::as_str).collect();
    for path in paths {
        text.push_str("    ");
        text.push_str(&statement(path));
        text.push('\n');
    }
    text.push_str("}\n");
    text
}

fn statement(path: &str) -> String {
    if let Some((owner, field)) = path.split_once('.') {
        return format!("let _ = |it: &{owner}| {{ let _ = &it.{field}; }};");
    }
    let name = path.split("::<").next().unwrap_or(path);
    let (owner, last) = name.rsplit_once("::").unwrap_or(("", name));
    let of_type = owner.rsplit("::").next().is_some_and(|name| name.starts_with(char::is_uppercase));
    let is_type = last.starts_with(char::is_uppercase) && last.contains(char::is_lowercase);
    match (of_type, is_type) {
        (true, true) => format!("let _ = |it: &{owner}| matches!(it, {path} {{ .. }});"),
        (true, false) if TRAITS.iter().any(|name| owner.ends_with(&format!("::{name}"))) => {
            format!("let _ = <dyn {owner}>::{last};")
        }
        (false, true) if TRAITS.contains(&last) => format!("let _ = |_: &dyn {path}| ();"),
        (false, true) => format!("let _ = |_: &{path}| ();"),
        _ => format!("let _ = {path};"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_path_is_looked_at_in_its_way() {
        assert_eq!(statement("a::b::Type"), "let _ = |_: &a::b::Type| ();");
        assert_eq!(statement("a::Type::f"), "let _ = a::Type::f;");
        assert_eq!(statement("a::Type::Case"), "let _ = |it: &a::Type| matches!(it, a::Type::Case { .. });");
        assert_eq!(statement("a::Shell::f"), "let _ = <dyn a::Shell>::f;");
        assert_eq!(statement("a::NAME_1"), "let _ = a::NAME_1;");
    }
}
