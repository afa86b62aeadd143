//! Which addresses mail is sent to, and in which order a host's are tried. Not responsible for the order of
//! hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one host that are considered.
pub const MAX_ADDRESSES_PER_HOST: usize = 16;

/// Which address families are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Families {
    /// Both in turn, IPv6 first: when one family is broken on the way, the next address is of the other.
    #[default]
    Both,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
}

/// A host's addresses in the order in which they are tried (RFC 5321 §5.1: within a family as the answer has them).
#[must_use]
pub fn in_order(addresses: &[IpAddr], families: Families) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().copied().partition(IpAddr::is_ipv4);
    let mut ordered = match families {
        Families::Both => alternate(&v6, &v4),
        Families::Ipv4 => v4,
        Families::Ipv6 => v6,
    };
    ordered.truncate(MAX_ADDRESSES_PER_HOST);
    ordered
}

fn alternate(first: &[IpAddr], second: &[IpAddr]) -> Vec<IpAddr> {
    let longest = first.len().max(second.len());
    (0..longest).flat_map(|place| [first.get(place), second.get(place)]).flatten().copied().collect()
}

/// Whether mail may go to an address that a stranger's DNS record or an address literal names. Without
/// `allow_private`, only where the public Internet is: a domain's owner must not choose which of our own machines we
/// talk to.
#[must_use]
pub fn may_be_mailed_to(address: IpAddr, allow_private: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !is_never_v4(v4) && (allow_private || !is_private_v4(v4)),
        IpAddr::V6(v6) => {
            let inner = embedded_v4(v6);
            !v6.is_unspecified()
                && !v6.is_multicast()
                && inner.is_none_or(|v4| may_be_mailed_to(IpAddr::V4(v4), allow_private))
                && (allow_private || !is_private_v6(v6))
        }
    }
}

/// No host has such an address: this network (RFC 1122 §3.2.1.3), multicast, reserved, broadcast.
const fn is_never_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first == 0 || first >= 224
}

/// Loopback, RFC 1918, link-local, shared address space (RFC 6598).
const fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || (first == 100 && second >= 64 && second <= 127)
}

/// Loopback, unique local (RFC 4193), link-local.
const fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

/// The IPv4 address that a translator (RFC 6052 §2.1) or a 6to4 relay (RFC 3056) would send to.
const fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let (high, low) = match (a, b, c, d, e, f) {
        (0x64, 0xff9b, 0, 0, 0, 0) => (g, h),
        (0x2002, ..) => (b, c),
        _ => return None,
    };
    let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(one, two, three, four))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"].map(ip);
        let ordered = |families| {
            let ordered = in_order(&addresses, families);
            ordered
                .iter()
                .map(|address| addresses.iter().position(|known| known == address).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(ordered(Families::Both), [0, 3, 1, 4, 2]);
        assert_eq!(ordered(Families::Ipv4), [3, 4]);
        assert_eq!(ordered(Families::Ipv6), [0, 1, 2]);
    }

    #[test]
    fn a_host_with_hundreds_of_addresses_gets_as_many_tries_as_others() {
        let many: Vec<_> = (0..=255).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        assert_eq!(in_order(&many, Families::Both).len(), MAX_ADDRESSES_PER_HOST);
    }

    #[test]
    fn strangers_cannot_point_us_at_our_own_networks() {
        for private in [
            "127.0.0.1",
            "127.8.8.8",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::1",
            "2002:a00:1::",
        ] {
            assert!(!may_be_mailed_to(ip(private), false), "{private}");
            assert!(may_be_mailed_to(ip(private), true), "{private} where an operator allows it");
        }
        for never in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1", "64:ff9b::"] {
            assert!(!may_be_mailed_to(ip(never), true), "{never}");
        }
        for public in [
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(may_be_mailed_to(ip(public), false), "{public}");
        }
    }
}
