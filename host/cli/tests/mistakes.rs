//! Mistakes in configuration files and commands: each is answered with its place, and what was probably meant.

mod common;

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use common::program;

/// Runs `attache check` on a text; the exit code and standard error.
fn check(text: &str) -> Result<(Option<i32>, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("attache.toml");
    fs::write(&file, text)?;
    checked(&file)
}

fn checked(file: &Path) -> Result<(Option<i32>, String)> {
    let output = Command::new(program()).arg("check").arg(file).output()?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

fn refuses(text: &str, expected: &[&str]) -> Result<()> {
    let (code, errors) = check(text)?;
    assert_eq!(code, Some(3), "{errors}");
    for part in expected {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    Ok(())
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() -> Result<()> {
    refuses(
        "[[account]]\naddress = \"sip:a@example.com\"\npasword = \"x\"\n",
        &["attache.toml:3", "account.pasword", "did you mean `password`?"],
    )
}

#[test]
fn an_unknown_table_is_named() -> Result<()> {
    refuses("[[acount]]\naddress = \"sip:a@example.com\"\n", &["attache.toml:1", "did you mean `account`?"])
}

#[test]
fn a_wrong_type_is_named() -> Result<()> {
    refuses(
        "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\nsign-in = \"yes\"\n",
        &["attache.toml:4", "account.sign-in", "boolean"],
    )
}

#[test]
fn calls_are_a_switch_of_an_account() -> Result<()> {
    let account = "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\n";
    let (code, errors) = check(&format!("{account}calls = true\n"))?;
    assert_eq!(code, Some(0), "{errors}");
    refuses(&format!("{account}calls = \"yes\"\n"), &["attache.toml:4", "account.calls", "boolean"])
}

#[test]
fn an_address_that_is_none_is_named() -> Result<()> {
    refuses(
        "[[account]]\naddress = \"alice\"\npassword = \"x\"\n",
        &["attache.toml:2", "account.address", "user@host"],
    )
}

#[test]
fn a_missing_password_is_named() -> Result<()> {
    refuses(
        "\n[[account]]\naddress = \"sip:a@example.com\"\n",
        &["attache.toml:2", "account", "no password", "env"],
    )
}

#[test]
fn an_unset_variable_is_named() -> Result<()> {
    refuses(
        "[[account]]\naddress = \"sip:a@example.com\"\npassword = { env = \"ATTACHE_NO_SUCH_VARIABLE\" }\n",
        &["attache.toml:3", "account.password", "ATTACHE_NO_SUCH_VARIABLE"],
    )
}

#[test]
fn a_component_that_is_not_there_is_named() -> Result<()> {
    refuses(
        "[[plugin]]\nname = \"history\"\ncomponent = \"plugins/histroy.wasm\"\n",
        &["attache.toml:3", "plugin.component", "histroy.wasm"],
    )
}

#[test]
fn a_component_with_nearly_the_same_name_is_suggested() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("history.wasm"), b"")?;
    let file = folder.path().join("attache.toml");
    fs::write(&file, "[[plugin]]\nname = \"history\"\ncomponent = \"histroy.wasm\"\n")?;
    let (code, errors) = checked(&file)?;
    assert_eq!(code, Some(3));
    assert!(errors.contains("did you mean `history.wasm`?"), "{errors}");
    Ok(())
}

#[test]
fn an_unknown_grant_is_named_with_the_nearest_known_one() -> Result<()> {
    refuses(
        "[[plugin]]\nname = \"a\"\ncomponent = \"a.wasm\"\ngrants = [\"mesages.send\"]\n",
        &["attache.toml:4", "plugin.grants", "messages.send"],
    )
}

#[test]
fn a_limit_out_of_its_range_is_named() -> Result<()> {
    refuses(
        "[[plugin]]\nname = \"a\"\ncomponent = \"a.wasm\"\nlimits = { memory = \"1KiB\" }\n",
        &["attache.toml:4", "plugin.limits", "memory"],
    )
}

#[test]
fn two_accounts_with_one_address_are_refused() -> Result<()> {
    let account = "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\n";
    refuses(&format!("{account}{account}"), &["attache.toml:4", "line 1 already"])
}

#[test]
fn several_mistakes_are_told_at_once() -> Result<()> {
    refuses(
        "[[account]]\naddress = \"alice\"\npassword = \"x\"\nservice = \"not a uri\"\n",
        &["attache.toml:2", "attache.toml:4"],
    )
}

#[test]
fn mistakes_of_form_and_of_meaning_are_told_at_once() -> Result<()> {
    refuses(
        "[host]\nrefresh-budget = 0\nnameservers = []\n[host.tls]\nroots = \"no.pem\"\n\
         [[account]]\naddress = 7\npassword = \"x\"\ntuning = { registration = \"1s\", keep-alive = \"1h\" }\n\
         [[account]]\nadress = \"sip:b@example.com\"\ntoken = { env = 1 }\nservice = \"sip:x;transport=tsl\"\n\
         xcap = \"ftp://x\"\n[[plugin]]\nname = \"a\"\nlimits = { memory = 3, mem = 1 }\n",
        &[
            "attache.toml:2: host.refresh-budget",
            "attache.toml:3: host.nameservers: `nameservers` is no key that is known here; did you mean `name-servers`?",
            "attache.toml:5: host.tls.roots",
            "attache.toml:7: account.address",
            "attache.toml:9: account.tuning.registration",
            "attache.toml:9: account.tuning.keep-alive",
            "attache.toml:11: account.adress: `adress` is no key that is known here; did you mean `address`?",
            "attache.toml:12: account.token",
            "attache.toml:13: account.service: `tsl` is no transport that is known here; did you mean `tls`?",
            "attache.toml:14: account.xcap",
            "attache.toml:17: plugin.limits.memory",
            "attache.toml:17: plugin.limits.mem:",
            "missing field `component`",
        ],
    )
}

#[test]
fn a_password_and_a_token_are_one_too_many() -> Result<()> {
    refuses(
        "[[account]]\naddress = \"sip:a@example.com\"\npassword = \"x\"\ntoken = \"y\"\n",
        &["attache.toml:4: account.token", "not both"],
    )
}

#[test]
fn a_certificate_without_its_key_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("me.pem"), b"")?;
    let file = folder.path().join("attache.toml");
    fs::write(&file, "[host.tls]\ncertificate = \"me.pem\"\n")?;
    let (code, errors) = checked(&file)?;
    assert_eq!(code, Some(3));
    assert!(errors.contains("attache.toml:2: host.tls.certificate") && errors.contains("key = "), "{errors}");
    Ok(())
}

#[test]
fn roots_that_hold_no_certificate_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("roots.pem"), b"no certificate")?;
    let file = folder.path().join("attache.toml");
    fs::write(&file, "[host.tls]\nroots = \"roots.pem\"\n")?;
    let (code, errors) = checked(&file)?;
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("roots.pem"), "{errors}");
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named() -> Result<()> {
    let (code, errors) = checked(Path::new("/nonexistent/attache.toml"))?;
    assert_eq!(code, Some(3));
    assert!(errors.contains("/nonexistent/attache.toml") && errors.contains("no such file"), "{errors}");
    Ok(())
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() -> Result<()> {
    refuses("[host]\ndata-dir = \n", &["attache.toml:2"])
}
