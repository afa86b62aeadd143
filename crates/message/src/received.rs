//! The trace field that a server puts before a message it takes (RFC 5321 §4.4). Not responsible for counting those
//! that are there already (`header`).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use mailtier_types::{Mailbox, MessageId, Timestamp};

use crate::date;
use crate::text::{self, Charset, GOOD_LINE};

/// What a field takes, unless names are long, in octets.
const FIELD_OCTETS: usize = 384;
/// The longest description of TLS that is written out, in octets.
const MAX_TLS_OCTETS: usize = 120;

/// What a Received field says.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedFacts<'a> {
    /// What the client said in EHLO or HELO.
    pub helo: &'a str,
    /// The client's name by reverse DNS, where it was looked up and leads back.
    pub client_name: Option<&'a str>,
    /// The client's address.
    pub client_address: IpAddr,
    /// This host.
    pub by: &'a str,
    /// From [`with_keyword`].
    pub with: &'a str,
    /// Version and cipher, as `TLSv1.3 TLS_AES_256_GCM_SHA384`; absent without TLS.
    pub tls: Option<&'a str>,
    /// Our id of the message.
    pub id: MessageId,
    /// Only when it is the only one: others must not learn of each other (RFC 5321 §7.6).
    pub recipient: Option<&'a Mailbox>,
    /// When the message was received.
    pub at: Timestamp,
}

/// How a message came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transmission {
    /// By LMTP.
    pub lmtp: bool,
    /// The client said EHLO.
    pub extended: bool,
    /// In TLS.
    pub tls: bool,
    /// Somebody had logged in.
    pub authenticated: bool,
    /// SMTPUTF8 was asked for.
    pub smtputf8: bool,
}

/// The keyword of the `with` clause (RFC 3848; RFC 6531 §4.3 for SMTPUTF8, which needs EHLO).
#[must_use]
pub const fn with_keyword(how: Transmission) -> &'static str {
    let Transmission { lmtp, extended, tls, authenticated, smtputf8 } = how;
    match (lmtp, smtputf8, tls, authenticated) {
        (false, ..) if !extended => "SMTP",
        (false, false, false, false) => "ESMTP",
        (false, false, false, true) => "ESMTPA",
        (false, false, true, false) => "ESMTPS",
        (false, false, true, true) => "ESMTPSA",
        (false, true, false, false) => "UTF8SMTP",
        (false, true, false, true) => "UTF8SMTPA",
        (false, true, true, false) => "UTF8SMTPS",
        (false, true, true, true) => "UTF8SMTPSA",
        (true, false, false, false) => "LMTP",
        (true, false, false, true) => "LMTPA",
        (true, false, true, false) => "LMTPS",
        (true, false, true, true) => "LMTPSA",
        (true, true, false, false) => "UTF8LMTP",
        (true, true, false, true) => "UTF8LMTPA",
        (true, true, true, false) => "UTF8LMTPS",
        (true, true, true, true) => "UTF8LMTPSA",
    }
}

/// The whole field, with CRLF at its end, folded at its clauses.
#[must_use]
pub fn received_field(facts: &ReceivedFacts<'_>) -> Vec<u8> {
    let mut field = String::with_capacity(FIELD_OCTETS);
    // The first clause stays with the name, however long.
    push(&mut field, format_args!("Received: from {}", text::host(facts.helo)));
    let (name, space) = facts.client_name.map_or((Cow::Borrowed(""), ""), |name| (text::host(name), " "));
    match facts.client_address.to_canonical() {
        IpAddr::V4(address) => append(&mut field, format_args!("({name}{space}[{address}])")),
        IpAddr::V6(address) => append(&mut field, format_args!("({name}{space}[IPv6:{address}])")),
    }
    field.push_str("\r\n\t");
    append(&mut field, format_args!("by {} (Mailtier)", text::host(facts.by)));
    append(&mut field, format_args!("with {}", text::host(facts.with)));
    // The date stands after a semicolon.
    let (of_id, of_tls) = match (facts.tls, facts.recipient) {
        (None, None) => (";", ""),
        (Some(_), None) => ("", ";"),
        (_, Some(_)) => ("", ""),
    };
    append(&mut field, format_args!("id {}{of_id}", facts.id));
    if let Some(tls) = facts.tls {
        append(&mut field, format_args!("(using {}){of_tls}", comment(tls)));
    }
    if let Some(recipient) = facts.recipient {
        append(&mut field, format_args!("for <{recipient}>;"));
    }
    append(&mut field, format_args!("{}", date::rfc5322(facts.at)));
    field.push_str("\r\n");
    field.into_bytes()
}

/// Appends a clause after a space, and folds before it where it would not fit.
fn append(field: &mut String, clause: fmt::Arguments<'_>) {
    let begins_line = field.ends_with('\t');
    let line = field.rfind('\n').map_or(0, |line_feed| line_feed + 1);
    let at = field.len();
    if !begins_line {
        field.push(' ');
    }
    push(field, clause);
    if !begins_line && field.len() - line > GOOD_LINE {
        field.replace_range(at..=at, "\r\n\t");
    }
}

