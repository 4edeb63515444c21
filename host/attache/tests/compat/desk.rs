//! A messenger of one person, and everything that it is told.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use attache::{
    AccountConfig, Directory, DirectoryEntry, Error, HostConfig, PersonQuery, Transport,
    compat::{
        ADDRESS_TYPE, Answer, DMessengerEvents, HRESULT, MCONTACTPROPERTY, MISTATUS, MPHONE_TYPE, Messenger,
        MessengerContact, MessengerConversationWnd, MessengerGroup, Shell, Variant,
    },
};
use attache_service::Service;

use crate::common::{World, address};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The embedded service, on threads of its own, so that tests are as plain as the programs that move over.
pub struct Office {
    pub world: Option<World>,
    runtime: tokio::runtime::Runtime,
}

impl Office {
    pub fn open() -> Self {
        Self::with("")
    }

    pub fn with(lines: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let _inside = runtime.enter();
        let world = World::with("127.0.0.1", 2120, lines);
        drop(_inside);
        Self { world: Some(world), runtime }
    }

    pub fn world(&self) -> &World {
        self.world.as_ref().expect("it is open")
    }

    pub fn account(&self, user: &str) -> AccountConfig {
        let password = match user {
            "alice" => "wonderland",
            "bob" => "builder",
            _ => "christmas",
        };
        self.world().account(user, password, Transport::Tcp)
    }

    /// The settings of one account's host.
    pub fn config(&self, account: AccountConfig) -> HostConfig {
        let mut config = self.world().host_config();
        config.accounts.push(account);
        config
    }

    /// Somebody at their desk, signed in.
    pub fn desk(&self, user: &str) -> Desk {
        let desk = Desk::new(self.config(self.account(user)));
        desk.sign_in();
        desk
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        if let Some(World { service, .. }) = self.world.take() {
            self.runtime.block_on(Service::shutdown(service));
        }
    }
}

pub struct Desk {
    pub messenger: Messenger,
    pub heard: Arc<Heard>,
}

impl Desk {
    /// Somebody who is not signed in yet.
    pub fn new(config: HostConfig) -> Self {
        let messenger = Messenger::start(config).expect("it starts");
        let heard = Arc::new(Heard::default());
        messenger.advise(heard.clone());
        Self { messenger, heard }
    }

    pub fn sign_in(&self) {
        self.messenger.auto_signin().expect("taken on");
        self.heard.wait("signin S_OK (0x00000000)");
    }

    /// Puts somebody on the list, and gives the contact.
    pub fn add(&self, name: &str) -> MessengerContact {
        self.messenger.add_contact_silently(name, "").expect("taken on");
        self.heard.wait(&format!("added S_OK (0x00000000) {name}"));
        self.messenger.get_contact(name, "").expect("on the list")
    }
}

/// Everything that was told, one line each.
#[derive(Default)]
pub struct Heard {
    lines: Mutex<Vec<String>>,
    more: Condvar,
    windows: Mutex<Vec<MessengerConversationWnd>>,
}

