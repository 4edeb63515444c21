//! Counters of one instance, written by its task and by whoever publishes, read by whoever asks for the status.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::status::Counters;

macro_rules! meters {
    ($($name:ident),*) => {
        /// See [`Counters`] for what each means.
        #[derive(Debug, Default)]
        pub(crate) struct Meters {
            $(pub(crate) $name: Meter,)*
            pub(crate) cpu_nanos: Meter,
        }

        impl Meters {
            pub(crate) fn read(&self) -> Counters {
                Counters {
                    $($name: self.$name.get(),)*
                    cpu: Duration::from_nanos(self.cpu_nanos.get()),
                }
            }
        }
    };
}

meters!(
    delivered,
    redelivered,
    coalesced,
    dropped,
    deferred,
    dead_letters,
    traps,
    restarts,
    denials,
    messages_sent,
    messages_refused,
    log_lines_dropped,
    memory
);

/// One number. Relaxed, because nothing else is ordered by it.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
