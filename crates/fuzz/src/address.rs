//! Addresses: whatever is one has one form, which is read back, and nothing in it ends a line or a path.

use mailtier_types::request::{from_utf8_addr, from_xtext, utf8_addr_xtext, xtext};
use mailtier_types::{Domain, Mailbox, ReversePath};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(mailbox) = Mailbox::parse(text) {
        assert_eq!(Mailbox::parse(mailbox.as_str()).as_ref(), Ok(&mailbox), "read back");
        assert!(!mailbox.as_str().chars().any(char::is_control), "no control character");
        assert!(mailbox.domain_str().is_ascii(), "the domain is ASCII");
        assert_eq!(ReversePath::parse(text), Ok(ReversePath::Mailbox(mailbox)));
    }
    if let Ok(domain) = Domain::parse(text) {
        assert_eq!(Domain::parse(domain.as_str()), Ok(domain));
    }
    if let Ok(decoded) = from_xtext(text) {
        assert_eq!(from_xtext(&xtext(&decoded)), Ok(decoded));
    }
    if let Ok(decoded) = from_utf8_addr(text) {
        assert_eq!(from_utf8_addr(&utf8_addr_xtext(&decoded)), Ok(decoded));
    }
}
