//! PROXY headers: octets that may be one, of either version.

use mailtier_transport::proxy;

pub(crate) fn run(data: &[u8]) {
    let first = proxy::parse(data).ok();
    assert_eq!(proxy::parse(data).ok(), first);
    if first.is_some() {
        let longer = [data, b"EHLO x\r\n"].concat();
        assert!(proxy::parse(&longer).is_err(), "what follows is not part of it");
    }
}
