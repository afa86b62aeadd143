//! swaks, the tester of mail servers, through every listener.

use std::net::SocketAddr;
use std::process::Command;

use super::{PASSWORD, Ran, USER, World, received, run};

/// Sends one message to a recipient of its own.
fn swaks(world: &World, server: SocketAddr, recipient: &str, options: &[&str]) -> Ran {
    let authority = world.authority.certificate();
    let mut command = Command::new("swaks");
    command
        .args(["--config", "/dev/null", "--server", "127.0.0.1", "--port", &server.port().to_string()])
        .args(["--helo", "client.example", "--from", USER, "--to", recipient, "--timeout", "30"])
        .args(["--header", "Subject: by swaks", "--body", ".leading dot\\n..two\\nend"])
        .args(["--tls-verify".as_ref(), "--tls-ca-path".as_ref(), authority.as_os_str()])
        .args(options);
    let ran = run(&mut command, b"");
    assert!(!ran.said.contains("TLS not available"), "swaks lacks Perl's Net::SSLeay: run `make clients`");
    ran
}

/// It arrives, with what `options` come to.
fn arrives(world: &World, server: SocketAddr, name: &str, options: &[&str], with: &str) -> String {
    let recipient = format!("swaks-{name}@sink.example");
    swaks(world, server, &recipient, options).ok();
    let letter = world.arrived(&recipient);
    let (keyword, field) = received(&letter);
    assert_eq!(keyword, with, "{name}: {field}");
    let text = String::from_utf8_lossy(&letter.content);
    assert!(text.contains("\r\n\r\n.leading dot\r\n..two\r\nend"), "{name}: {text}");
    field
}

#[test]
fn in_clear_and_in_tls_of_both_kinds() {
    let world = World::shared();
    let login = ["--auth-user", USER, "--auth-password", PASSWORD];
    let with_login = |options: &[&'static str]| [options, &login].concat();
    arrives(&world, world.smtp, "plain", &[], "ESMTP");
    arrives(&world, world.smtp, "helo", &["--protocol", "SMTP"], "SMTP");
    let field = arrives(&world, world.smtp, "starttls", &["--tls"], "ESMTPS");
    assert!(field.contains("TLSv1.3"), "{field}");
    let field = arrives(&world, world.smtp, "tls12", &["--tls", "--tls-protocol", "tlsv1_2"], "ESMTPS");
    assert!(field.contains("TLSv1.2"), "{field}");
    arrives(&world, world.submission, "auth-plain", &with_login(&["--tls", "--auth", "PLAIN"]), "ESMTPSA");
    arrives(&world, world.submission, "auth-login", &with_login(&["--tls", "--auth", "LOGIN"]), "ESMTPSA");
    arrives(&world, world.submissions, "implicit", &with_login(&["--tls-on-connect", "--auth", "PLAIN"]), "ESMTPSA");
    arrives(&world, world.smtp, "pipelined", &["--pipeline"], "ESMTP");
    arrives(&world, world.lmtp, "lmtp", &["--protocol", "LMTP"], "LMTP");
    arrives(&world, world.lmtp, "lmtps", &["--protocol", "LMTP", "--tls"], "LMTPS");
}

#[test]
fn a_wrong_password_is_told() {
    let world = World::shared();
    for mechanism in ["PLAIN", "LOGIN"] {
        let options = ["--tls", "--auth", mechanism, "--auth-user", USER, "--auth-password", "wrong horse"];
        let ran = swaks(&world, world.submission, "swaks-nobody@sink.example", &options);
        assert_ne!(ran.code, Some(0), "{}", ran.said);
        assert!(ran.said.contains("535 5.7.8 "), "{}", ran.said);
    }
    let ran = swaks(&world, world.submission, "swaks-nobody@sink.example", &["--tls"]);
    assert!(ran.said.contains("530 5.7.0 Authentication required"), "{}", ran.said);
    let ran = swaks(&world, world.submission, "swaks-nobody@sink.example", &[]);
    assert!(ran.said.contains("530 5.7.0 Must issue a STARTTLS command first"), "{}", ran.said);
}

#[test]
fn through_a_proxy_and_as_a_proxy() {
    let world = World::shared();
    let addresses = ["--proxy-source", "192.0.2.7", "--proxy-source-port", "5000", "--proxy-dest", "198.51.100.1"];
    let addresses = [&addresses[..], &["--proxy-dest-port", "25"]].concat();
    for (name, version) in [
        ("proxy-1", &["--proxy-version", "1", "--proxy-family", "TCP4"][..]),
        ("proxy-2", &["--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM"]),
    ] {
        let field = arrives(&world, world.proxied, name, &[version, &addresses].concat(), "ESMTP");
        assert!(field.contains("([192.0.2.7])"), "{name}: {field}");
    }
    let ran = swaks(&world, world.proxied, "swaks-nobody@sink.example", &["--timeout", "3"]);
    assert_ne!(ran.code, Some(0), "without a header: {}", ran.said);
    let xclient = ["--xclient-addr", "192.0.2.9", "--xclient-name", "spike.example"];
    let field = arrives(&world, world.smtp, "xclient", &xclient, "ESMTP");
    assert!(field.contains("(spike.example [192.0.2.9])"), "{field}");
    // Who is behind the proxy is a stranger, although the proxy itself may send to anyone.
    let ran = swaks(&world, world.smtp, "swaks-nobody@elsewhere.example", &xclient);
    assert!(ran.said.contains("550 5.7.1 Relaying denied"), "{}", ran.said);
}
