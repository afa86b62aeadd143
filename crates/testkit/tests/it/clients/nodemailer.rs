//! nodemailer, as web applications use it, at the version of its lock file.

use std::process::Command;

use super::{LIMIT, World, put_aside, received, run, script};

#[test]
fn single_messages_and_a_pool() {
    let world = World::shared();
    let mut command = Command::new("node");
    command.arg(script("send.js")).env("NODE_PATH", put_aside("node_modules")).envs(world.environment());
    run(&mut command, b"").ok();
    for (name, with) in [("plain", "ESMTPS"), ("starttls", "ESMTPSA"), ("unicode", "UTF8SMTPSA"), ("lmtp", "LMTP")] {
        let recipient = if name == "unicode" {
            "用户-nodemailer@sink.example".into()
        } else {
            format!("nodemailer-{name}@sink.example")
        };
        let letter = world.arrived(&recipient);
        assert_eq!(received(&letter).0, with, "{name}");
        assert!(String::from_utf8_lossy(&letter.content).contains("Content-Type: multipart/"), "{letter:?}");
    }
    let pooled = world.counterpart.wait_for_letters_to("nodemailer-pool@sink.example", 30, LIMIT);
    assert_eq!(pooled.len(), 30, "each once");
}
