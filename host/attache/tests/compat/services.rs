//! Services, and what one is there.

use attache::compat::{
    E_FAIL, E_INVALIDARG, MCONTACTPROP_EMAIL, MCONTACTPROP_INVALID_PROPERTY, MMESSENGERPROP_PLCID,
    MMESSENGERPROP_VERSION, MMESSENGERPROPERTY, MPHONE_TYPE_ALL, MPHONE_TYPE_CUSTOM, MPHONE_TYPE_HOME,
    MPHONE_TYPE_MOBILE, MPHONE_TYPE_WORK, MSGR_E_INVALID_FRIENDLY_NAME, MSGR_E_NOT_LOGGED_ON,
    MSGR_E_PHONE_INVALID_NUMBER, S_OK, Variant,
};

use crate::{
    common::address,
    desk::{Desk, Office},
};

/// seed: IMessenger.Services IMessengerServices.Count IMessengerServices.Item IMessengerServices._NewEnum
/// seed: IMessengerServices.PrimaryService IMessengerService.ServiceID IMessengerService.ServiceName
/// seed: IMessengerService.MySigninName IMessengerService.MyFriendlyName IMessenger.MyServiceId IMessenger.MyServiceName
/// seed: IMessengerContact.ServiceId IMessengerContact.ServiceName IMessengerService.Property MSERVICEPROPERTY.*
#[test]
fn several_accounts_are_several_services_one_of_them_primary() {
    let office = Office::open();
    let mut alice = office.account("alice").display_name("Alice");
    // What the service can do is asked with the first sign of life.
    alice.tuning.keep_alive = Some(attache::Period::secs(10));
    let mut config = office.config(alice);
    let mut bob = office.account("bob");
    bob.service_name = Some("Works".to_owned());
    config.accounts.push(bob);
    let desk = Desk::new(config);
    let services = desk.messenger.services();
    assert_eq!((services.count(), services.iter().len()), (2, 2));
    let (first, second) = (services.item(0).expect("one"), services.item(1).expect("two"));
    let primary = services.primary_service().expect("one of them");
    assert_eq!(primary.my_signin_name(), "sip:alice@example.com", "the first of the configuration");
    assert_eq!((first.my_friendly_name().as_str(), second.my_friendly_name().as_str()), ("Alice", "bob"));
    assert_eq!((first.service_name().as_str(), second.service_name().as_str()), ("example.com", "Works"));
    assert_eq!(first.service_id(), second.service_id(), "both are of one domain");
    assert_eq!(
        (first.service_id().len(), desk.messenger.my_service_id().expect("one")),
        (38, first.service_id())
    );
    assert_eq!(desk.messenger.my_service_name().expect("one"), "example.com");
    assert_eq!(services.item(2).expect_err("beyond").hresult(), E_INVALIDARG);
    let contact = desk.add("sip:carol@example.com");
    assert_eq!((contact.service_id(), contact.service_name()), (first.service_id(), first.service_name()));

    // What a service can do is known when it is there.
    assert_eq!(first.capabilities().expect_err("signed out").hresult(), MSGR_E_NOT_LOGGED_ON);
    desk.sign_in();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while first.capabilities().expect("signed in").messages != Some(true) {
        assert!(std::time::Instant::now() < deadline, "{:?}", first.capabilities());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(first.capabilities().expect("signed in").presence, Some(true));

    desk.messenger.modern().set_primary(&address("sip:bob@example.com")).expect("an account");
    assert_eq!(desk.messenger.my_signin_name().expect("the other one"), "sip:bob@example.com");
    assert_eq!(desk.messenger.my_service_name().expect("the other one"), "Works");
    let infos = desk.messenger.modern().services();
    assert_eq!(infos.iter().map(|info| info.primary).collect::<Vec<_>>(), [false, true]);
}

/// seed: IMessenger.MySigninName IMessenger.MyFriendlyName
/// pain: 23
#[test]
fn who_one_is_does_not_depend_on_a_connection() {
    let office = Office::open();
    let desk = Desk::new(office.config(office.account("alice").display_name("Alice Liddell")));
    assert_eq!(desk.messenger.my_signin_name().expect("one"), "sip:alice@example.com");
    assert_eq!(desk.messenger.my_friendly_name().expect("one"), "Alice Liddell");
    let nobody = Desk::new(office.world().host_config());
    assert_eq!(nobody.messenger.my_signin_name().expect_err("no account").hresult(), E_FAIL);
}

/// seed: IMessenger.MyPhoneNumber DMessengerEvents.OnMyPhoneChange MPHONE_TYPE.* MSGR_E_PHONE_INVALID_NUMBER E_FAIL
#[test]
fn own_numbers_are_those_of_the_account_and_their_change_is_told() {
    let office = Office::open();
    let mut account = office.account("alice");
    account.phones.work = Some(address("tel:+3545550100"));
    let desk = Desk::new(office.config(account));
    let number = |kind| desk.messenger.my_phone_number(kind);
    assert_eq!(number(MPHONE_TYPE_WORK).expect("known"), "tel:+3545550100");
    assert_eq!(number(MPHONE_TYPE_ALL).expect("any"), "tel:+3545550100");
    assert_eq!(number(MPHONE_TYPE_HOME).expect_err("not known").hresult(), E_FAIL);
    assert_eq!(number(MPHONE_TYPE_CUSTOM).expect_err("no kind of one's own").hresult(), E_INVALIDARG);
    assert_eq!(
        desk.messenger.put_my_phone_number(MPHONE_TYPE_MOBILE, "+354 555 01-23").expect("a number"),
        S_OK
    );
    desk.heard.wait("my phone 2 tel:+3545550123");
    desk.messenger.put_my_phone_number(MPHONE_TYPE_WORK, "").expect("none any more");
    desk.heard.wait("my phone 1 ");
    let wrong = desk.messenger.put_my_phone_number(MPHONE_TYPE_HOME, "call me").expect_err("no number");
    assert_eq!(wrong.hresult(), MSGR_E_PHONE_INVALID_NUMBER);
}

/// seed: IMessenger.MyProperty DMessengerEvents.OnMyPropertyChange MCONTACTPROPERTY.*
#[test]
fn the_own_mail_address_is_a_property_whose_change_is_told() {
    let office = Office::open();
    let mut account = office.account("alice");
    account.email = Some("alice@mail.example.com".to_owned());
    let desk = Desk::new(office.config(account));
    let email = desk.messenger.my_property(MCONTACTPROP_EMAIL).expect("a property");
    assert_eq!(email, Variant::Bstr("alice@mail.example.com".to_owned()));
    let wrong = desk.messenger.my_property(MCONTACTPROP_INVALID_PROPERTY).expect_err("none");
    assert_eq!(wrong.hresult(), E_INVALIDARG);
    desk.messenger
        .put_my_property(MCONTACTPROP_EMAIL, &Variant::Bstr("a@b.example".to_owned()))
        .expect("taken");
    desk.heard.wait("my property S_OK (0x00000000) 1 Bstr(\"a@b.example\")");
}

/// seed: DMessengerEvents.OnMyFriendlyNameChange DMessengerEvents.OnContactPhoneChange IMessengerContact.PhoneNumber
/// seed: IMessengerContact.CanPage DMessengerEvents.OnContactPagerChange DMessengerEvents.OnContactFriendlyNameChange
/// seed: MSGR_E_INVALID_FRIENDLY_NAME MOPT_PHONE_PAGE
#[test]
fn names_and_numbers_that_people_publish_reach_those_who_have_them_on_the_list() {
    let office = Office::open();
    let mut account = office.account("alice");
    account.phones.work = Some(address("tel:+3545550100"));
    let alice = Desk::new(office.config(account));
    let bob = office.desk("bob");
    let contact = bob.add("sip:alice@example.com");
    alice.sign_in();
    bob.heard.wait("phone S_OK (0x00000000) sip:alice@example.com 1 tel:+3545550100");
    assert_eq!(contact.phone_number(MPHONE_TYPE_WORK).expect("published"), "tel:+3545550100");
    assert_eq!(contact.phone_number(MPHONE_TYPE_MOBILE).expect_err("not published").hresult(), E_FAIL);
    // A mobile number is what a text can go to.
    alice.messenger.put_my_phone_number(MPHONE_TYPE_MOBILE, "+354 555 0123").expect("a number");
    bob.heard.wait("phone S_OK (0x00000000) sip:alice@example.com 2 tel:+3545550123");
    let account = bob.messenger.modern().primary().expect("an account");
    let known = account.known_profile(&address("sip:alice@example.com"));
    assert_eq!(known.phones.mobile, Some(address("tel:+3545550123")));
    alice.messenger.put_my_friendly_name("Alice L.").expect("a name");
    alice.heard.wait("my name S_OK (0x00000000) from ");
    bob.heard.wait("renamed S_OK (0x00000000) sip:alice@example.com from ");
    assert_eq!(contact.friendly_name(), "Alice L.");
    let wrong = alice.messenger.put_my_friendly_name("A\tL").expect_err("no name");
    assert_eq!(wrong.hresult(), MSGR_E_INVALID_FRIENDLY_NAME);
}

/// seed: IMessenger3.Property MMESSENGERPROPERTY.*
#[test]
fn version_and_locale_are_read() {
    let office = Office::open();
    let mut config = office.world().host_config();
    config.locale = Some("de-DE".to_owned());
    let desk = Desk::new(config);
    let read = |property| desk.messenger.property(property);
    assert_eq!(read(MMESSENGERPROP_VERSION).expect("one"), Variant::Bstr(attache::VERSION.to_owned()));
    assert_eq!(read(MMESSENGERPROP_PLCID).expect("one"), Variant::I4(0x0407));
    assert_eq!(read(MMESSENGERPROPERTY(9)).expect_err("none").hresult(), E_INVALIDARG);
    assert_eq!(desk.messenger.modern().locale(), "de-DE");
}

/// seed: IMessenger.OptionsPages MOPTIONPAGE.*
#[test]
fn settings_are_a_file_and_its_values() {
    let text = "[[account]]\naddress = \"sip:alice@example.com\"\npassword = \"wonderland\"\nsign-in = false\n\
                email = \"alice@mail.example.com\"\nservice-name = \"Works\"\nphones = { work = \"555 0100\" }\n\
                phone = \"tel:+3545550100\"\nincoming-calls = \"show\"\nconference = \"sip:meet@example.com\"\n";
    let config = attache::HostConfig::from_toml(text, std::path::Path::new("x.toml")).expect("a file");
    let account = &config.accounts[0];
    assert_eq!(
        account.phones.work.as_ref().map(ToString::to_string).as_deref(),
        Some("sip:5550100@example.com;user=phone")
    );
    assert_eq!(account.incoming_calls, attache::IncomingCalls::Show);
    assert_eq!(account.conference.as_ref().map(ToString::to_string).as_deref(), Some("sip:meet@example.com"));
    let desk = Desk::new(config);
    assert_eq!(desk.messenger.my_service_name().expect("one"), "Works");
    let email = desk.messenger.my_property(MCONTACTPROP_EMAIL).expect("a property");
    assert_eq!(email, Variant::Bstr("alice@mail.example.com".to_owned()));
    let wrong = text.replace("555 0100", "call me");
    let wrong =
        attache::HostConfig::from_toml(&wrong, std::path::Path::new("x.toml")).expect_err("no number");
    assert!(wrong.to_string().contains("x.toml:7: account.phones.work"), "{wrong}");
}
