//! The server's side of a transaction (RFC 3261 §17.2, RFC 6026 §7.1, RFC 4320).

use std::time::{Duration, Instant};

use super::Timers;

/// What the machine wants done.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Send the last answer again.
    Retransmit,
    /// Answer 100: the user has not answered yet, and the client should stop asking.
    Trying,
    /// Nobody acknowledged the refusal of an INVITE (timer H); the transaction is over.
    Unacknowledged,
    /// Forget the transaction.
    Terminate,
}

/// An INVITE may take a person's time: silence of this length is filled with a 100 (RFC 3261 §17.2.1).
const TRYING_AFTER: Duration = Duration::from_millis(200);

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum State {
    /// No final answer yet; `answered` once a provisional one was sent.
    Proceeding { answered: bool },
    /// A final answer was sent (INVITE: a refusal).
    Completed,
    /// A refusal was acknowledged.
    Confirmed,
    /// An INVITE was accepted; the user repeats its 2xx until the ACK comes (RFC 6026 §7.1).
    Accepted,
}

/// One server transaction without its bytes.
#[derive(Clone, Debug)]
pub(crate) struct ServerMachine {
    invite: bool,
    reliable: bool,
    state: State,
    interval: Duration,
    act_at: Option<Instant>,
    ends_at: Option<Instant>,
}

