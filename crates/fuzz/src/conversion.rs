//! Content that is converted for servers of 7 bits: what comes out has seven, is not converted again, and its lines are such
//! that they can be sent.

use mailtier_message::to_seven_bit;

/// RFC 5322 §2.1.1, for what was within it before; with the longest field name and a parameter that this adds.
const MAX_LINE_OCTETS: usize = 998;

pub(crate) fn run(data: &[u8]) {
    let Ok(converted) = to_seven_bit(data) else { return };
    assert!(converted.is_ascii());
    let longest = |content: &[u8]| content.split(|octet| *octet == b'\n').map(<[u8]>::len).max().unwrap_or(0);
    assert!(longest(&converted) <= longest(data).max(MAX_LINE_OCTETS));
    assert_eq!(to_seven_bit(&converted).as_ref(), Ok(&converted), "what is 7-bit stays as it is");
}
