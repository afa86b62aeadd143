//! Quoted-printable (RFC 2045 §6.7), written. Not responsible for saying that it is.

/// Rule 5, without the `=` of a soft line break.
const LINE_OCTETS: usize = 75;

/// RFC 2045 §6.7. CRLF is a line break; every other CR, LF and control octet is encoded.
pub(crate) fn quoted_printable(out: &mut Vec<u8>, content: &[u8]) {
    let mut column = 0;
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        let (text, end) = match line.strip_suffix(b"\r\n") {
            Some(text) => (text, &b"\r\n"[..]),
            None => (line, &b""[..]),
        };
        for (place, &octet) in text.iter().enumerate() {
            let is_last = place + 1 == text.len();
            let is_plain = match octet {
                b' ' | b'\t' => !is_last,
                b'=' => false,
                _ => octet.is_ascii_graphic(),
            };
            let width = if is_plain { 1 } else { 3 };
            if column + width > LINE_OCTETS {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            if is_plain {
                out.push(octet);
            } else {
                out.extend_from_slice(&[b'=', digit(octet >> 4), digit(octet & 0xf)]);
            }
            column += width;
        }
        if !end.is_empty() {
            out.extend_from_slice(end);
            column = 0;
        }
    }
}

/// RFC 2045 §6.7, rule 1: upper case letters must be used.
const fn digit(value: u8) -> u8 {
    match value {
        0..10 => b'0' + value,
        _ => b'A' + (value - 10),
    }
}

#[cfg(test)]
mod tests {
    use mail_parser::decoders::quoted_printable::quoted_printable_decode;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octets_become_upper_case_digits() {
        let mut encoded = Vec::new();
        quoted_printable(&mut encoded, b"\x00\x9f=\xfa\x7f");
        assert_eq!(encoded, b"=00=9F=3D=FA=7F");
    }

    proptest! {
        #[test]
        fn what_is_encoded_can_be_decoded(content in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b' '), Just(b'='), Just(b'a')], 0..300,
        ).prop_map(|line| [&line[..], b"\r\n"].concat())) {
            let mut encoded = Vec::new();
            quoted_printable(&mut encoded, &content);
            prop_assert!(encoded.is_ascii());
            for line in encoded.split(|&octet| octet == b'\n') {
                prop_assert!(line.len() <= 77 && !line.ends_with(b" \r"));
            }
            prop_assert_eq!(quoted_printable_decode(&encoded).unwrap(), content);
        }
    }
}
