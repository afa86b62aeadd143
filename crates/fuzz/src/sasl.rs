//! Logins: any mechanism, any messages. No login succeeds that nobody was asked about.

use mailtier_sasl::{Bindings, Check, Exchange, Step};
use mailtier_types::SaslMechanism;

pub(crate) fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mechanism = SaslMechanism::ALL.into_iter().cycle().nth(usize::from(*first & 0x0f));
    let Some(mechanism) = mechanism else { return };
    let bindings = Bindings { exporter: Some(vec![7; 32]), end_point: None, offered: first & 0x10 != 0 };
    let mut exchange = Exchange::new(mechanism, bindings, "ours".to_owned());
    let mut approved = false;
    for message in rest.split(|octet| *octet == b'\n') {
        let mut step = match exchange.respond(message) {
            Ok(step) => step,
            Err(_) => return,
        };
        while let Step::Check(check) = step {
            step = match check {
                Check::ScramSalt { name } => {
                    assert!(!name.is_empty());
                    exchange.salted(b"salt", 4096)
                }
                Check::ScramProof { auth_message, .. } => {
                    approved = auth_message.len() % 2 == 0;
                    exchange.proved(approved.then_some([1; 32]))
                }
                Check::Password { name, password } => {
                    assert!(!name.is_empty() && !password.0.is_empty());
                    approved = name.len() % 2 == 0;
                    exchange.settled(approved)
                }
                Check::Token { .. } | Check::Certificate { .. } => {
                    approved = message.len() % 2 == 0;
                    exchange.settled(approved)
                }
            };
        }
        assert!(step != Step::Done || approved, "a login that nobody approved of");
        if matches!(step, Step::Done | Step::Failed) {
            return;
        }
    }
}
