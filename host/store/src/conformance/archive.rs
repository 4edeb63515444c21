//! The archive and its search.

use std::sync::Arc;

use attache_messenger::{
    id::{ConversationId, MessageId},
    message::{Content, Payload, Text},
    storage::{ArchiveEntry, ArchiveQuery, Direction, Order, Storage},
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

/// Found like what was archived, but for those who ask for that alone; and archiving it makes it that.
pub async fn a_line_of_a_transcript_is_found_until_its_time_is_over(store: Arc<dyn Storage>) {
    let line = |message: u64| archived(message, message, "sip:bob@example.com", "tea");
    commit(&store, [keep_line(line(10), 0), keep_line(line(20), 0), keep_line(line(10), 0)]).await;
    assert!(ok(store.archive(ALICE, archived(15, 15, "sip:bob@example.com", "tea")).await));
    assert_eq!(found(&store, query("tea")).await, [20, 15, 10]);
    let archived_only = || ArchiveQuery { archived_only: true, ..query("tea") };
    assert_eq!(found(&store, archived_only()).await, [15]);
    assert!(ok(store.archive(ALICE, line(20)).await), "it is new in the archive");
    assert!(!ok(store.archive(ALICE, line(20)).await));
    assert_eq!(found(&store, archived_only()).await, [20, 15]);
    commit(&store, [keep_line(line(30), 25)]).await;
    assert_eq!(found(&store, query("tea")).await, [30, 20, 15], "what was archived stays");
}

/// Whichever of them is asked for, in one order with the others.
pub async fn a_message_to_several_people_is_found_by_each_of_them(store: Arc<dyn Storage>) {
    let people = ["sip:carol@example.com", "sip:dave@example.com"];
    let mut several = archived(2, 2, "sip:bob@example.com", "tea for three");
    several.others = people.iter().map(|person| address(person)).collect();
    assert!(ok(store.archive(ALICE, several).await));
    for (message, person) in [(1, people[0]), (3, people[0]), (4, people[1])] {
        assert!(ok(store.archive(ALICE, archived(message, message, person, "tea")).await));
    }
    let with = |person: &str, order| ArchiveQuery { peer: Some(address(person)), order, ..query("tea") };
    assert_eq!(found(&store, with("carol@EXAMPLE.com", Order::NewestFirst)).await, [3, 2, 1]);
    assert_eq!(found(&store, with("carol@EXAMPLE.com", Order::OldestFirst)).await, [1, 2, 3]);
    assert_eq!(found(&store, with("sip:bob@example.com", Order::NewestFirst)).await, [2]);
    let two = ArchiveQuery { limit: 2, ..with("sip:carol@example.com", Order::NewestFirst) };
    assert_eq!(found(&store, two).await, [3, 2]);
    assert_eq!(ok(store.count(ALICE, with("sip:carol@example.com", Order::NewestFirst)).await), 3);
    assert_eq!(ok(store.purge(ALICE, at(100), Some(address("sip:bob@example.com"))).await), 1);
    assert_eq!(found(&store, with("sip:carol@example.com", Order::NewestFirst)).await, [3, 1]);
}

/// Each field narrows what is found, and all of them together.
pub async fn every_field_of_a_query_narrows_it(store: Arc<dyn Storage>) {
    let png = Content::Other { media_type: "image/png".into(), bytes: Payload::new(&b"\x89PNG"[..]) };
    let html = Content::Html { html: Text::new("<b>tea</b>"), plain: Text::new("tea") };
    for (message, conversation, direction, automatic, content) in [
        (1, 5, Direction::Incoming, false, Content::from("tea")),
        (2, 5, Direction::Outgoing, false, html.clone()),
        (3, 6, Direction::Incoming, true, Content::from("tea")),
        (4, 5, Direction::Incoming, false, png.clone()),
    ] {
        let conversation = ConversationId(conversation);
        let entry = archived(message, message, "sip:bob@example.com", "");
        let entry = ArchiveEntry { conversation, direction, automatic, content, ..entry };
        assert!(ok(store.archive(ALICE, entry).await));
    }
    let all = || query("");
    for (query, expected) in [
        (ArchiveQuery { conversation: Some(ConversationId(5)), ..all() }, vec![4, 2, 1]),
        (ArchiveQuery { direction: Some(Direction::Incoming), ..all() }, vec![4, 3, 1]),
        (ArchiveQuery { automatic: Some(true), ..all() }, vec![3]),
        (ArchiveQuery { automatic: Some(false), ..all() }, vec![4, 2, 1]),
        (ArchiveQuery { attachment: Some(true), ..all() }, vec![4]),
        (ArchiveQuery { attachment: Some(false), ..all() }, vec![3, 2, 1]),
        (ArchiveQuery { conversation: Some(ConversationId(5)), ..query("tea") }, vec![2, 1]),
        (
            ArchiveQuery {
                conversation: Some(ConversationId(5)),
                direction: Some(Direction::Incoming),
                automatic: Some(false),
                attachment: Some(false),
                peer: Some(address("sip:bob@example.com")),
                since: Some(at(0)),
                until: Some(at(5)),
                archived_only: true,
                ..query("tea")
            },
            vec![1],
        ),
        (ArchiveQuery { conversation: Some(ConversationId(7)), ..all() }, vec![]),
    ] {
        assert_eq!(ok(store.count(ALICE, query.clone()).await), expected.len() as u64, "{query:?}");
        assert_eq!(found(&store, query.clone()).await, expected, "{query:?}");
        let oldest: Vec<u64> = expected.into_iter().rev().collect();
        assert_eq!(found(&store, ArchiveQuery { order: Order::OldestFirst, ..query }).await, oldest);
    }
    let found = ok(store.search(ALICE, all()).await);
    assert_eq!((&found[0].content, &found[2].content), (&png, &html));
}

/// From the oldest to the newest as well.
pub async fn pages_follow_each_other_from_the_oldest_too(store: Arc<dyn Storage>) {
    for (message, millis) in [(1, 10), (2, 20), (3, 20), (4, 20), (5, 30)] {
        assert!(ok(store.archive(ALICE, archived(message, millis, "sip:bob@example.com", "tea")).await));
    }
    for peer in [None, Some(address("sip:bob@example.com"))] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let order = Order::OldestFirst;
            let query = ArchiveQuery { limit: 2, after, order, peer: peer.clone(), ..query("") };
            let page = ok(store.search(ALICE, query).await);
            let Some(last) = page.last() else { break };
            after = Some((last.at, last.message));
            seen.extend(page.iter().map(|entry| entry.message.0));
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }
}
