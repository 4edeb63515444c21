//! Contacts, groups, the outbox, settings and identities: what an account starts with.

use std::sync::Arc;

use attache_messenger::{
    id::{ContactId, GroupId},
    message::MessageState,
    profile::ContactDetails,
    storage::{Record, RecordKind, Storage, Write},
};

use super::sample::*;

/// [`Storage::load`] of an account that nobody has written to.
pub async fn a_new_account_has_nothing(store: Arc<dyn Storage>) {
    let restored = load(&store).await;
    assert!(restored.contacts.is_empty() && restored.groups.is_empty() && restored.outbox.is_empty());
    assert!(restored.settings.is_empty() && restored.seen.is_empty() && restored.records.is_empty());
    assert_eq!(restored.last_seq, 0);
}

/// Address in its spelling, name and groups.
pub async fn a_contact_comes_back_as_it_was(store: Arc<dyn Storage>) {
    let contact = contact(1 << 60, "Bób \"the\" builder", &[4, 9]);
    commit(&store, [put_group(&group(4, "a")), put_group(&group(9, "b")), put_contact(&contact)]).await;
    let restored = load(&store).await.contacts;
    assert_eq!(restored, core::slice::from_ref(&contact));
    assert_eq!(restored[0].address.as_str(), contact.address.as_str());
}

/// What the user noted of it, and that this is gone again.
pub async fn what_is_noted_of_a_contact_comes_back(store: Arc<dyn Storage>) {
    let mut noted = ContactDetails { email: Some("bób@example.com".into()), ..ContactDetails::default() };
    noted.phones.mobile = Some(address("tel:+12015550123"));
    let mut contact = contact(7, "Bob", &[]);
    contact.details = Some(Arc::new(noted));
    commit(&store, [put_contact(&contact)]).await;
    assert_eq!(load(&store).await.contacts, core::slice::from_ref(&contact));
    contact.details = None;
    commit(&store, [put_contact(&contact)]).await;
    assert_eq!(load(&store).await.contacts, [contact]);
}

/// Also when one is changed later, and whatever their handles are.
pub async fn contacts_keep_the_order_in_which_they_were_added(store: Arc<dyn Storage>) {
    let [first, second, third] = [contact(30, "c", &[]), contact(10, "a", &[]), contact(20, "b", &[])];
    commit(&store, [put_contact(&first), put_contact(&second)]).await;
    commit(&store, [put_contact(&third)]).await;
    let renamed = contact(30, "z", &[]);
    commit(&store, [put_contact(&renamed)]).await;
    assert_eq!(load(&store).await.contacts, [renamed, second, third]);
}

/// And one that is not there can be removed too.
pub async fn a_removed_contact_is_gone(store: Arc<dyn Storage>) {
    commit(&store, [put_contact(&contact(1, "a", &[4])), put_contact(&contact(2, "b", &[]))]).await;
    commit(&store, [Write::RemoveContact(ContactId(1)), Write::RemoveContact(ContactId(77))]).await;
    assert_eq!(load(&store).await.contacts, [contact(2, "b", &[])]);
}

/// Groups are changed in place.
pub async fn a_group_comes_back_with_its_last_name(store: Arc<dyn Storage>) {
    commit(&store, [put_group(&group(5, "Freunde")), put_group(&group(3, "Work"))]).await;
    commit(&store, [put_group(&group(5, "Friends"))]).await;
    assert_eq!(load(&store).await.groups, [group(5, "Friends"), group(3, "Work")]);
}

/// No contact refers to a group that is gone.
pub async fn a_removed_group_is_left_by_its_members(store: Arc<dyn Storage>) {
    commit(
        &store,
        [put_group(&group(1, "a")), put_group(&group(2, "b")), put_contact(&contact(5, "c", &[1, 2]))],
    )
    .await;
    commit(&store, [Write::RemoveGroup(GroupId(1))]).await;
    let restored = load(&store).await;
    assert_eq!(restored.groups, [group(2, "b")]);
    assert_eq!(restored.contacts, [contact(5, "c", &[2])]);
}

/// The order of acceptance, also when an attempt is counted.
pub async fn the_outbox_keeps_its_order(store: Arc<dyn Storage>) {
    commit(&store, [put_outbox(&outbox(8, 0)), put_outbox(&outbox(5, 0)), put_outbox(&outbox(6, 0))]).await;
    commit(&store, [put_outbox(&outbox(8, 3))]).await;
    let restored = load(&store).await.outbox;
    assert_eq!(restored.len(), 3);
    for (found, expected) in restored.iter().zip([outbox(8, 3), outbox(5, 0), outbox(6, 0)]) {
        same_outbox(found, &expected);
    }
}