impl Heard {
    fn hear(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.more.notify_all();
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line, and gives all that came up to it.
    pub fn wait(&self, wanted: &str) -> Vec<String> {
        self.until(wanted, |line| line == wanted)
    }

    /// Waits for a line that begins so, and gives its rest.
    pub fn wait_for(&self, begins: &str) -> String {
        let lines = self.until(begins, |line| line.starts_with(begins));
        lines.last().and_then(|line| line.strip_prefix(begins)).unwrap_or_default().trim().to_owned()
    }

    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(at) = lines.iter().position(|line| wanted(line)) {
                return lines[..=at].to_vec();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "`{what}` was not told, but {lines:#?}");
            lines = self.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Conversations that were told to begin.
    pub fn windows(&self) -> Vec<MessengerConversationWnd> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn who(contact: Option<&MessengerContact>) -> String {
    contact.map_or_else(|| "nobody".to_owned(), MessengerContact::signin_name)
}

fn which(group: Option<&MessengerGroup>) -> String {
    group.map_or_else(|| "none".to_owned(), MessengerGroup::name)
}

impl DMessengerEvents for Heard {
    fn on_app_shutdown(&self) {
        self.hear("shutdown".to_owned());
    }
    fn on_contact_added_to_group(
        &self,
        hr: HRESULT,
        group: Option<&MessengerGroup>,
        contact: Option<&MessengerContact>,
    ) {
        self.hear(format!("into {hr} {} {}", which(group), who(contact)));
    }
    fn on_contact_block_change(&self, hr: HRESULT, contact: Option<&MessengerContact>, blocked: bool) {
        self.hear(format!("blocked {hr} {} {blocked}", who(contact)));
    }
    fn on_contact_friendly_name_change(
        &self,
        hr: HRESULT,
        contact: Option<&MessengerContact>,
        previous: &str,
    ) {
        self.hear(format!("renamed {hr} {} from {previous}", who(contact)));
    }
    fn on_contact_list_add(&self, hr: HRESULT, contact: Option<&MessengerContact>) {
        self.hear(format!("added {hr} {}", who(contact)));
    }
    fn on_contact_list_remove(&self, hr: HRESULT, contact: Option<&MessengerContact>) {
        self.hear(format!("removed {hr} {}", who(contact)));
    }
    fn on_contact_phone_change(
        &self,
        hr: HRESULT,
        contact: Option<&MessengerContact>,
        kind: MPHONE_TYPE,
        number: &str,
    ) {
        self.hear(format!("phone {hr} {} {} {number}", who(contact), kind.0));
    }
    fn on_contact_property_change(
        &self,
        hr: HRESULT,
        contact: Option<&MessengerContact>,
        property: MCONTACTPROPERTY,
        value: &Variant,
    ) {
        self.hear(format!("property {hr} {} {} {value:?}", who(contact), property.0));
    }
    fn on_contact_removed_from_group(
        &self,
        hr: HRESULT,
        group: Option<&MessengerGroup>,
        contact: Option<&MessengerContact>,
    ) {
        self.hear(format!("out of {hr} {} {}", which(group), who(contact)));
    }
    fn on_contact_resolved(&self, hr: HRESULT, kind: ADDRESS_TYPE, address: &str, im_address: &str) {
        self.hear(format!("resolved {hr} {} {address} {im_address}", kind.0));
    }
    fn on_contact_status_change(&self, contact: Option<&MessengerContact>, status: MISTATUS) {
        self.hear(format!("status {} {:#06x}", who(contact), status.0));
    }
    fn on_group_added(&self, hr: HRESULT, group: Option<&MessengerGroup>) {
        self.hear(format!("group {hr} {}", which(group)));
    }
    fn on_group_name_changed(&self, hr: HRESULT, group: Option<&MessengerGroup>) {
        self.hear(format!("group renamed {hr} {}", which(group)));
    }
    fn on_group_removed(&self, hr: HRESULT, group: Option<&MessengerGroup>) {
        self.hear(format!("group removed {hr} {}", which(group)));
    }
    fn on_im_window_contact_added(&self, contact: &MessengerContact, window: &MessengerConversationWnd) {
        self.hear(format!("joined {} {}", window.hwnd().0, contact.signin_name()));
    }
    fn on_im_window_contact_removed(&self, contact: &MessengerContact, window: &MessengerConversationWnd) {
        self.hear(format!("left {} {}", window.hwnd().0, contact.signin_name()));
    }
    fn on_im_window_created(&self, window: &MessengerConversationWnd) {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).push(window.clone());
        self.hear(format!("window {}", window.hwnd().0));
    }
    fn on_im_window_destroyed(&self, window: &MessengerConversationWnd) {
        self.hear(format!("window closed {}", window.hwnd().0));
    }
    fn on_im_text_received(&self, _: &MessengerConversationWnd, contact: &MessengerContact, text: &str) {
        self.hear(format!("text {} {text}", contact.signin_name()));
    }
    fn on_my_friendly_name_change(&self, hr: HRESULT, previous: &str) {
        self.hear(format!("my name {hr} from {previous}"));
    }
    fn on_my_phone_change(&self, kind: MPHONE_TYPE, number: &str) {
        self.hear(format!("my phone {} {number}", kind.0));
    }
    fn on_my_property_change(&self, hr: HRESULT, property: MCONTACTPROPERTY, value: &Variant) {
        self.hear(format!("my property {hr} {} {value:?}", property.0));
    }
    fn on_my_status_change(&self, hr: HRESULT, status: MISTATUS) {
        self.hear(format!("my status {hr} {:#06x}", status.0));
    }
    fn on_signin(&self, hr: HRESULT) {
        self.hear(format!("signin {hr}"));
    }
    fn on_signout(&self) {
        self.hear("signout".to_owned());
    }
}

/// What an application shows and asks, written down.
#[derive(Default)]
pub struct Front {
    pub shown: Mutex<Vec<String>>,
    pub refuses: bool,
}

impl Shell for Front {
    fn add_contact(&self, address: Option<&attache::Address>) -> Answer {
        self.shown.lock().expect("whole").push(format!("add {address:?}"));
        match address {
            _ if self.refuses => Answer::Cancel,
            Some(address) => Answer::Add(address.clone()),
            None => Answer::Add(crate::common::address("sip:carol@example.com")),
        }
    }

    fn show(&self, window: &MessengerConversationWnd) {
        self.shown.lock().expect("whole").push(format!("show {}", window.hwnd().0));
    }

    fn open(&self, uri: &str) {
        self.shown.lock().expect("whole").push(format!("open {uri}"));
    }

    fn show_main(&self, _: &attache::compat::MessengerWindow) {
        self.shown.lock().expect("whole").push("show main".to_owned());
    }
}

/// The directory of a small firm.
pub struct Firm;

impl Firm {
    pub fn people() -> Vec<DirectoryEntry> {
        let person = |name: &str, at: &str| DirectoryEntry::new(address(at), name);
        let mut bob = person("Bob Builder", "sip:bob@example.com");
        bob.emails = vec!["robert.builder@mail.example.com".to_owned()];
        bob.detail = "Works, room 12, Reykjavík".to_owned();
        bob.phones.mobile = Some(address("tel:+3545550123"));
        bob.page = Some("https://people.example.com/bob".to_owned());
        vec![
            bob,
            person("Carol Singer", "sip:carol@example.com"),
            person("Jo Smith", "sip:jo.1@example.com"),
            person("Jo Smith", "sip:jo.2@example.com"),
        ]
    }
}

impl Directory for Firm {
    fn search<'a>(
        &'a self,
        query: &'a str,
        limit: usize,
    ) -> attache::BoxFuture<'a, Result<Vec<DirectoryEntry>, Error>> {
        Box::pin(async move {
            let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
            let hit = |entry: &DirectoryEntry| {
                let text =
                    format!("{} {} {} {}", entry.name, entry.detail, entry.address, entry.emails.join(" "));
                let text = text.to_lowercase();
                words.iter().all(|word| text.contains(word))
            };
            Ok(Self::people().into_iter().filter(hit).take(limit).collect())
        })
    }

    fn find<'a>(
        &'a self,
        query: &'a PersonQuery,
    ) -> attache::BoxFuture<'a, Result<Vec<DirectoryEntry>, Error>> {
        Box::pin(async move { Ok(Self::people().into_iter().filter(|entry| entry.is(query)).collect()) })
    }
}
