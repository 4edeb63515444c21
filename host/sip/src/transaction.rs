//! Transactions: a request, its retransmissions, and the answers to it (RFC 3261 §17, RFC 6026).
//!
//! The four state machines live in `client` and `server` and are pure: they are told what happened and say what to
//! do. [`Endpoint`](crate::endpoint::Endpoint) owns the tables, the timers and the bytes.
//!
//! Two decisions keep a busy node small. A client transaction is found by the random number that its branch
//! parameter is made of, not by a string. A server transaction is found by a keyed hash of what RFC 3261 §17.2.3 compares, and once a
//! non-INVITE request is answered nothing but that key and a way to say the answer again is kept for timer J.

pub(crate) mod client;
pub(crate) mod queue;
pub(crate) mod server;

use std::fmt;
use std::time::Duration;

/// The base values that all timers of transactions are made of (RFC 3261 §17.1.1.1, appendix A).
///
/// They belong to a node, not to a message: change them only for a network whose round trip is known.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Timers {
    /// Estimate of the round trip time, and first interval of retransmissions. 500 ms by default.
    pub t1: Duration,
    /// Longest interval between retransmissions of non-INVITE requests and of INVITE answers. 4 s by default.
    pub t2: Duration,
    /// How long a message can stay in the network. 5 s by default.
    pub t4: Duration,
}

impl Timers {
    /// The time after which a request without answer is given up, 64 × T1: timers B, F, H, J, L, M and N.
    ///
    /// Timer D has the same length here, which the RFC's "at least 32 seconds" becomes with the default T1.
    pub fn timeout(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// Names a client transaction of one [`Endpoint`](crate::endpoint::Endpoint).
///
/// It is the random part of the branch parameter, so it can be found in a trace.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct TransactionId(pub(crate) u64);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({:016x})", self.0)
    }
}

/// Names a server transaction of one [`Endpoint`](crate::endpoint::Endpoint).
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ServerTransactionId(pub(crate) u128);

impl fmt::Debug for ServerTransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTransactionId({:032x})", self.0)
    }
}

/// Begins every branch parameter of RFC 3261 (§8.1.1.7).
pub(crate) const MAGIC_COOKIE: &str = "z9hG4bK";

/// The branch parameter of a client transaction.
pub(crate) fn branch(id: TransactionId, mark: Option<u64>) -> String {
    match mark {
        Some(mark) => format!("{MAGIC_COOKIE}{:016x}.{mark:016x}", id.0),
        None => format!("{MAGIC_COOKIE}{:016x}", id.0),
    }
}

/// The [`mark`](crate::endpoint::Request::mark) in a branch parameter, if it has one as we write them.
pub fn branch_mark(branch: &str) -> Option<u64> {
    let token = branch.as_bytes().strip_prefix(MAGIC_COOKIE.as_bytes())?;
    let (id, mark) = token.split_at_checked(16)?;
    parse_hex(id)?;
    parse_hex(mark.strip_prefix(b".")?)
}

/// The client transaction that a branch parameter names, if it is one of ours.
pub(crate) fn parse_branch(branch: &[u8]) -> Option<TransactionId> {
    let token = branch.strip_prefix(MAGIC_COOKIE.as_bytes())?;
    let id = match token.split_at_checked(16) {
        Some((id, mark)) if mark.strip_prefix(b".").and_then(parse_hex).is_some() => id,
        _ => token,
    };
    parse_hex(id).map(TransactionId)
}

/// Reads exactly sixteen lower-case hexadecimal digits.
pub(crate) fn parse_hex(token: &[u8]) -> Option<u64> {
    if token.len() != 16 {
        return None;
    }
    token.iter().try_fold(0_u64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_leads_back_to_its_transaction() {
        let id = TransactionId(0x0123_4567_89ab_cdef);
        assert_eq!(branch(id, None), "z9hG4bK0123456789abcdef");
        assert_eq!(parse_branch(branch(id, None).as_bytes()), Some(id));
        let marked = branch(id, Some(7));
        assert_eq!((parse_branch(marked.as_bytes()), branch_mark(&marked)), (Some(id), Some(7)));
        assert_eq!(branch_mark(&branch(id, None)), None);
    }

    #[test]
    fn a_foreign_branch_is_nobodys() {
        for foreign in [
            "",
            "z9hG4bK",
            "z9hG4bK0123456789ABCDEF",
            "z9hG4bK0123456789abcdef0",
            "z9hG4bK0123456789abcdef.1",
            "1234",
        ] {
            assert_eq!(parse_branch(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn the_timeout_is_sixty_four_round_trips() {
        assert_eq!(Timers::default().timeout(), Duration::from_secs(32));
    }
}
