//! Does what messages ask for and answers in the same conversation, so that a test sees what plugins can ask and are told about
//! people, conversations, calls and the session.

use attache_plugin::directory::LookUp;
use attache_plugin::messages::Purpose;
use attache_plugin::watcher_types::Decision;
use attache_plugin::{
    AccountId, Call, CallEvents, ComposingEvents, ContactId, Conversation, ConversationEvents,
    ConversationId, Error, EventInfo, IncomingMessage, MailboxEvents, MessageEvents, ParticipantEvents,
    Plugin, ProfileEvents, RequestId, RuleEvents, SessionEvents, SessionState, StartInfo, call_control,
    calls, conversation_editor, conversations, directory, explain, mailbox, messages, presence, services,
    session_control, watcher_editor, watchers,
};

struct Switchboard {
    /// Where events are told: the conversation that asked first.
    told: Option<ConversationId>,
}

impl Plugin for Switchboard {
    fn start(_: StartInfo) -> Result<Self, String> {
        Ok(Self { told: None })
    }
}

impl Switchboard {
    fn say(&self, account: AccountId, text: &str) {
        if let Some(conversation) = self.told {
            let _ = messages::send_to_conversation(account, conversation, text, Purpose::OnBehalf);
        }
    }
}

fn perform(account: AccountId, conversation: ConversationId, text: &str) -> Result<String, Error> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match *words.as_slice() {
        ["services"] => {
            let host = services::host()?;
            let services = services::services()?;
            let names: Vec<String> =
                services.iter().map(|it| format!("{} {} {}", it.name, it.id.len(), it.primary)).collect();
            format!("services {} version {} {}", names.join(", "), host.version, host.locale)
        }
        ["own"] => {
            let own = directory::own_details(account)?;
            let phones: Vec<String> =
                own.phones.iter().map(|it| format!("{:?} {}", it.kind, it.number)).collect();
            format!("own {} {}", own.email.unwrap_or_default(), phones.join(", "))
        }
        ["resolve", name] => {
            let found = directory::resolve(account, &LookUp::Name(name.to_owned()))?;
            format!("resolved {} {:?}", found.address, found.found)
        }
        ["email", email] => {
            let found = directory::resolve(account, &LookUp::Email(email.to_owned()))?;
            format!("resolved {} {:?}", found.address, found.found)
        }
        ["search", text] => {
            let found = directory::search(account, text, 10)?;
            format!("found {}", found.iter().map(|it| it.name.clone()).collect::<Vec<_>>().join(", "))
        }
        ["phones", address] => format!("phones {}", directory::phones(account, address)?.len()),
        ["mail", address] => format!("mail {}", directory::find_mail(account, address)?),
        ["card", id] => {
            let card = presence::get_card(account, id.parse().unwrap_or_default())?;
            format!("card {}", card.homepage.unwrap_or_else(|| "none".to_owned()))
        }
        ["block", who] => {
            watcher_editor::set_rule(account, who, Some(Decision::PoliteBlock))?;
            "blocking".to_owned()
        }
        ["rules"] => {
            let rules = watchers::rules(account)?;
            format!(
                "rules {}",
                rules.iter().map(|it| format!("{} {:?}", it.who, it.decision)).collect::<Vec<_>>().join(", ")
            )
        }
        ["waiting"] => format!("waiting {:?}", mailbox::messages_waiting(account)?.map(|it| it.len())),
        ["details"] => {
            let details = conversations::get_details(account, conversation)?;
            let state: Vec<String> =
                details.participants.iter().map(|it| format!("{} {:?}", it.address, it.state)).collect();
            format!("details {:?} {}", details.kind, state.join(", "))
        }
        ["invite", first, second] => {
            let context = conversations::Context {
                media_type: "application/x-order".to_owned(),
                data: vec![0, 1, 254, 255],
            };
            let others = [first.to_owned(), second.to_owned()];
            let id = conversation_editor::start_conversation(account, &others, "Order 7", Some(&context))?;
            messages::send_to_conversation(account, id, "welcome", Purpose::OnBehalf)?;
            format!("began {id}")
        }
        ["add", id, address] => {
            conversation_editor::add_participant(account, id.parse().unwrap_or_default(), address)?;
            "adding".to_owned()
        }
        ["remove", id, address] => {
            conversation_editor::remove_participant(account, id.parse().unwrap_or_default(), address)?;
            "removing".to_owned()
        }
        ["close", id] => {
            conversation_editor::close_conversation(account, id.parse().unwrap_or_default())?;
            "closing".to_owned()
        }
        ["composing"] => {
            messages::set_composing(account, conversation, true)?;
            "composing".to_owned()
        }
        ["cancel", id] => {
            messages::cancel(account, id.parse().unwrap_or_default())?;
            "cancelled".to_owned()
        }
        ["call", number] => {
            let id = call_control::call(account, &call_control::Callee::Number(number.to_owned()))?;
            format!("calling {id}")
        }
        ["calls"] => format!("calls {}", calls::list_calls(account)?.len()),
        ["hang-up", id] => {
            call_control::hang_up(account, id.parse().unwrap_or_default())?;
            "hanging up".to_owned()
        }
        ["transfer", id, to] => {
            let to = call_control::Callee::Address(to.to_owned());
            call_control::transfer(account, id.parse().unwrap_or_default(), &to)?;
            "transferring".to_owned()
        }
        ["sign-out"] => {
            session_control::sign_out(account)?;
            "signing out".to_owned()
        }
        _ => "what?".to_owned(),
    })
}

