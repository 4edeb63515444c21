//! The archive and its search.

use std::sync::Arc;

use attache_messenger::{
    id::{ConversationId, MessageId},
    storage::{ArchiveEntry, ArchiveQuery, Direction, Storage},
    time::Timestamp,
};

use super::sample::*;

/// With every field.
pub async fn an_archived_message_comes_back_as_it_was(store: Arc<dyn Storage>) {
    let entry = ArchiveEntry {
        message: MessageId(1 << 62),
        conversation: ConversationId(12),
        at: at(1),
        direction: Direction::Outgoing,
        peer: address("sip:Bob@EXAMPLE.com"),
        others: [address("sip:carol@example.com"), address("tel:+12015550123")].into_iter().collect(),
        content: "what \"was\" said \u{1f600}\r\n\u{0}end".into(),
        automatic: true,
    };
    assert!(ok(store.archive(ALICE, entry.clone()).await));
    let found = ok(store.search(ALICE, query("said")).await);
    assert_eq!(found.len(), 1);
    let found = &found[0];
    assert_eq!((found.message, found.conversation, found.at), (entry.message, entry.conversation, entry.at));
    assert_eq!((found.direction, found.automatic), (entry.direction, entry.automatic));
    assert_eq!(found.peer.as_str(), entry.peer.as_str());
    assert_eq!((&found.others, &found.content), (&entry.others, &entry.content));
}

/// The first one stays.
pub async fn archiving_again_changes_nothing(store: Arc<dyn Storage>) {
    assert!(ok(store.archive(ALICE, archived(1, 0, "sip:bob@example.com", "first")).await));
    assert!(!ok(store.archive(ALICE, archived(1, 5, "sip:bob@example.com", "second")).await));
    assert_eq!(found(&store, query("first")).await, [1]);
    assert_eq!(found(&store, query("second")).await, [0u64; 0]);
}

/// By time, and by handle within a millisecond; whatever the order of archiving.
pub async fn a_search_lists_the_newest_first(store: Arc<dyn Storage>) {
    for (message, millis) in [(5, 10), (9, 20), (7, 20), (1, 30), (8, 20)] {
        assert!(ok(store.archive(ALICE, archived(message, millis, "sip:bob@example.com", "tea")).await));
    }
    assert_eq!(found(&store, query("tea")).await, [1, 9, 8, 7, 5]);
    assert_eq!(found(&store, query("")).await, [1, 9, 8, 7, 5]);
}

/// In any order.
pub async fn all_words_must_occur(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "red green blue"), (2, "green tea"), (3, "blue, then red!")]).await;
    assert_eq!(found(&store, query("blue red")).await, [3, 1]);
    assert_eq!(found(&store, query("green")).await, [2, 1]);
    assert_eq!(found(&store, query("green yellow")).await, [0u64; 0]);
    assert_eq!(found(&store, query("gree")).await, [0u64; 0]);
}

/// For Latin letters at least.
pub async fn case_and_accents_do_not_count(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "Café Müller"), (2, "CAFE MULLER"), (3, "cafe\u{301} mu\u{308}ller")]).await;
    assert_eq!(found(&store, query("cafe")).await, [3, 2, 1]);
    assert_eq!(found(&store, query("CAFÉ müller")).await, [3, 2, 1]);
}

/// At the end of a word only.
pub async fn a_star_matches_a_beginning(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "meeting at noon"), (2, "we met"), (3, "team")]).await;
    assert_eq!(found(&store, query("me*")).await, [2, 1]);
    assert_eq!(found(&store, query("meet* no*")).await, [1]);
    assert_eq!(found(&store, query("*eam")).await, [0u64; 0]);
    assert_eq!(found(&store, query("me* at")).await, [1]);
}

