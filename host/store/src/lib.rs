//! SQLite storage: contacts, outbox, archive, plugin key-value, event journal.
