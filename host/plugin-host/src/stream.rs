//! Must-deliver events of one account on their way to one plugin.
//!
//! The journal in the store is the truth, and the plugin's cursor says how much of it the plugin has handled. Live
//! events are a short cut: while the plugin keeps up, they come through the mailbox and the journal is never read.
//! After a start, a failure, or an overflow the stream *catches up*: it reads the journal after the cursor until
//! nothing is left, and only then takes live events again. What comes both ways is recognised by its number.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use attache_messenger::{event::Event, id::AccountId};

use crate::options::Supervision;

/// What to do with a live event.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Live {
    /// Hand it over now.
    Deliver,
    /// The plugin has handled it.
    Done,
    /// It will come from the journal.
    Later,
}

/// What to do after a failure.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It comes again.
    Again,
    /// It is given up.
    DeadLetter,
}

/// How an event failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The plugin answered `err`, and lives on.
    Refused,
    /// The instance is gone: it trapped, or used up what it may.
    Killed,
    /// The instance is gone, because a host call took too long: what it waited for may be better next time.
    TimedOut,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) account: AccountId,
    /// Every event up to here is handled.
    pub(crate) cursor: u64,
    /// The cursor that is on disk.
    pub(crate) written: u64,
    /// Every event up to here may have been handed over before.
    handed: u64,
    catching: Option<Catching>,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Catching {
    /// Not before.
    resume_at: Option<Instant>,
    /// Read, and not handed over yet.
    buffer: VecDeque<Event>,
    /// The journal must hold events up to here, because they were published.
    until: u64,
    /// Since when the journal does not hold what it must.
    lacking_since: Option<Instant>,
}

#[derive(Debug)]
struct Failing {
    seq: u64,
    kills: u32,
    failures: u32,
}

/// How long to wait for an event that was published and is not in the journal.
const PATIENCE: Duration = Duration::from_secs(10);

impl Stream {
    /// A stream that begins by catching up. `handed` is the position up to which events may have been handed over
    /// by an earlier process.
    pub(crate) fn new(account: AccountId, cursor: u64, written: u64, handed: u64) -> Self {
        let mut stream = Self { account, cursor, written, handed, catching: None, failing: None };
        stream.catch_up(0, None);
        stream
    }

    /// Reads the journal from the cursor on, at least up to `until`, and not before `resume_at`.
    /// One that is under way goes on: it does not wait any shorter because of this, nor forgets what it waits for.
    pub(crate) fn catch_up(&mut self, until: u64, resume_at: Option<Instant>) {
        let catching = self.catching.get_or_insert(Catching {
            resume_at: None,
            buffer: VecDeque::new(),
            until,
            lacking_since: None,
        });
        // Read again from the cursor: what was read may begin with an event that has failed, or was not handled.
        catching.buffer.clear();
        catching.until = catching.until.max(until);
        catching.resume_at = catching.resume_at.max(resume_at);
    }

    /// A live event came in.
    pub(crate) fn live(&mut self, seq: u64) -> Live {
        match &mut self.catching {
            _ if seq <= self.cursor => Live::Done,
            Some(catching) => {
                catching.until = catching.until.max(seq);
                Live::Later
            }
            None => Live::Deliver,
        }
    }

    /// Whether an event that is about to be handed over may have been handed over before.
    pub(crate) fn redelivered(&mut self, seq: u64) -> bool {
        let before = seq <= self.handed;
        self.handed = self.handed.max(seq);
        before
    }

    /// The plugin has handled an event.
    pub(crate) fn acknowledge(&mut self, seq: u64) {
        self.cursor = self.cursor.max(seq);
        self.failing = None;
    }

    /// The plugin has not handled an event. It comes again after a pause, unless it killed the plugin too often. What
    /// is refused comes again for ever: a plugin whose disk is full needs the message when there is room again.
    pub(crate) fn failed(&mut self, seq: u64, how: Failure, policy: &Supervision, now: Instant) -> Verdict {
        let mut failing = match self.failing.take() {
            Some(failing) if failing.seq == seq => failing,
            _ => Failing { seq, kills: 0, failures: 0 },
        };
        failing.failures = failing.failures.saturating_add(1);
        failing.kills += u32::from(how == Failure::Killed);
        if failing.kills >= policy.kills_per_event {
            self.acknowledge(seq);
            return Verdict::DeadLetter;
        }
        // After a kill the supervisor's pause is pause enough.
        let pause = policy.redelivery_pause * (1 << (failing.failures - 1).min(6));
        let resume_at = (how == Failure::Refused).then(|| now + pause);
        self.catch_up(seq, resume_at);
        self.failing = Some(failing);
        Verdict::Again
    }

    /// Where the journal is to be read after, if it is to be read now.
    pub(crate) fn wants_journal(&self, now: Instant) -> Option<u64> {
        let catching = self.catching.as_ref()?;
        let may = catching.buffer.is_empty() && catching.resume_at.is_none_or(|at| at <= now);
        may.then_some(self.cursor)
    }

    /// The journal was read. Answers false when events that were published are not in it, and given up.
    pub(crate) fn read(&mut self, events: impl Iterator<Item = Event>, now: Instant) -> bool {
        let cursor = self.cursor;
        let Some(catching) = &mut self.catching else { return true };
        catching.buffer.extend(events.filter(|event| event.seq > cursor));
        if !catching.buffer.is_empty() {
            catching.lacking_since = None;
            return true;
        }
        if cursor >= catching.until {
            self.catching = None;
            return true;
        }
        let since = *catching.lacking_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= PATIENCE {
            self.cursor = catching.until;
            self.catching = None;
            return false;
        }
        catching.resume_at = Some(now + Duration::from_millis(50));
        true
    }

