//! Notifications pinned as they are sent, and read back.

use std::time::Duration;

use mailtier_message::dsn::Action;
use mailtier_message::feedback::{Fate, Feedback, read};
use mailtier_types::{OriginalRecipient, RecipientRequest, RemoteHost, Stage, TroubleKind};

use crate::world::*;

const SOON: Duration = Duration::from_secs(3);

fn text(content: &[u8]) -> String {
    String::from_utf8(content.to_vec()).unwrap().replace("\r\n", "\n")
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value)
}

#[test]
fn one_recipient_that_does_not_exist() {
    let message = write("alice@example.com", HEADERS.as_bytes(), &[no_such_user()], SOON);
    insta::assert_snapshot!(text(&message.content));

    let parsed = parse(&message.content);
    assert_eq!(parsed.subject, "Not delivered: your message to bob@example.org");
    assert_eq!(parsed.types, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    assert_eq!(field(&parsed.programs[0], "Reporting-MTA"), "dns; mx.example.net");
    assert_eq!(field(&parsed.programs[1], "Final-Recipient"), "rfc822; bob@example.org");
    assert_eq!(field(&parsed.programs[1], "Action"), "failed");
    assert_eq!(field(&parsed.programs[1], "Status"), "5.1.1");
    assert_eq!(field(&parsed.programs[1], "Remote-MTA"), "dns; mx1.example.org");
    assert!(field(&parsed.programs[1], "Diagnostic-Code").starts_with("smtp; 550 5.1.1 <bob@example.org>: Recip"));
    assert_eq!(parsed.headers, HEADERS.as_bytes());
    assert!(!message.eight_bit && !message.smtputf8);
}

#[test]
fn several_recipients_for_several_reasons() {
    let late = ARRIVAL.after(FIVE_DAYS - Duration::from_secs(600));
    let full = reply(
        452,
        "4.2.2",
        "The recipient's inbox is out of storage space.\nPlease direct the recipient to\nhttps://support.example/?p=OverQuotaTemp 41be03b00d2f7-af9a2bd0e1esi1234567a12.345 - gsmtp",
    );
    let refused = trouble(TroubleKind::Connect, "connection refused");
    let unwanted = reply(554, "", "Message looks like spam");
    let failures = [
        failure(
            &["carol@example.org", "dave@example.org"],
            outcome(Stage::Rcpt, full, remote("mx2.example.org", [192, 0, 2, 8]), late),
            true,
        ),
        failure(
            &["eve@down.example"],
            outcome(Stage::Connect, refused, remote("down.example", [192, 0, 2, 9]), late),
            true,
        ),
        failure(&["frank@late.example"], None, true),
        failure(
            &["\"grace hopper\"@example.edu"],
            outcome(Stage::Final, unwanted, remote("[192.0.2.10]", [192, 0, 2, 10]), late),
            false,
        ),
        failure(
            &["heidi@no-such.example"],
            outcome(Stage::Resolve, trouble(TroubleKind::NoSuchDomain, "no-such.example does not exist"), None, late),
            false,
        ),
    ];
    let message = write("alice@example.com", HEADERS.as_bytes(), &failures, FIVE_DAYS);
    insta::assert_snapshot!(text(&message.content));

    let parsed = parse(&message.content);
    assert_eq!(parsed.subject, "Not delivered: your message to 6 recipients");
    let statuses: Vec<&str> = parsed.programs[1..].iter().map(|fields| field(fields, "Status")).collect();
    assert_eq!(statuses, ["4.2.2", "4.2.2", "4.4.1", "4.4.7", "5.0.0", "5.1.2"]);
    assert_eq!(field(&parsed.programs[5], "Final-Recipient"), "rfc822; \"grace hopper\"@example.edu");
}

#[test]
fn addresses_beyond_ascii() {
    let said = reply(550, "5.1.1", "почтовый ящик не найден");
    let failures = [failure(
        &["пользователь@xn--e1aybc.example"],
        outcome(Stage::Rcpt, said, remote("mx.xn--e1aybc.example", [192, 0, 2, 11]), ARRIVAL),
        false,
    )];
    let headers = "From: алиса@example.com\r\nSubject: Отчёт\r\n";
    let message = write("алиса@example.com", headers.as_bytes(), &failures, SOON);
    insta::assert_snapshot!(text(&message.content));
    assert!(message.eight_bit && message.smtputf8);

    let parsed = parse(&message.content);
    assert_eq!(parsed.types, ["text/plain", "message/global-delivery-status", "message/global-headers"]);
    assert_eq!(field(&parsed.programs[1], "Final-Recipient"), "utf-8; пользователь@xn--e1aybc.example");
    assert_eq!(parsed.headers, headers.as_bytes());
    assert!(parsed.people.contains("почтовый ящик не найден"));
}

#[test]
fn an_ascii_sender_of_mail_to_an_address_beyond_ascii_needs_no_smtputf8_for_the_answer() {
    let message =
        write("alice@example.com", HEADERS.as_bytes(), &[failure(&["grün@example.org"], None, true)], FIVE_DAYS);
    assert!(message.eight_bit && !message.smtputf8);
    assert_eq!(parse(&message.content).subject, "Not delivered: your message to one recipient");
}

#[test]
fn raw_octets_in_the_original_header_travel_encoded() {
    let headers = b"From: alice@example.com\r\nSubject: caf\xe9 = coffee\r\nX-Long: ".to_vec();
    let headers = [headers, vec![b'x'; 1_500], b"\r\n".to_vec()].concat();
    let message = write("alice@example.com", &headers, &[no_such_user()], SOON);
    assert!(!message.eight_bit, "it passes servers without 8BITMIME");
    let parsed = parse(&message.content);
    assert_eq!(parsed.types[2], "text/rfc822-headers");
    // The parser gives text as UTF-8; the octet itself is pinned by the encoder's own test.
    assert!(parsed.headers.starts_with(b"From: alice@example.com\r\nSubject: caf"));
    assert!(parsed.headers.ends_with(&[vec![b'x'; 1_500], b"\r\n".to_vec()].concat()));
}

#[test]
fn an_original_without_a_header_section() {
    for content in [&b""[..], b"\r\nbody\r\n", b"no field\r\n"] {
        let message = write("alice@example.com", content, &[no_such_user()], SOON);
        let parsed = parse(&message.content);
        assert!(parsed.headers.trim_ascii().is_empty());
        assert!(!parsed.fields.iter().any(|name| name == "References"));
    }
}

#[test]
fn the_status_says_what_was_decided() {
    let blocked = || outcome(Stage::Banner, reply(554, "5.7.1", "blocked"), None, ARRIVAL);
    let confused = || outcome(Stage::Rcpt, reply(550, "4.2.1", "closed"), None, ARRIVAL);
    let cases = [(blocked(), true, "4.7.1"), (confused(), false, "5.2.1"), (None, false, "5.0.0")];
    for (outcome, expired, status) in cases {
        let failures = [failure(&["bob@example.org"], outcome, expired)];
        let message = write("alice@example.com", HEADERS.as_bytes(), &failures, FIVE_DAYS);
        assert_eq!(field(&parse(&message.content).programs[1], "Status"), status);
    }
}

#[test]
fn only_a_sound_message_id_is_answered() {
    for (id, is_sound) in [
        ("<a@b>", true),
        ("<a@[192.0.2.1]>", true),
        ("<a b@c>", false),
        ("<a@b>, <c@d>", false),
        ("<a@b> (comment)", false),
        ("a@b", false),
        ("<a>", false),
    ] {
        let headers = format!("Message-ID: {id}\r\n");
        let message = write("alice@example.com", headers.as_bytes(), &[no_such_user()], SOON);
        assert_eq!(text(&message.content).contains(&format!("\nReferences: {id}\n")), is_sound, "{id}");
        assert_eq!(parse(&message.content).fields.iter().any(|name| name == "References"), is_sound, "{id}");
    }
}

#[test]
fn the_body_of_the_original_is_not_returned() {
    let content = format!("{HEADERS}\r\nsecret: text\r\n");
    let message = write("alice@example.com", content.as_bytes(), &[no_such_user()], SOON);
    assert!(!text(&message.content).contains("secret"));
}

#[test]
fn an_original_recipient_beyond_ascii_is_not_lost_in_a_plain_report() {
    // RFC 6533 section 3.
    let request = |kind, address| RecipientRequest {
        recipient: mailbox("bob@example.org"),
        notify: None,
        original: Some(OriginalRecipient::new(kind, address).unwrap()),
    };
    for (kind, address, written) in [
        ("rfc822", "list@example.org", "rfc822; list@example.org"),
        ("utf-8", "\u{e9}@example.org", "utf-8; \\x{E9}@example.org"),
        ("rfc822", "a\u{e9}", "utf-8; a\\x{E9}"),
    ] {
        let (requests, failures) = ([request(kind, address)], [no_such_user()]);
        let about = Report { action: Action::Failed, requests: &requests, failures: &failures, age: SOON };
        let message = report("alice@example.com", HEADERS.as_bytes(), about);
        assert_eq!(field(&parse(&message.content).programs[1], "Original-Recipient"), written);
    }
}

#[test]
fn what_was_passed_on_is_not_said_to_be_undelivered() {
    for (notifies, told) in [(false, "sends no notifications"), (true, "sends notifications of its own")] {
        let mut outcome = outcome(Stage::Final, reply(250, "2.0.0", "OK"), None, ARRIVAL);
        outcome.as_mut().unwrap().notifies = notifies;
        let groups = [failure(&["bob@example.org"], outcome, false)];
        let about = Report { action: Action::Relayed, requests: &[], failures: &groups, age: SOON };
        let message = report("alice@example.com", HEADERS.as_bytes(), about);
        let parsed = parse(&message.content);
        assert!(parsed.people.replace("\r\n", " ").contains(told), "{}", parsed.people);
        assert_eq!(field(&parsed.programs[1], "Action"), "relayed");
        assert!(!text(&message.content).contains("undelivered"));
    }
}

#[test]
fn where_a_mail_store_listens_is_nobodys_business() {
    let remote = Some(RemoteHost { name: "/run/dovecot/lmtp".to_owned(), address: None });
    let said = outcome(Stage::Rcpt, reply(550, "5.1.1", "no such user"), remote, ARRIVAL);
    let message = write("s@example.com", b"", &[failure(&["x@example.org"], said, false)], SOON);
    let text = String::from_utf8_lossy(&message.content);
    assert!(text.contains("The server answered the RCPT TO command with:"), "{text}");
    assert!(!text.contains("dovecot") && !text.contains("Remote-MTA"), "{text}");
}

/// RFC 6522, RFC 3464: whoever has this system too reads what it writes.
#[test]
fn what_is_written_is_read_back() {
    let failures = [no_such_user(), failure(&["jörg@example.org"], None, true)];
    for action in [Action::Failed, Action::Delayed { until: ARRIVAL.after(FIVE_DAYS) }, Action::Relayed] {
        let facts = Report { action, requests: &[], failures: &failures, age: SOON };
        let message = report("alice@example.com", HEADERS.as_bytes(), facts);
        let Feedback::Status(found) = read(&message.content) else { panic!("{action:?} is not understood") };
        let expected = match action {
            Action::Failed => Fate::Failed,
            Action::Delayed { .. } => Fate::Delayed,
            Action::Relayed => Fate::Relayed,
        };
        assert!(found.recipients.iter().all(|one| one.fate == expected), "{found:?}");
        assert_eq!(found.reporter, "mx.example.net");
        let named: Vec<&str> = found.recipients.iter().map(|one| one.recipient.as_str()).collect();
        assert_eq!(named, ["bob@example.org", "jörg@example.org"]);
    }
}
