//! The client's side of a transaction (RFC 3261 §17.1, RFC 6026 §7.2).

use std::time::Instant;

use super::Timers;

/// What the machine wants done.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Send the request again.
    Retransmit,
    /// Tell the user that no final answer came; the transaction is over.
    TimedOut,
    /// Forget the transaction: the time for stray answers has passed.
    Terminate,
}

/// What becomes of an answer.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) struct Verdict {
    /// The user gets to see it.
    pub(crate) pass_up: bool,
    /// An ACK goes out: the answer is a final refusal of an INVITE (RFC 3261 §17.1.1.3).
    pub(crate) acknowledge: bool,
    /// The transaction is over at once.
    pub(crate) terminate: bool,
}

impl Verdict {
    const IGNORE: Self = Self { pass_up: false, acknowledge: false, terminate: false };
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum State {
    /// Calling (INVITE) or Trying (others): no answer yet.
    Waiting,
    /// A provisional answer came.
    Proceeding,
    /// A final answer came; repeats of it are absorbed.
    Completed,
    /// A 2xx to an INVITE came; repeats of it go up, because each wants an ACK (RFC 6026 §7.2).
    Accepted,
}

/// One client transaction without its bytes.
#[derive(Clone, Debug)]
pub(crate) struct ClientMachine {
    invite: bool,
    reliable: bool,
    state: State,
    interval: std::time::Duration,
    retransmit_at: Option<Instant>,
    ends_at: Option<Instant>,
}

impl ClientMachine {
    /// A transaction whose request leaves now: timers A and B, or E and F, begin.
    pub(crate) fn new(now: Instant, invite: bool, reliable: bool, timers: &Timers) -> Self {
        Self {
            invite,
            reliable,
            state: State::Waiting,
            interval: timers.t1,
            retransmit_at: (!reliable).then(|| now + timers.t1),
            ends_at: Some(now + timers.timeout()),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match (self.retransmit_at, self.ends_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether no final answer came yet.
    pub(crate) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Waiting | State::Proceeding)
    }

    /// Whether a provisional answer came and no final one.
    pub(crate) const fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    /// Gives the peer until `at` to answer: used after a CANCEL (RFC 3261 §9.1).
    pub(crate) fn limit(&mut self, at: Instant) {
        if self.is_pending() {
            self.ends_at = Some(self.ends_at.map_or(at, |ends| ends.min(at)));
        }
    }

    pub(crate) fn on_response(&mut self, now: Instant, status: u16, timers: &Timers) -> Verdict {
        let provisional = status < 200;
        match self.state {
            State::Waiting | State::Proceeding if provisional => {
                self.state = State::Proceeding;
                if self.invite {
                    // Neither A nor B runs on: a person may take long to answer a call.
                    self.retransmit_at = None;
                    self.ends_at = None;
                } else if self.retransmit_at.is_some() {
                    self.interval = timers.t2;
                }
                Verdict { pass_up: true, ..Verdict::IGNORE }
            }
            State::Waiting | State::Proceeding if self.invite && status < 300 => {
                self.state = State::Accepted;
                self.retransmit_at = None;
                self.ends_at = Some(now + timers.timeout());
                Verdict { pass_up: true, ..Verdict::IGNORE }
            }
            State::Waiting | State::Proceeding => {
                self.state = State::Completed;
                self.retransmit_at = None;
                // Timers D and K: on a reliable transport no answer comes twice.
                let linger = if self.invite { timers.timeout() } else { timers.t4 };
                self.ends_at = Some(now + linger);
                Verdict { pass_up: true, acknowledge: self.invite, terminate: self.reliable }
            }
            State::Completed => Verdict { acknowledge: self.invite && status >= 300, ..Verdict::IGNORE },
            State::Accepted => Verdict { pass_up: (200..300).contains(&status), ..Verdict::IGNORE },
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, timers: &Timers) -> Action {
        if self.ends_at.is_some_and(|at| at <= now) {
            self.ends_at = None;
            self.retransmit_at = None;
            return if self.is_pending() { Action::TimedOut } else { Action::Terminate };
        }
        if self.retransmit_at.is_some_and(|at| at <= now) {
            let doubled = self.interval.saturating_mul(2);
            // Timer A doubles without limit until B ends it; timer E stays at T2 once it is there.
            self.interval = if self.invite { doubled } else { doubled.min(timers.t2) };
            self.retransmit_at = Some(now + self.interval);
            return Action::Retransmit;
        }
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TIMERS: Timers =
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) };

    /// Lets a machine run without an answer; returns the milliseconds of its retransmissions and of its end.
    fn run(machine: &mut ClientMachine, start: Instant) -> (Vec<u128>, Option<(u128, Action)>) {
        let mut sent = Vec::new();
        while let Some(at) = machine.deadline() {
            let elapsed = (at - start).as_millis();
            match machine.on_timeout(at, &TIMERS) {
                Action::Retransmit => sent.push(elapsed),
                Action::None => {}
                end => return (sent, Some((elapsed, end))),
            }
        }
        (sent, None)
    }

    #[test]
    fn timers_e_and_f_of_a_request_without_answer() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, false, false, &TIMERS);
        let (sent, end) = run(&mut machine, start);
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(end, Some((32_000, Action::TimedOut)));
    }