    /// Reading the journal failed.
    pub(crate) fn read_failed(&mut self, now: Instant) {
        if let Some(catching) = &mut self.catching {
            catching.resume_at = Some(now + Duration::from_secs(1));
        }
    }

    /// The next event from the journal.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.catching.as_mut()?.buffer.pop_front()
    }

    /// When there is something to do without anything coming in.
    pub(crate) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let catching = self.catching.as_ref()?;
        Some(catching.resume_at.unwrap_or(now))
    }
}

#[cfg(test)]
mod tests {
    use attache_messenger::{
        address::Address,
        event::EventKind,
        id::{ConversationId, MessageId},
        message::MessageState,
        time::Timestamp,
    };

    use super::*;

    fn event(seq: u64) -> Event {
        let kind = EventKind::MessageStateChanged {
            message: MessageId(seq),
            conversation: ConversationId(1),
            recipient: Address::parse("sip:bob@example.com").unwrap(),
            state: MessageState::Sent,
        };
        Event { seq, at: Timestamp::default(), account: AccountId(1), kind }
    }

    fn caught_up(cursor: u64) -> (Stream, Instant) {
        let now = Instant::now();
        let mut stream = Stream::new(AccountId(1), cursor, cursor, cursor);
        assert!(stream.read([].into_iter(), now));
        (stream, now)
    }

    #[test]
    fn a_stream_begins_with_the_journal() {
        let now = Instant::now();
        let mut stream = Stream::new(AccountId(1), 5, 5, 7);
        assert_eq!(stream.wants_journal(now), Some(5));
        assert_eq!(stream.live(9), Live::Later);
        stream.read([event(6), event(8), event(9)].into_iter(), now);
        let handed: Vec<_> = core::iter::from_fn(|| {
            let event = stream.next()?;
            let redelivered = stream.redelivered(event.seq);
            stream.acknowledge(event.seq);
            Some((event.seq, redelivered))
        })
        .collect();
        assert_eq!(handed, [(6, true), (8, false), (9, false)]);
        stream.read([].into_iter(), now);
        assert_eq!(stream.live(9), Live::Done);
        assert_eq!(stream.live(10), Live::Deliver);
    }

    #[test]
    fn an_event_that_kills_twice_is_given_up() {
        let (mut stream, now) = caught_up(0);
        let policy = Supervision::default();
        assert_eq!(stream.failed(3, Failure::Killed, &policy, now), Verdict::Again);
        assert_eq!(stream.wants_journal(now), Some(0));
        assert_eq!(stream.failed(3, Failure::Killed, &policy, now), Verdict::DeadLetter);
        assert_eq!(stream.cursor, 3);
    }

    #[test]
    fn an_event_that_is_refused_comes_again_after_a_growing_pause() {
        let (mut stream, now) = caught_up(0);
        let policy = Supervision { redelivery_pause: Duration::from_secs(1), ..Supervision::default() };
        for pause in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
            assert_eq!(stream.failed(3, Failure::Refused, &policy, now), Verdict::Again);
            assert_eq!(stream.wakes_at(now), Some(now + Duration::from_secs(pause)));
            assert_eq!(stream.wants_journal(now), None);
        }
        assert_eq!(stream.cursor, 0);
    }

    #[test]
    fn an_event_that_takes_too_long_is_not_given_up() {
        let (mut stream, now) = caught_up(0);
        for _ in 0..20 {
            assert_eq!(stream.failed(3, Failure::TimedOut, &Supervision::default(), now), Verdict::Again);
        }
        assert_eq!(stream.cursor, 0);
    }

    #[test]
    fn an_overflow_does_not_shorten_the_pause_of_a_refused_event() {
        let (mut stream, now) = caught_up(0);
        stream.failed(3, Failure::Refused, &Supervision::default(), now);
        stream.catch_up(9, None);
        assert_eq!(stream.wants_journal(now), None);
        assert_eq!(stream.wakes_at(now), Some(now + Supervision::default().redelivery_pause));
    }

    #[test]
    fn an_overflow_does_not_lengthen_the_wait_for_what_the_journal_lacks() {
        let (mut stream, now) = caught_up(0);
        stream.catch_up(5, None);
        assert!(stream.read([].into_iter(), now));
        stream.catch_up(6, None);
        assert!(!stream.read([].into_iter(), now + PATIENCE));
    }

    #[test]
    fn what_follows_a_refused_event_waits_for_it() {
        let (mut stream, now) = caught_up(0);
        stream.failed(3, Failure::Refused, &Supervision::default(), now);
        assert_eq!(stream.live(4), Live::Later);
    }

    #[test]
    fn a_published_event_that_the_journal_lacks_is_waited_for_and_then_given_up() {
        let (mut stream, now) = caught_up(0);
        stream.catch_up(5, None);
        assert!(stream.read([].into_iter(), now));
        assert_eq!(stream.live(6), Live::Later);
        assert!(!stream.read([].into_iter(), now + PATIENCE));
        assert_eq!(stream.live(7), Live::Deliver);
    }
}
