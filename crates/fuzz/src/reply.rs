//! Replies: whatever a remote says, the client ends or goes on, keeps little, and reports the same at every border.

use std::sync::Arc;
use std::time::Instant;

use mailtier_smtp::{ClientAction, ClientConfig, ClientSession, Transaction, Wishes};
use mailtier_types::{Mailbox, ReversePath, SaslMechanism};

pub(crate) fn run(data: &[u8]) {
    let now = Instant::now();
    let whole = story(data, data.len(), now);
    for step in [1, 2, 5] {
        assert_eq!(story(data, step, now), whole, "by {step}");
    }
}

/// What a session comes to that hears this, in pieces.
fn story(data: &[u8], step: usize, now: Instant) -> Vec<String> {
    let (Some((flags, said)), Ok(recipient)) = (data.split_first(), Mailbox::parse("b@example.org")) else {
        return Vec::new();
    };
    let config = ClientConfig { lmtp: flags & 1 != 0, keeps_transcript: true, ..ClientConfig::new("client.example") };
    let mut session = ClientSession::new(Arc::new(config), now);
    let wishes = Wishes { binary: flags & 2 != 0, probe: flags & 4 != 0, ..Wishes::default() };
    let mut begun = false;
    let mut told = Vec::new();
    // A remote speaks when it is its turn: a line at a time, each in pieces.
    for line in said.split_inclusive(|octet| *octet == b'\n') {
        settle(&mut session, &mut told, now);
        let is_ready = session.poll() == ClientAction::Ready;
        if is_ready && !begun && session.capabilities().offers_logins() && !session.is_logged_in() {
            session.log_in(SaslMechanism::Login, None, now);
            settle(&mut session, &mut told, now);
        } else if is_ready && !begun {
            begun = true;
            let transaction = Transaction {
                sender: ReversePath::Null,
                recipients: vec![recipient.clone(), recipient.clone()],
                eight_bit: false,
                smtputf8: false,
                proper_lines: flags & 8 != 0,
                size_bytes: 3,
                wishes: wishes.clone(),
            };
            session.begin(transaction, now);
            settle(&mut session, &mut told, now);
        }
        for piece in line.chunks(step.max(1)) {
            session.handle_input(piece, now);
            settle(&mut session, &mut told, now);
        }
    }
    session.handle_eof(now);
    settle(&mut session, &mut told, now);
    told.push(session.take_transcript().as_str().to_owned());
    told
}

fn settle(session: &mut ClientSession, told: &mut Vec<String>, now: Instant) {
    loop {
        match session.poll() {
            ClientAction::Send => {
                let octets = session.output().len();
                assert!(octets > 0, "nothing to send");
                session.sent(octets, now);
            }
            ClientAction::NeedBody => {
                session.body(b"x\r\n");
                session.end_of_body(now);
            }
            ClientAction::Finished(report) => told.push(format!("{report:?}")),
            ClientAction::Challenge(challenge) => session.answer(Some(&challenge), now),
            ClientAction::Failed(failure) => told.push(format!("{failure:?}")),
            ClientAction::NeedInput | ClientAction::Ready | ClientAction::UpgradeTls | ClientAction::Closed => return,
        }
    }
}
