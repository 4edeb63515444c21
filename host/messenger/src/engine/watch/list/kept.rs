//! A list's members over a restart of the process.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Level, ListState, MAX_LISTS};
use crate::{
    address::Address,
    engine::keep::{LevelRecord, ListRecord},
};

impl ListState {
    /// What is known of the list, to be kept with the tag of its state.
    pub(in crate::engine) fn record(&self) -> ListRecord {
        let lists = self.lists.iter().map(|(uri, level)| {
            let mut members: Vec<String> =
                level.members.iter().map(|address| address.as_str().to_owned()).collect();
            members.sort_unstable();
            let mut children: Vec<String> = level.children.iter().cloned().collect();
            children.sort_unstable();
            (uri.clone(), LevelRecord { members, children })
        });
        ListRecord { root: self.root.clone(), lists: lists.collect() }
    }

    /// A list as it was kept, in no dialog yet.
    pub(in crate::engine) fn restored(record: ListRecord, limit: usize) -> Self {
        let lists = record.lists.into_iter().take(MAX_LISTS).map(|(uri, level)| {
            let members = level.members.iter().filter_map(|address| Address::parse(address).ok());
            let members = members.take(limit).collect();
            (uri, Level { members, children: level.children.into_iter().collect(), ..Level::default() })
        });
        Self { lists: lists.collect(), root: record.root, complete: false, limit }
    }

    /// The same for the same members, whatever the order in which they came.
    pub(in crate::engine) fn fingerprint(&self) -> u64 {
        let of = |parts: [&str; 3]| {
            let mut hasher = DefaultHasher::new();
            parts.hash(&mut hasher);
            hasher.finish()
        };
        let mut sum = of([self.root.as_deref().unwrap_or_default(), "", ""]);
        for (uri, level) in &self.lists {
            sum = sum.wrapping_add(of([uri, "list", ""]));
            for member in &level.members {
                sum = sum.wrapping_add(of([uri, "member", member.as_str()]));
            }
            for child in &level.children {
                sum = sum.wrapping_add(of([uri, "child", child]));
            }
        }
        sum
    }
}