impl MessageEvents for Switchboard {
    fn message_received(&mut self, event: EventInfo, message: IncomingMessage) -> Result<(), String> {
        let told = *self.told.get_or_insert(message.conversation);
        if told != message.conversation {
            return Ok(());
        }
        let text = match perform(event.account, told, &message.text) {
            Ok(text) => text,
            Err(error) => format!("error {}", explain(&error)),
        };
        self.say(event.account, &text);
        Ok(())
    }
}

impl SessionEvents for Switchboard {
    fn session_changed(&mut self, event: EventInfo, state: SessionState, _: Option<Error>) {
        self.say(event.account, &format!("event session {state:?}"));
    }

    fn command_completed(&mut self, event: EventInfo, _: RequestId, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            self.say(event.account, &format!("event failed {}", error.name));
        }
    }
}

impl ConversationEvents for Switchboard {
    fn conversation_closed(&mut self, event: EventInfo, conversation: Conversation) {
        self.say(event.account, &format!("event closed {}", conversation.id));
    }
}

impl ParticipantEvents for Switchboard {
    fn participant_joined(&mut self, event: EventInfo, id: ConversationId, address: String) {
        self.say(event.account, &format!("event joined {id} {address}"));
    }

    fn participant_left(&mut self, event: EventInfo, id: ConversationId, address: String) {
        self.say(event.account, &format!("event left {id} {address}"));
    }
}

impl ComposingEvents for Switchboard {
    fn composing_changed(
        &mut self,
        event: EventInfo,
        address: String,
        _: Option<ConversationId>,
        active: bool,
    ) {
        self.say(event.account, &format!("event composing {address} {active}"));
    }
}

impl CallEvents for Switchboard {
    fn call_changed(&mut self, event: EventInfo, call: Call) {
        self.say(event.account, &format!("event call {} {:?}", call.id, call.state));
    }
}

impl ProfileEvents for Switchboard {
    fn own_profile_changed(&mut self, event: EventInfo, name: String) {
        self.say(event.account, &format!("event own name {name}"));
    }

    fn contact_profile_changed(&mut self, event: EventInfo, _: ContactId, name: String) {
        self.say(event.account, &format!("event name {name}"));
    }
}

impl RuleEvents for Switchboard {
    fn rules_changed(&mut self, event: EventInfo) {
        self.say(event.account, "event rules");
    }
}

impl MailboxEvents for Switchboard {
    fn messages_waiting_changed(&mut self, event: EventInfo, waiting: bool) {
        self.say(event.account, &format!("event waiting {waiting}"));
    }
}

attache_plugin::export!(
    Switchboard: MessageEvents, SessionEvents, ConversationEvents, ParticipantEvents, ComposingEvents,
    CallEvents, RuleEvents, MailboxEvents, ProfileEvents
);