/// What a query language would read as an operator is a word like every other.
pub async fn nothing_else_has_a_meaning_in_a_search(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "this or that"), (2, "neither"), (3, "text of the account")]).await;
    assert_eq!(found(&store, query("this OR neither")).await, [0u64; 0]);
    assert_eq!(found(&store, query("this OR that")).await, [1]);
    assert_eq!(found(&store, query("NOT this")).await, [0u64; 0]);
    assert_eq!(found(&store, query("\"that this\"")).await, [1]);
    for hostile in [
        "\"",
        "\"\"",
        "a\"b",
        "text:this",
        "-this",
        "^this",
        "(",
        ")",
        "NEAR(this that)",
        "this AND",
        "*",
        "' OR 1=1 --",
        "account : \"1\"",
        "{text} : this",
        "this + that",
        "%",
        "\\",
        "\0",
        "this\0that",
        "\u{fffd}",
        "\"*\" *",
    ] {
        // What it finds depends on what counts as a letter; it must not fail.
        let found = found(&store, query(hostile)).await;
        assert!(found.len() <= 1, "{hostile:?} found {found:?}");
    }
}

/// An emoticon has no letters and is in no index. Beside words it is left out.
pub async fn what_is_in_no_index_matches_nothing(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "hello :-)"), (2, "bye")]).await;
    assert_eq!(found(&store, query(":-)")).await, [0u64; 0]);
    assert_eq!(found(&store, query("hello :-)")).await, [1]);
    assert_eq!(found(&store, query(":-) hello \u{1f600}")).await, [1]);
}

/// No text, and one of white space only.
pub async fn a_search_without_words_uses_the_other_fields(store: Arc<dyn Storage>) {
    assert!(ok(store.archive(ALICE, archived(1, 1, "sip:bob@example.com", "one")).await));
    assert!(ok(store.archive(ALICE, archived(2, 2, "sip:carol@example.com", "two")).await));
    let peer = Some(address("sip:bob@example.com"));
    assert_eq!(found(&store, ArchiveQuery { limit: 10, ..ArchiveQuery::default() }).await, [2, 1]);
    assert_eq!(found(&store, query("  \t")).await, [2, 1]);
    assert_eq!(found(&store, ArchiveQuery { peer: peer.clone(), ..query("") }).await, [1]);
    assert_eq!(found(&store, ArchiveQuery { peer, ..query("two") }).await, [0u64; 0]);
}

/// RFC 3261, section 19.1.4.
pub async fn a_peer_is_found_in_any_spelling(store: Arc<dyn Storage>) {
    assert!(ok(store.archive(ALICE, archived(1, 1, "sip:bob@EXAMPLE.com", "tea")).await));
    assert!(ok(store.archive(ALICE, archived(2, 2, "sip:Bob@example.com", "tea")).await));
    let peer = Some(address("SIP:bob@Example.COM"));
    assert_eq!(found(&store, ArchiveQuery { peer: peer.clone(), ..query("tea") }).await, [1]);
    assert_eq!(found(&store, ArchiveQuery { peer, ..query("") }).await, [1]);
}

/// With words and without.
pub async fn since_is_inclusive_and_until_exclusive(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(10, "tea"), (20, "tea"), (30, "tea")]).await;
    for text in ["tea", ""] {
        let between = |since, until| ArchiveQuery { since, until, ..query(text) };
        assert_eq!(found(&store, between(Some(at(10)), Some(at(30)))).await, [20, 10]);
        assert_eq!(found(&store, between(Some(at(11)), None)).await, [30, 20]);
        assert_eq!(found(&store, between(None, Some(at(20)))).await, [10]);
        let ever = Some(Timestamp::from_millis(u64::MAX));
        assert_eq!(found(&store, between(None, ever)).await, [30, 20, 10]);
        assert_eq!(found(&store, between(ever, None)).await, [0u64; 0]);
    }
}

