//! Whatever peers write into names, replies and header sections: a notification stays one notification.

use std::time::Duration;

use mailtier_types::{Cause, RemoteHost, Stage, TroubleKind};
use proptest::prelude::*;

use crate::world::*;

/// Text of someone who knows how mail is written.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just("\r\n\r\n"),
        Just("\0"),
        Just("."),
        Just("\r\n.\r\n"),
        Just(" "),
        Just("Bcc: victim@example.com"),
        Just("Content-Type: text/html"),
        Just("--=_0003g923bb1zz_0"),
        Just("--"),
        Just("Final-Recipient: rfc822; x@y"),
        Just("\u{85}"),
        Just("\u{2028}"),
        Just("é"),
        Just("="),
        Just("?"),
        Just("<a@b>"),
        Just("\""),
        Just(";"),
        Just("\u{b}"),
        Just("\t"),
        Just("MIME-Version: 1.0"),
    ];
    prop_oneof![prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat()), "\\PC{0,40}", "[a-z]{0,3000}",]
}

const FIELDS: [&str; 8] =
    ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"];

proptest! {
    #[test]
    fn a_notification_stays_one(
        said in hostile(), host in hostile(), header in hostile(), is_reply: bool, is_international: bool,
    ) {
        let cause: Cause = if is_reply { reply(550, "5.7.1", &said) } else { trouble(TroubleKind::Protocol, &said) };
        let remote = RemoteHost { name: host, address: None };
        let is_named = !remote.is_socket();
        let remote = Some(remote);
        let recipient = if is_international { "ü@example.org" } else { "bob@example.org" };
        let failures = [failure(&[recipient], outcome(Stage::Final, cause, remote, ARRIVAL), false)];
        let headers = format!("X: {header}\r\nSubject: {header}\r\n");
        let message = write("alice@example.com", headers.as_bytes(), &failures, Duration::from_secs(9));

        let parsed = parse(&message.content);
        prop_assert_eq!(parsed.fields, FIELDS);
        prop_assert_eq!(parsed.programs.len(), 2);
        let names: Vec<&str> = parsed.programs[1].iter().map(|(name, _)| name.as_str()).collect();
        let mut expected = vec!["Final-Recipient", "Action", "Status"];
        expected.extend(is_named.then_some("Remote-MTA"));
        expected.extend(["Diagnostic-Code", "Last-Attempt-Date"]);
        prop_assert_eq!(names, expected);
    }
}

#[test]
fn the_boundary_is_not_to_be_guessed_from_outside() {
    let headers = "X: y\r\n--=_0003g923bb1zz_0: z\r\nZ: =_0003g923bb1zz_1 --=_0003g923bb1zz_1--\r\n";
    let message = write("alice@example.com", headers.as_bytes(), &[no_such_user()], Duration::from_secs(9));
    let content = String::from_utf8(message.content.clone()).unwrap();
    assert!(content.contains("boundary=\"=_") && !content.contains("_0\"") && !content.contains("_1\""), "{content}");
    assert_eq!(parse(&message.content).headers, headers.as_bytes());
}

#[test]
fn a_thousand_recipients_are_all_named() {
    let names: Vec<String> = (0..1_000).map(|number| format!("user{number}@example.org")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let said = reply(550, "5.1.1", &"no ".repeat(5_000));
    let failures = [failure(&names, outcome(Stage::Rcpt, said, None, ARRIVAL), false)];
    let message = write("alice@example.com", HEADERS.as_bytes(), &failures, Duration::from_secs(9));
    let parsed = parse(&message.content);
    assert_eq!(parsed.programs.len(), 1_001);
    assert!(names.iter().all(|name| parsed.people.contains(&format!("<{name}>\r\n"))));
    assert!(message.content.len() < 4_000_000);
}
