//! The second stage: which names a client may go by in HELO, EHLO and LHLO. Not responsible for what a name looks like,
//! which is the engine's.
//!
//! RFC 5321 §4.1.4 forbids to refuse a client because its name is not that of its address, and nothing here looks that
//! up. A stranger that goes by our own name is another matter: it cannot be ours, and is nearly always sent by a program
//! that says whatever it connected to.

use std::net::IpAddr;

use mailtier_config::{HeloOwnName, ListenerProtocol};
use mailtier_types::{Domain, reply};

use super::Refusal;

/// What is known of a client that says its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// As it was said: a host name or an address literal.
    pub(crate) name: &'a str,
    /// This host's name.
    pub(crate) hostname: &'a str,
    /// The address the client connected to, as it sees it.
    pub(crate) server: Option<IpAddr>,
    /// What is done about our own name.
    pub(crate) own_name: HeloOwnName,
    pub(crate) protocol: ListenerProtocol,
    /// It is of a network of ours, or has logged in.
    pub(crate) is_of_ours: bool,
    /// It may still log in: users' programs say all kinds of names before that.
    pub(crate) may_log_in: bool,
}

/// What becomes of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is taken.
    Take,
    /// It is taken, and decided about again with MAIL, if nobody has logged in by then.
    TakeForNow,
}

/// Whether a client may go by a name.
///
/// # Errors
/// It may not.
pub(crate) fn decide(facts: &Facts<'_>) -> Result<Admission, Refusal> {
    // LMTP is spoken between neighbours, often of one name (RFC 2033).
    let is_exempt = facts.is_of_ours || facts.protocol == ListenerProtocol::Lmtp;
    if facts.own_name == HeloOwnName::Accept || is_exempt || !is_own(facts) {
        return Ok(Admission::Take);
    }
    match facts.may_log_in {
        true => Ok(Admission::TakeForNow),
        false => Err(Refusal::new(reply::OWN_NAME, "own_name")),
    }
}

/// Whether the name is ours, with or without a dot at its end, or an address of ours, with or without its brackets.
fn is_own(facts: &Facts<'_>) -> bool {
    let name = facts.name.strip_suffix('.').unwrap_or(facts.name);
    let is_ours = |name: &str| name.eq_ignore_ascii_case(facts.hostname);
    let is_ours_in_ascii = || !name.is_ascii() && Domain::parse(name).is_ok_and(|domain| is_ours(domain.as_str()));
    is_ours(name)
        || is_ours_in_ascii()
        || facts.server.is_some_and(|server| address(name) == Some(server.to_canonical()))
}

/// The address that a name is (RFC 5321 §4.1.3).
fn address(name: &str) -> Option<IpAddr> {
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let has_tag = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let text = if has_tag { inner.get(5..).unwrap_or_default() } else { inner };
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger<'a>(name: &'a str, server: &str) -> Facts<'a> {
        Facts {
            name,
            hostname: "mx.example.org",
            server: Some(server.parse().unwrap()),
            own_name: HeloOwnName::Refuse,
            protocol: ListenerProtocol::Smtp,
            is_of_ours: false,
            may_log_in: false,
        }
    }

    #[test]
    fn what_names_are_ours() {
        for (name, server, is_ours) in [
            ("mx.example.org", "192.0.2.1", true),
            ("MX.Example.ORG.", "192.0.2.1", true),
            ("[192.0.2.1]", "192.0.2.1", true),
            ("[192.0.2.1]", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("[IPv6:2001:DB8::1]", "2001:db8::1", true),
            ("[ipv6:2001:db8:0:0::1]", "2001:db8::1", true),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("mx2.example.org", "192.0.2.1", false),
            ("example.org", "192.0.2.1", false),
            ("mx.example.org.evil.example", "192.0.2.1", false),
            ("mx.exаmple.org", "192.0.2.1", false),
            ("[192.0.2.10]", "192.0.2.1", false),
            ("[IPv6:2001:db8::2]", "2001:db8::1", false),
            ("localhost", "127.0.0.1", false),
        ] {
            assert_eq!(decide(&stranger(name, server)).is_err(), is_ours, "{name} to {server}");
        }
        let beyond_ascii =
            Facts { hostname: "mx.xn--bcher-kva.example", ..stranger("mx.BÜCHER.example", "192.0.2.1") };
        assert_eq!(decide(&beyond_ascii), Err(Refusal::new(reply::OWN_NAME, "own_name")));
    }

    #[test]
    fn who_may_go_by_our_name() {
        let stranger = stranger("mx.example.org", "192.0.2.1");
        let unknown_server = Facts { name: "[192.0.2.1]", server: None, ..stranger };
        for (case, facts, expected) in [
            ("no stranger", stranger, None),
            (
                "anyone, unless it is forbidden",
                Facts { own_name: HeloOwnName::Accept, ..stranger },
                Some(Admission::Take),
            ),
            ("ours", Facts { is_of_ours: true, ..stranger }, Some(Admission::Take)),
            ("neighbours", Facts { protocol: ListenerProtocol::Lmtp, ..stranger }, Some(Admission::Take)),
            ("who may yet log in", Facts { may_log_in: true, ..stranger }, Some(Admission::TakeForNow)),
            ("who did", Facts { may_log_in: true, is_of_ours: true, ..stranger }, Some(Admission::Take)),
            ("by an address that may be ours", unknown_server, Some(Admission::Take)),
        ] {
            assert_eq!(decide(&facts).ok(), expected, "{case}");
        }
    }
}