impl ServerMachine {
    /// A transaction whose request came now.
    pub(crate) fn new(now: Instant, invite: bool, reliable: bool, timers: &Timers) -> Self {
        // RFC 4320 §4.1: a 100 to anything but INVITE makes sense only where the client retransmits, and only once its
        // timer E has reached T2.
        let mut reaches_t2 = timers.t1;
        let mut step = timers.t1;
        while !step.is_zero() && step.saturating_mul(2) < timers.t2 {
            step = step.saturating_mul(2);
            reaches_t2 = reaches_t2.saturating_add(step);
        }
        let act_at = match (invite, reliable) {
            (true, _) => Some(now + TRYING_AFTER),
            (false, false) => Some(now + reaches_t2),
            (false, true) => None,
        };
        Self {
            invite,
            reliable,
            state: State::Proceeding { answered: false },
            interval: timers.t1,
            act_at,
            // The client of any other method has given up by then, so an answer would reach nobody.
            ends_at: (!invite).then(|| now + timers.timeout()),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.act_at, self.ends_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether the user still owes a final answer.
    pub(crate) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(crate) const fn is_accepted(&self) -> bool {
        matches!(self.state, State::Accepted)
    }

    /// Whether a repeat of the request is answered with the last answer.
    pub(crate) const fn repeats_answer(&self) -> bool {
        matches!(self.state, State::Proceeding { answered: true } | State::Completed)
    }

    /// Whether an answer of this status may leave in this state.
    pub(crate) fn admits(&self, status: u16) -> bool {
        match self.state {
            // RFC 4320 §4.1 and §4.2: no provisional answer but 100, and no 408, to anything but INVITE.
            State::Proceeding { .. } if !self.invite => status == 100 || (status >= 200 && status != 408),
            State::Proceeding { .. } => true,
            State::Accepted => (200..300).contains(&status),
            State::Completed | State::Confirmed => false,
        }
    }

    /// An admitted answer leaves now.
    pub(crate) fn on_respond(&mut self, now: Instant, status: u16, timers: &Timers) {
        if self.state == State::Accepted {
            return;
        }
        self.act_at = None;
        if status < 200 {
            self.state = State::Proceeding { answered: true };
        } else if !self.invite {
            self.state = State::Completed;
            self.ends_at = Some(now + timers.timeout());
        } else if status < 300 {
            self.state = State::Accepted;
            self.ends_at = Some(now + timers.timeout());
        } else {
            self.state = State::Completed;
            self.act_at = (!self.reliable).then(|| now + timers.t1);
            self.ends_at = Some(now + timers.timeout());
        }
    }

    /// An ACK with this transaction's branch came. Returns whether the transaction is over at once.
    pub(crate) fn on_ack(&mut self, now: Instant, timers: &Timers) -> bool {
        if self.state != State::Completed {
            return false;
        }
        self.state = State::Confirmed;
        self.act_at = None;
        self.ends_at = Some(now + timers.t4);
        self.reliable
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, timers: &Timers) -> Action {
        if self.ends_at.is_some_and(|at| at <= now) {
            self.ends_at = None;
            self.act_at = None;
            return match self.state {
                State::Completed if self.invite => Action::Unacknowledged,
                _ => Action::Terminate,
            };
        }
        if self.act_at.is_some_and(|at| at <= now) {
            self.act_at = None;
            return match self.state {
                State::Proceeding { answered: false } => Action::Trying,
                State::Completed if self.invite => {
                    self.interval = self.interval.saturating_mul(2).min(timers.t2);
                    self.act_at = Some(now + self.interval);
                    Action::Retransmit
                }
                _ => Action::None,
            };
        }
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: Timers =
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };

    fn run(machine: &mut ServerMachine, start: Instant) -> Vec<(u128, Action)> {
        let mut seen = Vec::new();
        while let Some(at) = machine.deadline() {
            seen.push(((at - start).as_millis(), machine.on_timeout(at, &TIMERS)));
        }
        seen
    }

    #[test]
    fn timers_g_and_h_of_a_refusal_nobody_acknowledges() {
        let start = Instant::now();
        let mut machine = ServerMachine::new(start, true, false, &TIMERS);
        machine.on_respond(start, 486, &TIMERS);
        let seen = run(&mut machine, start);
        let times: Vec<u128> = seen.iter().map(|(at, _)| *at).collect();
        assert_eq!(times[..5], [500, 1500, 3500, 7500, 11500]);
        assert_eq!(seen.last(), Some(&(32_000, Action::Unacknowledged)));
    }

    #[test]
    fn timer_i_absorbs_repeats_of_the_ack() {
        let start = Instant::now();
        let mut machine = ServerMachine::new(start, true, false, &TIMERS);
        machine.on_respond(start, 486, &TIMERS);
        assert!(!machine.on_ack(start, &TIMERS));
        assert_eq!(run(&mut machine, start), [(5_000, Action::Terminate)]);
    }

    #[test]
    fn an_ack_on_a_reliable_transport_ends_the_transaction() {
        let start = Instant::now();
        let mut machine = ServerMachine::new(start, true, true, &TIMERS);
        machine.on_respond(start, 486, &TIMERS);
        assert!(machine.on_ack(start, &TIMERS));
    }

    #[test]
    fn timer_j_keeps_the_answer_for_repeats() {
        let start = Instant::now();
        let mut machine = ServerMachine::new(start, false, false, &TIMERS);
        machine.on_respond(start, 200, &TIMERS);
        assert!(machine.repeats_answer());
        assert_eq!(run(&mut machine, start), [(32_000, Action::Terminate)]);
    }

    #[test]
    fn the_accepted_state_admits_repeats_of_the_2xx_until_timer_l() {
        let start = Instant::now();
        let mut machine = ServerMachine::new(start, true, false, &TIMERS);
        machine.on_respond(start, 200, &TIMERS);
        assert!(machine.admits(200) && !machine.admits(486));
        assert!(!machine.repeats_answer(), "repeats of the INVITE are absorbed (RFC 6026 §7.1)");
        assert_eq!(run(&mut machine, start), [(32_000, Action::Terminate)]);
    }

    #[test]
    fn an_unanswered_invite_is_told_100_after_200_milliseconds() {
        let start = Instant::now();
        let mut machine = ServerMachine::new(start, true, true, &TIMERS);
        assert_eq!(run(&mut machine, start), [(200, Action::Trying)]);
    }

    #[test]
    fn other_requests_get_a_late_100_on_datagrams_only_and_never_a_408() {
        let start = Instant::now();
        let mut datagram = ServerMachine::new(start, false, false, &TIMERS);
        assert!(datagram.admits(100) && !datagram.admits(180) && !datagram.admits(408), "RFC 4320");
        assert_eq!(run(&mut datagram, start), [(3_500, Action::Trying), (32_000, Action::Terminate)]);
        let mut stream = ServerMachine::new(start, false, true, &TIMERS);
        assert_eq!(run(&mut stream, start), [(32_000, Action::Terminate)]);
    }
}
