//! What holds for every message, and every noise.

#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use attache_msrp::{Limits, SessionParams};
use common::raw::{Raw, STREAM, chunk};
use common::{Pair, octets, text};
use proptest::prelude::*;

/// Ranges that together are all octets of a message, in any order, some of them more than once.
fn covers(total: usize) -> impl Strategy<Value = Vec<(usize, usize)>> {
    let cuts = prop::collection::vec(0..=total, 0..12);
    let extra = prop::collection::vec((0..=total, 0..=total), 0..6);
    (cuts, extra)
        .prop_map(move |(mut cuts, extra)| {
            cuts.extend([0, total]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|pair| (pair[0], pair[1]));
            parts.chain(extra.into_iter().map(|(a, b)| (a.min(b), a.max(b)))).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn however_a_message_is_cut_it_is_the_same(
        parts in covers(300),
        knows_total in any::<bool>(),
        cut in 1_usize..400,
    ) {
        let whole: String = (0..300).map(|at| char::from(b'a' + (at * 7 % 26) as u8)).collect();
        let mut raw = Raw::new(Limits::default());
        let (_, own) = raw.session(SessionParams::default());
        let mut wire = String::new();
        let last = parts.iter().rposition(|(_, end)| *end == whole.len()).unwrap();
        for (number, (from, until)) in parts.iter().enumerate() {
            let total = if knows_total { "300" } else { "*" };
            let headers = format!("Message-ID: one\r\nByte-Range: {}-{until}/{total}\r\n", from + 1);
            // The end of the message is known from one chunk that has it.
            let flag = if number == last { '$' } else { '+' };
            wire.push_str(&chunk(&own, &format!("t{number:03}"), &headers, &whole[*from..*until], flag));
        }
        for bytes in wire.as_bytes().chunks(cut) {
            raw.bytes(bytes);
        }
        let got = raw.messages();
        prop_assert_eq!(got.len(), 1);
        prop_assert_eq!(&got[0][..], whole.as_bytes());
    }

    #[test]
    fn noise_breaks_nothing_and_holds_little(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..8),
        piece in 1_usize..200,
    ) {
        let limits = Limits { memory: 4096, message: 3000, ..Limits::default() };
        let mut raw = Raw::new(limits);
        let (_, own) = raw.session(SessionParams::default());
        let mut wire = Vec::new();
        for number in 0..6 {
            let headers = format!("Message-ID: {}\r\nByte-Range: 1-900/1800\r\n", number / 2);
            wire.extend(chunk(&own, &format!("t{number:03}"), &headers, &"x".repeat(900), '+').into_bytes());
        }
        for (at, byte, how) in cuts {
            let at = at.index(wire.len());
            match how {
                0 => wire[at] = byte,
                1 => drop(wire.remove(at)),
                2 => wire.insert(at, byte),
                _ => wire.truncate(at.max(1)),
            }
        }
        for bytes in wire.chunks(piece) {
            raw.bytes(bytes);
            prop_assert!(raw.node.memory() <= 4096);
        }
        raw.wait(std::time::Duration::from_secs(1000));
        prop_assert_eq!(raw.node.memory(), 0);
        raw.input(attache_msrp::StreamInput::Closed { stream: STREAM, reason: String::new() });
        prop_assert_eq!(raw.node.session_count(), 0);
    }

    #[test]
    fn messages_of_every_size_arrive_once_over_any_network(
        sizes in prop::collection::vec(0_usize..9000, 1..8),
        piece in 1_usize..3000,
        chunk in 1_usize..3000,
        window in 1_usize..20_000,
    ) {
        let limits = Limits { chunk: chunk.max(64), window, ..Limits::default() };
        let mut pair = Pair::with(limits, SessionParams::default());
        pair.net.set_piece(piece);
        pair.net.set_latency(std::time::Duration::from_millis(1));
        for (number, size) in sizes.iter().enumerate() {
            pair.send(text(octets(number as u64, *size)));
        }
        let mut got: Vec<_> = pair.deliver().into_iter().map(|message| message.body).collect();
        let mut sent: Vec<_> =
            sizes.iter().enumerate().map(|(number, size)| octets(number as u64, *size)).collect();
        got.sort_unstable();
        sent.sort_unstable();
        prop_assert_eq!(got, sent);
        prop_assert_eq!((pair.memory("alice"), pair.memory("bob")), (0, 0));
    }
}
