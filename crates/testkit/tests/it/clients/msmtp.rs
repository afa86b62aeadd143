//! msmtp, the sendmail of many machines that run no server.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{PASSWORD, Ran, USER, World, received, run};

/// A configuration of its own for each use.
fn configured(world: &World, name: &str, server: SocketAddr, settings: &str) -> PathBuf {
    let path = world.installation.path(&format!("msmtprc-{name}"));
    let text = format!(
        "account default\nhost 127.0.0.1\nport {}\ndomain client.example\nfrom {USER}\nuser {USER}\n\
         password {PASSWORD}\ntls_trust_file {}\ntimeout 30\n{settings}\n",
        server.port(),
        world.authority.certificate().display(),
    );
    fs::write(&path, text).unwrap();
    // It refuses to read passwords that others could read.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn msmtp(configuration: &PathBuf, arguments: &[&str], input: &[u8]) -> Ran {
    run(Command::new("msmtp").arg("--debug").arg("--file").arg(configuration).args(arguments), input)
}

fn arrives(world: &World, name: &str, server: SocketAddr, settings: &str, with: &str) {
    let configuration = configured(world, name, server, settings);
    let recipient = format!("msmtp-{name}@sink.example");
    let message = b"From: user@client.example\nSubject: by msmtp\n\n.dot\nend\n";
    msmtp(&configuration, &[&recipient], message).ok();
    let letter = world.arrived(&recipient);
    assert_eq!(received(&letter).0, with, "{name}");
    assert!(letter.content.ends_with(b"\r\n\r\n.dot\r\nend\r\n"), "{letter:?}");
}

#[test]
fn every_mechanism_it_has() {
    let world = World::shared();
    let version = run(Command::new("msmtp").arg("--version"), b"").ok();
    let starttls = "tls on\ntls_starttls on\nauth";
    for mechanism in ["plain", "login", "scram-sha-256"] {
        assert!(version.contains(mechanism), "this msmtp has no {mechanism}: {version}");
        arrives(&world, mechanism, world.submission, &format!("{starttls} {mechanism}"), "ESMTPSA");
    }
    arrives(&world, "chosen", world.submissions, "tls on\ntls_starttls off\nauth on", "ESMTPSA");
    let certificate = &world.user_certificate;
    let external = format!(
        "{starttls} external\ntls_cert_file {}\ntls_key_file {}",
        certificate.certificate.display(),
        certificate.key.display()
    );
    arrives(&world, "external", world.submission, &external, "ESMTPSA");
}

#[test]
fn in_clear_and_by_lmtp() {
    let world = World::shared();
    arrives(&world, "clear", world.smtp, "tls off\nauth off", "ESMTP");
    arrives(&world, "lmtp", world.lmtp, "protocol lmtp\ntls off\nauth off", "LMTP");
}

#[test]
fn what_it_says_of_the_server() {
    let world = World::shared();
    let configuration = configured(&world, "info", world.submission, "tls on\ntls_starttls on\nauth off");
    let said = msmtp(&configuration, &["--serverinfo"], b"").ok();
    for word in ["PIPELINING", "SIZE 52428800", "SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
    let configuration = configured(
        &world,
        "wrong",
        world.submission,
        "tls on\ntls_starttls on\nauth scram-sha-256\npassword wrong-horse",
    );
    let ran = msmtp(&configuration, &["msmtp-nobody@sink.example"], b"Subject: x\n\nx\n");
    // EX_NOPERM.
    assert_eq!(ran.code, Some(77), "{}", ran.said);
    assert!(ran.said.contains("535 5.7.8 "), "{}", ran.said);
}
