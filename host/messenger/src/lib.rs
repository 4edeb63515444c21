//! Sans-IO messenger engine: session, presence, contacts, conversations.
