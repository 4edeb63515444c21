//! The journal and its cursors.

use core::time::Duration;
use std::sync::Arc;

use attache_messenger::{
    code::Code,
    error::{Error, Retry},
    message::{Author, MessageState, Origin},
    storage::{JournalEntry, JournalEvent, Storage, Write},
};

use super::sample::*;

/// After a position, and no more than asked for.
pub async fn events_come_oldest_first(store: Arc<dyn Storage>) {
    for seq in [1, 2, 5, 6, 9] {
        commit(&store, [append(seq)]).await;
    }
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 0, 100).await)), [1, 2, 5, 6, 9]);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 2, 2).await)), [5, 6]);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 3, 0).await)), [0u64; 0]);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 9, 100).await)), [0u64; 0]);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, u64::MAX, 100).await)), [0u64; 0]);
}

/// With every field.
pub async fn every_kind_of_event_comes_back_as_it_was(store: Arc<dyn Storage>) {
    let mut plain = outgoing(1);
    plain.author = Author::User;
    plain.origin = Origin::Person;
    plain.contact = None;
    let refused = Error::new(Code::Rejected, "the other side refused").because("603 Decline");
    let accepted = |seq, message| JournalEntry {
        seq,
        at: at(seq),
        event: JournalEvent::MessageAccepted(Arc::new(message)),
    };
    let events = [
        received(1),
        accepted(2, plain),
        accepted(3, outgoing(2)),
        changed(4, MessageState::Accepted),
        changed(5, MessageState::Sent),
        changed(6, MessageState::Delivered),
        changed(7, MessageState::Displayed),
        changed(8, MessageState::Failed(refused.clone())),
        changed(9, MessageState::Failed(refused.clone().retry(Retry::AfterChange))),
        changed(10, MessageState::Failed(refused.retry(Retry::After(Duration::from_secs(90))))),
    ];
    commit(&store, events.clone().map(Write::AppendJournal)).await;
    let restored = ok(store.read_journal(ALICE, 0, 100).await);
    assert_eq!(restored.len(), events.len());
    for (restored, event) in restored.iter().zip(&events) {
        same_event(restored, event);
    }
}

/// A position is never used twice, so the highest one is remembered.
pub async fn the_highest_position_outlives_trimming(store: Arc<dyn Storage>) {
    commit(&store, [append(3), append(7)]).await;
    assert_eq!(ok(store.trim_journal(ALICE, Vec::new()).await), 2);
    assert_eq!(load(&store).await.last_seq, 7);
}

/// As after a commit whose outcome got lost.
pub async fn the_same_event_again_changes_nothing(store: Arc<dyn Storage>) {
    commit(&store, [append(1)]).await;
    commit(&store, [append(1), append(2)]).await;
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 0, 100).await)), [1, 2]);
}

/// Neither may replace the other.
pub async fn two_events_cannot_share_a_position(store: Arc<dyn Storage>) {
    commit(&store, [append(1)]).await;
    let other = Write::AppendJournal(changed(1, MessageState::Sent));
    assert!(store.commit(ALICE, batch([other])).await.is_err());
    same_event(&ok(store.read_journal(ALICE, 0, 1).await)[0], &received(1));
}

/// Position 0 stands for "before the first", and an event there would never be read.
pub async fn the_journal_begins_at_one(store: Arc<dyn Storage>) {
    assert!(store.commit(ALICE, batch([append(0)])).await.is_err());
}

/// [`Storage::cursor`].
pub async fn a_new_plugin_has_no_cursor(store: Arc<dyn Storage>) {
    commit(&store, [append(1)]).await;
    assert_eq!(ok(store.cursor(ALICE, "history").await), None);
    ok(store.set_cursor(ALICE, "history", 0).await);
    assert_eq!(ok(store.cursor(ALICE, "history").await), Some(0));
    assert_eq!(ok(store.cursor(ALICE, "auto-reply").await), None);
}

/// [`Storage::set_cursor`].
pub async fn a_cursor_never_goes_back(store: Arc<dyn Storage>) {
    ok(store.set_cursor(ALICE, "history", 5).await);
    ok(store.set_cursor(ALICE, "history", 3).await);
    assert_eq!(ok(store.cursor(ALICE, "history").await), Some(5));
    ok(store.set_cursor(ALICE, "history", 8).await);
    assert_eq!(ok(store.cursor(ALICE, "history").await), Some(8));
}

/// The slowest plugin decides.
pub async fn trimming_keeps_what_a_plugin_has_not_handled(store: Arc<dyn Storage>) {
    commit(&store, (1..=6).map(append)).await;
    ok(store.set_cursor(ALICE, "fast", 5).await);
    ok(store.set_cursor(ALICE, "slow", 2).await);
    assert_eq!(ok(store.trim_journal(ALICE, vec!["fast".into(), "slow".into()]).await), 2);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 0, 100).await)), [3, 4, 5, 6]);
    assert_eq!(ok(store.trim_journal(ALICE, vec!["fast".into(), "slow".into()]).await), 0);
}

/// It has handled nothing yet.
pub async fn trimming_keeps_everything_for_a_plugin_without_a_cursor(store: Arc<dyn Storage>) {
    commit(&store, (1..=3).map(append)).await;
    ok(store.set_cursor(ALICE, "fast", 3).await);
    assert_eq!(ok(store.trim_journal(ALICE, vec!["fast".into(), "new".into()]).await), 0);
    assert_eq!(ok(store.read_journal(ALICE, 0, 100).await).len(), 3);
}

/// A plugin that was removed does not hold the journal, and begins anew when it comes back.
pub async fn trimming_forgets_the_cursors_of_others(store: Arc<dyn Storage>) {
    commit(&store, (1..=3).map(append)).await;
    ok(store.set_cursor(ALICE, "here", 2).await);
    ok(store.set_cursor(ALICE, "removed", 1).await);
    assert_eq!(ok(store.trim_journal(ALICE, vec!["here".into()]).await), 2);
    assert_eq!(ok(store.cursor(ALICE, "removed").await), None);
    assert_eq!(ok(store.cursor(ALICE, "here").await), Some(2));
}

/// Nobody waits for anything.
pub async fn trimming_for_no_plugin_forgets_everything(store: Arc<dyn Storage>) {
    commit(&store, (1..=3).map(append)).await;
    assert_eq!(ok(store.trim_journal(ALICE, Vec::new()).await), 3);
    assert!(ok(store.read_journal(ALICE, 0, 100).await).is_empty());
}

/// However many steps a store takes for it.
pub async fn a_long_journal_is_trimmed_completely(store: Arc<dyn Storage>) {
    commit(&store, (1..=3000).map(append)).await;
    ok(store.set_cursor(ALICE, "history", 2999).await);
    assert_eq!(ok(store.trim_journal(ALICE, vec!["history".into()]).await), 2999);
    assert_eq!(seqs(&ok(store.read_journal(ALICE, 0, 100).await)), [3000]);
}
