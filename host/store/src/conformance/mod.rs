//! What every backend must do, as checks that any backend can run.
//!
//! Each rule is a function over a fresh store and panics when the store breaks it; [`RULES`] lists them all. They need
//! no runtime and no SQLite. What a restart or a crash must leave depends on how a backend is opened, so each backend
//! tests that itself. A backend in another crate writes in a file of its `tests` folder:
//!
//! ```
//! use std::sync::Arc;
//! use attache_store::MemoryStore;
//!
//! attache_store::conformance_tests!(|| Arc::new(MemoryStore::new()));
//! # fn main() {}
//! ```
//!
//! or, for all rules in one test:
//!
//! ```
//! use std::sync::Arc;
//! use attache_store::{MemoryStore, conformance};
//!
//! conformance::block_on(conformance::conformance(|| Arc::new(MemoryStore::new())));
//! ```

use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use std::{
    sync::Arc,
    task::Wake,
    thread::{self, Thread},
};

use attache_messenger::storage::{BoxFuture, Storage};

mod archive;
mod journal;
mod kv;
mod parallel;
mod roster;
mod sample;

pub use archive::*;
pub use journal::*;
pub use kv::*;
pub use parallel::*;
pub use roster::*;

/// One thing that must hold.
#[derive(Copy, Clone, Debug)]
pub struct Rule {
    /// What must hold, as the name of the function.
    pub name: &'static str,
    /// Panics when it does not hold for this fresh store.
    pub check: fn(Arc<dyn Storage>) -> BoxFuture<'static, ()>,
}

/// Calls a macro with the names of all rules.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_rule {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)*! { [$($arguments)*]
            a_new_account_has_nothing
            a_contact_comes_back_as_it_was
            what_is_noted_of_a_contact_comes_back
            contacts_keep_the_order_in_which_they_were_added
            a_removed_contact_is_gone
            a_group_comes_back_with_its_last_name
            a_removed_group_is_left_by_its_members
            the_outbox_keeps_its_order
            a_message_leaves_the_outbox
            a_message_to_several_people_leaves_with_the_last_of_them
            the_last_value_of_a_setting_holds
            records_of_every_kind_come_back_in_order
            a_forgotten_record_is_gone
            a_large_record_comes_back_whole
            records_of_many_people_come_back_as_they_were_last
            identities_of_messages_are_kept_for_ten_minutes
            identities_of_messages_do_not_pile_up
            accounts_do_not_mix
            a_batch_is_kept_together_or_not_at_all
            batches_are_applied_in_the_order_of_the_calls
            a_dropped_commit_has_all_of_its_effect_or_none
            callers_on_many_threads_are_all_served
            one_failure_does_not_spoil_its_neighbours
            events_come_oldest_first
            every_kind_of_event_comes_back_as_it_was
            the_highest_position_outlives_trimming
            the_same_event_again_changes_nothing
            two_events_cannot_share_a_position
            the_journal_begins_at_one
            a_new_plugin_has_no_cursor
            a_cursor_never_goes_back
            trimming_keeps_what_a_plugin_has_not_handled
            trimming_keeps_everything_for_a_plugin_without_a_cursor
            trimming_forgets_the_cursors_of_others
            trimming_for_no_plugin_forgets_everything
            a_long_journal_is_trimmed_completely
            an_archived_message_comes_back_as_it_was
            archiving_again_changes_nothing
            a_search_lists_the_newest_first
            all_words_must_occur
            case_and_accents_do_not_count
            a_star_matches_a_beginning
            nothing_else_has_a_meaning_in_a_search
            what_is_in_no_index_matches_nothing
            a_search_without_words_uses_the_other_fields
            a_peer_is_found_in_any_spelling
            since_is_inclusive_and_until_exclusive
            a_search_ends_at_its_limit
            pages_of_a_search_follow_each_other
            archives_of_accounts_do_not_mix
            purging_removes_what_is_older
            purging_can_be_for_one_peer
            a_purged_message_is_not_found
            a_long_archive_is_purged_completely
            a_line_of_a_transcript_is_found_until_its_time_is_over
            a_message_to_several_people_is_found_by_each_of_them
            every_field_of_a_query_narrows_it
            pages_follow_each_other_from_the_oldest_too
            a_value_comes_back_as_it_was
            a_deleted_value_is_gone
            keys_come_in_order
            buckets_do_not_mix
            a_quota_counts_keys_and_values
            what_is_replaced_or_deleted_frees_its_bytes
        }
    };
}

macro_rules! list {
    ([] $($name:ident)*) => {
        /// Every rule.
        pub const RULES: &[Rule] = &[$(Rule { name: stringify!($name), check: |store| Box::pin($name(store)) }),*];
    };
}
crate::__for_each_rule!([list]);

/// Runs every rule, each on a store of its own.
///
/// # Panics
/// When a rule does not hold.
pub async fn conformance<S: Storage>(make: impl Fn() -> Arc<S>) {
    for rule in RULES {
        (rule.check)(make()).await;
    }
}

/// Makes a `#[test]` of every rule; takes a closure that makes a fresh store as an `Arc`.
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr) => {
        $crate::__for_each_rule! { [$crate::__test_of_rule] $make }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __test_of_rule {
    // One token tree that holds the expression, as a macro cannot repeat two things at different depths.
    ([$($make:tt)*] $($name:ident)*) => {
        $crate::__test_of_rule! { @each ($($make)*) $($name)* }
    };
    (@each $make:tt $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let make = $make;
                $crate::conformance::block_on($crate::conformance::$name(make()));
            }
        )*
    };
}

/// Runs a future to its end on this thread. The futures of a store need no runtime, so neither do its tests.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
