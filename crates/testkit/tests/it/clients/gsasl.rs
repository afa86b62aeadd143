//! GNU SASL's own client: the only one here that binds SCRAM to the channel, and to both kinds of it.

use std::process::Command;

use super::{PASSWORD, Ran, USER, World, run};

/// Logs in after STARTTLS, and does no more.
fn log_in(world: &World, mechanism: &str, password: &str, options: &[&str]) -> Ran {
    let mut command = Command::new("gsasl");
    command
        .args(["--smtp", "--client", "--verbose", "--starttls"])
        .args([format!("--connect={}", world.submission), format!("--mechanism={mechanism}")])
        .args([format!("--authentication-id={USER}"), format!("--password={password}")])
        .args([format!("--authorization-id={USER}"), "--hostname=mx.test.example".to_owned()])
        .arg(format!("--x509-ca-file={}", world.authority.certificate().display()))
        .args(options);
    run(&mut command, b"")
}

#[test]
fn logins_bound_to_the_channel() {
    let world = World::shared();
    let tls12 = "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.2";
    for (mechanism, options) in [
        // With TLS 1.3 it binds by tls-exporter (RFC 9266).
        ("SCRAM-SHA-256-PLUS", &[][..]),
        ("SCRAM-SHA-256", &["--no-cb"]),
        ("PLAIN", &["--no-cb"]),
        ("LOGIN", &["--no-cb"]),
        ("SCRAM-SHA-256", &["--no-cb", tls12]),
    ] {
        let said = log_in(&world, mechanism, PASSWORD, options).said;
        assert!(said.contains("235 2.7.0 "), "{mechanism} {options:?}: {said}");
        let said = log_in(&world, mechanism, "wrong horse", options).said;
        assert!(said.contains("535 5.7.8 ") && !said.contains("235 2.7.0 "), "{mechanism} {options:?}: {said}");
    }
}
