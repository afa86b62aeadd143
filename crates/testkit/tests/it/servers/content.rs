//! The messages that are sent, each with a subject of its own, and how quoted-printable is read. Not responsible for where they
//! go.

/// The longest line that SMTP carries, without its CRLF (RFC 5321 §4.5.3.1.6).
const LINE_OCTETS: usize = 998;
/// The large one's.
const LARGE_OCTETS: usize = 20 * 1024 * 1024;

/// Text beyond ASCII, which some servers take and for others is converted.
pub(super) fn text() -> Vec<u8> {
    let fields = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    message("text", fields, "Grüße, Привет, こんにちは 🙂 = 1\r\n\r\n.\r\n".as_bytes())
}

/// What a server must keep as it is: a subject and the content with it.
pub(super) fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mut octets: Vec<u8> = (1..=255).filter(|octet| !b"\r\n".contains(octet)).collect();
    octets.extend_from_slice(b"\r\n");
    let long = |first: &str| format!("{first}{}\r\n", "x".repeat(LINE_OCTETS - first.len()));
    let lines = [long(""), long("."), long("From "), long("..")].concat();
    let bodies: [(&str, &[u8]); 6] = [
        ("dots", b".\r\n..\r\n...leading\r\n.\r\n\r\n. \r\n..\r\n"),
        ("lines", lines.as_bytes()),
        ("octets", &octets),
        ("empty", b""),
        ("blank", b"\r\n \r\n\t\r\n\r\n"),
        ("unended", b"The last line has no end."),
    ];
    let contents = bodies.into_iter().map(|(subject, body)| (subject, message(subject, "", body)));
    contents.chain([("text", text())]).collect()
}

/// A message that goes in no single piece.
pub(super) fn large() -> Vec<u8> {
    let mut body = String::with_capacity(LARGE_OCTETS + 100);
    let mut number = 0u32;
    while body.len() < LARGE_OCTETS {
        let dot = if number.is_multiple_of(3) { "." } else { "" };
        body.push_str(&format!("{dot}{number:08x} 0123456789abcdefghijklmnopqrstuvwxyz\r\n"));
        number += 1;
    }
    message("large", "", body.as_bytes())
}

/// With the fields that servers such as OpenSMTPD would add.
pub(super) fn message(subject: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(
        "Subject: {subject}\r\nDate: Thu, 26 Nov 2026 17:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n{fields}\r\n"
    );
    [header.as_bytes(), body].concat()
}

/// What a server has of a content that ended without CRLF: that, and nothing else, is added.
pub(super) fn ended(content: &[u8]) -> Vec<u8> {
    let end: &[u8] = if content.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    [content, end].concat()
}

/// RFC 2045 §6.7.
pub(super) fn from_quoted_printable(text: &str) -> String {
    let mut octets = Vec::new();
    for (place, part) in text.replace("=\r\n", "").split('=').enumerate() {
        let mut rest = part;
        if place > 0 {
            octets.push(u8::from_str_radix(&part[..2], 16).unwrap());
            rest = &part[2..];
        }
        octets.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(octets).unwrap()
}