/// And begins with the newest.
pub async fn a_search_ends_at_its_limit(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "tea"), (2, "tea"), (3, "tea")]).await;
    assert_eq!(found(&store, ArchiveQuery { limit: 2, ..query("tea") }).await, [3, 2]);
    assert_eq!(found(&store, ArchiveQuery { limit: 2, ..query("") }).await, [3, 2]);
    assert_eq!(found(&store, ArchiveQuery { limit: 0, ..query("tea") }).await, [0u64; 0]);
}

/// Nothing is left out and nothing comes twice, also where many have the same time.
pub async fn pages_of_a_search_follow_each_other(store: Arc<dyn Storage>) {
    for (message, millis) in [(1, 10), (2, 20), (3, 20), (4, 20), (5, 30)] {
        assert!(ok(store.archive(ALICE, archived(message, millis, "sip:bob@example.com", "tea")).await));
    }
    for text in ["", "tea"] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = ok(store.search(ALICE, ArchiveQuery { limit: 2, after, ..query(text) }).await);
            let Some(last) = page.last() else { break };
            after = Some((last.at, last.message));
            seen.extend(page.iter().map(|entry| entry.message.0));
        }
        assert_eq!(seen, [5, 4, 3, 2, 1]);
    }
}

/// Also when both have the same handle of a message.
pub async fn archives_of_accounts_do_not_mix(store: Arc<dyn Storage>) {
    assert!(ok(store.archive(ALICE, archived(1, 1, "sip:bob@example.com", "tea")).await));
    assert!(ok(store.archive(BOB, archived(1, 1, "sip:alice@example.com", "tea and cake")).await));
    assert_eq!(found(&store, query("tea")).await.len(), 1);
    assert_eq!(found(&store, query("cake")).await, [0u64; 0]);
    assert_eq!(ok(store.purge(ALICE, at(100), None).await), 1);
    assert_eq!(ok(store.search(BOB, query("tea")).await).len(), 1);
}

/// Older than, not as old as.
pub async fn purging_removes_what_is_older(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(10, "tea"), (20, "tea"), (30, "tea")]).await;
    assert_eq!(ok(store.purge(ALICE, at(20), None).await), 1);
    assert_eq!(found(&store, query("")).await, [30, 20]);
    assert_eq!(ok(store.purge(ALICE, at(20), None).await), 0);
    assert_eq!(ok(store.purge(ALICE, Timestamp::from_millis(u64::MAX), None).await), 2);
}

/// In any spelling.
pub async fn purging_can_be_for_one_peer(store: Arc<dyn Storage>) {
    assert!(ok(store.archive(ALICE, archived(1, 1, "sip:bob@example.com", "tea")).await));
    assert!(ok(store.archive(ALICE, archived(2, 2, "sip:carol@example.com", "tea")).await));
    assert_eq!(ok(store.purge(ALICE, at(100), Some(address("bob@EXAMPLE.com"))).await), 1);
    assert_eq!(found(&store, query("")).await, [2]);
}

/// Neither by its words nor as one that is there already.
pub async fn a_purged_message_is_not_found(store: Arc<dyn Storage>) {
    archive_texts(&store, &[(1, "secret")]).await;
    assert_eq!(ok(store.purge(ALICE, at(100), None).await), 1);
    assert_eq!(found(&store, query("secret")).await, [0u64; 0]);
    archive_texts(&store, &[(1, "public")]).await;
    assert_eq!(found(&store, query("secret")).await, [0u64; 0]);
    assert_eq!(found(&store, query("public")).await, [1]);
}

/// However many steps a store takes for it.
pub async fn a_long_archive_is_purged_completely(store: Arc<dyn Storage>) {
    let added: Vec<_> =
        (0..3000).map(|n| store.archive(ALICE, archived(n, n, "sip:bob@example.com", "tea"))).collect();
    for added in added {
        assert!(ok(added.await));
    }
    assert_eq!(ok(store.purge(ALICE, at(2999), None).await), 2999);
    assert_eq!(found(&store, query("tea")).await, [2999]);
}
