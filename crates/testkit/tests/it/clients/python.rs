//! Python's smtplib, as scripts and web frameworks use it.

use std::process::Command;
use std::time::Duration;

use super::{LIMIT, World, received, run, script};

#[test]
fn what_smtplib_can_do() {
    let world = World::shared();
    let mut command = Command::new("python3");
    command.arg(script("send.py")).envs(world.environment());
    let said = run(&mut command, b"").ok();
    for (name, with) in [
        ("eight-bit", "ESMTP"),
        ("starttls", "ESMTPS"),
        ("dsn", "ESMTP"),
        ("chunks", "ESMTP"),
        ("priority", "ESMTP"),
        ("held", "ESMTPSA"),
        ("login", "ESMTPSA"),
        ("login-plain", "ESMTPSA"),
        ("implicit", "ESMTPSA"),
        ("lmtp", "LMTP"),
    ] {
        let letter = world.arrived(&format!("python-{name}@sink.example"));
        assert_eq!(received(&letter).0, with, "{name}: {said}");
    }
    let eight_bit = world.arrived("python-eight-bit@sink.example");
    assert!(eight_bit.content.ends_with("\r\n\r\nGrüße\r\n".as_bytes()) && eight_bit.mail.contains("BODY=8BITMIME"));
    let chunks = world.arrived("python-chunks@sink.example");
    assert!(chunks.content.ends_with(b"Subject: chunks\r\n\r\n.\r\nnot the end\r\n"), "{chunks:?}");
    let utf8 = world.arrived("用户@sink.example");
    assert_eq!(received(&utf8).0, "UTF8SMTP");
    assert!(utf8.mail.contains("<пётр@client.example>") && utf8.mail.contains("SMTPUTF8"), "{}", utf8.mail);
    // What must not go in clear did not, although all of the rest has.
    let required = world.counterpart.wait_for_letters_to("python-required@sink.example", 1, Duration::ZERO);
    assert!(required.is_empty(), "{required:?}");
    // Who asked for it hears that the message went on to a server that promises no reports (RFC 3461 §6.2).
    let reports = world.counterpart.wait_for_letters_to("python-dsn@client.example", 1, LIMIT);
    let report = String::from_utf8_lossy(&reports[0].content);
    for word in ["multipart/report", "Action: relayed", "Original-Envelope-Id: python-1"] {
        assert!(report.contains(word), "{word} is missing:\n{report}");
    }
}