/// [`Write::FinishOutbox`], also where it is not there.
pub async fn a_message_leaves_the_outbox(store: Arc<dyn Storage>) {
    commit(&store, [put_outbox(&outbox(1, 0)), put_outbox(&outbox(2, 0))]).await;
    commit(&store, [1, 99].map(|message| finish_outbox(message, &["sip:BOB@example.com"; 0]))).await;
    assert_eq!(load(&store).await.outbox.len(), 2);
    commit(&store, [1, 99].map(|message| finish_outbox(message, &["sip:bob@EXAMPLE.com"]))).await;
    let restored = load(&store).await.outbox;
    assert_eq!(restored.len(), 1);
    same_outbox(&restored[0], &outbox(2, 0));
}

/// With the last of its recipients, in whatever order and however often they are done with.
pub async fn a_message_to_several_people_leaves_with_the_last_of_them(store: Arc<dyn Storage>) {
    let people = ["sip:bob@example.com", "sip:carol@example.com", "sip:dave@example.com"];
    let mut entry = outbox(1, 0);
    entry.pending = people.iter().map(|person| address(person)).collect();
    commit(&store, [put_outbox(&entry)]).await;
    commit(&store, [finish_outbox(1, &people[1..2]), finish_outbox(1, &people[1..2])]).await;
    entry.pending.remove(1);
    same_outbox(&load(&store).await.outbox[0], &entry);
    commit(&store, [finish_outbox(1, &people[..2])]).await;
    assert_eq!(load(&store).await.outbox.len(), 1);
    commit(&store, [finish_outbox(1, &people)]).await;
    assert!(load(&store).await.outbox.is_empty());
}

/// [`Write::PutSetting`].
pub async fn the_last_value_of_a_setting_holds(store: Arc<dyn Storage>) {
    commit(&store, [Write::PutSetting("note", "old".into()), Write::PutSetting("show", "busy".into())]).await;
    commit(&store, [Write::PutSetting("note", String::new())]).await;
    let mut settings = load(&store).await.settings;
    settings.sort();
    assert_eq!(settings, [("note".into(), String::new()), ("show".into(), "busy".into())]);
}

/// [`Write::PutRecord`]: keys of one kind are not those of another, and the last value holds.
pub async fn records_of_every_kind_come_back_in_order(store: Arc<dyn Storage>) {
    let mut expected = Vec::new();
    for (number, kind) in RecordKind::ALL.into_iter().enumerate() {
        for key in ["b", "a \u{1f600}", ""] {
            expected.push(Record { kind, key: key.into(), value: format!("<x n='{number}'/>\n").into() });
        }
    }
    commit(&store, expected.iter().map(|record| put_record(record.kind, &record.key, "old"))).await;
    commit(&store, expected.iter().map(|record| put_record(record.kind, &record.key, &record.value))).await;
    expected.sort_by_key(|record| (record.kind.name(), record.key.clone()));
    assert_eq!(load(&store).await.records, expected);
}

/// And one that is not there can be forgotten too.
pub async fn a_forgotten_record_is_gone(store: Arc<dyn Storage>) {
    commit(&store, [put_record(RecordKind::Undo, "1", "x"), put_record(RecordKind::Rule, "1", "y")]).await;
    let forget = |key: &str| Write::PutRecord { kind: RecordKind::Undo, key: key.into(), value: None };
    commit(&store, [forget("1"), forget("2")]).await;
    let left = Record { kind: RecordKind::Rule, key: "1".into(), value: "y".into() };
    assert_eq!(load(&store).await.records, [left]);
}

/// A contact list of ten thousand entries is a megabyte.
pub async fn a_large_record_comes_back_whole(store: Arc<dyn Storage>) {
    let text = "<entry uri=\"sip:somebody@example.com\"/>".repeat(50_000);
    commit(&store, [put_record(RecordKind::Document, "resource-lists", &text)]).await;
    let records = load(&store).await.records;
    assert!(records.len() == 1 && *records[0].value == *text);
}

