//! Which records count, and in which order.
//!
//! Plain functions over what was looked up: nothing here asks anybody.

use std::net::IpAddr;

use attache_sip::transport::Transport;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};

/// A way into a domain that its NAPTR records offer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Offer {
    pub(super) transport: Transport,
    /// Whether the name has SRV records; it has addresses otherwise.
    pub(super) is_srv: bool,
    pub(super) name: Name,
}

/// The offers that can be taken, the best first (RFC 3263 §4.1). Once a record can be used, those of a higher order do
/// not count; among equals, our own liking does.
pub(super) fn offers<'a>(
    records: impl IntoIterator<Item = &'a NAPTR>,
    usable: &[Transport],
    is_secure: bool,
) -> Vec<Offer> {
    let mut found: Vec<_> = records
        .into_iter()
        .filter_map(|record| {
            let transport = offered(&record.services)?;
            let liking = usable.iter().position(|one| *one == transport)?;
            let is_srv = match &*record.flags {
                b"s" | b"S" => true,
                b"a" | b"A" => false,
                _ => return None,
            };
            if (is_secure && !transport.is_secure()) || record.replacement.is_root() {
                return None;
            }
            let offer = Offer { transport, is_srv, name: record.replacement.clone() };
            Some(((record.order, record.preference, liking), offer))
        })
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    let best = found.first().map(|((order, ..), _)| *order);
    found.into_iter().filter(|((order, ..), _)| Some(*order) == best).map(|(_, offer)| offer).collect()
}

/// The services of RFC 3263 §4.1 and RFC 7118 §5.
fn offered(service: &[u8]) -> Option<Transport> {
    let known: [(&[u8], Transport); 5] = [
        (b"SIPS+D2T", Transport::Tls),
        (b"SIP+D2T", Transport::Tcp),
        (b"SIP+D2U", Transport::Udp),
        (b"SIPS+D2W", Transport::Wss),
        (b"SIP+D2W", Transport::Ws),
    ];
    known.iter().find(|(name, _)| name.eq_ignore_ascii_case(service)).map(|(_, transport)| *transport)
}

/// What goes before a domain to ask for its SRV records.
pub(super) fn srv_prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
        _ => "_sip._tcp",
    }
}

/// Servers in the order in which to try them (RFC 2782): by priority, and among equals at random by weight. `random`
/// gives a number from 0 up to and including its argument.
pub(super) fn order_servers(mut records: Vec<SRV>, mut random: impl FnMut(u64) -> u64) -> Vec<SRV> {
    // Those without weight come first in each group, so that they have their small chance.
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let group = || records.iter().take_while(|record| record.priority == priority);
        let drawn = random(group().map(|record| u64::from(record.weight)).sum());
        let mut sum = 0;
        let index = group().position(|record| {
            sum += u64::from(record.weight);
            sum >= drawn
        });
        ordered.push(records.remove(index.unwrap_or(0)));
    }
    ordered
}

/// One host's addresses in the order in which to try them: families in turn, the newer one first (RFC 7984, RFC 8305
/// §4); those that this machine has no way to come last.
pub(super) fn order_addresses(
    six: Vec<IpAddr>,
    four: Vec<IpAddr>,
    is_reachable: impl Fn(IpAddr) -> bool,
) -> Vec<IpAddr> {
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] {
            break;
        }
        ordered.extend(pair.into_iter().flatten());
    }
    ordered.sort_by_key(|address| !is_reachable(*address));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Transport; 5] =
        [Transport::Tls, Transport::Tcp, Transport::Udp, Transport::Wss, Transport::Ws];

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn naptr(order: u16, preference: u16, flags: &str, service: &str, to: &str) -> NAPTR {
        NAPTR::new(
            order,
            preference,
            flags.as_bytes().into(),
            service.as_bytes().into(),
            Box::default(),
            name(to),
        )
    }

    fn chosen(records: &[NAPTR], usable: &[Transport], is_secure: bool) -> Vec<String> {
        let offers = offers(records, usable, is_secure);
        offers.iter().map(|offer| format!("{} {}", offer.transport, offer.name)).collect()
    }

    #[test]
    fn naptr_records_are_taken_by_order_and_preference() {
        let records = [
            naptr(50, 90, "s", "SIP+D2T", "tcp."),
            naptr(50, 50, "S", "sips+d2t", "tls."),
            naptr(50, 100, "s", "SIP+D2U", "udp."),
            naptr(60, 10, "s", "SIP+D2W", "ws."),
        ];
        assert_eq!(chosen(&records, &ALL, false), ["tls tls.", "tcp tcp.", "udp udp."]);
        assert_eq!(chosen(&records, &ALL, true), ["tls tls."]);
        assert_eq!(chosen(&records, &[Transport::Ws], false), ["ws ws."]);
    }

    #[test]
    fn naptr_records_of_other_services_do_not_count() {
        let records = [
            naptr(1, 1, "u", "E2U+sip", "x."),
            naptr(1, 1, "s", "SIP+D2S", "sctp."),
            naptr(1, 1, "", "SIP+D2U", "elsewhere."),
            naptr(1, 1, "s", "SIP+D2U", "."),
            naptr(2, 1, "a", "SIPS+D2W", "host."),
        ];
        assert_eq!(chosen(&records, &ALL, false), ["wss host."]);
    }

    #[test]
    fn among_equal_naptr_records_our_own_order_decides() {
        let records = [naptr(1, 1, "s", "SIP+D2U", "udp."), naptr(1, 1, "s", "SIP+D2T", "tcp.")];
        assert_eq!(chosen(&records, &ALL, false), ["tcp tcp.", "udp udp."]);
        assert_eq!(chosen(&records, &[Transport::Udp, Transport::Tcp], false), ["udp udp.", "tcp tcp."]);
    }

    fn srv(priority: u16, weight: u16, to: &str) -> SRV {
        SRV::new(priority, weight, 5060, name(to))
    }

    fn served(records: Vec<SRV>, random: impl FnMut(u64) -> u64) -> Vec<String> {
        order_servers(records, random).iter().map(|record| record.target.to_string()).collect()
    }

    #[test]
    fn srv_records_are_taken_by_priority_and_then_by_weight() {
        let records =
            || vec![srv(2, 0, "last."), srv(1, 70, "big."), srv(1, 30, "small."), srv(1, 0, "none.")];
        assert_eq!(served(records(), |_| 0), ["none.", "big.", "small.", "last."]);
        assert_eq!(served(records(), |most| most), ["small.", "big.", "none.", "last."]);
        assert_eq!(served(records(), |most| most.min(1)), ["big.", "small.", "none.", "last."]);
    }

    #[test]
    fn srv_weights_are_chances() {
        let mut first_is_big = 0;
        for drawn in 0..=100 {
            let mut once = Some(drawn);
            let order = served(vec![srv(1, 75, "big."), srv(1, 25, "small.")], |_| once.take().unwrap_or(0));
            first_is_big += u32::from(order[0] == "big.");
        }
        assert_eq!(first_is_big, 76);
    }

    #[test]
    fn addresses_of_both_families_take_turns_and_those_without_a_way_come_last() {
        let six: Vec<IpAddr> = vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let four: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap()];
        let text = |found: Vec<IpAddr>| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(
            text(order_addresses(six.clone(), four.clone(), |_| true)),
            "2001:db8::1 192.0.2.1 2001:db8::2"
        );
        let no_six = order_addresses(six, four, |address| address.is_ipv4());
        assert_eq!(text(no_six), "192.0.2.1 2001:db8::1 2001:db8::2");
    }
}