fn push(field: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = field.write_fmt(text);
}

/// What may stand in a comment: no parentheses and no backslash (RFC 5322 §3.2.2).
fn comment(content: &str) -> String {
    text::one_line(content, Charset::Ascii, MAX_TLS_OCTETS).replace(['(', ')', '\\'], "?")
}

#[cfg(test)]
mod tests {
    use mail_parser::{HeaderValue, MessageParser};
    use proptest::prelude::*;

    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn facts() -> ReceivedFacts<'static> {
        ReceivedFacts {
            helo: "client.example.org",
            client_name: Some("client.example.org"),
            client_address: IpAddr::from([192, 0, 2, 7]),
            by: "mx.example.net",
            with: with_keyword(Transmission { extended: true, ..Transmission::default() }),
            tls: None,
            id: MessageId::from_i64(123_456_789_012_345).unwrap(),
            recipient: None,
            at: AT,
        }
    }

    fn written(facts: &ReceivedFacts<'_>) -> String {
        String::from_utf8(received_field(facts)).unwrap()
    }

    #[test]
    fn fields_as_they_are_read() {
        let recipient = Mailbox::parse("bob@example.net").unwrap();
        let plain = written(&facts());
        let tls = written(&ReceivedFacts {
            with: "ESMTPS",
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384"),
            recipient: Some(&recipient),
            client_name: None,
            client_address: "2001:db8::7".parse().unwrap(),
            ..facts()
        });
        let long = "a-very-long-name-of-a-host.in-a-domain-with-a-very-long-name.example.org";
        let long = written(&ReceivedFacts { helo: long, client_name: Some(long), by: long, ..facts() });
        insta::assert_snapshot!(format!("{plain}\n{tls}\n{long}").replace('\t', "<tab>"));
    }

    #[test]
    fn mapped_addresses_are_written_as_what_they_are() {
        let mapped = ReceivedFacts { client_address: "::ffff:192.0.2.9".parse().unwrap(), ..facts() };
        assert!(written(&mapped).contains("[192.0.2.9]"));
    }

    #[test]
    fn keywords_of_the_registry() {
        // RFC 3848, RFC 6531 section 4.3.
        let plain = Transmission::default();
        assert_eq!(with_keyword(Transmission { tls: true, smtputf8: true, ..plain }), "SMTP");
        assert_eq!(with_keyword(Transmission { extended: true, tls: true, authenticated: true, ..plain }), "ESMTPSA");
        let utf8 = Transmission { extended: true, tls: true, smtputf8: true, ..plain };
        assert_eq!(with_keyword(utf8), "UTF8SMTPS");
        assert_eq!(with_keyword(Transmission { lmtp: true, authenticated: true, ..utf8 }), "UTF8LMTPSA");
        assert_eq!(with_keyword(Transmission { lmtp: true, extended: true, ..plain }), "LMTP");
    }

    proptest! {
        #[test]
        fn a_client_cannot_write_into_it(helo in "(.|\r|\n){0,300}", name in "(.|\r|\n){0,300}", tls in "(.|\r|\n){0,200}") {
            let field = written(&ReceivedFacts { helo: &helo, client_name: Some(&name), tls: Some(&tls), ..facts() });
            prop_assert!(field.is_ascii());
            let (body, end) = field.split_at(field.len() - 2);
            prop_assert_eq!(end, "\r\n");
            prop_assert_eq!((field.matches('(').count(), field.matches(')').count()), (3, 3));
            for (number, line) in body.split("\r\n").enumerate() {
                prop_assert!(number == 0 || line.starts_with('\t'));
                prop_assert!(!line.bytes().any(|octet| octet < b' ' && octet != b'\t'));
                prop_assert!(line.len() <= text::MAX_LINE_OCTETS);
            }
        }

        #[test]
        fn a_parser_reads_what_was_meant(helo in "[a-z]{1,9}\\.example", octets in any::<[u8; 4]>()) {
            let recipient = Mailbox::parse("\"b b\"@example.net").unwrap();
            let address = IpAddr::from(octets);
            let field = written(&ReceivedFacts {
                helo: &helo, client_address: address, recipient: Some(&recipient), ..facts()
            });
            let parsed = MessageParser::new().parse(field.as_bytes()).unwrap();
            let Some(HeaderValue::Received(received)) = parsed.header("Received") else {
                panic!("{field} is no Received field");
            };
            prop_assert_eq!(received.from_ip(), Some(address));
            prop_assert_eq!(received.date().unwrap().to_timestamp(), AT.as_secs());
            prop_assert_eq!(received.id(), Some("0003g9230vqvs"));
            prop_assert_eq!(received.from().unwrap().to_string(), helo);
        }
    }
}
