//! Postfix's smtp-source: a load as its own engine speaks SMTP and LMTP. Unpacked aside by `make clients`, never
//! installed.

use std::process::Command;

use super::{LIMIT, World, put_aside, run};

const MESSAGES: usize = 200;

#[test]
fn a_load_over_smtp_and_lmtp() {
    let world = World::shared();
    let (program, root) = (put_aside("postfix/usr/sbin/smtp-source"), put_aside("postfix/usr/lib"));
    let libraries = ["postfix".to_owned(), format!("{}-linux-gnu", std::env::consts::ARCH)]
        .map(|folder| root.join(folder).display().to_string())
        .join(":");
    for (name, server, options) in [("smtp", world.smtp, &[][..]), ("lmtp", world.lmtp, &["-L"])] {
        let recipient = format!("smtp-source-{name}@sink.example");
        let mut command = Command::new(&program);
        command
            .env("LD_LIBRARY_PATH", &libraries)
            .args(options)
            .args(["-m", &MESSAGES.to_string(), "-s", "10", "-l", "2000", "-M", "client.example"])
            .args(["-f", "load@client.example", "-t", &recipient, &server.to_string()]);
        run(&mut command, b"").ok();
        let letters = world.counterpart.wait_for_letters_to(&recipient, MESSAGES, LIMIT);
        assert_eq!(letters.len(), MESSAGES, "{name}: each once");
    }
}
