//! What a session keeps in memory, whatever the peer sends: seen from inside, because no user can see it.

use std::sync::Arc;
use std::time::Instant;

use super::{Connection, ServerAction, ServerConfig, ServerSession, Verdict};

/// More than a session may ever hold, beyond what it is handed at a time.
const BOUND_OCTETS: usize = 80 << 10;

impl ServerSession {
    fn held_octets(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
fn greeted() -> (ServerSession, Instant) {
    let now = Instant::now();
    let mut session = ServerSession::new(Arc::new(ServerConfig::new("mx.example.org")), Connection::default(), now);
    run(&mut session, now);
    (session, now)
}

/// Drives the session until it needs input. Says how much it replied.
fn run(session: &mut ServerSession, now: Instant) -> usize {
    let mut replied = 0;
    loop {
        match session.poll() {
            ServerAction::Ask(_) => session.answer(Verdict::Accept, now),
            ServerAction::Send => {
                replied += session.output().len();
                session.sent(session.output().len());
            }
            ServerAction::Body(_) | ServerAction::Reset => {}
            _ => return replied,
        }
    }
}

#[test]
fn a_line_of_a_gigabyte_costs_nothing() {
    let (mut session, now) = greeted();
    let piece = vec![b'x'; 1 << 20];
    let deadline = session.next_timeout();
    for _ in 0..1024 {
        session.handle_input(&piece, now + std::time::Duration::from_secs(1));
        assert_eq!(run(&mut session, now), 0);
        assert!(session.held_octets() < piece.len() + BOUND_OCTETS);
    }
    assert_eq!(session.next_timeout(), deadline, "a line that never ends does not keep a session open");
    session.handle_input(b"\r\nNOOP\r\n", now);
    assert_eq!(run(&mut session, now), "500 5.5.6 Line too long\r\n250 2.0.0 OK\r\n".len());
    assert!(session.held_octets() < BOUND_OCTETS);
}

#[test]
fn content_passes_through() {
    let (mut session, now) = greeted();
    session.handle_input(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", now);
    run(&mut session, now);
    for piece in [vec![b'x'; 8192], b"..\r\n".repeat(2048), vec![0; 8192], vec![b'.'; 8192]] {
        for _ in 0..100 {
            session.handle_input(&piece, now);
            run(&mut session, now);
            assert!(session.input.is_empty(), "content is not kept");
            assert!(session.held_octets() < BOUND_OCTETS);
        }
    }
}

#[test]
fn an_idle_session_keeps_next_to_nothing() {
    let (mut session, now) = greeted();
    session.handle_input(&b"EHLO client.example.com\r\nRSET\r\n".repeat(3000), now);
    run(&mut session, now);
    assert!(session.held_octets() <= 1024, "{}", session.held_octets());
}
