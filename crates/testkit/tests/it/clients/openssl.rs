//! openssl s_client, with which people look at a server by hand.

use std::net::SocketAddr;
use std::process::Command;

use super::{PLAIN, USER, World, received, run};

/// Says all of a dialogue at once, as it is when it is piped in. With implicit TLS that would be before the greeting.
fn dialogue(world: &World, server: SocketAddr, options: &[&str], lines: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-quiet", "-crlf", "-verify_return_error", "-verify_ip", "127.0.0.1"])
        .args(["-connect", &server.to_string()])
        .args(["-CAfile".as_ref(), world.authority.certificate().as_os_str()])
        .args(options);
    run(&mut command, format!("{}\n", lines.join("\n")).as_bytes()).ok()
}

#[test]
fn a_dialogue_by_hand() {
    let world = World::shared();
    let starttls = ["-starttls", "smtp", "-name", "client.example"];
    let (mail, login) = (format!("MAIL FROM:<{USER}>"), format!("AUTH PLAIN {PLAIN}"));
    for (name, server, options, lines) in [
        ("starttls", world.smtp, &starttls[..], &["EHLO client.example", &mail][..]),
        ("tls12", world.smtp, &[&starttls[..], &["-tls1_2"]].concat(), &["EHLO client.example", &mail]),
        ("submission", world.submission, &starttls, &["EHLO client.example", &login, &mail]),
    ] {
        let recipient = format!("openssl-{name}@sink.example");
        let rcpt = format!("RCPT TO:<{recipient}>");
        let rest = [rcpt.as_str(), "DATA", "Subject: by hand", "", "..dot", "end", ".", "QUIT"];
        let said = dialogue(&world, server, options, &[lines, &rest].concat());
        assert!(said.contains("250 2.6.0 Queued as ") && said.contains("221 2.0.0 "), "{name}: {said}");
        let letter = world.arrived(&recipient);
        assert_eq!(received(&letter).0, if name == "submission" { "ESMTPSA" } else { "ESMTPS" }, "{name}");
        assert!(letter.content.ends_with(b"\r\n\r\n.dot\r\nend\r\n"), "{letter:?}");
    }
}