    #[test]
    fn timers_a_and_b_of_an_invite_without_answer() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, true, false, &TIMERS);
        let (sent, end) = run(&mut machine, start);
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!(end, Some((32_000, Action::TimedOut)));
    }

    #[test]
    fn nothing_is_retransmitted_on_a_reliable_transport() {
        let start = Instant::now();
        for invite in [false, true] {
            let mut machine = ClientMachine::new(start, invite, true, &TIMERS);
            assert_eq!(run(&mut machine, start), (vec![], Some((32_000, Action::TimedOut))));
        }
    }

    #[test]
    fn a_provisional_answer_slows_timer_e_to_t2() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, false, false, &TIMERS);
        assert!(machine.on_response(start, 100, &TIMERS).pass_up);
        let (sent, _) = run(&mut machine, start);
        assert_eq!(sent[..3], [500, 4500, 8500]);
    }

    #[test]
    fn a_provisional_answer_ends_timers_a_and_b() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, true, false, &TIMERS);
        machine.on_response(start, 180, &TIMERS);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn timer_k_absorbs_repeats_of_a_final_answer() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, false, false, &TIMERS);
        assert_eq!(
            machine.on_response(start, 200, &TIMERS),
            Verdict { pass_up: true, acknowledge: false, terminate: false }
        );
        assert_eq!(machine.on_response(start, 200, &TIMERS), Verdict::IGNORE);
        assert_eq!(run(&mut machine, start), (vec![], Some((5_000, Action::Terminate))));
    }

    #[test]
    fn a_final_answer_ends_a_transaction_on_a_reliable_transport_at_once() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, false, true, &TIMERS);
        assert!(machine.on_response(start, 404, &TIMERS).terminate);
    }

    #[test]
    fn every_repeat_of_a_refused_invite_is_acknowledged_until_timer_d() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, true, false, &TIMERS);
        let first = machine.on_response(start, 486, &TIMERS);
        assert!(first.pass_up && first.acknowledge);
        let second = machine.on_response(start, 486, &TIMERS);
        assert!(!second.pass_up && second.acknowledge);
        assert_eq!(run(&mut machine, start), (vec![], Some((32_000, Action::Terminate))));
    }

    #[test]
    fn the_accepted_state_passes_every_2xx_up_until_timer_m() {
        let start = Instant::now();
        let mut machine = ClientMachine::new(start, true, false, &TIMERS);
        assert!(machine.on_response(start, 200, &TIMERS).pass_up);
        assert!(machine.on_response(start, 200, &TIMERS).pass_up, "RFC 6026 §7.2");
        assert_eq!(machine.on_response(start, 486, &TIMERS), Verdict::IGNORE);
        assert_eq!(run(&mut machine, start), (vec![], Some((32_000, Action::Terminate))));
    }
}
