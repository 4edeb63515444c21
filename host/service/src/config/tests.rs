use super::*;

fn parse(text: &str) -> Result<ServiceConfig, ConfigError> {
    ServiceConfig::parse(text)
}

#[test]
fn an_unknown_key_is_an_error_that_names_it_and_its_line() {
    let error = parse("[service]\ndomain = \"x\"\nlisen = 1\n").unwrap_err().to_string();
    let what = "service.lisen: `lisen` is no key that is known here; did you mean `listen`?";
    assert_eq!(error, format!("line 3: {what}"));
}

#[test]
fn an_address_without_a_port_is_an_error_that_names_the_key_and_an_example() {
    let error = parse("[service]\nlisten = \"127.0.0.1\"\n").unwrap_err().to_string();
    assert!(error.starts_with("line 2: service.listen: `127.0.0.1` is no IP address with a port"), "{error}");
    assert!(error.contains("127.0.0.1:5060"), "{error}");
    let error = parse("[service]\nlisten = 5060\n").unwrap_err().to_string();
    assert!(error.contains("service.listen") && error.contains("a string or a list of strings"), "{error}");
}

#[test]
fn a_mistake_in_a_file_is_told_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.toml");
    std::fs::write(&path, "[service.limits]\nstored-for = \"5 parsecs\"\n").unwrap();
    let error = ServiceConfig::load(&path).unwrap_err().to_string();
    let start = format!("{}:2: service.limits.stored-for: ", path.display());
    assert!(error.starts_with(&start) && error.contains("`5 parsecs` is no time"), "{error}");
}

#[test]
fn listening_for_tls_without_a_certificate_is_an_error_that_names_the_key() {
    for key in ["listen-tls", "listen-wss", "listen-msrp-tls"] {
        let config = parse(&format!("[service]\n{key} = \"127.0.0.1:0\"\n")).unwrap();
        let error = config.service.tls(Path::new("")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("service.{key}: ")) && error.contains("[service.tls]"), "{error}");
    }
}

#[test]
fn a_list_that_cannot_be_used_is_an_error_that_names_it() {
    let error = |list: &str| {
        let users = "[service]\ndomains = [\"example.com\"]\n[[user]]\nname = \"alice\"\npassword = \"x\"\n";
        parse(&format!("{users}{list}")).unwrap().lists().map_err(|error| error.to_string())
    };
    let list = |address: &str, members: &str, watchers: &str| {
        format!("[[list]]\naddress = \"{address}\"\nmembers = [{members}]\nwatchers = [{watchers}]\n")
    };
    let good =
        list("sip:all@example.com", "\"sip:alice@example.com\"", "\"alice\", \"sip:alice@example.com\"");
    assert_eq!(error(&good).unwrap().len(), 1);
    for (wrong, key) in [
        (good.repeat(2), "list.sip:all@example.com.address: there are two"),
        (list("all", "", ""), "list.all.address: it is no address"),
        (list("sip:all@elsewhere.org", "", ""), "list.sip:all@elsewhere.org.address: elsewhere.org is none"),
        (list("sip:alice@example.com", "", ""), "list.sip:alice@example.com.address: it is a user's"),
        (list("sip:all@example.com", "\"x\"", ""), "list.sip:all@example.com.members: `x` is no address"),
        (list("sip:all@example.com", "", "\"bob\""), "list.sip:all@example.com.watchers: `bob` is no user"),
    ] {
        let error = error(&wrong).unwrap_err();
        assert!(error.starts_with(key), "{error}");
    }
}

#[test]
fn lists_may_be_written_as_one_value() {
    let config =
        parse("[service]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\ndomain = \"Example.COM\"\n").unwrap();
    assert_eq!(config.service.listen.len(), 2);
    assert_eq!(config.domains(), ["example.com"]);
}

#[test]
fn a_user_without_any_password_is_an_error_that_names_the_user() {
    let config = parse("[[user]]\nname = \"alice\"\n").unwrap();
    let error = config.accounts().unwrap_err().to_string();
    assert!(error.contains("user.alice.password"), "{error}");
}

#[test]
fn a_password_can_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "wonderland\nmore\n").unwrap();
    let text = "[[user]]\nname = \"alice\"\npassword = { file = \"secret\" }\n";
    std::fs::write(folder.path().join("service.toml"), text).unwrap();
    let config = ServiceConfig::load(&folder.path().join("service.toml")).unwrap();
    assert!(config.accounts().unwrap()[0].sha256.is_some());
    assert!(parse(text).unwrap().accounts().unwrap_err().to_string().contains("secret"));
}

#[test]
fn the_same_user_twice_is_an_error() {
    let user = "[[user]]\nname = \"alice\"\npassword = \"x\"\n";
    assert!(parse(&user.repeat(2)).unwrap().accounts().is_err());
}

#[test]
fn a_factory_of_conferences_that_cannot_be_used_is_an_error_that_says_why() {
    let error = |address: &str, more: &str| {
        let text = format!(
            "[service]\ndomains = [\"example.com\"]\nconference = \"{address}\"\n{more}\n\
             [[user]]\nname = \"alice\"\npassword = \"x\"\n"
        );
        parse(&text).unwrap().conference().map_err(|error| error.to_string())
    };
    let listens = "listen-msrp = \"127.0.0.1:0\"";
    assert_eq!(error("sip:rooms@example.com", listens).unwrap().as_deref(), Some("sip:rooms@example.com"));
    for (address, more, what) in [
        ("rooms", listens, "no address"),
        ("sip:rooms@elsewhere.org", listens, "elsewhere.org is none"),
        ("sip:alice@example.com", listens, "a user's"),
        ("sip:rooms@example.com", "", "listen-msrp"),
    ] {
        let error = error(address, more).unwrap_err();
        assert!(error.starts_with("service.conference: ") && error.contains(what), "{error}");
    }
}

#[test]
fn a_telephone_number_that_cannot_be_used_is_an_error_that_names_the_user() {
    let user = |name: &str, number: &str| {
        format!("[[user]]\nname = \"{name}\"\npassword = \"x\"\nnumbers = [\"{number}\"]\n")
    };
    let good = format!("{}{}", user("alice", "+49 (30) 123-456"), user("bob", "12"));
    let accounts = parse(&good).unwrap().accounts().unwrap();
    assert_eq!(accounts[0].numbers, ["+4930123456"]);
    for (second, what) in [("+49.30.123456", "stands for somebody already"), ("phone", "no telephone number")]
    {
        let text = format!("{}{}", user("alice", "+4930123456"), user("bob", second));
        let error = parse(&text).unwrap().accounts().unwrap_err().to_string();
        assert!(error.starts_with("user.bob.numbers: ") && error.contains(what), "{error}");
    }
}

#[test]
fn debug_output_has_no_password() {
    let config = parse("[[user]]\nname = \"alice\"\npassword = \"wonderland\"\n").unwrap();
    assert!(!format!("{config:?}").contains("wonderland"));
    let accounts = config.accounts().unwrap();
    let hash = ha1(Algorithm::Sha256, "alice", &config.realm(), &Secret::new("wonderland"));
    assert!(!format!("{accounts:?}").contains(&hash));
}
