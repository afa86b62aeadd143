//! curl, whose library sends the mail of many programs.

use std::process::Command;

use super::issuer::Issuer;
use super::{PASSWORD, Ran, USER, World, received, run};

const MESSAGE: &[u8] = b"From: user@client.example\r\nSubject: by curl\r\n\r\n.dot\r\nend\r\n";

fn curl(world: &World, url: &str, recipient: &str, options: &[&str]) -> Ran {
    let mut command = Command::new("curl");
    command
        .args(["--disable", "--silent", "--show-error", "--verbose", "--max-time", "30", "--url", url])
        .args(["--cacert".as_ref(), world.authority.certificate().as_os_str()])
        .args(["--mail-from", USER, "--mail-rcpt", recipient, "--upload-file", "-"])
        .args(options);
    run(&mut command, MESSAGE)
}

#[test]
fn every_mechanism_in_tls_of_both_kinds() {
    let world = World::shared();
    let version = run(Command::new("curl").arg("--version"), b"").ok();
    // Debian's is built without GSASL, which SCRAM needs.
    let with_scram = version.contains("gsasl");
    let mechanisms = [&["PLAIN", "LOGIN"][..], if with_scram { &["SCRAM-SHA-256"] } else { &[] }].concat();
    let login = format!("{USER}:{PASSWORD}");
    let starttls = format!("smtp://{}/client.example", world.submission);
    let implicit = format!("smtps://{}/client.example", world.submissions);
    for mechanism in mechanisms {
        for (kind, url) in [("starttls", &starttls), ("implicit", &implicit)] {
            let recipient = format!("curl-{kind}-{}@sink.example", mechanism.to_ascii_lowercase());
            let options = format!("AUTH={mechanism}");
            curl(&world, url, &recipient, &["--ssl-reqd", "--user", &login, "--login-options", &options]).ok();
            let letter = world.arrived(&recipient);
            assert_eq!(received(&letter).0, "ESMTPSA", "{mechanism} {kind}");
            assert!(letter.content.ends_with(b"\r\n\r\n.dot\r\nend\r\n"), "{letter:?}");
        }
    }
    let ran = curl(&world, &starttls, "curl-nobody@sink.example", &["--ssl-reqd", "--user", "user@client.example:no"]);
    // CURLE_LOGIN_DENIED.
    assert_eq!(ran.code, Some(67), "{}", ran.said);
    assert!(ran.said.contains("535 5.7.8 "), "{}", ran.said);
}

#[test]
fn tokens_instead_of_passwords() {
    let world = World::shared();
    let url = format!("smtp://{}/client.example", world.submission);
    for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
        let recipient = format!("curl-{}@sink.example", mechanism.to_ascii_lowercase());
        let options = format!("AUTH={mechanism}");
        let login = |token: &str| {
            let user = format!("{USER}:");
            let token = ["--ssl-reqd", "--user", &user, "--login-options", &options, "--oauth2-bearer", token];
            curl(&world, &url, &recipient, &token)
        };
        login(&world.issuer.token(USER)).ok();
        assert_eq!(received(&world.arrived(&recipient)).0, "ESMTPSA", "{mechanism}");
        // Somebody else's, and one that another issuer has signed.
        for token in [world.issuer.token("other@client.example"), Issuer::new().token(USER)] {
            let refused = login(&token);
            assert_eq!(refused.code, Some(67), "{mechanism}: {}", refused.said);
        }
    }
}

#[test]
fn in_clear_and_commands_of_ones_own() {
    let world = World::shared();
    let url = format!("smtp://{}/client.example", world.smtp);
    curl(&world, &url, "curl-plain@sink.example", &[]).ok();
    assert_eq!(received(&world.arrived("curl-plain@sink.example")).0, "ESMTP");
    let asked = run(
        Command::new("curl").args(["--disable", "--silent", "--show-error", "--verbose", "--url", &url]).args([
            "--mail-rcpt",
            "user@client.example",
            "--request",
            "VRFY",
        ]),
        b"",
    );
    assert!(asked.ok().contains("252 2."), "VRFY says neither yes nor no");
}