/// What is known of ten thousand people is kept in a few batches, and changed and forgotten one by one.
pub async fn records_of_many_people_come_back_as_they_were_last(store: Arc<dyn Storage>) {
    let key = |n: usize| format!("sip:person{n}@example.com");
    let text = |n: usize, words: &str| format!("{{\"at\":{n},\"says\":\"{words}\"}}");
    for first in (0..10_000).step_by(2_000) {
        let records = first..first + 2_000;
        commit(&store, records.map(|n| put_record(RecordKind::Presence, &key(n), &text(n, "here")))).await;
    }
    let forget = |n| Write::PutRecord { kind: RecordKind::Presence, key: key(n).into(), value: None };
    let changed =
        (0..10_000).step_by(100).map(|n| put_record(RecordKind::Presence, &key(n), &text(n, "away")));
    let gone = (1..10_000).step_by(100).map(forget);
    commit(&store, changed.chain(gone)).await;
    let kept = load(&store).await.records;
    assert_eq!(kept.len(), 9_900);
    let mut expected: Vec<Record> = (0..10_000)
        .filter(|n| n % 100 != 1)
        .map(|n| Record {
            kind: RecordKind::Presence,
            key: key(n).into(),
            value: text(n, if n % 100 == 0 { "away" } else { "here" }).into(),
        })
        .collect();
    expected.sort_by(|one, other| one.key.cmp(&other.key));
    assert!(kept == expected);
}

/// [`Write::PutSeen`].
pub async fn identities_of_messages_are_kept_for_ten_minutes(store: Arc<dyn Storage>) {
    commit(&store, [Write::PutSeen { key: [1; 16], at: at(0) }]).await;
    commit(&store, [Write::PutSeen { key: [2; 16], at: at(600_000) }]).await;
    let mut seen = load(&store).await.seen;
    seen.sort();
    assert_eq!(seen, [([1; 16], at(0)), ([2; 16], at(600_000))]);
}

/// Those of long ago are forgotten while new ones come.
pub async fn identities_of_messages_do_not_pile_up(store: Arc<dyn Storage>) {
    let days = 86_400_000;
    for round in 0..60 {
        let keys = (0..10).map(|n| [round, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let seen = keys.map(|key| Write::PutSeen { key, at: at(u64::from(round) * 12 * days) });
        commit(&store, seen).await;
    }
    let seen = load(&store).await.seen.len();
    assert!(seen <= 100, "{seen} identities of two years are kept");
}

/// One account never sees what belongs to another.
pub async fn accounts_do_not_mix(store: Arc<dyn Storage>) {
    let writes = [
        put_contact(&contact(1, "a", &[2])),
        put_group(&group(2, "g")),
        put_outbox(&outbox(3, 0)),
        append(4),
        Write::PutSetting("note", "x".into()),
        put_record(RecordKind::Undo, "1", "x"),
        Write::PutSeen { key: [5; 16], at: at(0) },
    ];
    ok(store.commit(BOB, batch(writes)).await);
    ok(store.set_cursor(BOB, "history", 4).await);
    a_new_account_has_nothing(Arc::clone(&store)).await;
    assert_eq!(ok(store.cursor(ALICE, "history").await), None);
    assert!(ok(store.read_journal(ALICE, 0, 10).await).is_empty());
    commit(&store, [Write::RemoveContact(ContactId(1)), Write::RemoveGroup(GroupId(2))]).await;
    assert_eq!(ok(store.trim_journal(ALICE, Vec::new()).await), 0);
    let restored = ok(store.load(BOB, &address("sip:bob@example.com")).await);
    assert_eq!(restored.contacts, [contact(1, "a", &[2])]);
    assert_eq!((restored.groups.len(), restored.outbox.len(), restored.last_seq), (1, 1, 4));
    assert_eq!(ok(store.cursor(BOB, "history").await), Some(4));
}

/// A write that fails takes those before and after it in its batch with it.
pub async fn a_batch_is_kept_together_or_not_at_all(store: Arc<dyn Storage>) {
    commit(&store, [append(5), put_contact(&contact(1, "a", &[]))]).await;
    let conflict = changed(5, MessageState::Sent);
    let writes = [
        put_contact(&contact(1, "changed", &[])),
        put_outbox(&outbox(2, 0)),
        append(6),
        Write::AppendJournal(conflict),
        put_group(&group(3, "g")),
    ];
    assert!(store.commit(ALICE, batch(writes)).await.is_err());
    let restored = load(&store).await;
    assert_eq!(restored.contacts, [contact(1, "a", &[])]);
    assert!(restored.outbox.is_empty() && restored.groups.is_empty());
    assert_eq!(restored.last_seq, 5);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 0, 10).await)), [5]);
}
